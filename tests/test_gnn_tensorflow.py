"""The definitions of the chapter on the article's TensorFlow 1 program: both programs, the lazy penalty, bad input."""

from __future__ import annotations

from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy import sparse

from utils.tools import definitions, exercises

CHAPTER = definitions.of_chapter("gnn_tensorflow")
tf = CHAPTER["tf"]
tf.config.set_visible_devices([], "GPU")
EDGES = np.array([(0, 1), (1, 2), (2, 3), (1, 4)])  # node 5 is isolated


def part_of(edges=EDGES, nodes=6, seed=0):
    generator = np.random.default_rng(seed)
    arcs = np.unique(np.concatenate([edges, edges[:, ::-1]]), axis=0)
    labels = generator.normal(size=(nodes, 2)).astype(np.float32)
    return CHAPTER["Part"](labels, arcs, generator.integers(2, size=nodes))


PATH = part_of()
ZERO = tf.zeros((6, 10))


def network_of(seed=0, size=0.5, dtype="float32"):
    network = CHAPTER["Network"](dtype)
    generator = np.random.default_rng(seed)
    for weight in network.weights:
        weight.assign(generator.normal(0, size, weight.shape))
    return network


def test_both_programs_agree_on_a_graph_with_an_isolated_node():
    gap, equal = CHAPTER["differences"](
        CHAPTER["ArticleV1"](PATH, "float64"), CHAPTER["Network"]("float64"), CHAPTER["as_graph"](PATH, "float64")
    )
    assert gap < 1e-9 and equal


