"""The definitions of the GraphSAGE chapter against references, properties and bad input."""

from __future__ import annotations

import json
from types import SimpleNamespace

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from utils import datasets
from utils.datasets import citation, tu
from utils.notebook import dgl_compat
from utils.tools import definitions, exercises

SAGE = definitions.of_chapter("graphsage")
KINDS = ("gcn", "mean", "pool", "lstm")
STYLES = ("paper", "code", "bare")


@st.composite
def graphs(draw):
    """Edges as a file may list them: loops, repeats and isolated nodes included, or none at all."""
    nodes = draw(st.integers(1, 12))
    node = st.integers(0, nodes - 1)
    return draw(st.lists(st.tuples(node, node), max_size=30)), nodes


@given(graphs())
@settings(max_examples=60, deadline=None)
def test_rows_hold_each_neighbour_once_and_no_loop(case):
    edges, nodes = case
    graph = SAGE["Graph"](edges, nodes)
    plain = nx.Graph([(a, b) for a, b in edges if a != b])
    plain.add_nodes_from(range(nodes))
    for node in range(nodes):
        begin, count = graph.start[node].item(), graph.degree[node].item()
        assert sorted(graph.ids[begin : begin + count].tolist()) == sorted(plain[node])


@pytest.mark.parametrize("edge", [(0, 5), (-1, 2)])
def test_an_edge_to_no_node_is_refused(edge):
    with pytest.raises(ValueError, match="expected 0 to 4"):
        SAGE["Graph"]([(0, 1), edge], 5)


