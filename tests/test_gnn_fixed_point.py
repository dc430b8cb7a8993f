"""The definitions of the chapter on the graph neural network of 2009: references, properties, bad input."""

from __future__ import annotations

import functools
import warnings
from types import SimpleNamespace

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


def part_of(edges, nodes, seed=0, width=2):
    """Graphs with these edges in both directions, random labels and targets."""
    generator = np.random.default_rng(seed)
    both = [(a, b) for a, b in edges] + [(b, a) for a, b in edges]
    arcs = np.unique(np.array(both, int).reshape(-1, 2), axis=0)
    labels = generator.normal(size=(nodes, width)).astype(np.float32)
    blocks = np.zeros(nodes, int)
    return GNN["Graphs"](labels, arcs, generator.integers(2, size=nodes), blocks, np.ones(nodes, bool))


@st.composite
def parts(draw):
    """A few nodes, isolated ones included, with any edges or none."""
    nodes = draw(st.integers(1, 8))
    pairs = [(a, b) for a in range(nodes) for b in range(a)]
    return part_of(draw(st.sets(st.sampled_from(pairs))) if pairs else (), nodes, draw(st.integers(0, 99)))


def model_in_double(name="NonlinearGNN", seed=0, **options):
    model = GNN["in_double"](lambda: GNN[name](2, **options))
    model.restart(seed)
    return model


def matrix_form(model, part, states):
    """Eq. (4) with numpy, a dense arc-node matrix and the article's rows."""
    rows = GNN["edge_matrix"](part)
    sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    inputs = np.concatenate([rows[:, 1:], states[rows[:, 0].astype(int)]], 1)
    hidden = sigmoid(inputs @ model.first.kernel.numpy() + model.first.bias.numpy())
    messages = sigmoid(hidden @ model.second.kernel.numpy() + model.second.bias.numpy())
    matrix = np.zeros((len(part.targets), len(part.arcs)))
    matrix[tuple(GNN["arc_node_matrix"](part).T)] = 1
    return matrix @ messages


@given(parts())
@settings(max_examples=25, deadline=None)
def test_segment_sum_equals_the_matrix_form_also_with_isolated_nodes_and_without_edges(part):
    model, graph = model_in_double(), GNN["as_graph"](part, dtype="float64")
    states = np.random.default_rng(1).normal(size=(len(part.targets), 10))
    ours = model.step(tf.constant(states), model.prepare(graph), graph)
    assert np.allclose(ours, matrix_form(model, part, states), atol=1e-12)
    alone = np.setdiff1d(np.arange(len(part.targets)), part.arcs[:, 0])
    assert not np.any(ours.numpy()[alone])


@given(parts(), st.sampled_from(["at_children", "at_parents"]))
@settings(max_examples=25, deadline=None)
def test_gathers_have_the_gradient_of_a_plain_gather(part, name):
    graph = GNN["as_graph"](part, dtype="float64")
    states = tf.Variable(np.random.default_rng(2).normal(size=(len(part.targets), 3)))
    factor = np.random.default_rng(3).normal(size=(len(part.arcs), 3))
    index = graph.child if name == "at_children" else graph.parent
    with tf.GradientTape(persistent=True) as tape:
        ours = tf.reduce_sum(GNN[name](states, graph) * factor)
        plain = tf.reduce_sum(tf.gather(states, index) * factor)
    expected = tf.convert_to_tensor(tape.gradient(plain, states))
    assert np.allclose(tape.gradient(ours, states), expected, atol=1e-12)


PATH = part_of([(0, 1), (1, 2), (2, 3), (1, 4)], 6)  # node 5 is isolated


@pytest.mark.parametrize("name", ["NonlinearGNN", "LinearGNN"])
def test_implicit_unrolled_and_finite_differences_agree(name):
    model, graph = model_in_double(name), GNN["as_graph"](PATH, dtype="float64")
    exact = GNN["gradient_of"](model, graph, GNN["implicit"], 500)[1]
    assert np.abs(exact - GNN["gradient_of"](model, graph, GNN["unrolled"], 500)[1]).max() < 1e-10
    weight, place = model.weights[0], 0
    losses = []
    for sign in (1, -2):
        change = np.zeros(weight.shape)
        change.flat[place] = sign * 1e-5
        weight.assign_add(change)
        losses.append(GNN["gradient_of"](model, graph, GNN["implicit"], 500)[0])
    assert abs((losses[0] - losses[1]) / 2e-5 - exact[place]) < 1e-8


