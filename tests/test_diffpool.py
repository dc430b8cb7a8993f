"""The definitions of the chapter on differentiable pooling against references, properties and bad input."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.datasets.tu import TUGraphs
from utils.tools import definitions, exercises

CHAPTER = definitions.of_chapter("diffpool")
CHAPTER["DEVICE"] = "cpu"
pytestmark = pytest.mark.filterwarnings("ignore:Sparse")


def collection(graphs, labels=None, attributes=False, classes=2):
    """Networkx graphs, nodes numbered from 0, as a set of the loader."""
    sizes = [len(graph) for graph in graphs]
    first = np.cumsum([0, *sizes])[:-1]
    edges = [np.array(graph.edges).reshape(-1, 2) + f for graph, f in zip(graphs, first, strict=True)]
    edges = np.sort(np.concatenate(edges).astype(np.int64), 1)
    edges = edges[np.lexsort((edges[:, 1], edges[:, 0]))]
    rng, indicator = np.random.default_rng(0), np.repeat(np.arange(len(graphs)), sizes)
    tags = rng.integers(3, size=len(indicator)) if labels is None else np.concatenate(labels)
    tags[: min(3, len(tags))] = np.arange(min(3, len(tags)))  # all three labels occur
    values = rng.normal(size=(len(indicator), 4)).astype(np.float32) if attributes else None
    return TUGraphs("made", edges, indicator, tags, values, np.arange(len(graphs)) % classes, 0, True)


def random_graphs(count=8, seed=0):
    rng = np.random.default_rng(seed)
    return [nx.gnp_random_graph(int(n), 0.3, seed=i) for i, n in enumerate(rng.integers(1, 14, count))]


def dense(graph, nodes):
    return torch.from_numpy(nx.to_numpy_array(graph, nodelist=nodes)).float()


def evaluated(model):
    """The model with statistics of its normalisations as after some training, in evaluation."""
    torch.manual_seed(7)
    for name, buffer in model.named_buffers():
        buffer.uniform_(0.5, 1.5) if name.endswith("variance") else buffer.normal_(0, 0.2)
    return model.eval()


@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_a_batch_holds_each_graph_once_whatever_is_drawn(seed, stacks, count):
    graphs = random_graphs(9, seed % 50)
    data = collection(graphs)
    ready = CHAPTER["Graphs"](data)
    chosen = torch.from_numpy(np.random.default_rng(seed).integers(9, size=(stacks, count)))
    batch = CHAPTER["draw"](ready, chosen)
    states = torch.randn(*batch.features.shape[:2], 5)
    heard = CHAPTER["Product"].apply(batch.adjacency, states)
    apart, sums = CHAPTER["held_apart"](states, batch), CHAPTER["held_apart"](heard, batch)
    kinds = CHAPTER["held_apart"](batch.features, batch)
    most = CHAPTER["largest"](CHAPTER["in_groups"](states, batch, -1e9), batch)
    for row, graph in enumerate(chosen.flatten().tolist()):
        size = len(graphs[graph])
        tags = torch.from_numpy(data.node_labels[data.graph_indicator == graph])
        torch.testing.assert_close(sums[row, :size], dense(graphs[graph], range(size)) @ apart[row, :size])
        torch.testing.assert_close(most[row], apart[row, :size].amax(0))
        assert torch.equal(kinds[row, :size], F.one_hot(tags, 3).float())
        assert not apart[row, size:].any() and batch.mask[row].sum() == size
    assert batch.labels.flatten().tolist() == [int(data.graph_labels[g]) for g in chosen.flatten()]
    assert batch.real.sum() == batch.mask.sum() == sum(len(graphs[g]) for g in chosen.flatten())


def test_the_gradient_of_the_sparse_product_is_that_of_a_dense_one():
    batch = CHAPTER["draw"](CHAPTER["Graphs"](collection(random_graphs())), torch.arange(6).view(2, 3))
    states = torch.randn(*batch.features.shape[:2], 4, requires_grad=True)
    weights = torch.randn(states.shape)
    (found,) = torch.autograd.grad((CHAPTER["Product"].apply(batch.adjacency, states) * weights).sum(), states)
    by_hand = (batch.adjacency.to_dense() @ states.flatten(0, 1)).view(states.shape)
    (expected,) = torch.autograd.grad((by_hand * weights).sum(), states)
    torch.testing.assert_close(found, expected)


@given(st.integers(0, 10**6), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_the_gradient_of_the_maximum_is_that_of_the_dense_one(seed, stacks):
    torch.manual_seed(seed)
    batch = CHAPTER["draw"](CHAPTER["Graphs"](collection(random_graphs(9, seed % 50))), torch.randint(9, (stacks, 3)))
    states = torch.randn(*batch.features.shape[:2], 5, requires_grad=True)
    weights = torch.randn(3 * stacks, 5)
    most = CHAPTER["largest"](CHAPTER["in_groups"](states, batch, -1e9), batch)
    (found,) = torch.autograd.grad(most, states, weights)
    dense = CHAPTER["held_apart"](states, batch).masked_fill(~batch.mask, -1e9).amax(1)
    torch.testing.assert_close(found, torch.autograd.grad(dense, states, weights)[0])


def plain_norm(states, scale, shift, real):
    """Eq. (1) after the linear map by operations that torch derives itself."""
    share = real / real.sum(2, keepdim=True)
    states = (states * (states.square().sum(2, keepdim=True) + 1e-12).rsqrt()).relu()
    mean = share @ states
    return shift + scale * (states - mean) * (share @ (states - mean).square() + 1e-5).rsqrt()


@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_normalisation_in_one_function_has_the_values_and_gradients_of_its_parts(seed, stacks, rows):
    torch.manual_seed(seed)
    full = torch.randint(1, rows + 1, (stacks, 1, 1))
    real = (torch.arange(rows) < full).double()
    parts = [torch.randn(stacks, k, 4, dtype=torch.double, requires_grad=True) for k in (rows, 1, 1)]
    pull = torch.randn(stacks, rows, 4) * real.transpose(1, 2)  # nobody looks at empty rows
    found, expected = CHAPTER["UnitReluNorm"].apply(*parts, real)[0], plain_norm(*parts, real)
    torch.testing.assert_close(found * real.transpose(1, 2), expected * real.transpose(1, 2))
    ours, theirs = (torch.autograd.grad((x * pull).sum(), parts) for x in (found, expected))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)
    (length,) = torch.autograd.grad((CHAPTER["Unit"].apply(parts[0]) * pull).sum(), parts[0])
    torch.testing.assert_close(length, torch.autograd.grad((F.normalize(parts[0], dim=2) * pull).sum(), parts[0])[0])


@pytest.mark.parametrize("outputs", [30, 12])
def test_all_layers_but_the_last_normalise_over_nodes_whatever_their_widths(outputs):
    layers = CHAPTER["GraphSAGE"](1, 3, 30, outputs).layers
    assert [layer.last for layer in layers] == [False, False, True]
    assert [layer.norm is None for layer in layers] == [False, False, True]


@pytest.mark.parametrize("stacks", [1, 3])
def test_losses_and_gradients_in_blocks_are_those_of_one_width_for_all(stacks):
    batch = CHAPTER["draw"](CHAPTER["Graphs"](collection(random_graphs(30, 4))), torch.arange(30).view(stacks, -1))
    torch.manual_seed(0)
    model = CHAPTER["DiffPool"](stacks, 3, 2, clusters=(5, 2)).train().double()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):  # of zeros the clusters of one node are as large, and rounding picks the largest
            torch.nn.init.normal_(parameter, std=0.1)
    parts = {name: getattr(batch, name).double() for name in ("features", "adjacency", "degree", "real")}
    batch, found = batch._replace(**parts), []
    for level in (None, CHAPTER["dense_level"](batch, 40)):
        errors = F.cross_entropy(model(batch, level).flatten(0, 1), batch.labels.flatten())
        loss = stacks * errors + (model.link + model.entropy).sum()
        found.append((loss, torch.autograd.grad(loss, list(model.parameters()))))
    torch.testing.assert_close(found[0][0], found[1][0])
    most = max(gradient.abs().max() for gradient in found[1][1])
    for one, other in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(one / most, other / most, atol=1e-12, rtol=1e-6)


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_pooling_in_groups_has_the_values_and_gradients_of_its_equation(seed):
    torch.manual_seed(seed)
    batch = CHAPTER["draw"](CHAPTER["Graphs"](collection(random_graphs(12, seed % 50))), torch.randint(12, (2, 7)))
    parts = [torch.randn(*batch.features.shape[:2], k, requires_grad=True) for k in (4, 5, 4)]
    soft, states, sums = parts
    found = CHAPTER["coarsen_groups"](soft, states, sums, batch)
    wide = [CHAPTER["held_apart"](part, batch) for part in parts]
    most = wide[1].masked_fill(~batch.mask, -1e9).amax(1)
    expected = (*CHAPTER["coarsen"](*wide), wide[0].transpose(1, 2) @ wide[0], most)
    pulls = [torch.randn_like(part) for part in expected]
    ours, theirs = (torch.autograd.grad(outputs, parts, pulls) for outputs in (found, expected))
    for one, other in zip((*found, *ours), (*expected, *theirs), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_pooling_against_a_loop_over_nodes_and_edges(nodes, clusters, seed):
    torch.manual_seed(seed)
    graph = nx.gnp_random_graph(nodes, 0.4, seed=seed)
    soft, states = torch.randn(nodes, clusters).softmax(1), torch.randn(nodes, 3)
    found, merged = CHAPTER["coarsen"](soft[None], states[None], (dense(graph, range(nodes)) @ soft)[None])
    expected, links = torch.zeros(clusters, 3), torch.zeros(clusters, clusters)
    for node in range(nodes):
        expected += torch.outer(soft[node], states[node])
    for u, v in graph.edges:
        links += torch.outer(soft[u], soft[v]) + torch.outer(soft[v], soft[u])
    torch.testing.assert_close(found[0], expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(merged[0], links, atol=1e-5, rtol=1e-5)


def test_one_hot_assignments_add_up_members_and_count_edges():
    graph, member = nx.karate_club_graph(), torch.arange(34) % 3
    one_hot, states = F.one_hot(member).float(), torch.randn(34, 6)
    links = (dense(graph, range(34)) > 0).float()
    found, merged = CHAPTER["coarsen"](one_hot[None], states[None], (links @ one_hot)[None])
    torch.testing.assert_close(found[0], torch.zeros(3, 6).index_add(0, member, states))
    for a in range(3):
        for b in range(3):
            between = sum(({int(member[u]), int(member[v])} == {a, b}) for u, v in graph.edges)
            assert merged[0, a, b] == between * (2 if a == b else 1)


@given(st.integers(1, 15), st.integers(1, 6), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_the_link_loss_is_the_norm_of_the_full_matrix(nodes, clusters, seed):
    torch.manual_seed(seed)
    adjacency = dense(nx.gnp_random_graph(nodes, 0.5, seed=seed), range(nodes)).double()
    soft = torch.randn(nodes, clusters, dtype=torch.double).softmax(1)
    merged = soft.T @ adjacency @ soft
    pairs = torch.tensor([float(nodes**2)])
    found = CHAPTER["link_loss"](adjacency.sum()[None], (soft.T @ soft)[None, None], merged[None, None], pairs)
    expected = (adjacency - soft @ soft.T).norm() / nodes
    torch.testing.assert_close(found[0], expected, atol=1e-4, rtol=1e-6)


def test_the_entropy_counts_real_rows_only_and_is_zero_for_certain_nodes():
    real = torch.tensor([[[1.0, 1, 0]]])
    even = torch.full((1, 3, 4), 0.25)
    torch.testing.assert_close(CHAPTER["entropy_loss"](even, real)[0], torch.tensor(4.0).log())
    certain = F.one_hot(torch.tensor([[0, 2, 1]]), 4).float()
    assert CHAPTER["entropy_loss"](certain, real)[0].abs() < 1e-6


NETWORKS = [
    {},
    {"clusters": (5, 2)},
    {"clusters": (), "readout": CHAPTER["Mean"]},
    {"clusters": (), "readout": CHAPTER["Set2Set"]},
    {"clusters": (), "readout": CHAPTER["SortPool"]},
    {"network": CHAPTER["Structure2Vec"], "readout": CHAPTER["Total"]},
    {"own": False, "mean": True, "batch_norm": False},
]


def permuted(data, order):
    """The set with its nodes in another order within their graphs."""
    place = np.argsort(order)
    edges = np.sort(place[data.edges], 1)
    edges = edges[np.lexsort((edges[:, 1], edges[:, 0]))]
    return TUGraphs("made", edges, data.graph_indicator, data.node_labels[order], None, data.graph_labels, 0, True)


@pytest.mark.parametrize("options", NETWORKS)
def test_the_order_of_nodes_and_the_company_of_other_graphs_change_nothing(options):
    data = collection(random_graphs(6, 3))
    torch.manual_seed(0)
    model = evaluated(CHAPTER["DiffPool"](1, 3, 2, **options))
    rng = np.random.default_rng(1)
    order = np.lexsort((rng.random(len(data.graph_indicator)), data.graph_indicator))
    every, together = torch.arange(6)[None], CHAPTER["Graphs"](data)
    logits = model(CHAPTER["draw"](together, every))[0]
    other = model(CHAPTER["draw"](CHAPTER["Graphs"](permuted(data, order)), every))[0]
    torch.testing.assert_close(logits, other, atol=1e-4, rtol=1e-4)
    alone = torch.cat([model(CHAPTER["draw"](together, torch.tensor([[g]])))[0] for g in range(6)])
    torch.testing.assert_close(logits, alone, atol=1e-4, rtol=1e-4)
    batch = CHAPTER["draw"](together, every)
    filled_up = model(batch, CHAPTER["dense_level"](batch, 40))[0]
    torch.testing.assert_close(logits, filled_up, atol=1e-4, rtol=1e-4)


def test_a_model_that_ignores_edges_would_be_noticed():
    graphs = [nx.path_graph(6), nx.star_graph(5)]
    data = collection(graphs, [np.zeros(6, int), np.zeros(6, int)])
    data.node_labels[:] = np.tile([0, 1, 2, 0, 0, 0], 2)
    torch.manual_seed(0)
    model = evaluated(CHAPTER["DiffPool"](1, 3, 2))
    with_edges = model(CHAPTER["draw"](CHAPTER["Graphs"](data), torch.arange(2)[None]))[0]
    without = model(CHAPTER["draw"](CHAPTER["Graphs"](data, edges=False), torch.arange(2)[None]))[0]
    assert not torch.allclose(with_edges[0], with_edges[1], atol=1e-3)
    torch.testing.assert_close(without[0], without[1])


def test_given_assignments_are_used_and_learn_nothing():
    data = collection(random_graphs(4))
    fixed = CHAPTER["clusters_by_lot"](data, 5)
    batch = CHAPTER["draw"](CHAPTER["Graphs"](data, fixed=fixed), torch.arange(4)[None])
    model = CHAPTER["DiffPool"](1, 3, 2, clusters=(5,), given=True)
    model(batch)
    wide = model.assignments[0]
    assert torch.equal(wide[batch.mask[..., 0]], fixed)
    assert not any("assign" in name for name, _ in model.named_parameters())


def test_graphs_of_one_node_without_edges_pass_and_have_finite_gradients():
    data = collection([nx.empty_graph(1), nx.empty_graph(1), nx.empty_graph(1), nx.path_graph(3)])
    ready = CHAPTER["Graphs"](data)
    for options in NETWORKS:
        model = CHAPTER["DiffPool"](2, 3, 2, **options)
        batch = CHAPTER["draw"](ready, torch.tensor([[0, 1], [2, 3]]))
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        CHAPTER["step"](model, optimiser, batch, 1.0, 1.0)
        assert all(torch.isfinite(p).all() for p in model.parameters()), options
    single = CHAPTER["draw"](ready, torch.tensor([[0]]))
    assert single.mask.shape == (1, 1, 1) and single.adjacency.to_dense().tolist() == [[0.0]]


def test_graphs_without_nodes_are_an_error_that_names_the_graph():
    data = collection(random_graphs(3))
    data.graph_indicator[data.graph_indicator == 1] = 2
    with pytest.raises(ValueError, match="graph 1 of made has no nodes"):
        CHAPTER["Graphs"](data)


def test_graphs_above_the_limit_are_left_out_of_training_and_a_limit_below_all_is_an_error():
    data = collection([nx.path_graph(n) for n in (3, 9, 5, 12)])
    assert CHAPTER["Graphs"](data, limit=8).kept.tolist() == [0, 2]
    assert CHAPTER["Graphs"](data).kept.tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="every graph of made has more than 2 nodes"):
        CHAPTER["Graphs"](data, limit=2)


def test_filling_up_to_fewer_nodes_than_a_graph_has_is_an_error():
    batch = CHAPTER["draw"](CHAPTER["Graphs"](collection([nx.path_graph(9)])), torch.tensor([[0]]))
    with pytest.raises(ValueError, match="9 nodes does not fit into 8"):
        CHAPTER["dense_level"](batch, 8)


@given(st.integers(1, 20), st.integers(1, 8), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_matching_gives_at_most_so_many_clusters_whatever_the_graph(nodes, most, seed):
    graph = nx.gnp_random_graph(nodes, 0.2, seed=seed)
    member = CHAPTER["matched_clusters"](nx.to_numpy_array(graph), most)
    assert len(member) == nodes and set(member) == set(range(member.max() + 1)) and member.max() < most
    if nodes > most:
        assert member.max() + 1 == most  # it stops there and not below


def test_matching_finds_cliques_and_refuses_no_clusters():
    cliques = nx.disjoint_union_all([nx.complete_graph(4)] * 3)
    member = CHAPTER["matched_clusters"](nx.to_numpy_array(cliques), 3)
    assert [len(set(member[i : i + 4])) for i in (0, 4, 8)] == [1, 1, 1] and len(set(member)) == 3
    with pytest.raises(ValueError, match="0 clusters"):
        CHAPTER["matched_clusters"](np.zeros((2, 2)), 0)
    data = collection([nx.complete_graph(4), nx.path_graph(7), nx.empty_graph(3)])
    found = CHAPTER["clusters_by_matching"](data, 3)
    for graph in range(3):
        rows = data.graph_indicator == graph
        size = int(rows.sum())
        links = np.zeros((size, size))
        u, v = data.edges[data.graph_indicator[data.edges[:, 0]] == graph].T - np.flatnonzero(rows)[0]
        links[u, v] = links[v, u] = 1
        assert found[rows].argmax(1).tolist() == CHAPTER["matched_clusters"](links, 3).tolist()


def test_graphs_above_the_limit_are_not_matched():
    data = collection([nx.complete_graph(4), nx.path_graph(30), nx.path_graph(9)])
    found = CHAPTER["clusters_by_matching"](data, 3, limit=9).argmax(1)
    assert found[4:34].unique().tolist() == [0] and len(found[34:].unique()) == 3
    assert len(CHAPTER["clusters_by_matching"](data, 3)[4:34].argmax(1).unique()) == 3


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_groups_of_like_size_hold_every_graph_once_and_waste_little(sizes, groups):
    first, back, found = CHAPTER["by_size"](torch.tensor(sizes), groups)
    taken = [slot for start, size in zip(first.tolist(), sizes, strict=True) for slot in range(start, start + size)]
    slots = sum(count * most for count, most in found)
    assert len(set(taken)) == len(taken) == sum(sizes) and max(taken) < slots <= len(sizes) * max(sizes)
    assert sorted(back.tolist()) == list(range(len(sizes))) and sum(count for count, _ in found) == len(sizes)


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 30), st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_an_epoch_takes_every_graph_once_and_batches_that_go_together_are_about_as_large(seed, stacks, count, size):
    torch.manual_seed(seed)
    sizes = torch.randint(1, 60, (count,))
    order = torch.stack([torch.randperm(count) for _ in range(stacks)])
    found = CHAPTER["batches_of"](order, sizes, size)
    assert len(found) == count // size and all(batch.shape == (stacks, size) for batch in found)
    for stack in range(stacks):
        drawn = {tuple(row.tolist()) for row in order[stack, : count // size * size].view(-1, size)}
        assert {tuple(batch[stack].tolist()) for batch in found} == drawn  # as drawn, but for the order
    if found:
        totals = torch.stack([sizes[batch].sum(1) for batch in found]).sort(0).values
        together = sorted(tuple(sizes[batch].sum(1).tolist()) for batch in found)
        assert [list(row) for row in together] == totals.tolist()


def test_training_draws_no_graph_of_the_parts_that_are_held_out(monkeypatch):
    graphs, drawn, draw = CHAPTER["Graphs"](collection(random_graphs(60))), [], CHAPTER["draw"]
    monkeypatch.setitem(CHAPTER, "draw", lambda data, ids: drawn.append(ids) or draw(data, ids))

    def make(stacks):
        return CHAPTER["DiffPool"](stacks, 3, 2, clusters=(3,))

    CHAPTER["fit"](make, graphs, 3, 2, size=8)
    part = CHAPTER["parts_of"](graphs.labels.numpy())
    held, *trained = drawn
    assert len(trained) == 2 * (48 // 8)
    for fold in range(3):
        seen = part[torch.cat([ids[fold] for ids in trained]).numpy()]
        assert set(seen) == set(range(10)) - {fold, (fold + 1) % 10}
        validation, test = part[held[fold].view(2, -1).numpy()]
        assert set(validation) == {(fold + 1) % 10} and set(test) == {fold}


def test_too_few_graphs_for_the_parts_or_for_a_batch_and_wrong_folds_are_errors_that_say_so():
    def make(stacks):
        return CHAPTER["DiffPool"](stacks, 3, 2, clusters=(3,))

    for count, folds, size, message in (
        (9, 1, 2, "9 graphs do not fill ten parts"),
        (22, 2, 20, "22 graphs leave none of 20 to train on"),
        (30, 11, 2, "11 folds"),
        (30, 0, 2, "0 folds"),
    ):
        with pytest.raises(ValueError, match=message):
            CHAPTER["fit"](make, CHAPTER["Graphs"](collection(random_graphs(count))), folds, 1, size=size)


@pytest.mark.parametrize("every", [1, 2, 5])
def test_a_thinned_set_holds_the_same_graphs_renumbered(every):
    graphs = random_graphs(11, 5)
    data = collection(graphs, attributes=True)
    thin = CHAPTER["thinned"](data, every)
    assert thin.graph_labels.tolist() == data.graph_labels[::every].tolist()
    for number, graph in enumerate(graphs[::every]):
        found, labels = CHAPTER["as_networkx"](thin, number)
        assert nx.utils.graphs_equal(found, nx.Graph(graph))
        assert labels.tolist() == data.node_labels[data.graph_indicator == every * number].tolist()
        there = thin.node_attributes[thin.graph_indicator == number]
        assert np.array_equal(there, data.node_attributes[data.graph_indicator == every * number])


def test_parts_spread_the_classes_and_are_a_partition():
    labels = np.repeat(np.arange(6), 100)
    part = CHAPTER["parts_of"](labels)
    counts = np.array([[np.sum((part == p) & (labels == c)) for c in range(6)] for p in range(10)])
    assert (counts == 10).all()


def test_the_two_readings_choose_by_validation_only():
    curves = np.zeros((3, 3, 2))  # epochs, parts, folds
    curves[:, 1] = [[10, 50], [40, 40], [60, 0]]
    curves[:, 2] = [[1, 2], [3, 4], [5, 6]]
    assert CHAPTER["as_reported"](curves).tolist() == [40, 40]
    assert CHAPTER["held_out"](curves).tolist() == [5, 2]


def test_attributes_are_standardised_and_stand_beside_the_labels():
    data = collection(random_graphs(5), attributes=True)
    features = CHAPTER["Graphs"](data, attributes=True).features
    assert features.shape[1] == 3 + 4
    torch.testing.assert_close(features[:, 3:].mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(features[:, 3:].std(0), torch.ones(4), atol=1e-5, rtol=0)


def test_what_a_pooling_keeps_is_quadratic_for_a_share_and_linear_for_a_number_of_clusters():
    kept = CHAPTER["bytes_kept"]
    assert 3.5 < kept(2000) / kept(1000) < 4
    assert 1.9 < kept(2000, 12.5 / 2000) / kept(1000, 12.5 / 1000) < 2.1


def test_training_separates_what_is_easy_and_gives_curves_per_fold(monkeypatch):
    graphs = [nx.cycle_graph(8) if k % 2 else nx.star_graph(7) for k in range(60)]
    data = collection(graphs, [np.zeros(8, int)] * 60)
    data.node_labels[:] = np.tile([0, 1, 2, 0, 1, 2, 0, 1], 60)
    monkeypatch.setenv("WALKTHROUGHS_QUIET", "1")

    def make(stacks):
        return CHAPTER["DiffPool"](stacks, 3, 2, clusters=(3,))

    curves, model = CHAPTER["fit"](make, CHAPTER["Graphs"](data), 2, 12, size=12)
    assert curves.shape == (12, 3, 2) and len(model.first.weight) == 2
    assert CHAPTER["held_out"](curves).min() > 90


@pytest.fixture(scope="module")
def at_the_end():
    """What the chapter leaves behind, on sixty small graphs, with two folds and two epochs."""
    namespace = definitions.of_chapter("diffpool")
    namespace.update(DEVICE="cpu", settings={"folds": 2, "epochs": 2}, proteins=collection(random_graphs(60)))
    namespace["enzymes"] = namespace["Graphs"](namespace["proteins"])
    namespace["readings"] = {"as reported": namespace["as_reported"], "held out": namespace["held_out"]}
    namespace.update(results={}, models={})
    for label in ("DiffPool", "mean (GraphSAGE)", "by lot", "no edges"):
        found = namespace["experiment"](namespace["proteins"], label, 2, **namespace["KINDS"][label])
        namespace["results"][label], namespace["models"][label] = found
    return namespace


def check_entropy(after):
    assert all(1 <= spread <= 12.001 for spread in after["spread"].values())
    assert after["spread"]["no entropy"] > after["spread"]["DiffPool"]
    assert all(network.assignments[0].shape[2] == 12 for network in (after["models"]["DiffPool"], after["uncertain"]))


def check_cross_entropy(after):
    assert after["DiffPool"] is after["runs"][0][0]
    kind, graphs = after["CrossEntropy"], random_graphs(6, 3)
    batch = after["draw"](after["Graphs"](collection(graphs)), torch.arange(6).view(2, 3))
    for kind.diagonal in (True, False):
        torch.manual_seed(0)
        model = evaluated(kind(2, 3, 2))
        model(batch)
        losses = []
        for graph, soft in zip(graphs, model.assignments[0], strict=True):
            soft = soft[: len(graph)]
            pairs = torch.ones(len(graph), len(graph), dtype=torch.bool)
            pairs = pairs if kind.diagonal else ~torch.eye(len(graph), dtype=torch.bool)
            same, links = (soft @ soft.T).clamp(max=1)[pairs], dense(graph, range(len(graph)))[pairs]
            losses.append((F.binary_cross_entropy(same, links, reduction="sum"), pairs.sum()))
        for stack in range(2):
            total, count = (sum(part) for part in zip(*losses[3 * stack : 3 * stack + 3], strict=True))
            torch.testing.assert_close(model.link[stack], total / count)


def check_drawn_anew(after):
    assert after["Given"].forward is after["as_given"]
    given = after["clusters_by_lot"](after["proteins"], 12)
    batch = after["draw"](after["Graphs"](after["proteins"], fixed=given), torch.arange(20).view(2, 10))
    level = after["Level"].nodes(batch)
    one, other = (after["drawn_anew"](None, level) for _ in range(2))
    assert one.shape == batch.fixed.shape
    assert not torch.equal(one, other)
    torch.testing.assert_close(one.sum(2), batch.real[:, 0])
    assert set(one.unique().tolist()) == {0.0, 1.0}
    assert after["changing"].shape == after["results"]["by lot"].shape


def check_look_around(after):
    assert after["Bag"] is after["plain_bag"]
    assert list(after["looks"]) == ["DiffPool", "Bag", "LookAround"]
    graphs = random_graphs(4)
    batch = after["draw"](after["Graphs"](collection(graphs)), torch.arange(4).view(1, 4))
    torch.manual_seed(0)
    model, start, features = after["LookAround"](1, 3, 2), 0, batch.features[0]
    for number, graph in enumerate(graphs):
        own = features[start : start + len(graph)]
        both = torch.cat([own, dense(graph, range(len(graph))) @ own], 1)[None]
        total = model.node(both).relu().sum(1, keepdim=True)
        expected = model.last(model.first(total).relu())[0, 0]
        torch.testing.assert_close(model(batch)[0, number], expected, atol=1e-4, rtol=1e-4)
        start += len(graph)


def check_another_seed(after):
    assert after["parts_of"] is after["first_parts"]
    assert set(after["again"]) == set(after["LINES"])
    assert all(curves.shape == (2, 3, 2) for curves in after["again"].values())
    labels = after["proteins"].graph_labels
    assert not np.array_equal(after["parts_of"](labels), after["parts_of"](labels, seed=after["SEED"]))
    assert any((after["again"][label] != after["results"][label]).any() for label in after["LINES"])


CHECKS = (check_entropy, check_cross_entropy, check_drawn_anew, check_look_around, check_another_seed)


@pytest.mark.parametrize("number", range(5))
def test_the_solutions_of_the_exercises_run(number, at_the_end):
    exec(exercises.solutions("diffpool")[number].replace("__, 10)", "__, 2)"), at_the_end)
    CHECKS[number](at_the_end)
