"""The definitions of the GCN chapter against references, properties and bad input."""

from __future__ import annotations

import re

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from utils import datasets
from utils.datasets import citation
from utils.records import claims
from utils.tools import definitions, exercises

GCN = definitions.of_chapter("gcn")
ROWS = (
    "Chebyshev, K = 3",
    "Chebyshev, K = 2",
    "first order, eq. (6)",
    "one parameter, eq. (7)",
    "renormalised, eq. (2)",
    "first-order term only",
    "no edges",
    "sum, A + I",
    "average",
)


@st.composite
def graphs(draw, least=2):
    """A random simple graph, isolated nodes included: (edges, nodes)."""
    nodes = draw(st.integers(least, 12))
    pairs = [(a, b) for a in range(nodes) for b in range(a + 1, nodes)]
    chosen = draw(st.lists(st.sampled_from(pairs), min_size=1, unique=True))
    return np.array(chosen), nodes


def dense_adjacency(edges, nodes):
    adjacency = np.zeros((nodes, nodes))
    adjacency[tuple(edges.T)] = adjacency[tuple(edges.T[::-1])] = 1
    return adjacency


def stand_in():
    """The stand-in of Cora as the chapter sees a graph, and the chapter's definitions that see it."""
    chapter = definitions.of_chapter("gcn")
    chapter["graphs"] = {"cora": citation.block_model("cora")}
    return chapter, chapter["graphs"]["cora"]


@given(graphs())
@settings(max_examples=50, deadline=None)
def test_the_normalised_adjacency_is_the_formula_and_never_amplifies(graph):
    edges, nodes = graph
    adjacency = dense_adjacency(edges, nodes) + np.eye(nodes)
    root = np.diag(adjacency.sum(0) ** -0.5)
    found = GCN["normalised_adjacency"](edges, nodes).to_dense().numpy()
    np.testing.assert_allclose(found, root @ adjacency @ root, atol=1e-6)
    eigenvalues = np.linalg.eigvalsh(found)
    assert eigenvalues[-1] <= 1 + 1e-6
    assert eigenvalues[0] > -1


@given(graphs(least=3))
@settings(max_examples=40, deadline=None)
def test_filters_are_their_formulas_and_gradients_flow_through_isolated_nodes(graph):
    edges, nodes = graph
    adjacency, eye = dense_adjacency(edges, nodes), np.eye(nodes)
    root = np.diag(1 / np.sqrt(np.maximum(adjacency.sum(0), 1)))
    symmetric = root @ adjacency @ root
    laplacian = eye - symmetric
    scaled = 2 * laplacian / np.linalg.eigvalsh(laplacian)[-1] - eye
    second = 2 * scaled @ scaled - eye
    loops = np.diag((adjacency.sum(0) + 1) ** -0.5)
    expected = {
        "Chebyshev, K = 3": [eye, scaled, second, 2 * scaled @ second - scaled],
        "Chebyshev, K = 2": [eye, scaled, second],
        "first order, eq. (6)": [eye, symmetric],
        "one parameter, eq. (7)": [eye + symmetric],
        "renormalised, eq. (2)": [loops @ (adjacency + eye) @ loops],
        "first-order term only": [symmetric],
        "no edges": [eye],
        "sum, A + I": [adjacency + eye],
        "average": [loops @ loops @ (adjacency + eye)],
    }
    found = GCN["filters"](edges, nodes)
    assert tuple(found) == ROWS
    for row, matrices in found.items():
        for ours, theirs in zip(matrices, expected[row], strict=True):
            np.testing.assert_allclose(ours.toarray(), theirs, atol=1e-5)
        parts = [GCN["Constant"](GCN["sparse_tensor"](matrix)) for matrix in matrices]
        states, layer = torch.randn(nodes, 3, requires_grad=True), GCN["Filter"](3, 2, len(parts))
        output = layer(parts, states)
        dense = sum(
            torch.tensor(theirs, dtype=torch.float32) @ states @ part.weight
            for theirs, part in zip(expected[row], layer.parts, strict=True)
        )
        torch.testing.assert_close(output, dense, atol=1e-4, rtol=1e-4)
        assert torch.isfinite(torch.autograd.grad(output.square().sum(), states)[0]).all()