def test_a_backward_pass_that_stops_at_once_is_noticed():
    broken = definitions.of_chapter(
        "gnn_fixed_point", {"return g + tape.gradient(arrived, states, z)": "return g + 0 * z"}
    )
    model, graph = model_in_double("LinearGNN"), GNN["as_graph"](PATH, dtype="float64")
    right = GNN["gradient_of"](model, graph, GNN["implicit"], 500)[1]
    assert np.abs(right - broken["gradient_of"](model, graph, broken["implicit"], 500)[1]).max() > 1e-4


@pytest.mark.parametrize("name", ["NonlinearGNN", "CompiledGNN", "LinearGNN"])
def test_column_sums_are_those_of_the_jacobian(name):
    model, graph = model_in_double(name, seed=3), GNN["as_graph"](PATH, dtype="float64")
    states = tf.constant(np.random.default_rng(0).normal(size=(6, model.state)))
    dense = np.abs(GNN["jacobian"](model, graph, states)).sum(0)
    assert np.allclose(model.column_sums(states, model.prepare(graph), graph).numpy().ravel(), dense, atol=1e-12)


@given(parts(), st.floats(0, 100))
@settings(max_examples=25, deadline=None)
def test_the_linear_model_contracts_for_all_weights(part, size):
    model, graph = model_in_double("LinearGNN"), GNN["as_graph"](part, dtype="float64")
    for weight in model.weights:
        weight.assign(size * weight)
    states = tf.zeros((len(part.targets), 5), tf.float64)
    assert np.max(model.column_sums(states, model.prepare(graph), graph)) <= 0.9 + 1e-12


def test_old_and_new_program_agree_on_a_graph_with_an_isolated_node():
    old = GNN["ArticleV1"](PATH, dtype="float64")
    new = model_in_double()
    for weight, value in zip(new.weights, old.run(old.weights), strict=True):
        weight.assign(value)
    ours = GNN["loss_at"](new, GNN["as_graph"](PATH, dtype="float64"))
    assert GNN["differences"](ours, old.run(old.results)).max() < 1e-9


def test_the_compiled_step_is_the_plain_one_also_with_an_isolated_node_and_with_another_maximum():
    graph, start, found = GNN["as_graph"](PATH), tf.zeros((6, 10)), []
    for name, options in (("NonlinearGNN", {}), ("CompiledGNN", {"compiled": 6})):
        training = GNN["Training"](GNN[name](2), rate=0.01, **options)
        training.restart(4)
        states = start
        for _ in range(3):
            states, *others = training.train(states, graph)
        weights = np.concatenate([np.ravel(weight) for weight in training.model.weights])
        found.append((states, *others, weights, *training.evaluate(start, graph)[:2]))
        training.most.assign(2)
        assert training.train(start + 1, graph)[3] == 2
    for plain, compiled in zip(*found, strict=True):
        assert np.allclose(plain, compiled, atol=2e-3 if np.ndim(plain) == 2 else 2e-4)


def forgetful(*given, memory=None):
    """`implicit` that begins eq. (5) anew, as the steps do that pay the lazy penalty."""
    return GNN["implicit"](*given)


def weights_after(training, graph, steps=3):
    """Weights after some steps from weights so large that columns of the Jacobian pass the bound."""
    training.restart(4)
    training.assign([3 * weight for weight in training.model.weights])
    states = tf.zeros((6, 10))
    for _ in range(steps):
        states = training.train(states, graph)[0]
    return np.concatenate([np.ravel(weight) for weight in training.model.weights])


def test_the_lazy_penalty_is_the_plain_one_where_it_is_paid_in_every_step():
    graph, model = GNN["as_graph"](PATH), GNN["NonlinearGNN"](2)
    lazy = weights_after(GNN["LazyTraining"](model, 0.1, every=1, rate=0.01), graph)
    plain = weights_after(GNN["Training"](model, 0.01, forgetful, penalty=0.1), graph)
    without = weights_after(GNN["Training"](model, 0.01), graph)
    assert np.allclose(lazy, plain, atol=1e-5) and np.abs(lazy - without).max() > 1e-3


