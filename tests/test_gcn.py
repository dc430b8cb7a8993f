"""The definitions of the GCN chapter against references, properties and bad input."""

from __future__ import annotations

import re

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from utils import datasets
from utils.datasets import citation
from utils.records import claims
from utils.tools import definitions, exercises

GCN = definitions.of_chapter("gcn")


@st.composite
def graphs(draw):
    """A random simple graph, isolated nodes included: (edges, nodes)."""
    nodes = draw(st.integers(2, 12))
    pairs = [(a, b) for a in range(nodes) for b in range(a + 1, nodes)]
    chosen = draw(st.lists(st.sampled_from(pairs), min_size=1, unique=True))
    return np.array(chosen), nodes


@given(graphs())
@settings(max_examples=50, deadline=None)
def test_the_propagation_matrix_is_the_formula_and_never_amplifies(graph):
    edges, nodes = graph
    adjacency = np.eye(nodes)
    adjacency[tuple(edges.T)] = adjacency[tuple(edges.T[::-1])] = 1
    root = np.diag(adjacency.sum(0) ** -0.5)
    found = GCN["propagation_matrix"](edges, nodes).toarray()
    np.testing.assert_allclose(found, root @ adjacency @ root, atol=1e-6)
    eigenvalues = np.linalg.eigvalsh(found)
    assert eigenvalues[-1] <= 1 + 1e-6
    assert eigenvalues[0] > -1


@given(graphs(), st.sampled_from(sorted(GCN["FILTERS"])))
@settings(max_examples=60, deadline=None)
def test_no_filter_gives_nan_on_isolated_nodes_and_gradients_flow(graph, name):
    edges, nodes = graph
    if name.startswith("chebyshev") and nodes < 3:
        return  # the largest eigenvalue of a 2 x 2 matrix is beyond the sparse solver
    matrices, combine = GCN["build_filter"](name, edges, nodes)
    terms = [torch.randn(nodes, 3, requires_grad=True) for _ in range(matrices)]
    output = combine(*terms)
    assert torch.isfinite(output).all()
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(output.square().sum(), terms))