@given(graphs(), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_draws_are_neighbours_and_distinct_where_that_is_possible(case, size):
    edges, nodes = case
    graph = SAGE["Graph"](edges, nodes)
    ids, known = SAGE["sample"](graph, torch.arange(nodes), size)
    assert ids.shape == (nodes, size) and known.tolist() == (graph.degree > 0).tolist()
    assert ids.min() >= 0 and ids.max() < max(nodes, 1)
    for node in torch.nonzero(known)[:, 0].tolist():
        begin, count = graph.start[node].item(), graph.degree[node].item()
        drawn = ids[node].tolist()
        assert set(drawn) <= set(graph.ids[begin : begin + count].tolist())
        assert len(set(drawn)) == size or count < size


@pytest.mark.parametrize(("degree", "size"), [(7, 3), (3, 3), (4, 2), (2, 4), (25, 1)])
def test_every_place_of_a_draw_is_uniform_and_sets_are_too(degree, size):
    torch.manual_seed(3)
    places = SAGE["draw"](torch.full((30_000,), degree), size)
    if degree != size:
        assert SAGE["p_value"](places, degree) > 1e-4
    counts = torch.bincount(places.flatten(), minlength=degree).double()
    assert (counts / counts.sum() - 1 / degree).abs().max() < 0.01


def test_an_order_without_the_shuffle_or_floyds_rule_is_noticed():
    torch.manual_seed(0)
    for fault in ({"distinct[j] = torch.where(taken, top, new)": "distinct[j] = torch.where(taken, top * 0, new)"},):
        broken = definitions.of_chapter("graphsage", fault)
        with pytest.raises(AssertionError):
            assert broken["p_value"](broken["draw"](torch.full((40_000,), 6), 3), 6) > 0.001


@given(graphs(), st.sampled_from(KINDS), st.sampled_from(STYLES))
@settings(max_examples=80, deadline=None)
def test_no_nan_on_any_graph_and_gradients_are_finite(case, kind, style):
    edges, nodes = case
    torch.manual_seed(0)
    model = SAGE["Sage"](kind, [6, 8, 4], (3, 2), style=style)
    seeds = torch.arange(nodes).repeat(2)
    features = torch.randn(nodes, 6)
    features[0] = 0
    output = model(SAGE["Graph"](edges, nodes), features, seeds)
    output.square().sum().backward()
    assert output.shape == (2 * nodes, 4) and torch.isfinite(output).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    if style == "paper":
        assert (output.norm(dim=1) < 1 + 1e-5).all()


def test_zero_states_give_no_nan_where_they_are_normalised():
    model = SAGE["Sage"]("mean", [6, 8, 4], (2, 2))
    output = model(SAGE["Graph"]([], 3), torch.zeros(3, 6), torch.arange(3))
    output.sum().backward()
    assert output.eq(0).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("outputs", [16, 5])
def test_layers_equal_those_of_dgl(kind, outputs):
    dgl = dgl_compat.load()
    if dgl is None:
        pytest.skip("DGL is not installed")
    assert SAGE["difference"](dgl, kind, outputs) < 1e-4


def test_a_wrong_aggregator_differs_from_dgl():
    dgl = dgl_compat.load()
    if dgl is None:
        pytest.skip("DGL is not installed")
    broken = definitions.of_chapter("graphsage", {"(own + count * summary) / (1 + count)": "summary"})
    assert broken["difference"](dgl, "gcn", 5) > 1e-2


@pytest.mark.parametrize("kind", ["mean", "gcn"])
def test_projecting_first_changes_nothing(kind):
    torch.manual_seed(0)
    layer, states = SAGE["Layer"](kind, 12, 5), torch.randn(30, 12)
    own, near, known = torch.arange(20), torch.randint(30, (20, 4)), torch.arange(20) != 3
    first = layer(layer.prepare(states), own, near, known)
    layer.first = False
    torch.testing.assert_close(first, layer((states, states), own, near, known), atol=1e-5, rtol=1e-5)


def test_compacting_keeps_the_states_and_only_those_needed():
    features, hops = torch.randn(50, 3), [torch.tensor([4, 4, 9]), torch.tensor([9, 30])]
    table, rows = SAGE["compact"](features, hops)
    assert len(table) == 3
    for hop, row in zip(hops, rows, strict=True):
        torch.testing.assert_close(table[row], features[hop])


def test_nobody_hears_from_further_than_the_hops():
    edges = [(0, 1), (1, 2), (2, 3), (3, 4)]
    torch.manual_seed(0)
    graph, features = SAGE["Graph"](edges, 5), torch.randn(5, 6, requires_grad=True)
    model = SAGE["Sage"]("lstm", [6, 8, 4], (4, 8), style="code")
    gradient = torch.autograd.grad(model(graph, features, torch.tensor([0])).sum(), features)[0]
    assert gradient[:3].abs().sum(1).gt(0).all() and gradient[3:].eq(0).all()


@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_micro_f1_is_that_of_scikit_learn(seed, one, other):
    rng = np.random.default_rng(seed)
    true, guess = rng.random((20, 4)) < one, rng.random((20, 4)) < other
    expected = f1_score(true, guess, average="micro", zero_division=0)
    assert SAGE["micro_f1"](guess, true) == pytest.approx(expected)
    per_label = [f1_score(t, g, average="micro") for t, g in zip(true.T, guess.T, strict=True)]
    assert SAGE["per_label"](guess, true) == pytest.approx(np.mean(per_label))


def test_a_blanked_share_is_the_one_asked_for_and_the_input_stays():
    features = np.ones((10_000, 2), np.float32)
    blanked = SAGE["blanked"](features, 0.42, 0)
    assert abs((blanked == 0).all(1).mean() - 0.42) < 0.02
    assert features.all() and (SAGE["blanked"](features, 0, 0) == features).all()


def test_features_are_standardised_on_training_rows_and_constants_do_not_divide_by_zero():
    features = np.random.default_rng(0).normal(3, 5, (100, 4))
    features[:, 2] = 7
    scaled = SAGE["standardised"](features, np.arange(60))
    np.testing.assert_allclose(scaled[:60].mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(scaled[:60].std(0), [1, 1, 0, 1], atol=1e-9)


def test_walks_stay_in_their_part_of_the_graph_and_alone_nodes_meet_nobody():
    graph = SAGE["Graph"]([(0, 1), (1, 2), (3, 4)], 6)
    pairs = SAGE["walk_pairs"](graph, torch.arange(6).repeat(100))
    parts = torch.tensor([0, 0, 0, 1, 1, 2])
    assert (parts[pairs[:, 0]] == parts[pairs[:, 1]]).all()
    assert (pairs[:, 0] != pairs[:, 1]).all() and not (pairs == 5).any()


def test_walks_teach_neighbours_to_be_similar():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    edges = [(a, b) for a in range(60) for b in range(a) if (a % 2 == b % 2) and rng.random() < 0.3]
    graph, model = SAGE["Graph"](edges, 60), SAGE["Sage"]("mean", [60, 16, 8], (3, 3), style="code")
    SAGE["fit_on_walks"](model, graph, torch.eye(60), torch.arange(60), 30)
    with torch.no_grad():
        similar = model(graph, torch.eye(60), torch.arange(60))
    similar = similar @ similar.T
    same = torch.arange(60)[:, None] % 2 == torch.arange(60) % 2
    assert similar[same].mean() > similar[~same].mean() + 0.2


def test_memory_does_not_grow_with_the_graph():
    small, large = SAGE["kept_by"](2e5, False), SAGE["kept_by"](2e6, False)
    assert large < 1.1 * small
    assert SAGE["kept_by"](2e5, True) > 4 * SAGE["kept_by"](2e4, True)


def test_ppi_is_read_by_id_and_not_by_place(tmp_path, monkeypatch):
    """Node ids in another order than rows; a link counts nodes as listed; training sees training links only."""
    ids = [3, 0, 2, 1]
    nodes = [{"id": i, "test": i == 2, "val": i == 1} for i in ids]
    links = [{"source": 0, "target": 1}, {"source": 1, "target": 2}]  # 3-0 and 0-2
    parts = {"G": {"nodes": nodes, "links": links}, "id_map": {str(i): i for i in ids}}
    parts["class_map"] = {str(i): [i % 2, 1] for i in ids}
    for part, content in parts.items():
        (tmp_path / f"ppi-{part}.json").write_text(json.dumps(content))
    np.save(tmp_path / "ppi-feats.npy", np.arange(8.0).reshape(4, 2))
    monkeypatch.setattr(datasets, "path", lambda name: tmp_path / name.split("/")[1])
    ppi = SAGE["read_ppi"]()
    assert [part.tolist() for part in ppi.split] == [[0, 3], [1], [2]]
    assert ppi.seen.degree.tolist() == [1, 0, 0, 1] and ppi.whole.degree.tolist() == [2, 0, 1, 1]
    assert ppi.y.tolist() == [[0, 1], [1, 1], [0, 1], [1, 1]]
    model = SAGE["Classifier"](SAGE["Sage"]("pool", [2, 4, 4], (2, 2)), 4, 2)
    losses, *_ = SAGE["fit"](model, ppi, 2)
    assert np.isfinite(losses).all() and 0 <= SAGE["score"](model, ppi, 2) <= 1


@pytest.mark.parametrize("edges", [[[0, 0, 0, 0], [1, 2, 3, 4]], [[0, 1, 3], [1, 2, 3]], [0, 1]])
def test_lists_of_another_shape_are_refused(edges):
    with pytest.raises(ValueError, match="shape"):
        SAGE["Graph"](edges, 5)


@pytest.mark.parametrize(("edges", "nodes"), [([(0, 1)], 30), ([], 30), ([(i, i + 1) for i in range(18)], 30)])
def test_walks_on_a_tiny_graph_end_in_an_error_that_says_why(edges, nodes):
    model = SAGE["Sage"]("mean", [6, 8, 4], (2, 2))
    with pytest.raises(ValueError, match="nodes have neighbours; 20 strangers"):
        SAGE["fit_on_walks"](model, SAGE["Graph"](edges, nodes), torch.randn(nodes, 6), torch.arange(nodes), 1)
    alone = SAGE["Graph"]([(i, i + 1) for i in range(25)], nodes)
    with pytest.raises(ValueError, match="26 nodes have neighbours"):
        SAGE["fit_on_walks"](model, alone, torch.randn(nodes, 6), torch.tensor([28, 29]), 1)
    losses = SAGE["fit_on_walks"](model, alone, torch.randn(nodes, 6), torch.arange(nodes), 2)
    assert np.isfinite(losses).all()


def test_training_sees_no_test_paper_and_no_graph_but_its_own():
    graph = citation.block_model("cora")
    task = SAGE["cora_task"](graph)
    assert not task.seen.degree[graph.test].any()
    assert not set(task.seen.ids.tolist()) & set(graph.test.tolist())
    assert len(task.whole.ids) == 2 * len(graph.edges)
    train, validation, test = (set(part.tolist()) for part in task.split)
    assert not train & validation and not train & test and not validation & test
    proteins = tu.checked("ENZYMES", *tu.rings("ENZYMES"), True)
    parts = [set(proteins.graph_indicator[part]) for part in SAGE["enzymes_task"](proteins).split]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    del task.whole
    task.split[1] = task.split[2] = None
    torch.manual_seed(0)
    model = SAGE["Classifier"](SAGE["Sage"]("mean", [task.x.shape[1], 8, 8], (3, 3)), 8, task.classes)
    losses, scores, _ = SAGE["fit"](model, task, 2)
    assert losses[1] < losses[0] and not scores


@pytest.mark.parametrize("kind", KINDS)
def test_layers_equal_the_formulas_written_out(kind):
    torch.manual_seed(0)
    layer, states = SAGE["Layer"](kind, 6, 9), torch.randn(8, 6)
    own, near, known = torch.arange(4), torch.randint(8, (4, 3)), torch.tensor([True, True, False, True])
    layer.bias.data.normal_()
    found = layer(layer.prepare(states), own, near, known)
    for node in range(4):
        drawn = states[near[node]]
        summary = {
            "mean": lambda drawn=drawn: drawn.mean(0),
            "gcn": lambda drawn=drawn, node=node: torch.cat([drawn, states[node : node + 1]]).mean(0),
            "pool": lambda drawn=drawn: layer.pool(drawn).relu().amax(0),
            "lstm": lambda drawn=drawn: layer.lstm(drawn[None])[0][0, -1],
        }[kind]()
        if not known[node]:
            summary = states[node] if kind == "gcn" else torch.zeros_like(summary)
        wanted = layer.near(summary) + layer.bias
        wanted = wanted if kind == "gcn" else wanted + layer.own(states[node])
        torch.testing.assert_close(found[node], wanted, atol=1e-5, rtol=1e-5)


def test_scores_are_the_share_of_right_nodes_of_the_part_asked_for():
    nodes = 40
    task = SimpleNamespace(whole=None, x=torch.randn(nodes, 3), y=torch.arange(nodes) % 3, classes=3)
    task.split = [torch.arange(20), torch.arange(20, 30), torch.arange(30, 40)]
    logits = torch.nn.functional.one_hot(task.y, 3).float()
    logits[30:34] = logits[30:34].roll(1, 1)  # four of ten test nodes are wrong
    assert [SAGE["score"](lambda graph, x, part: logits[part], task, part) for part in range(3)] == [1, 1, 0.6]


@pytest.fixture(scope="module")
def at_the_end():
    """What the chapter leaves behind, on small stand-ins, with one epoch."""
    plt.switch_backend("Agg")
    namespace = definitions.of_chapter("graphsage")
    cora, enzymes = citation.block_model("cora"), tu.checked("ENZYMES", *tu.rings("ENZYMES"), True)
    tasks = {"cora": namespace["cora_task"](cora), "ENZYMES": namespace["enzymes_task"](enzymes)}
    namespace.update(cora=cora, enzymes=enzymes, tasks=tasks)
    namespace.update(everyone=torch.arange(len(cora.labels)), present=torch.cat(tasks["cora"].split[:2]))
    namespace["settings"] = {"epochs": {"cora": 1, "ENZYMES": 1}, "aggregator_epochs": 1}
    return namespace


def check_orders(after):
    sizes = after["SIZES"]
    assert set(after["orders"]) == {(name, order) for name in after["tasks"] for order in (sizes, sizes[::-1])}
    assert all(0 <= value <= 1 for scores in after["orders"].values() for value in scores)
    near, far = (len(hop) / len(after["hops"][0]) for hop in after["hops"][1:])
    assert (near, far) == (25, 250)


def check_shares(after):
    assert {title: len(scores) for title, scores in after["curves_by_share"].items()} == {
        "GraphSAGE": 4,
        "no neighbours": 4,
    }
    assert not after["task"].x.any()  # the last share is 1
    train, _, test = (after["task"].y[part].numpy() for part in after["task"].split)
    assert after["most"] == pytest.approx(np.mean(test == np.bincount(train).argmax()))
    drawn = [line.get_ydata() for line in after["axis"].get_lines()]
    np.testing.assert_array_equal(drawn[0], after["curves_by_share"]["GraphSAGE"])


def check_in_order(after):
    graph, nodes = after["tasks"]["ENZYMES"].whole, torch.arange(50)
    torch.manual_seed(3)
    found, has = after["in_order"](graph, nodes, 5)
    torch.manual_seed(3)
    drawn, known = after["sample"](graph, nodes, 5)
    assert (found.diff(dim=1) >= 0).all()
    assert not (drawn.diff(dim=1) >= 0).all()
    assert found.tolist() == [sorted(row) for row in drawn.tolist()]
    assert has.equal(known)
    assert [len(scores) for scores in after["readings_of"].values()] == [1, 1]


def check_sum(after):
    assert after["bag"] is after["mean_bag"]
    near, table = torch.randint(9, (6, 4)), torch.randn(9, 3)
    torch.testing.assert_close(after["sum_bag"](near, table, "mean"), table[near].sum(1))
    torch.testing.assert_close(after["sum_bag"](near, table, "max"), table[near].amax(1))
    assert {title: len(scores) for title, scores in after["tested_with"].items()} == dict.fromkeys(
        ("mean", "sum", "sum, no eq. (4)"), len(after["TEST_SIZES"])
    )


def check_strangers(after):
    z, met, strangers = (torch.randn(count, 6, dtype=torch.double) for count in (7, 7, 20))
    shared = after["walk_loss"](z, met, strangers)
    torch.testing.assert_close(after["own_strangers"](z, met, strangers.repeat(7, 1)), shared)
    other = after["own_strangers"](z, met, torch.randn(140, 6, dtype=torch.double))
    assert not torch.allclose(other, shared)
    assert after["z"].shape == (1000, after["WIDTH"])
    assert len(after["away"]) == 20 * after["PAIRS"]


CHECKS = (check_orders, check_shares, check_in_order, check_sum, check_strangers)


@pytest.mark.parametrize("number", range(5))
def test_the_solutions_of_the_exercises_run(number, at_the_end):
    code = exercises.solutions("graphsage")[number].replace("STEPS, PAIRS = 120, 64", "STEPS, PAIRS = 2, 16")
    exec(code.replace("SEEDS = 2", "SEEDS = 1"), at_the_end)
    CHECKS[number](at_the_end)
    plt.close("all")
