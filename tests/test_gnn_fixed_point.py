"""The definitions of the chapter on the graph neural network of 2009: references, properties, bad input."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from utils.tools import definitions, exercises

GNN = definitions.of_chapter("gnn_fixed_point")
tf = GNN["tf"]
tf.config.set_visible_devices([], "GPU")


def graph_of(edges, nodes, seed=0, width=2, arc_width=1):
    """A graph in double precision with these edges in both directions and random labels."""
    generator = np.random.default_rng(seed)
    arcs = np.unique(np.array([*edges, *((b, a) for a, b in edges)], np.int32).reshape(-1, 2), axis=0)
    ends = [tf.constant(end, tf.int32) for end in arcs.T]
    labels, arc_labels = (tf.constant(generator.normal(size=s)) for s in ((nodes, width), (len(arcs), arc_width)))
    return GNN["Graph"](labels, *ends, arc_labels, tf.constant(generator.integers(2, size=nodes)))


@st.composite
def graphs(draw):
    """A few nodes, isolated ones included, with any edges or none."""
    nodes = draw(st.integers(1, 7))
    pairs = [(a, b) for a in range(nodes) for b in range(a)]
    return graph_of(draw(st.sets(st.sampled_from(pairs))) if pairs else (), nodes, draw(st.integers(0, 99)))


def transition_in_double(kind="Transition", seed=0, size=0.5, **options):
    made = GNN["in_double"](lambda: GNN[kind](2, 1, hidden=4, **options))
    generator = np.random.default_rng(seed)
    for weight in made.weights:
        weight.assign(generator.normal(0, size, weight.shape))
    return made


PATH = graph_of([(0, 1), (1, 2), (2, 3), (1, 4)], 6)  # node 5 is isolated


def states_for(graph, seed=1):
    return tf.constant(np.random.default_rng(seed).normal(size=(len(graph.labels), 5)))


@given(graphs())
@settings(max_examples=25, deadline=None)
def test_a_round_is_the_sum_of_eq_1_also_with_isolated_nodes_and_without_edges(graph):
    transition, states = transition_in_double(), states_for(graph)
    expected = np.zeros((len(graph.labels), 5))
    sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    first, second = ((layer.kernel.numpy(), layer.bias.numpy()) for layer in transition.h.layers)
    for n, u, arc in zip(graph.parent.numpy(), graph.child.numpy(), graph.arc_labels.numpy(), strict=True):
        seen = np.concatenate([graph.labels[n], graph.labels[u], arc, states[u]])
        expected[n] += sigmoid(sigmoid(seen @ first[0] + first[1]) @ second[0] + second[1])
    np.testing.assert_allclose(transition.on(graph)(states), expected, atol=1e-12)


def test_the_label_of_an_arc_is_heard():
    transition, states = transition_in_double(), states_for(PATH)
    other = PATH._replace(arc_labels=PATH.arc_labels + 1)
    moved = np.abs(transition.on(PATH)(states) - transition.on(other)(states)).max(1)
    assert (moved[:5] > 1e-4).all() and moved[5] == 0


def gradient_of(network, graph, way, most):
    """Loss and gradient as one vector after `most` rounds from zero."""
    with tf.GradientTape() as tape:
        step = network.on(graph)
        states, _, _ = GNN["fixed_point"](step, tf.zeros((len(graph.labels), 5), tf.float64), 0.0, most)
        loss = tf.reduce_sum((way(step, states) if way else states)[:, :2] ** 2)
    found = tape.gradient(loss, network.weights)
    return float(loss), np.concatenate([np.ravel(tf.convert_to_tensor(g)) for g in found])


@pytest.mark.parametrize("kind", ["Transition", "LinearTransition"])
def test_implicit_unrolled_and_finite_differences_agree(kind):
    network, exact = transition_in_double(kind), partial(GNN["implicit"], accuracy=0.0, most=200)
    ours = gradient_of(network, PATH, exact, 200)[1]
    assert np.abs(ours - gradient_of(network, PATH, None, 200)[1]).max() < 1e-8
    losses = []
    for sign in (1, -2):
        change = np.zeros(network.weights[0].shape)
        change.flat[0] = sign * 1e-5
        network.weights[0].assign_add(change)
        losses.append(gradient_of(network, PATH, exact, 200)[0])
    assert abs((losses[0] - losses[1]) / 2e-5 - ours[0]) < 1e-6 * max(1, abs(ours[0]))


def test_the_loop_stops_at_the_threshold_or_at_the_limit():
    halves = lambda x: x / 2  # noqa: E731
    states, moved, count = GNN["fixed_point"](halves, tf.ones((2, 1), tf.float64), 0.1, 50)
    assert (int(count), float(moved), states.numpy()[0, 0]) == (4, 0.0625, 0.0625)
    assert int(GNN["fixed_point"](halves, tf.ones((2, 1), tf.float64), 0.0, 7)[2]) == 7


def test_the_penalty_is_that_of_the_jacobian_and_nothing_for_a_contraction():
    network, states = transition_in_double(seed=3, size=3.0), states_for(PATH)
    columns = np.abs(GNN["jacobian"](network, PATH, states)).sum(0)
    expected = (np.maximum(columns - 0.9, 0) ** 2).sum()
    assert expected > 0.1
    np.testing.assert_allclose(GNN["excess"](network, PATH, states), expected, atol=1e-10)
    assert float(GNN["excess"](transition_in_double(size=0.01), PATH, states)) == 0


@given(graphs(), st.floats(0, 100))
@settings(max_examples=20, deadline=None)
def test_the_linear_network_contracts_for_all_weights(graph, size):
    network = transition_in_double("LinearTransition", size=size)
    matrices = np.abs(network.matrices(graph).numpy()).sum(1)
    columns = np.zeros((len(graph.labels), 5))
    np.add.at(columns, graph.child.numpy(), matrices)
    assert columns.max() <= 0.9 + 1e-9


def plain(labels, arcs, targets, **options):
    return GNN["as_graph"](labels, arcs, targets, **options)


TWO = plain(np.zeros((4, 2)), [[0, 1], [1, 0], [2, 3], [3, 2]], [0, 1, 1, 0], arc_labels=[[1], [0], [0], [1]])


def test_the_gated_network_hears_an_arc_by_its_type_for_a_fixed_number_of_rounds():
    labels = np.eye(4)[:, :2].astype(np.float32)
    graph = TWO._replace(labels=tf.constant(labels))
    network = GNN["GGNN"](2, 1, hidden=4, rounds=1)
    states = np.pad(labels, [[0, 0], [0, 2]])
    (open_arcs, closed), child = network.types, graph.child.numpy()
    sent = np.where(graph.arc_labels.numpy() > 0, open_arcs(states).numpy()[child], closed(states).numpy()[child])
    heard = np.zeros((4, 4), np.float32)
    np.add.at(heard, graph.parent.numpy(), sent)
    expected = network.g(np.concatenate([network.cell(heard, [states])[0], labels], 1))
    outputs, _, count = network(graph, tf.zeros((4, 4)))
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    assert count == 1


def test_weights_are_those_of_the_best_validation_accuracy():
    chapter, seen = definitions.of_chapter("gnn_fixed_point"), []
    looks = iter([(60, 1), (10, 1), (90, 1), (20, 1), (70, 1), (30, 1)])
    network = chapter["Labels"](2, 3)
    chapter["look"] = lambda model, graph, start: (seen.append(model.weights[0].numpy()), next(looks))[1]
    graph = TWO._replace(labels=tf.constant(np.eye(4)[:, :2], tf.float32))
    history = chapter["train"](network, dict.fromkeys(chapter["PARTS"], graph), 3, every=1)
    assert history[:, 3].tolist() == [60, 90, 70] and history[:, 4].tolist() == [10, 20, 30]
    np.testing.assert_array_equal(network.weights[0].numpy(), seen[2])
    assert np.abs(seen[4] - seen[2]).max() > 0
    assert chapter["best"](history).tolist() == [90, 20, 1]


def test_the_setting_is_chosen_on_validation():
    chapter = definitions.of_chapter("gnn_fixed_point")
    chapter["settings"] = {"rates": (1, 3, 2)}
    invented = lambda kind, rate, seed: [rate, -rate]  # noqa: E731
    invented.__name__ = "invented"
    chapter["seeds"] = SimpleNamespace(each=lambda function, given, *rest: [function(*rest, seed) for seed in given])
    assert chapter["tuned"](invented, 4, "kind")[:, 1].tolist() == [-3] * 4


# Bad input


@pytest.mark.parametrize("where", [0, 2])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_labels_and_targets_that_are_no_numbers_are_refused(where, bad):
    given_values = [np.zeros((3, 2)), [[0, 1], [1, 0]], np.zeros(3)]
    given_values[where].flat[0] = bad
    with pytest.raises(ValueError, match="finite numbers"):
        plain(*given_values)


@pytest.mark.parametrize("arcs", [[[0, 3], [1, 0]], [[-1, 0]]])
def test_arcs_to_nodes_that_are_not_there_are_refused(arcs):
    with pytest.raises(ValueError, match="fit together"):
        plain(np.zeros((3, 2)), arcs, np.zeros(3))


def record_of(edges=((0, 1), (1, 0)), nodes=3, **changes):
    matrix = np.zeros((nodes, nodes))
    for a, b in edges:
        matrix[a, b] = 1
    whole = {
        "connMatrix": sparse.csc_matrix(matrix),
        "nodeLabels": np.ones((2, nodes)),
        "targets": np.array([1, -1, 1]),
    }
    return SimpleNamespace(**whole | changes)


def test_a_record_is_read_and_its_first_graphs_are_whole():
    labels, arcs, targets = GNN["read_part"](record_of(), None)
    assert arcs.tolist() == [[0, 1], [1, 0]] and targets.tolist() == [1, 0, 1] and labels.shape == (3, 2)
    labels, arcs, targets = GNN["read_part"](record_of(), 1)
    assert arcs.tolist() == [[0, 1], [1, 0]] and targets.tolist() == [1, 0]


@pytest.mark.parametrize(
    "record", [record_of(edges=((0, 1),)), record_of(edges=((1, 1),)), record_of(targets=np.array([1, -1]))]
)
def test_a_record_that_is_not_sound_is_refused(record):
    with pytest.raises(ValueError, match="not that of a graph"):
        GNN["read_part"](record, None)


# Data and baselines


@pytest.mark.parametrize("induced", [True, False])
def test_copies_of_the_part_are_those_that_networkx_finds(induced):
    generator = np.random.default_rng(0)
    inner = GNN["connected"](generator, GNN["random_matrix"](generator, 3))
    wanted, more = np.array([[0], [1], [0]]), 0
    part = nx.Graph(inner.astype(int))
    nx.set_node_attributes(part, dict(enumerate(wanted[:, 0])), "label")
    for _ in range(20):
        matrix, labels = GNN["random_matrix"](generator, 8, 0.4), generator.integers(2, size=(8, 1))
        whole = nx.from_numpy_array(matrix.astype(int))
        nx.set_node_attributes(whole, dict(enumerate(labels[:, 0])), "label")
        matcher = nx.isomorphism.GraphMatcher(whole, part, node_match=lambda a, b: a["label"] == b["label"])
        copies = matcher.subgraph_isomorphisms_iter() if induced else matcher.subgraph_monomorphisms_iter()
        expected = sorted({n for copy in copies for n in copy})
        assert np.flatnonzero(GNN["occurrences"](matrix, labels, inner, wanted, induced)).tolist() == expected
        more += len(expected)
    assert more > 10


@pytest.mark.parametrize(("nodes", "part"), [(6, 3), (18, 9), (5, 5)])
def test_generated_graphs_are_connected_and_hold_the_part(nodes, part):
    drawn, wanted = GNN["generate"](nodes, part, graphs=10, seed=1)
    assert wanted.shape == (part, 1) and list(drawn) == list(GNN["PARTS"])
    for labels, arcs, targets in drawn.values():
        assert labels.shape == (10 * nodes, 1)
        matrix = sparse.coo_matrix((np.ones(len(arcs)), arcs.T), (10 * nodes,) * 2)
        assert sparse.csgraph.connected_components(matrix, directed=False)[0] == 10
        assert (targets.reshape(10, nodes).sum(1) >= part).all()
        assert set(map(tuple, arcs.tolist())) == set(map(tuple, arcs[:, ::-1].tolist()))


@pytest.mark.parametrize("part", [1, 7])
def test_a_part_that_does_not_fit_is_refused(part):
    with pytest.raises(ValueError, match="does not fit"):
        GNN["generate"](6, part)


def test_bayes_follows_the_recipe_and_no_rule_on_one_label_beats_it():
    generator, wanted = np.random.default_rng(0), np.array([[2.0], [5.0]])
    labels = generator.normal(0, 0.25, 20000) + np.round(generator.uniform(0, 8, 20000))
    inside = generator.random(20000) < 0.4
    labels[inside] = generator.choice([2.0, 5.0], inside.sum()) + generator.normal(0, 0.25, inside.sum())
    right = (GNN["bayes_inside"](labels[:, None], wanted, nodes=5) == inside).mean()
    nearest = np.isin(np.round(labels), (2, 5))  # the same rule, up to noise, for these shares
    assert right >= (nearest == inside).mean() - 0.002 and right > 0.8


def test_roads_are_reached_over_open_ones_only_and_blank_maps_say_nothing_of_them():
    given_maps, distance = GNN["road_maps"](3, graphs=20)
    test = given_maps["test"]
    open_roads = nx.Graph()
    open_roads.add_nodes_from(range(300))
    ends = zip(test.parent.numpy(), test.child.numpy(), test.arc_labels.numpy()[:, 0], strict=True)
    open_roads.add_edges_from((int(a), int(b)) for a, b, is_open in ends if is_open)
    depots = np.flatnonzero(test.labels.numpy()[:, 0]).tolist()
    assert depots == list(range(0, 300, 15))
    expected = {n: d for depot in depots for n, d in nx.single_source_shortest_path_length(open_roads, depot).items()}
    assert test.targets.numpy().tolist() == [int(n in expected) for n in range(300)]
    assert [expected.get(n, np.inf) for n in range(300)] == distance.tolist()
    assert 0.4 < test.arc_labels.numpy().mean() < 0.6
    blank, mixed = (GNN["road_maps"](3, blind, graphs=20)[0]["train"] for blind in ("blank", "mixed"))
    assert not blank.arc_labels.numpy().any()
    assert mixed.arc_labels.numpy().sum() == given_maps["train"].arc_labels.numpy().sum()
    np.testing.assert_array_equal(blank.targets, given_maps["train"].targets)


def test_stand_ins_are_announced_and_hold_the_shape_of_the_files(offline, capsys):
    parts = GNN["load"](few=20)
    assert "STAND-IN DATA for gnn-subgraph" in capsys.readouterr().out
    assert all(labels.shape == (300, 2) and targets.sum() >= 140 for labels, _, targets in parts.values())


def test_shuffled_edges_keep_no_structure_but_most_edges():
    _, arcs, _ = GNN["generate"](15, 7, 2, 8, 50)[0]["train"]
    mixed = GNN["shuffled"](arcs)
    assert 0.95 * len(arcs) < len(mixed) <= len(arcs)
    assert (mixed[:, 0] // 15 != mixed[:, 1] // 15).mean() > 0.9
    assert set(map(tuple, mixed.tolist())) == set(map(tuple, mixed[:, ::-1].tolist()))


def test_the_same_graphs_several_times_over():
    labels, arcs, targets = GNN["copied"]((np.zeros((3, 2)), np.array([[0, 1], [1, 0]]), np.array([1, 0, 1])), 2)
    assert (
        labels.shape == (6, 2)
        and arcs.tolist() == [[0, 1], [1, 0], [3, 4], [4, 3]]
        and targets.tolist() == [1, 0, 1] * 2
    )


# The solutions of the exercises


@pytest.fixture(scope="module")
def at_the_end():
    """What the cells leave behind that the solutions use: ten graphs, nothing traced, four steps."""
    plt.switch_backend("Agg")
    space = definitions.of_chapter("gnn_fixed_point")
    train, road_maps = space["train"], space["road_maps"]
    space["train"] = lambda model, data, steps, *given_values, **options: train(
        model, data, 4, *given_values, **options
    )
    space["road_maps"] = lambda seed: road_maps(seed, graphs=4)
    drawn, _ = space["generate"](6, 3, 2, 8, graphs=10)
    space["data"] = {
        name: space["as_graph"]((labels - 4) / 2.6, arcs, targets) for name, (labels, arcs, targets) in drawn.items()
    }
    tf.config.run_functions_eagerly(True)
    yield space
    tf.config.run_functions_eagerly(False)


def check_bounds(after, printed):
    assert sorted(after["by_mu"]) == [0.5, 0.9, 0.99] and len(printed.splitlines()) == 3
    assert all(0 <= test <= 100 and rounds >= 1 for test, rounds in after["by_mu"].values())


def check_rounds(after, _):
    assert list(after["by_rounds"]) == [1, 2, 4, 8]


def check_starts(after, _):
    contraction = after["LinearTransition"](2, 0)
    ends, moves = after["ends_of"](contraction, after["data"]["test"])
    assert np.abs(ends - ends[0]).max() < 1e-2 and (moves <= 1e-4).all()
    assert len(after["apart"]) == 2


CHECKS = (check_bounds, check_rounds, check_starts)


@pytest.mark.parametrize("number", range(len(CHECKS)))
def test_the_solutions_of_the_exercises_run(number, at_the_end, capsys):
    exec(exercises.solutions("gnn_fixed_point")[number], at_the_end)
    CHECKS[number](at_the_end, capsys.readouterr().out)
    assert len(exercises.solutions("gnn_fixed_point")) == len(CHECKS)
