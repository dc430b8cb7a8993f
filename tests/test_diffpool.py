"""The definitions of the chapter on differentiable pooling against references, properties and bad input."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.datasets import tu
from utils.datasets.tu import TUGraphs
from utils.tools import definitions, exercises

CHAPTER = definitions.of_chapter("diffpool")
CHAPTER["DEVICE"] = "cpu"


def collection(graphs, labels=None, attributes=False):
    """Networkx graphs, nodes numbered from 0, as a set of the loader; random labels of nodes, all three of them."""
    sizes = [len(graph) for graph in graphs]
    first = np.cumsum([0, *sizes])[:-1]
    edges = [np.array(graph.edges).reshape(-1, 2) + f for graph, f in zip(graphs, first, strict=True)]
    edges = np.sort(np.concatenate(edges).astype(np.int64), 1)
    rng, indicator = np.random.default_rng(0), np.repeat(np.arange(len(graphs)), sizes)
    tags = rng.integers(3, size=len(indicator))
    tags[:3] = np.arange(3)
    values = rng.normal(size=(len(indicator), 4)).astype(np.float32) if attributes else None
    labels = np.arange(len(graphs)) % 2 if labels is None else np.array(labels)
    return TUGraphs("made", edges, indicator, tags, values, labels, 0, True)


def random_graphs(count=8, seed=0):
    """Some of them have one node, some have no edges."""
    rng = np.random.default_rng(seed)
    return [nx.gnp_random_graph(int(n), 0.3, seed=i) for i, n in enumerate(rng.integers(1, 14, count))]


def trained(model, graphs):
    """The model in evaluation, with statistics of batch normalisation as after some training."""
    for _ in range(3):
        model.train()(*graphs.batch(torch.arange(len(graphs.labels)))[:-1])
    return model.eval()


@given(st.integers(0, 10**6), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_both_kinds_of_batch_hold_each_graph_as_it_is(seed, count):
    made = random_graphs(9, seed % 50)
    data = collection(made)
    plain, ragged = CHAPTER["Graphs"](data), CHAPTER["RaggedGraphs"](data)
    ids = torch.from_numpy(np.random.default_rng(seed).integers(9, size=count))
    x, a, real, labels = plain.batch(ids)
    rows, arcs, graph, place, given, same = ragged.batch(ids)
    assert labels.tolist() == same.tolist() == data.graph_labels[ids.numpy()].tolist()
    assert len(rows) == len(given) == real.sum() and torch.equal(rows, x[real])
    dense = torch.zeros(len(rows), len(rows))
    dense[arcs[0], arcs[1]] = 1
    for row, name in enumerate(ids.tolist()):
        size, here = len(made[name]), graph == row
        expected = torch.from_numpy(nx.to_numpy_array(made[name])).float()
        assert torch.equal(a[row, :size, :size], expected) and not a[row, size:].any() and not x[row, size:].any()
        assert torch.equal(dense[here][:, here], expected) and not dense[here][:, ~here].any()
        assert place[here].tolist() == list(range(size)) and real[row].sum() == size


@given(st.integers(0, 49))
@settings(max_examples=25, deadline=None)
def test_plain_and_ragged_give_the_same_values_losses_and_gradients(seed):
    data = collection(random_graphs(7, seed))
    torch.manual_seed(seed)
    plain, fast = CHAPTER["DiffPool"](3, 2, clusters=4), CHAPTER["FastDiffPool"](3, 2, clusters=4)
    fast.load_state_dict(plain.state_dict())
    for part in (*plain.parameters(), *fast.parameters()):
        part.data = part.data.double()
    found = []
    for model, kind in ((plain, "Graphs"), (fast, "RaggedGraphs")):
        *inputs, _ = CHAPTER[kind](data).batch(torch.arange(7))
        logits = model.double()(*(part.double() if part.is_floating_point() else part for part in inputs))
        total = logits.square().sum() + model.link + model.entropy
        found.append([logits, model.link, model.entropy, *torch.autograd.grad(total, list(model.parameters()))])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
        assert torch.isfinite(ours).all()


def test_the_losses_are_those_of_the_full_matrix_over_real_nodes_only():
    graphs = CHAPTER["Graphs"](collection([nx.cycle_graph(5), nx.path_graph(9)]))
    x, a, real, _ = graphs.batch(torch.arange(2))
    model = CHAPTER["DiffPool"](3, 2, clusters=4)
    model(x, a, real)
    s = model.shares(model.assign(x, a, real)).softmax(2)
    torch.testing.assert_close(s.sum(2), torch.ones(2, 9))
    errors = [a[0, :5, :5] - s[0, :5] @ s[0, :5].T, a[1] - s[1] @ s[1].T]
    expected = math.sqrt(sum(e.square().sum().item() for e in errors) / (25 + 81))
    assert model.link.item() == pytest.approx(expected, rel=1e-5)
    entropy = torch.distributions.Categorical(torch.cat([s[0, :5], s[1]])).entropy().mean().item()
    assert model.entropy.item() == pytest.approx(entropy, rel=1e-4)


def test_hard_clusters_add_up_members_and_count_each_edge_from_both_ends():
    graph = nx.disjoint_union(nx.complete_graph(3), nx.complete_graph(3))
    graph.add_edge(2, 3)
    ragged = CHAPTER["RaggedGraphs"](collection([graph]), given=[torch.tensor([0, 0, 0, 1, 1, 1])])
    seen = {}

    class Watching(CHAPTER["Given"]):
        def classify_later(self, states, hear):
            seen.update(states=states, heard=hear(torch.eye(2)))
            return torch.zeros(2, 90)

    model = Watching(3, 2, clusters=2)
    model.coarse.forward = model.classify_later
    *inputs, _ = ragged.batch(torch.tensor([0]))
    model(*inputs)
    torch.testing.assert_close(seen["heard"], torch.tensor([[6.0, 1], [1, 6]]) / 7)  # the mean over weighted arcs
    z = model.embed(inputs[0], CHAPTER["hearing"](inputs[1], 6))
    torch.testing.assert_close(seen["states"], torch.stack([z[:3].sum(0), z[3:].sum(0)]), atol=1e-4, rtol=1e-4)


def models():
    """A model of each kind for three labels of nodes and two classes."""
    kinds = {"DiffPool": (CHAPTER["FastDiffPool"], {}), "given": (CHAPTER["Given"], {}), "bag": (CHAPTER["Bag"], {})}
    for readout in ("Mean", "Set2Set", "SortPool"):
        kinds[readout] = CHAPTER["Flat"], {"readout": CHAPTER[readout]}
    torch.manual_seed(3)
    return {name: kind(3, 2, **options, clusters=4) for name, (kind, options) in kinds.items()}


@pytest.mark.parametrize("name", models())
def test_the_order_of_nodes_and_the_company_of_other_graphs_change_nothing(name):
    made = [nx.gnp_random_graph(n, 0.4, seed=n) for n in (9, 12, 7)]
    data, order = collection(made), np.random.default_rng(1).permutation(12)
    given = [torch.arange(len(graph)) % 4 for graph in made]
    graphs = CHAPTER["RaggedGraphs"](data, given)
    model = trained(models()[name], graphs)
    together = model(*graphs.batch(torch.arange(3))[:-1])
    torch.testing.assert_close(model(*graphs.batch(torch.tensor([1]))[:-1])[0], together[1], atol=1e-4, rtol=1e-4)
    renamed = CHAPTER["RaggedGraphs"](data, given)
    renamed.x, renamed.a = list(renamed.x), list(renamed.a)
    renamed.x[1], renamed.given[1] = renamed.x[1][order], renamed.given[1][order]
    renamed.arcs[1] = renamed.a[1][order][:, order].nonzero().T
    torch.testing.assert_close(model(*renamed.batch(torch.arange(3))[:-1]), together, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", models())
def test_only_the_bag_is_blind_to_edges(name):
    data = collection([nx.gnp_random_graph(n, 0.4, seed=n) for n in (9, 12, 7)])
    with_edges, without = (CHAPTER["RaggedGraphs"](data, edges=edges) for edges in (True, False))
    model = trained(models()[name], with_edges)
    outputs = [model(*graphs.batch(torch.arange(3))[:-1]) for graphs in (with_edges, without)]
    assert torch.allclose(*outputs, atol=1e-4) == (name == "bag")


def test_given_clusters_are_used_and_learn_nothing():
    data = collection(random_graphs(5))
    halves = [
        CHAPTER["RaggedGraphs"](data, [torch.arange(n) % k for n in np.bincount(data.graph_indicator)]) for k in (1, 4)
    ]
    model = models()["given"]
    outputs = [model(*graphs.batch(torch.arange(5))[:-1]) for graphs in halves]
    assert not torch.allclose(*outputs)
    outputs[1].sum().backward()
    assert all(part.grad is None for part in (*model.assign.parameters(), *model.shares.parameters()))


def test_parts_are_a_partition_with_the_classes_spread_evenly_and_every_shuffle_is_another():
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    tests = [CHAPTER["folds"](labels, number)[2] for number in range(10)]
    assert sorted(torch.cat(tests).tolist()) == list(range(100))
    for number in range(10):
        train, validation, test = CHAPTER["folds"](labels, number)
        assert sorted(torch.cat([train, validation, test]).tolist()) == list(range(100))
        assert np.bincount(labels[test]).tolist() == np.bincount(labels[validation]).tolist() == [5, 3, 2]
        assert torch.equal(validation, tests[(number + 1) % 10])
    assert not torch.equal(CHAPTER["folds"](labels, 10)[2], tests[0])
    assert all(len(part) for part in CHAPTER["folds"](labels, 0, every=8))


def test_the_two_readings_choose_by_validation_only():
    curves = np.array([[[1, 9], [5, 2], [4, 8]], [[3, 9], [4, 1], [6, 7]]], float)  # two folds, three epochs
    assert CHAPTER["as_reported"](curves).tolist() == [4, 6]  # mean curve 2, 4.5, 5
    assert CHAPTER["held_out"](curves).tolist() == [2, 7]
    other = curves.copy()
    other[:, :, 1] = np.random.default_rng(0).permutation(other[:, :, 1], axis=1)
    assert CHAPTER["as_reported"](other).tolist() == [4, 6]


@given(st.integers(1, 30), st.integers(1, 8), st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_matching_gives_at_most_so_many_clusters_whatever_the_graph(nodes, most, seed):
    a = torch.from_numpy(nx.to_numpy_array(nx.gnp_random_graph(nodes, 0.15, seed=seed))).float()
    before, member = a.clone(), CHAPTER["matched"](a, most)
    assert len(member) == nodes and sorted(set(member.tolist())) == list(range(len(set(member.tolist()))))
    assert len(set(member.tolist())) == min(nodes, most) or nodes > most >= len(set(member.tolist()))
    assert torch.equal(a, before)


def test_matching_finds_pairs_that_are_tied_together():
    graph = nx.disjoint_union_all([nx.complete_graph(2)] * 4)
    graph.add_edges_from([(0, 2), (2, 4), (4, 6)])
    member = CHAPTER["matched"](torch.from_numpy(nx.to_numpy_array(graph)).float(), 4)
    assert len(set(member.tolist())) == 4 and all(member[2 * i] == member[2 * i + 1] for i in range(4))


def test_the_mean_and_set2set_do_not_see_what_was_filled_up():
    wide, real = torch.randn(2, 6, 5), torch.arange(6) < torch.tensor([[6], [4]])
    wide = wide * real[..., None]
    torch.testing.assert_close(CHAPTER["Mean"](5)(wide, real)[1], wide[1, :4].mean(0))
    reader = CHAPTER["Set2Set"](5)
    torch.testing.assert_close(reader(wide, real)[1], reader(wide[1:, :4], real[1:, :4])[0])


def test_training_learns_what_only_the_edges_tell_and_draws_nothing_that_is_held_out():
    made = [nx.cycle_graph(n) if n % 2 else nx.star_graph(n - 1) for n in range(6, 66)]
    data = collection(made, labels=[n % 2 for n in range(6, 66)])
    graphs, drawn = CHAPTER["RaggedGraphs"](data), []
    split = CHAPTER["folds"](data.graph_labels, 0)
    torch.manual_seed(0)
    model = CHAPTER["FastDiffPool"](3, 2, clusters=4)
    whole = graphs.batch

    def watched(ids):
        if torch.is_grad_enabled():
            drawn.append(ids)
        return whole(ids)

    graphs.batch = watched
    history = CHAPTER["train"](model, graphs, split, 12, rate=1e-2)
    assert history.shape == (12, 2) and history[-1].min() > 80
    epoch = torch.cat(drawn[: math.ceil(len(split[0]) / 20)])
    assert sorted(epoch.tolist()) == split[0].tolist() and not set(torch.cat(drawn).tolist()) - set(split[0].tolist())
    other = data.graph_labels.copy()
    other[split[2]] = 1 - other[split[2]]
    graphs.labels = torch.from_numpy(other)
    assert CHAPTER["accuracy"](model, graphs, split[2]) == pytest.approx(100 - history[-1, 1])


def test_accuracy_does_not_depend_on_which_graphs_are_scored_together():
    data = collection([nx.gnp_random_graph(n, 0.4, seed=n) for n in range(4, 24)])
    graphs = CHAPTER["Graphs"](data)
    torch.manual_seed(0)
    model = trained(CHAPTER["DiffPool"](3, 2), graphs)
    alone = [CHAPTER["accuracy"](model, graphs, torch.tensor([n])) for n in range(20)]
    assert CHAPTER["accuracy"](model, graphs, torch.arange(20)) == pytest.approx(np.mean(alone))


def test_attributes_are_standardised_and_stand_beside_the_labels():
    data = collection(random_graphs(20), attributes=True)
    x = torch.cat(CHAPTER["Graphs"](data, attributes=True).x)
    assert x.shape[1] == 7 and torch.equal(x[:, :3].argmax(1), torch.from_numpy(data.node_labels))
    torch.testing.assert_close(x[:, 3:].mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(x[:, 3:].std(0), torch.ones(4), atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def at_the_end():
    """The chapter's definitions, and what its cells have left, on the generated stand-in with short runs."""
    chapter = definitions.of_chapter("diffpool")
    data = tu.checked("ENZYMES", *tu.rings("ENZYMES"), made=True)
    chapter["DEVICE"] = "cpu"
    chapter["settings"] = {"every": 1, "epochs": 1, "protein_epochs": 1, "rates": (3e-3,), "norms": (True, False)}
    chapter["settings"] |= {"tuning_folds": 1, "folds": 2}
    chapter["tu"] = type("Loader", (), {"load": staticmethod(lambda name: data)})
    chapter |= {"enzymes": data, "plain_graphs": chapter["Graphs"](data)}
    chapter["split"] = chapter["folds"](data.graph_labels, 0)
    chapter["ragged_graphs"] = chapter["RaggedGraphs"](data)
    chapter["plain_model"] = chapter["DiffPool"](3, 6)
    chapter["results"] = {row: chapter["tuned"]("ENZYMES", row) for row in chapter["ROWS"]}
    return chapter