def test_the_lazy_penalty_is_paid_in_the_first_of_every_few_steps_as_many_times_as_large():
    graph, model = GNN["as_graph"](PATH), GNN["NonlinearGNN"](2)
    lazy = GNN["LazyTraining"](model, 0.05, every=2, rate=0.01)
    plain = weights_after(GNN["Training"](model, 0.01, forgetful, penalty=0.1), graph, 1)
    assert np.allclose(weights_after(lazy, graph, 1), plain, atol=1e-5)
    calls = []
    lazy.free, lazy.paying = (lambda *given, name=name: calls.append(name) for name in ("free", "paying"))
    for _ in range(4):
        lazy.train(None, graph)
    lazy.restart(0)
    lazy.train(None, graph)
    assert calls == ["free", "paying", "free", "paying", "paying"]


# Bad input


@pytest.mark.parametrize("solve", ["implicit", "unrolled"])
def test_a_graph_without_edges_has_states_and_gradients(solve):
    model, graph = model_in_double(), GNN["as_graph"](part_of((), 3), dtype="float64")
    states, residual, count = GNN["settle"](model, graph)
    assert states.shape == (3, 10) and not np.any(states) and residual == 0 and count == 1
    with tf.GradientTape() as tape:
        step = lambda x: model.step(x, model.prepare(graph), graph)  # noqa: E731
        found = GNN[solve](step, tf.zeros((3, 10), tf.float64), 1e-3, 50)[0]
        loss = GNN["loss_of"](model.output(found, graph), graph)
    last = tape.gradient(loss, model.readout[-1].trainable_weights[1].value)
    assert np.isfinite(last).all() and np.any(last)


def test_a_threshold_that_is_never_reached_is_a_warning_with_the_residual_and_the_maximum_holds():
    model, graph = model_in_double("LinearGNN"), GNN["as_graph"](PATH, dtype="float64")
    with pytest.warns(RuntimeWarning, match="iteration 7 still moved a node by") as caught:
        states, residual, count = GNN["settle"](model, graph, threshold=0.0, most=7)
    assert count == 7 and residual > 0 and f"{residual:.1e}" in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GNN["settle"](model, graph, threshold=1e-3, most=1000)


def test_the_remembered_start_of_the_backward_iteration_is_used_and_kept():
    model, graph = model_in_double("LinearGNN"), GNN["as_graph"](PATH, dtype="float64")
    memory = tf.Variable(tf.zeros((0, 5), tf.float64), shape=(None, 5))
    gradients = []
    for back in (1e-2, 1e-2, 0.0):
        with tf.GradientTape() as tape:
            prepared = model.prepare(graph)
            step = lambda x, prepared=prepared: model.step(x, prepared, graph)  # noqa: E731
            start = tf.zeros((6, 5), tf.float64)
            states = GNN["implicit"](step, start, 0.0, 300, back, memory if back else None)[0]
            loss = GNN["loss_of"](model.output(states, graph), graph)
        gradients.append(np.concatenate([np.ravel(g) for g in tape.gradient(loss, model.weights)]))
    first, second, exact = gradients
    assert memory.numpy().shape == (6, 5) and np.any(memory.numpy())
    assert 0 < np.abs(second - exact).max() < np.abs(first - exact).max() < 0.05 * np.abs(exact).max()


@pytest.mark.parametrize("where", ["labels", "targets"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_labels_and_targets_that_are_no_numbers_are_refused(where, bad):
    given_values = {"labels": PATH.labels.copy(), "targets": PATH.targets.astype(float)}
    given_values[where][0] = bad
    with pytest.raises(ValueError, match="finite numbers"):
        GNN["as_graph"](PATH, **given_values)


def record_of(edges=((0, 1), (1, 0)), nodes=3, **changes):
    matrix = np.zeros((nodes, nodes))
    for a, b in edges:
        matrix[a, b] = 1
    whole = {
        "connMatrix": sparse.csc_matrix(matrix),
        "nodeLabels": np.ones((2, nodes)),
        "targets": np.array([1, -1, 1]),
        "maskMatrix": sparse.eye(nodes),
    }
    return SimpleNamespace(**whole | changes)


def test_a_record_is_read():
    found = GNN["of_matrices"](record_of())
    assert found.arcs.tolist() == [[0, 1], [1, 0]] and found.targets.tolist() == [1, 0, 1]
    assert found.graph.tolist() == [0, 0, 1] and found.mask.all()


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (record_of(edges=((0, 1),)), "do not fit"),
        (record_of(edges=((1, 1),)), "do not fit"),
        (record_of(targets=np.array([1, -1])), "do not fit"),
        (record_of(nodeLabels=np.full((2, 3), np.nan)), "finite"),
        (record_of(targets=np.array([1, np.nan, 1])), "finite"),
    ],
)
def test_a_record_that_is_not_sound_is_refused(record, message):
    with pytest.raises(ValueError, match=message):
        GNN["of_matrices"](record)