def test_gradients_against_finite_differences():
    matrix = torch.rand(6, 4, dtype=torch.double).mul_(torch.rand(6, 4) < 0.5).to_sparse()  # not symmetric, not square
    states = torch.randn(4, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: GCN["Constant"](matrix) @ s, states)


def test_dropout_keeps_the_pattern_the_mean_and_the_transpose():
    torch.manual_seed(0)
    matrix = torch.rand(300, 200).mul_(torch.rand(300, 200) < 0.1).to_sparse()
    thinned = GCN["Constant"](matrix).dropout(0.5)
    dense, before = thinned.matrix.to_dense(), matrix.to_dense()
    assert set((dense[before > 0] / before[before > 0]).round().unique().tolist()) == {0.0, 2.0}
    assert not dense[before == 0].any()
    torch.testing.assert_close(thinned.transposed.to_dense(), dense.T)
    assert abs(dense.sum() / before.sum() - 1) < 0.05
    model = GCN["GCN"](200, 4, 2)
    dropped = model.drop(matrix).to_dense()
    assert not dropped[before == 0].any() and abs(dropped.sum() / before.sum() - 1) < 0.05


def test_nothing_is_dropped_in_evaluation_and_something_in_training():
    chapter, graph = stand_in()
    a_hat, x, *_ = chapter["prepared"]("cora")
    model = chapter["FastGCN"](x.shape[1], 16, graph.classes)
    assert torch.equal(model.eval()(a_hat, x), model(a_hat, x))
    assert not torch.equal(model.train()(a_hat, x), model(a_hat, x))
    deep = chapter["DeepGCN"](x.shape[1], graph.classes, 4, True)
    assert torch.equal(deep.eval()(a_hat, x), deep(a_hat, x))


def test_the_network_is_its_formula():
    chapter, graph = stand_in()
    a_hat, x, *_ = chapter["prepared"]("cora")
    model = chapter["FastGCN"](x.shape[1], 16, graph.classes).eval()
    a, words = a_hat.matrix.to_dense(), x.matrix.to_dense()
    by_hand = a @ (a @ words @ model.first.weight).relu() @ model.second.weight
    torch.testing.assert_close(model(a_hat, x), by_hand, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(words.sum(1), torch.ones(len(words)))
    deep = chapter["DeepGCN"](x.shape[1], graph.classes, 3, True).eval()
    one = (a @ words @ deep.first.weight).relu()
    two = (a @ one @ deep.second[0].weight).relu() + one  # eq. (8)
    torch.testing.assert_close(deep(a_hat, x), a @ two @ deep.second[1].weight, atol=1e-4, rtol=1e-3)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=60))
def test_stopping_rules_against_plain_loops(cost):
    cost = np.array(cost)
    stop = len(cost) - 1
    for epoch in range(len(cost)):  # the released code: epoch > 10 and the cost above the mean of the ten before
        if epoch > 10 and cost[epoch] > np.mean(cost[epoch - 10 : epoch]):
            stop = epoch
            break
    assert GCN["released_rule"](cost) == stop
    stop = len(cost) - 1
    for epoch in range(10, len(cost)):  # the text: the best of all epochs so far lies ten or more back
        if epoch - int(np.argmin(cost[: epoch + 1])) >= 10:
            stop = epoch
            break
    assert GCN["paper_rule"](cost) == stop


def trained(chapter, graph, labels=None, **options):
    """A network from the seed 0, and its history; `labels` in the place of the graph's own."""
    a_hat, x, own, split = chapter["prepared"]("cora")
    torch.manual_seed(0)
    model = chapter["FastGCN"](x.shape[1], 16, graph.classes)
    return model, chapter["train"](model, a_hat, x, own if labels is None else labels, split, **options)