def test_every_row_is_trained_for_its_epochs_on_its_own_settings(at_the_end):
    for row, curves in at_the_end["results"].items():
        longer = at_the_end["ROWS"][row].get("longer", 1)
        assert curves.shape == (2, longer, 2) and ((curves >= 0) & (curves <= 100)).all(), row


def made_run(name, row, rate, norm, number):
    """With batch normalisation the better validation accuracy, without it the better test accuracy."""
    return np.array([[90.0, 0.0]]) if norm else np.array([[10.0, 99.0]])


def test_the_setting_is_chosen_by_validation(at_the_end, monkeypatch):
    monkeypatch.setitem(at_the_end, "run", made_run)
    assert at_the_end["tuned"]("ENZYMES", "DiffPool").tolist() == [[[90.0, 0.0]]] * 2


def test_clusters_in_use_are_counted_over_real_nodes(at_the_end):
    used, spread = at_the_end["clusters_used"](at_the_end["plain_model"], at_the_end["plain_graphs"], torch.arange(5))
    assert len(used) == 5 and (used >= 1).all() and (used <= 12).all() and 1 <= spread <= 12


def test_the_solutions_of_the_exercises_run(at_the_end, capsys):
    assert len(exercises.solutions("diffpool")) == 4
    wanted = ("entropy loss", "40 clusters", "LookAround", "patient")
    for number, words in enumerate(wanted):
        exercises.execute("diffpool", number, at_the_end, {", 10, ": ", 1, ", ", 20, ": ", 1, "})
        assert words in capsys.readouterr().out
    plt.close("all")