# Data and baselines


@pytest.mark.parametrize(("nodes", "part"), [(6, 3), (18, 9), (5, 5)])
def test_generated_graphs_are_connected_and_hold_the_same_part(nodes, part):
    drawn = GNN["generate"](nodes, part, graphs=10, seed=1)
    kept = set()
    for graphs in drawn.values():
        for number in range(10):
            inside = np.flatnonzero((graphs.graph == number) & (graphs.targets == 1))
            graph = GNN["graph_of"](graphs, number)
            assert nx.is_connected(graph) and len(inside) == part
            kept.add(tuple(sorted(dict(graph.subgraph(inside.tolist()).degree).values())))
    assert len(kept) == 1


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


def test_stand_ins_are_announced_once_for_all_files_and_hold_one_part_in_every_graph(offline, capsys):
    first, second = GNN["load_graphs"]("multi1", "multi2", width=15)
    assert capsys.readouterr().out.count("STAND-IN DATA for gnn-mutag") == 1
    for part in (*first.values(), *second.values()):
        assert part.labels.shape == (3000, 15)
        assert part.targets.reshape(200, 15).sum(1).tolist() == [7] * 200
        matrix = sparse.coo_matrix((np.ones(len(part.arcs)), part.arcs.T), shape=(3000, 3000))
        assert sparse.csgraph.connected_components(matrix, directed=False)[0] == 200


def test_only_nodes_in_the_mask_count():
    part = PATH._replace(mask=np.array([True, False, False, True, False, False]))
    assert GNN["as_graph"](part).weight.numpy().tolist() == [0.5, 0, 0, 0.5, 0, 0]
    outputs = tf.one_hot(np.where(part.mask, part.targets, 1 - part.targets), 2)  # wrong where nobody asks
    assert GNN["accuracy"](outputs, GNN["as_graph"](part)) == 100


def test_the_weights_are_chosen_on_the_validation_part():
    class Scripted:
        """A training whose accuracies are known beforehand."""

        model, epoch = SimpleNamespace(state=1), 0
        found = {"validation": (60, 90, 70), "test": (10, 20, 30)}

        def restart(self, seed):
            self.epoch = 0

        def train(self, states, graph):
            self.epoch += 1
            return (states,)

        def evaluate(self, start, name):
            return None, None, self.found[name.name][self.epoch - 1], None

    data = {name: SimpleNamespace(name=name, labels=np.zeros((2, 1))) for name in ("train", "validation", "test")}
    assert GNN["best_test"](Scripted(), data, 3, 0, every=1) == 80


def test_the_first_graphs_of_a_part_are_whole():
    part = GNN["stand_in"]("train", 15, 7, 2)
    few = GNN["first_graphs"](part, 4)
    assert len(few.targets) == 60 and few.graph.max() == 3 and few.mask.all()
    assert np.array_equal(few.labels, part.labels[:60])
    assert {tuple(arc) for arc in few.arcs} == {tuple(arc) for arc in part.arcs if arc.max() < 60}


def test_shuffled_edges_keep_no_structure_but_most_edges():
    part = GNN["stand_in"]("train", 15, 7, 2)
    mixed = GNN["shuffled"](part)
    assert 0.98 * len(part.arcs) < len(mixed.arcs) <= len(part.arcs)
    assert (mixed.graph[mixed.arcs[:, 0]] != mixed.graph[mixed.arcs[:, 1]]).mean() > 0.9
    assert set(map(tuple, mixed.arcs)) == set(map(tuple, mixed.arcs[:, ::-1]))


def test_page_rank_is_that_of_networkx():
    graph = nx.gnp_random_graph(30, 0.2, seed=1, directed=True)
    matrix = nx.to_numpy_array(graph)
    assert matrix.sum(1).min() > 0
    ranks = GNN["page_rank"](sparse.csr_matrix((matrix / matrix.sum(1, keepdims=True)).T), 0.85)
    theirs = nx.pagerank(graph, 0.85, tol=1e-12)
    assert np.allclose(ranks / 30, [theirs[n] for n in range(30)], atol=1e-8)


def test_heat_settles_at_the_solution_of_the_linear_system():
    matrix = nx.to_numpy_array(nx.path_graph(5))
    states = GNN["heat_states"](matrix, np.eye(5)[0], steps=300)
    exact = np.linalg.solve(np.eye(5) - 0.85 * matrix / matrix.sum(0), np.eye(5)[0])
    assert np.allclose(states[-1], exact)