def test_a_history_holds_what_the_last_network_does_and_other_labels_do_not_matter():
    chapter, graph = stand_in()
    a_hat, x, labels, split = chapter["prepared"]("cora")
    model, history = trained(chapter, graph, epochs=15)
    logits = model.eval()(a_hat, x)
    validation, test = split[1:]
    right = logits.argmax(1) == labels
    assert history[-1, 2] == pytest.approx(100 * right[validation].double().mean().item())
    assert history[-1, 3] == pytest.approx(100 * right[test].double().mean().item())
    loss = torch.nn.functional.cross_entropy(logits[validation], labels[validation]).item()
    assert history[-1, 0] == pytest.approx(loss, rel=1e-5)
    assert history[-1, 1] == pytest.approx(model.first.weight.square().sum().item(), rel=1e-5)
    assert np.array_equal(np.sort(split[0]), np.sort(graph.train))
    assert np.array_equal(split[1], graph.validation) and np.array_equal(split[2], graph.test)
    hidden = labels.clone()
    hidden[torch.cat(split[1:])] = 0
    torch.testing.assert_close(
        trained(chapter, graph, hidden, epochs=15)[0].first.weight, model.first.weight, atol=0, rtol=0
    )


def test_decay_acts_on_the_first_layer_only():
    without, with_decay = (trained(*stand_in(), epochs=1, decay=decay)[0] for decay in (0.0, 10.0))
    assert not torch.allclose(without.first.weight, with_decay.first.weight)
    torch.testing.assert_close(without.second.weight, with_decay.second.weight)


def test_shuffled_edges_keep_the_ends_and_lose_the_pairs():
    edges = citation.block_model("cora").edges
    shuffled = GCN["shuffled"](edges)
    assert sorted(shuffled.ravel()) == sorted(edges.ravel())
    assert len(set(map(tuple, edges)) & set(map(tuple, shuffled))) < 0.05 * len(edges)


def test_the_ways_of_preparing_a_graph():
    chapter, graph = stand_in()
    nodes = len(graph.labels)
    assert torch.equal(chapter["prepared"]("cora", way="words")[0].matrix.to_dense(), torch.eye(nodes))
    raw = chapter["prepared"]("cora", scaled=False)[1].matrix.to_dense()
    np.testing.assert_array_equal(raw.numpy(), graph.features.toarray())


def test_rivals_are_told_the_training_labels_only():
    chapter, graph = stand_in()
    chapter["settings"] = {"tuned_epochs": 20, "epochs": 20}
    calls = {
        "tuned_run": lambda: chapter["tuned_run"]("cora", "edges", (True, 16, 0.5, 5e-4), 0),
        "linear_run": lambda: chapter["linear_run"]("cora", "edges", (True, 1e-4), 0),
        "spread_run": lambda: chapter["spread_run"]("cora", "edges", 0.9),
    }
    for name, call in calls.items():
        torch.manual_seed(0)
        validation, test = call()
        assert 100 / graph.classes < test <= 100 and 0 <= validation <= 100, name
    other = citation.block_model("cora")
    other.labels[other.test] = (other.labels[other.test] + 1) % other.classes
    chapter["graphs"]["cora"] = other
    for name, call in calls.items():
        torch.manual_seed(0)
        assert call()[1] < 100 / graph.classes + 5, f"{name} knows the labels of the test"


def invented(name, way, setting, seed):
    """Validation and test accuracy of a method that is best on the test where it is worst on validation."""
    return [setting, -setting]


def test_the_setting_is_chosen_on_validation():
    chapter, _ = stand_in()
    assert chapter["tuned"](invented, "cora", "edges", [1, 3, 2], 4).tolist() == [-3] * 4


@pytest.mark.parametrize("name", ["random_split_run", "depth_run"])
def test_splits_of_the_runs_are_disjoint(name):
    chapter, graph = stand_in()
    chapter["settings"] = {"epochs": 2, "depth_epochs": 2}
    seen = []
    chapter["train"] = lambda model, a_hat, x, labels, split, *_, **__: seen.append(split) or np.zeros((1, 4))
    arguments = (2, False) if name == "depth_run" else ()
    for seed in range(5):
        chapter[name]("cora", *arguments, seed)
    for split in seen:
        train, test = set(split[0].tolist()), set(split[2].tolist())
        assert not train & test
        if name == "random_split_run":
            assert np.bincount(graph.labels[sorted(train)]).tolist() == [20] * graph.classes
            assert not set(split[1].tolist()) & (train | test)
    if name == "depth_run":
        assert sorted(torch.cat([split[2] for split in seen]).tolist()) == list(range(len(graph.labels)))