def test_gradients_against_finite_differences():
    matrix = GCN["propagation_matrix"](np.array([[0, 1], [1, 2], [2, 3]]), 5).astype(np.float64)
    states = torch.randn(5, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: GCN["Propagate"].apply(GCN["sparse_tensor"](matrix), s), states)
    features = GCN["SparseFeatures"](sp.random(6, 4, 0.5, format="csr", dtype=np.float64, random_state=1), 2)
    weight = torch.randn(2, 4, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(features.times, weight)


@pytest.mark.parametrize("name", sorted(GCN["FILTERS"]))
def test_networks_side_by_side_do_not_hear_from_each_other(name):
    edges = np.array([[0, 1], [1, 2], [2, 3], [3, 4], [0, 4], [1, 3]])
    matrix = sp.random(6, 8, 0.5, format="csr", dtype=np.float32, random_state=1)
    together = GCN["GCN"](GCN["SparseFeatures"](matrix, 3), GCN["build_filter"](name, edges, 6, 3), 2).eval()
    alone = GCN["GCN"](GCN["SparseFeatures"](matrix), GCN["build_filter"](name, edges, 6), 2).eval()
    for network in range(3):
        alone.load_state_dict({key: value[network : network + 1] for key, value in together.state_dict().items()})
        torch.testing.assert_close(together()[network], alone()[0])


@pytest.mark.parametrize("shape", [(1,), (31,), (32,), (7, 31), (1000, 16)])
def test_a_dropout_mask_holds_zeros_and_twos_only(shape):
    torch.manual_seed(0)
    mask = GCN["zeros_and_twos"](shape, "cpu")
    assert mask.shape == shape
    assert set(mask.unique().tolist()) <= {0.0, 2.0}


def test_dropout_keeps_the_mean():
    torch.manual_seed(0)
    dropped = GCN["drop_half"](torch.ones(1000, 1000))
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert abs(dropped.mean().item() - 1) < 0.01


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
    assert GCN["stated_rule"](cost) == stop


def test_rewiring_keeps_degrees_but_for_a_few_dropped_pairs():
    edges = np.unique(np.sort(np.random.default_rng(0).integers(0, 500, (2000, 2)), 1), axis=0)
    edges = edges[edges[:, 0] < edges[:, 1]]
    shuffled = GCN["rewired"](edges, 0)
    assert len(edges) - len(shuffled) < 0.02 * len(edges)
    assert (shuffled[:, 0] < shuffled[:, 1]).all()
    before, after = (np.bincount(e.ravel(), minlength=500) for e in (edges, shuffled))
    assert np.abs(before - after).sum() == 2 * (len(edges) - len(shuffled))
    assert len(set(map(tuple, edges)) & set(map(tuple, shuffled))) < 0.05 * len(edges)


def test_a_random_split_is_disjoint_balanced_and_labelled():
    graph = citation.block_model("cora")
    train, validation, test = GCN["random_split"](graph, 3)
    assert np.bincount(graph.labels[train]).tolist() == [20] * graph.classes
    assert len(set(train) | set(validation) | set(test)) == len(train) + len(graph.validation) + len(graph.test)
    assert (graph.labels[np.concatenate([train, validation, test])] >= 0).all()


@pytest.mark.parametrize("fault", [None, {"return sparse_product(matrix, states)": "return states.clone()"}])
def test_the_headline_claim_fails_without_aggregation(fault):
    if not datasets.within_reach("cora"):
        pytest.skip("Cora is out of reach")
    broken = definitions.of_chapter("gcn", fault)
    task = broken["Task"](citation.load("cora"))
    history = task.train("renormalised", 0)
    low, high = claims.load("gcn")["cora-accuracy"].band
    inside = low <= float(broken["test_at"](history).mean()) <= high
    assert inside is (fault is None)


@given(graphs(), st.integers(0, 4))
@settings(max_examples=50, deadline=None)
def test_nodes_within_some_steps_are_those_of_shortest_paths(graph, steps):
    edges, nodes = graph
    plain = nx.Graph(edges.tolist())
    plain.add_nodes_from(range(nodes))
    lengths = nx.multi_source_dijkstra_path_length(plain, {0, nodes - 1})
    expected = sorted(node for node, length in lengths.items() if length <= steps)
    assert GCN["within"](steps, [0, nodes - 1], edges, nodes).tolist() == expected


@pytest.mark.parametrize("name", sorted(GCN["FILTERS"]))
def test_a_twin_shares_weights_and_reaches_what_the_labels_hear(name):
    graph = citation.block_model("cora")
    model, (twin, rows) = GCN["models"](GCN["Task"](graph, networks=2), name)(0)
    assert twin.first is model.first and twin.second is model.second
    assert twin.features.shape[0] <= len(graph.labels)
    torch.testing.assert_close(twin.eval()()[:, rows], model.eval()()[:, graph.train], atol=1e-6, rtol=1e-5)
    assert twin.train().training and not model.training


@given(graphs())
@settings(max_examples=30, deadline=None)
def test_pairs_listed_both_ways_or_twice_count_once(graph):
    edges, nodes = graph
    careless = np.concatenate([edges[:, ::-1], edges, edges[:1], [[0, 0]]])
    ours, theirs = (GCN["propagation_matrix"](listed, nodes).toarray() for listed in (edges, careless))
    np.testing.assert_array_equal(ours, theirs)
    terms = torch.randn(2, nodes, 3)
    for name in ("renormalised", "first-order"):
        filters = [GCN["build_filter"](name, listed, nodes) for listed in (edges, careless)]
        torch.testing.assert_close(*(combine(*terms[:count]) for count, combine in filters), atol=0, rtol=0)


@pytest.mark.parametrize("function", ["propagation_matrix", "build_filter", "Task"])
@pytest.mark.parametrize(
    "edges", [[[0, 0, 0], [1, 2, 3]], [[0, 1, 3], [1, 2, 3], [2, 3, 1]], [[0, 1], [1, 1000]], [[-1, 0]]]
)
def test_other_lists_of_edges_are_refused(function, edges):
    graph = citation.block_model("cora")
    call = {
        "propagation_matrix": lambda: GCN["propagation_matrix"](np.array(edges), 1000),
        "build_filter": lambda: GCN["build_filter"]("first-order", np.array(edges), 1000),
        "Task": lambda: GCN["Task"](graph, edges=np.array(edges)),
    }[function]
    with pytest.raises(ValueError, match="shape|ids of nodes"):
        call()


def test_a_history_holds_what_the_last_network_does_and_labels_outside_of_training_do_not_matter():
    graph = citation.block_model("cora")
    task = GCN["Task"](graph, networks=2)
    model, learner = GCN["models"](task, "renormalised")(0)
    history = GCN["train"](model, learner, task.labels, task.split, epochs=15)
    found = model.eval()().argmax(2)
    for part, nodes in (("validation", graph.validation), ("test", graph.test)):
        right = 100 * (found[:, nodes] == task.labels[nodes]).double().mean(1)
        np.testing.assert_allclose(history[part][:, -1], right)
    assert (np.sort(task.split[0]) == np.sort(graph.train)).all()
    hidden = GCN["Task"](graph, networks=2)
    hidden.labels[graph.test] = 0
    again, learner = GCN["models"](hidden, "renormalised")(0)
    GCN["train"](again, learner, hidden.labels, hidden.split, epochs=15)
    torch.testing.assert_close(again.first, model.first, atol=0, rtol=0)


@pytest.fixture(scope="module")
def at_the_end():
    """What the chapter leaves behind, on small stand-ins and after 15 epochs."""
    plt.switch_backend("Agg")
    namespace = definitions.of_chapter("gcn", {"epochs=200": "epochs=15"})
    small = {name: citation.block_model(name) for name in ("cora", "citeseer")}
    tasks = {name: namespace["Task"](graph) for name, graph in small.items()}
    namespace.update(
        settings={"epochs": 15},
        cora=small["cora"],
        club=citation.karate_club(),
        tasks=tasks,
        hundred={name: task.train("renormalised", 0) for name, task in tasks.items()},
        without_edges={name: task.train("mlp", 0) for name, task in tasks.items()},
    )
    return namespace


def check_dropout(after, _):
    assert after["GCN"].hidden is after["as_before"]
    assert {name: lost.shape for name, lost in after["lost"].items()} == {"cora": (5,), "citeseer": (5,)}
    assert all(lost.any() for lost in after["lost"].values())


def check_simple_convolution(after, _):
    assert all(0 <= accuracy <= 100 for found in after["tried"] for accuracy in found)
    again = after["simple_convolution"](after["tasks"]["citeseer"], 10.0**-6)
    assert after["tried"][-1] == again
    assert after["test"] > 50  # of six classes; the words of a class tell it apart
    assert (after["validation"], after["test"]) in [tuple(found) for found in after["tried"]]


def check_thinned(after, _):
    edges = after["cora"].edges
    kept = after["thinned"](edges, 0.5)
    assert abs(len(kept) / len(edges) - 0.5) < 0.05
    assert set(map(tuple, kept)) < set(map(tuple, edges))
    assert len(after["thinned"](edges, 0)) == len(edges)
    assert len(after["thinned"](edges, 1)) == 0
    drawn, words = after["axis"].get_lines()
    assert drawn.get_ydata().tolist() == after["left_over"]
    assert set(words.get_ydata()) == {after["words_alone"]}


def check_budget(after, _):
    train, *_ = after["budget_split"](after["cora"], 5, 0)
    assert np.bincount(after["cora"].labels[train]).tolist() == [5] * after["cora"].classes
    assert set(train) <= set(after["cora"].train)
    assert {name: len(curve) for name, curve in after["curves"].items()} == {"renormalised": 5, "mlp": 5}


def check_row_normalised(_, printed):
    assert [line.rpartition(" ")[2] for line in printed.splitlines()] == ["True", "True", "False"]


CHECKS = (check_dropout, check_simple_convolution, check_thinned, check_budget, check_row_normalised)


@pytest.mark.parametrize("number", range(5))
def test_the_solutions_of_the_exercises_run(number, at_the_end, capsys):
    code = exercises.solutions("gcn")[number].replace("epochs=200", "epochs=30")
    exec(re.sub(r"^(SEEDS|DRAWS) = \d+", r"\1 = 1", code, flags=re.M), at_the_end)
    CHECKS[number](at_the_end, capsys.readouterr().out)
    plt.close("all")