def test_the_animation_asks_for_nothing_from_outside():
    graph = nx.path_graph(4)
    states = GNN["heat_states"](nx.to_numpy_array(graph), np.eye(4)[0])
    page = GNN["heat_page"](graph, nx.spring_layout(graph, seed=0), states)._repr_html_()
    assert "http" not in page and "src=" not in page and page.count("<circle") == 4


# --- the solutions of the exercises


def after_the_chapter():
    """What the cells leave behind that the solutions use, in small: ten graphs, two steps, nothing traced."""
    space = definitions.of_chapter("gnn_fixed_point")
    space["Solver"].traced = lambda self, function, *_: function  # tracing would take longer than the steps
    generate, best_test = space["generate"], space["best_test"]
    space["generate"] = lambda *given, **options: generate(*given, graphs=10, **options)
    space["best_test"] = lambda *given: best_test(*given, every=1)
    space["settings"] = {"steps": 2, "cell_epochs": 1}
    space["seeing"] = dict(state=5, hidden=16, output_hidden=16, sees_label=True)
    parts = generate(6, 3, width=2, most=8, graphs=10)
    space["scaled"] = {name: space["as_graph"](part, (part.labels - 4) / 2.6) for name, part in parts.items()}
    space["bayes"], space["tests"] = 80.0, {"penalty": np.array([90.0])}
    for name, penalty in (("penalised", 0.01), ("free", 0.0)):
        space[name] = space["Training"](space["NonlinearGNN"](2, **space["seeing"]), rate=0.03, penalty=penalty)
        space[name].restart(0)
    return space


def solved(number):
    """The names after a solution and those before, and the thresholds with which `implicit` was called."""
    space, backs = after_the_chapter(), []
    implicit = space["implicit"]

    @functools.wraps(implicit)
    def spy(*given, back=1e-2, memory=None):
        backs.append(back)
        return implicit(*given, back, memory)

    space["implicit"] = spy
    before = dict(space)
    exec(exercises.solutions("gnn_fixed_point")[number - 1], space)
    return space, before, backs


def output_without_label(after, before, backs):
    assert after["blind"].readout[0].kernel.shape == (5, 16)  # the state alone
    assert before["penalised"].model.readout[0].kernel.shape == (7, 16)
    assert after["share_left"] == pytest.approx((after["right"] - 80) / 10)


def other_bounds(after, before, backs):
    assert sorted(after["by_mu"]) == [0.5, 0.9, 0.99]
    for mu, (right, count, norm) in after["by_mu"].items():
        assert 0 < norm <= mu + 1e-6 and 0 <= right <= 100 and 1 <= count <= 500
    norms = [norm for *_, norm in after["by_mu"].values()]
    assert norms == sorted(norms) and norms[2] > 1.5 * norms[0]  # two steps from the same weights


def other_starts(after, before, backs):
    graph, model = before["scaled"]["test"], before["LinearGNN"](2)
    ends, moves = after["ends_of"](model, graph, most=400)
    assert ends.shape == (4, 60, 5) and np.abs(ends - ends[0]).max() < 1e-2 and (moves <= 1e-4).all()
    begun, _ = after["ends_of"](model, graph, most=0)
    assert 90 < begun.std() < 110 and np.abs(begun - begun[0]).max() > 100


def coarser_backward_pass(after, before, backs):
    assert backs == [0.01] * 2 + [0.3] * 2 + [10.0] * 4
    assert [name for _, name in after["by_back"]] == ["implicit"] * 3 + ["forgetful"]
    assert all(0 <= right <= 100 for right in after["by_back"].values())


def two_numbers(after, before, backs):
    assert after["data"]["test"].labels.shape == (100, 2)
    assert sorted(after["behind"]) == [1, 2]
    assert after["behind"][2] == pytest.approx(after["left"]["labels"] - after["left"]["graph"])
    assert all(0 <= error <= 100 for error in after["left"].values())


SOLVED = [output_without_label, other_bounds, other_starts, coarser_backward_pass, two_numbers]


@pytest.mark.parametrize("number", range(1, len(SOLVED) + 1))
def test_the_solutions_of_the_exercises_run(number):
    SOLVED[number - 1](*solved(number))
    assert len(exercises.solutions("gnn_fixed_point")) == len(SOLVED)