@pytest.mark.parametrize("fault", [None, {"return a_hat @ (states @ self.weight)": "return states @ self.weight"}])
def test_the_headline_claim_fails_without_aggregation(fault):
    if not datasets.within_reach("cora"):
        pytest.skip("Cora is out of reach")
    broken = definitions.of_chapter("gcn", fault)
    broken["graphs"] = {"cora": citation.load("cora")}
    broken["settings"] = {"epochs": 200}
    histories = []
    for seed in range(3):
        torch.manual_seed(seed)
        histories.append(broken["run"]("cora", seed))
    low, high = claims.load("gcn")["cora-accuracy"].band
    inside = low <= float(broken["tested"](histories).mean()) <= high
    assert inside is (fault is None)


@given(graphs())
@settings(max_examples=30, deadline=None)
def test_pairs_listed_both_ways_or_twice_count_once(graph):
    edges, nodes = graph
    careless = np.concatenate([edges[:, ::-1], edges, edges[:1], [[0, 0]]])
    ours, theirs = (GCN["normalised_adjacency"](listed, nodes).to_dense() for listed in (edges, careless))
    assert torch.equal(ours, theirs)
    if nodes > 2:
        rows, again = (GCN["filters"](listed, nodes)["sum, A + I"][0].toarray() for listed in (edges, careless))
        np.testing.assert_array_equal(rows, again)


@pytest.mark.parametrize("function", ["normalised_adjacency", "filters"])
@pytest.mark.parametrize(
    "edges", [[[0, 0, 0], [1, 2, 3]], [[0, 1, 3], [1, 2, 3], [2, 3, 1]], [[0, 1], [1, 1000]], [[-1, 0]]]
)
def test_other_lists_of_edges_are_refused(function, edges):
    with pytest.raises(ValueError, match="shape|ids of nodes"):
        GCN[function](np.array(edges), 1000)


@pytest.fixture(scope="module")
def at_the_end():
    """What the chapter leaves behind, on small stand-ins and after 15 epochs."""
    plt.switch_backend("Agg")
    namespace = definitions.of_chapter("gcn", {"epochs=200": "epochs=15"})
    cora = citation.block_model("cora")
    namespace.update(graphs={"cora": cora}, cora=cora, club=citation.club_of_networkx())
    return namespace


def check_dropout(_, printed):
    assert len(printed.splitlines()) == 6
    assert all(0 <= float(line.split()[-2]) <= 100 for line in printed.splitlines())


def check_thinned(after, _):
    edges = after["cora"].edges
    kept = after["thinned"](edges, 0.5)
    assert abs(len(kept) / len(edges) - 0.5) < 0.05
    assert set(map(tuple, kept)) < set(map(tuple, edges))
    assert len(after["thinned"](edges, 1)) == 0
    assert len(after["left_over"]) == 6


def check_budget(after, _):
    train, *_ = after["budget"](after["split"], after["labels"], 5, 0)
    assert np.bincount(after["cora"].labels[train]).tolist() == [5] * after["cora"].classes
    assert set(train.tolist()) <= set(after["cora"].train.tolist())
    assert {name: len(curve) for name, curve in after["curves"].items()} == {"edges": 5, "words": 5}


def check_transposes(_, printed):
    found = dict(line.rsplit(": same gradient: ", 1) for line in printed.splitlines())
    assert found == {row: str(row != "average") for row in ROWS}


CHECKS = (check_dropout, check_thinned, check_budget, check_transposes)


@pytest.mark.parametrize("number", range(4))
def test_the_solutions_of_the_exercises_run(number, at_the_end, capsys):
    code = exercises.solutions("gcn")[number].replace("range(3)", "range(1)")
    exec(re.sub(r"^(DRAWS) = \d+", r"\1 = 1", code, flags=re.M), at_the_end)
    CHECKS[number](at_the_end, capsys.readouterr().out)
    plt.close("all")


def test_the_club_network_learns_the_told_members():
    chapter = definitions.of_chapter("gcn")
    chapter["club"] = citation.club_of_networkx()
    frames = chapter["watch_the_club"](0)
    assert list(frames) == [0, 25, 50, 100, 200, 300]
    plane, right, told = frames[300]
    assert plane.shape == (34, 2) and 0 <= right <= 1
    assert sorted(chapter["club"].clusters[told]) == sorted(set(chapter["club"].clusters.tolist()))
    assert nx.Graph(chapter["club"].edges.tolist()).number_of_nodes() == 34