def test_a_round_is_eq_1():
    network, graph = network_of(), CHAPTER["as_graph"](PATH)
    states = np.random.default_rng(1).normal(size=(6, 10)).astype(np.float32)
    expected = np.zeros((6, 10))
    for n, u in PATH.arcs:
        expected[n] += network.h(np.concatenate([PATH.labels[n], PATH.labels[u], states[u]])[None]).numpy()[0]
    found = network.on(graph)(tf.constant(states)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not found[5].any()


def test_the_penalty_is_that_of_the_jacobian():
    network, graph = network_of(size=3.0, dtype="float64"), CHAPTER["as_graph"](PATH, "float64")
    states = tf.constant(np.random.default_rng(1).normal(size=(6, 10)))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(states)
        moved = network.on(graph)(states)
    jacobian = tape.jacobian(moved, states, experimental_use_pfor=False).numpy().reshape(60, 60)
    expected = (np.maximum(np.abs(jacobian).sum(0) - 0.9, 0) ** 2).sum()
    assert expected > 0.1
    np.testing.assert_allclose(CHAPTER["excess"](network, graph, states), expected, atol=1e-9)


def gradient(solve, **options):
    network, graph = network_of(dtype="float64"), CHAPTER["as_graph"](PATH, "float64")
    with tf.GradientTape() as tape:
        states = solve(network.on(graph), tf.zeros((6, 10), tf.float64), 0.0, 200, **options)[0]
        loss = tf.reduce_sum(states**2)
    return np.concatenate([np.ravel(g) for g in tape.gradient(loss, network.h.trainable_variables)])


def test_the_paper_s_gradient_is_that_of_the_loop():
    ours = gradient(CHAPTER["implicit"], accuracy=0.0)
    assert np.abs(ours).max() > 1e-3
    np.testing.assert_allclose(ours, gradient(CHAPTER["through_the_loop"]), atol=1e-9)


def test_the_compiled_step_learns_what_the_plain_one_does():
    graph, after = CHAPTER["as_graph"](PATH), []
    for compiled in (False, True):
        network = network_of()
        step = CHAPTER["make_step"](network, graph, CHAPTER["implicit"], 0.1, compiled)
        states = ZERO
        for _ in range(3):
            states, loss, _, count = step(states)
        after.append(np.concatenate([np.ravel(weight) for weight in network.weights]))
        assert np.isfinite(loss) and count >= 1
    np.testing.assert_allclose(*after, atol=1e-4)
    assert np.abs(after[0] - np.concatenate([np.ravel(weight) for weight in network_of().weights])).max() > 1e-4


@pytest.mark.parametrize("lazy", [False, True])
def test_the_penalty_is_paid_in_the_first_of_every_sixteen_steps_and_only_lazily(lazy):
    chapter, calls = definitions.of_chapter("gnn_tensorflow"), []
    part = chapter["stand_in"](0, 2)
    chapter["graphs"] = dict.fromkeys(chapter["PARTS"], chapter["as_graph"](part))

    def make_step(network, graph, solve, penalty=0.0, **_):
        assert solve is chapter["implicit" if lazy else "through_the_loop"]

        def step(start):
            calls.append((penalty, float(tf.reduce_max(start))))
            return start + 1, None, tf.constant(50.0), tf.constant(3)

        return step

    chapter["make_step"] = make_step
    rows, weights, states = chapter["article_run"](lazy, 34, 17, 0)
    paid = [number for number, (penalty, _) in enumerate(calls) if penalty]
    assert paid == ([0, 16, 32] if lazy else [])
    assert {penalty for penalty, _ in calls if penalty} == ({1.6} if lazy else set())
    assert [start for _, start in calls] == ([float(n) for n in range(34)] if lazy else [0.0] * 34)
    assert rows[:, 0].tolist() == [17, 34] and rows[:, 3].tolist() == [3, 3] and len(weights) == 8


def test_the_loop_stops_at_the_threshold_or_at_the_limit():
    halves = lambda x: x / 2  # noqa: E731
    states, moved, count = CHAPTER["through_the_loop"](halves, tf.ones((2, 1)), 0.1, 50)
    assert (int(count), float(moved)) == (4, 0.0625)
    assert int(CHAPTER["through_the_loop"](halves, tf.ones((2, 1)), 0.0, 7)[2]) == 7


# Bad input and data


def record_of(edges=((0, 1), (1, 0)), nodes=30, **changes):
    matrix = np.zeros((nodes, nodes))
    for a, b in edges:
        matrix[a, b] = 1
    whole = {"connMatrix": sparse.csc_matrix(matrix), "nodeLabels": np.ones((2, nodes)), "targets": np.ones(nodes)}
    return SimpleNamespace(**whole | changes)


def test_the_first_graphs_of_a_record_are_read():
    part = CHAPTER["read_part"](record_of(edges=((0, 1), (1, 0), (15, 16), (16, 15))), 1)
    assert part.labels.shape == (15, 2) and part.arcs.tolist() == [[0, 1], [1, 0]] and part.targets.tolist() == [1] * 15


@pytest.mark.parametrize(
    "record", [record_of(edges=((0, 1),)), record_of(edges=((1, 1),)), record_of(targets=np.ones(3))]
)
def test_a_record_that_is_not_sound_is_refused(record):
    with pytest.raises(ValueError, match="not that of a graph"):
        CHAPTER["read_part"](record, None)


def test_stand_ins_are_announced_and_hold_the_shape_of_the_files(offline, capsys):
    parts = CHAPTER["load"](20)
    assert "STAND-IN DATA for gnn-subgraph" in capsys.readouterr().out
    for part in parts.values():
        assert part.labels.shape == (300, 2) and part.targets.reshape(20, 15).sum(1).tolist() == [7] * 20
        matrix = sparse.coo_matrix((np.ones(len(part.arcs)), part.arcs.T), (300, 300))
        assert sparse.csgraph.connected_components(matrix, directed=False)[0] == 20


# The solutions of the exercises


@pytest.fixture(scope="module")
def at_the_end():
    """What the cells leave behind that the solutions use, on two graphs, nothing traced."""
    plt.switch_backend("Agg")
    space = definitions.of_chapter("gnn_tensorflow")
    space["graphs"] = dict.fromkeys(space["PARTS"], space["as_graph"](space["stand_in"](0, 2)))
    weights = [weight.numpy() for weight in space["Network"]().weights]
    large = [5 * weight for weight in weights]
    space["article"], space["lazy"] = [(None, large, None)], [(None, weights, None)]
    tf.config.run_functions_eagerly(True)
    yield space
    tf.config.run_functions_eagerly(False)


def check_costs(after, printed):
    assert "a step costs" in printed and after["dearer"] > 0


def check_limits(after, _):
    assert list(after["changed"]) == ["article's recipe", "lazy penalty"] and after["changed"]["lazy penalty"] == 0


def check_matrix(after, _):
    assert after["losses"][0] == pytest.approx(after["losses"][1], rel=1e-5)


CHECKS = (check_costs, check_limits, check_matrix)


@pytest.mark.parametrize("number", range(len(CHECKS)))
def test_the_solutions_of_the_exercises_run(number, at_the_end, capsys):
    exec(exercises.solutions("gnn_tensorflow")[number].replace("SOME = 200", "SOME = 3"), at_the_end)
    CHECKS[number](at_the_end, capsys.readouterr().out)
    assert len(exercises.solutions("gnn_tensorflow")) == len(CHECKS)
