"""The definitions of the GAT chapter against references, properties and bad input."""

from __future__ import annotations

import dataclasses
import math
import re

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.datasets import citation
from utils.tools import definitions, exercises

GAT = definitions.of_chapter("gat")


@st.composite
def pair_lists(draw):
    """Pairs of nodes as a careless file would list them: loops, duplicates, isolated nodes: (pairs, nodes)."""
    nodes = draw(st.integers(1, 10))
    node = st.integers(0, nodes - 1)
    return np.array(draw(st.lists(st.tuples(node, node), max_size=25)), np.int64).reshape(-1, 2), nodes


def layer_on(pairs, nodes, heads=2, width=3, **options):
    torch.manual_seed(1)
    layer = GAT["GraphAttention"](4, width, heads, **options)
    edges = GAT["Edges"](*GAT["attention_edges"](pairs, nodes), (nodes, nodes), heads)
    states = torch.randn(nodes, 4, requires_grad=True)
    return layer, edges, states


def adjacency_of(pairs, nodes):
    matrix = torch.eye(nodes, dtype=torch.bool)
    matrix[tuple(pairs.T)] = matrix[tuple(pairs.T[::-1])] = True
    return matrix


@given(pair_lists())
@settings(max_examples=50, deadline=None)
def test_attention_edges_are_the_distinct_pairs_both_ways_and_a_loop_each(graph):
    pairs, nodes = graph
    sources, targets = GAT["attention_edges"](pairs, nodes)
    found = list(zip(targets.tolist(), sources.tolist(), strict=True))
    assert found == sorted(map(tuple, adjacency_of(pairs, nodes).nonzero().tolist()))


@given(pair_lists())
@settings(max_examples=50, deadline=None)
def test_the_layer_is_the_formula_in_values_and_gradients(graph):
    pairs, nodes = graph
    layer, edges, states = layer_on(pairs, nodes)
    dense = torch.stack(
        [
            GAT["dense_head"](states, weight, attention.T, adjacency_of(pairs, nodes))
            for weight, attention in zip(layer.weight, layer.attention, strict=True)
        ]
    )
    output, wanted = layer(states @ layer.weight, edges), (states, layer.weight, layer.attention)
    torch.testing.assert_close(output, dense, atol=1e-5, rtol=1e-4)
    toy = torch.linspace(-1, 1, output.numel()).view_as(output)
    for ours, theirs in zip(
        torch.autograd.grad((output * toy).sum(), wanted), torch.autograd.grad((dense * toy).sum(), wanted), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


@given(pair_lists(), st.floats(1, 1e30), st.integers(0, 2**31))
@settings(max_examples=80, deadline=None)
def test_the_softmax_sums_to_one_or_zero_and_never_gives_nan(graph, scale, seed):
    pairs, nodes = graph
    rng = np.random.default_rng(seed)
    sources, targets = GAT["attention_edges"](pairs, nodes)
    kept = rng.random(len(sources)) < 0.7  # some nodes lose every edge, loop included
    edges = GAT["Edges"](sources[kept], targets[kept], (nodes, nodes))
    scores = torch.from_numpy((scale * rng.normal(size=kept.sum())).astype(np.float32))
    masked = torch.from_numpy(rng.random(kept.sum()) < 0.4)
    scores = scores.masked_fill(masked, -math.inf).requires_grad_()
    weights = GAT["EdgeSoftmax"].apply(scores, edges)
    assert torch.isfinite(weights).all() and (weights[masked] == 0).all()
    heard = torch.zeros(nodes, dtype=torch.bool)
    heard[edges.targets[~masked]] = True
    torch.testing.assert_close(GAT["segment_sum"](weights.detach(), edges), heard.float(), atol=1e-5, rtol=0)
    (gradient,) = torch.autograd.grad((weights * torch.randn(weights.shape)).sum(), scores)
    assert torch.isfinite(gradient).all()


def test_a_common_shift_of_a_neighbourhood_changes_nothing_and_one_shift_for_all_would_not_do():
    sources, targets = GAT["attention_edges"](np.array([[0, 1], [2, 3]]), 4)
    edges = GAT["Edges"](sources, targets, (4, 4))
    scores = torch.randn(len(sources))
    far = scores + torch.where(edges.targets < 2, 0.0, -500.0)
    found = [GAT["EdgeSoftmax"].apply(x, edges) for x in (scores, far)]
    torch.testing.assert_close(*found, atol=1e-4, rtol=1e-3)
    powers = (far - far.max()).exp()  # the shortcut
    assert GAT["segment_sum"](powers, edges).min() == 0


def test_gradients_against_finite_differences():
    sources, targets = GAT["attention_edges"](np.array([[0, 1], [1, 2], [2, 3]]), 5)
    edges = GAT["Edges"](sources, targets, (5, 5), copies=2)
    scores = torch.randn(len(edges.targets), dtype=torch.double, requires_grad=True)
    states = torch.randn(10, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: GAT["EdgeSoftmax"].apply(s, edges), scores)
    assert torch.autograd.gradcheck(lambda w, s: GAT["Aggregate"].apply(w, s, edges), (scores, states))


@pytest.mark.parametrize("pairs", [[], [[0, 0]], [[0, 1], [1, 0], [0, 1]], [[2, 2], [0, 2], [2, 2]]])
def test_bad_input_gives_no_nan_and_a_masked_node_hears_nothing(pairs):
    pairs = np.array(pairs, np.int64).reshape(-1, 2)
    layer, edges, states = layer_on(pairs, 4)
    masked = edges.targets % 4 == 0
    output = layer(states @ layer.weight, edges, masked=masked)
    assert torch.isfinite(output).all()
    torch.testing.assert_close(output[:, 0], layer.bias[:, 0])
    gradients = torch.autograd.grad(output.square().sum(), (states, *layer.parameters()))
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    torch.testing.assert_close(output[:, 3], (states @ layer.weight)[:, 3])  # isolated: it hears itself


def test_heads_do_not_hear_from_each_other_and_constant_attention_is_a_mean():
    pairs = np.array([[0, 1], [1, 2], [2, 3], [0, 3]])
    layer, edges, states = layer_on(pairs, 5, heads=3)
    alone, one, _ = layer_on(pairs, 5, heads=1)
    for head in range(3):
        alone.load_state_dict({name: value[head : head + 1] for name, value in layer.state_dict().items()})
        torch.testing.assert_close(layer(states @ layer.weight, edges)[head], alone(states @ alone.weight, one)[0])
    layer, edges, states = layer_on(pairs, 5, constant=True)
    matrix = adjacency_of(pairs, 5).float()
    mean = matrix / matrix.sum(1, keepdim=True) @ (states @ layer.weight)
    torch.testing.assert_close(layer(states @ layer.weight, edges), mean)


def test_the_layer_is_dgls():
    dgl = GAT["dgl_compat"].load()
    if dgl is None:
        pytest.skip("DGL is not installed")
    pairs = np.random.default_rng(0).integers(0, 30, (80, 2))
    layer, edges, states = layer_on(pairs, 40)
    sources, targets = GAT["attention_edges"](pairs, 40)
    theirs = dgl.nn.GATConv(4, 3, 2, negative_slope=GAT["SLOPE"])
    with torch.no_grad():
        layer.bias.normal_()
        theirs.fc.weight.copy_(layer.weight.transpose(1, 2).flatten(0, 1))
        theirs.attn_r.copy_(layer.attention[None, :, :, 0])
        theirs.attn_l.copy_(layer.attention[None, :, :, 1])
        theirs.bias.copy_(layer.bias.flatten())
    graph = dgl.graph((torch.from_numpy(sources), torch.from_numpy(targets)), num_nodes=40)
    torch.testing.assert_close(layer(states @ layer.weight, edges), theirs(graph, states).transpose(0, 1))


def test_dropout_keeps_two_fifths_and_the_mean_and_repeats_with_its_seed():
    dropped = [GAT["drop"](torch.ones(1000, 1000), np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert torch.equal(dropped[0], dropped[1]) and not torch.equal(dropped[0], dropped[2])
    assert dropped[0].unique().numel() == 2
    assert abs(dropped[0].mean().item() - 1) < 0.006
    assert abs((dropped[0] > 0).float().mean().item() - 0.4) < 0.003
    for shape in ((1,), (3, 5), (0,)):
        assert GAT["drop"](torch.ones(shape), np.random.default_rng(0)).shape == shape


def test_sparse_words_are_the_dense_product():
    matrix = sp.random(6, 5, 0.4, format="csr", random_state=1)
    words = GAT["SparseWords"](matrix)
    weight = torch.randn(3, 5, 2, dtype=torch.double, requires_grad=True)
    torch.testing.assert_close(words.times(weight), torch.from_numpy(matrix.toarray()) @ weight)
    assert torch.autograd.gradcheck(words.times, weight)


@given(pair_lists(), st.integers(0, 9))
@settings(max_examples=50, deadline=None)
def test_reached_are_the_node_and_its_neighbours(graph, start):
    pairs, nodes = graph
    plain = nx.Graph(pairs.tolist())
    plain.add_nodes_from(range(nodes))
    expected = sorted({start % nodes, *plain[start % nodes]})
    assert GAT["reached"](pairs, [start % nodes], nodes).tolist() == expected


@pytest.mark.parametrize("options", [{}, {"constant": True}])
@pytest.mark.parametrize("edges", [None, np.empty((0, 2), np.int64)])
@pytest.mark.parametrize("last_heads", [1, 8])
def test_a_view_gives_what_the_whole_graph_gives(options, edges, last_heads):
    graph = citation.block_model("cora")
    task = GAT["Task"](graph, edges, last_heads=last_heads)
    model = task.model(0, **options).eval()
    whole = model(task.view(np.arange(len(graph.labels))))
    torch.testing.assert_close(model(task.learning), whole[task.train], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(model(task.validating[0]), whole[np.sort(graph.validation)], atol=1e-5, rtol=1e-4)
    assert task.learning.first.shape[1] < 8 * len(graph.labels)


def test_the_last_layer_averages_and_the_hidden_one_concatenates():
    task = GAT["Task"](citation.block_model("cora"), last_heads=8)
    model, view = task.model(0).eval(), task.validating[0]
    hidden = model.hidden(view)
    assert hidden.shape == (view.second.shape[1] // 8, 64)
    projected = hidden @ model.second.weight
    torch.testing.assert_close(model(view), sum(model.second(projected, view.second)) / 8)


@pytest.mark.parametrize(("places", "calls"), [(3, 6), (2, 4)])
def test_dropout_acts_in_three_places_of_both_layers_or_in_two(places, calls):
    task = GAT["Task"](citation.block_model("cora"))
    model, seen = task.model(0, places=places).train(), []
    model.drop = lambda states: seen.append(states.shape) or states
    model(task.learning)
    assert len(seen) == calls


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=40), st.integers(1, 8))
@settings(max_examples=150, deadline=None)
def test_the_released_rule_against_the_released_loop(curve, patience):
    loss, accuracy = np.array(curve, float).T
    low, high, waited, best, stop = math.inf, 0.0, 0, None, None
    for epoch in range(len(loss)):
        if accuracy[epoch] >= high or loss[epoch] <= low:
            if accuracy[epoch] >= high and loss[epoch] <= low:
                best = epoch
            low, high, waited = min(low, loss[epoch]), max(high, accuracy[epoch]), 0
        else:
            waited += 1
            if waited == patience:
                stop = epoch
                break
    assert GAT["released_rule"](loss, accuracy, patience) == (best, stop)


def test_training_learns_stops_by_itself_and_repeats():
    graph = citation.block_model("cora")
    runs = []
    for _ in range(2):
        task = GAT["Task"](graph)
        runs.append(GAT["train"](task.model(3), task, epochs=40, patience=5))
    np.testing.assert_array_equal(*runs)
    loss, accuracy, test = runs[0]
    chosen, stop = GAT["released_rule"](loss, accuracy, 5)
    assert stop in (None, len(loss) - 1)
    assert accuracy[chosen] > 2 * accuracy[0] or accuracy[chosen] > 60
    for rule in GAT["RULES"].values():
        assert math.isfinite(test[rule(loss, accuracy)])


def test_static_attention_ranks_alike_and_dynamic_attention_does_not():
    torch.manual_seed(0)
    example = GAT["dictionaries"](6, 1)[:2]
    for dynamic, alike in ((False, True), (True, False)):
        orders = GAT["Lookup"](6, 32, dynamic).weights(*example)[0].argsort(1).unique(dim=0)
        assert (len(orders) == 1) is alike


@pytest.mark.parametrize("edges", [[[0, 0, 0], [1, 2, 3]], [[0, 1, 3], [1, 2, 3]], [[0, 1], [1, 4]], [[-1, 0]]])
def test_lists_of_another_shape_and_ids_outside_are_refused(edges):
    with pytest.raises(ValueError, match="shape|ids of nodes"):
        GAT["attention_edges"](np.array(edges), 4)
    with pytest.raises(ValueError, match="shape|ids of nodes"):
        GAT["View"](sp.eye(4, format="csr", dtype=np.float32), np.array(edges), np.arange(4), 1, 1)


def test_a_node_that_hears_nobody_gets_zeros_from_the_formula_and_from_the_layer():
    torch.manual_seed(0)
    adjacency = torch.tensor([[1, 1, 0], [0, 0, 0], [0, 1, 1]], dtype=torch.bool)
    given = [torch.randn(shape, requires_grad=True) for shape in ((3, 4), (4, 2), (2, 2))]
    output = GAT["dense_head"](*given, adjacency)
    assert output[1].eq(0).all() and output[0].ne(0).all()
    assert all(torch.isfinite(gradient).all() for gradient in torch.autograd.grad(output.square().sum(), given))
    targets, sources = adjacency.nonzero().T.numpy()
    layer = GAT["GraphAttention"](4, 2, 1)
    weights = {"attention": given[2].T[None]}
    projected = (given[0] @ given[1])[None]
    edges = GAT["Edges"](sources, targets, (3, 3))
    torch.testing.assert_close(torch.func.functional_call(layer, weights, (projected, edges))[0], output)


@pytest.mark.parametrize(
    ("sources", "targets"), [([0, 3], [0, 1]), ([0, 1], [0, 3]), ([-1, 0], [0, 1]), ([0, 10**8], [0, 1])]
)
def test_edges_from_or_to_no_node_are_refused(sources, targets):
    with pytest.raises(IndexError, match="expected 0 to 2"):
        GAT["Edges"](np.array(sources), np.array(targets), (3, 3))


def test_states_and_weights_that_do_not_fit_the_edges_are_refused():
    edges = GAT["Edges"](np.array([0, 1, 2]), np.array([0, 1, 1]), (2, 3))
    GAT["Aggregate"].apply(torch.ones(3), torch.ones(3, 4), edges)
    for weights, states in ((3, 2), (2, 3), (4, 3)):
        with pytest.raises(ValueError, match="for 3 edges from 3 sources"):
            GAT["Aggregate"].apply(torch.ones(weights), torch.ones(states, 4), edges)


def test_training_without_validation_nodes_or_with_a_loss_that_is_not_finite_says_why():
    graph = citation.block_model("cora")
    empty = GAT["Task"](dataclasses.replace(graph, validation=graph.validation[:0]))
    with pytest.raises(ValueError, match="no validation nodes"):
        GAT["train"](empty.model(0), empty, 3)
    task = GAT["Task"](graph)
    model = task.model(0)
    torch.nn.init.constant_(model.first.weight, math.nan)
    with pytest.raises(ValueError, match="not finite"):
        GAT["train"](model, task, 3)


def test_labels_outside_of_training_do_not_matter_and_the_tested_weights_are_those_of_the_chosen_epoch():
    graph = citation.block_model("cora")
    assert GAT["Task"](graph).train.tolist() == sorted(graph.train.tolist())
    models = []
    for hide in (False, True):
        task = GAT["Task"](graph)
        if hide:
            task.labels[graph.test] = 0
        models.append(task.model(0))
        loss, accuracy, test = GAT["train"](models[-1], task, 12)
    torch.testing.assert_close(models[0].first.weight, models[1].first.weight, atol=0, rtol=0)
    chosen, _ = GAT["released_rule"](loss, accuracy)
    assert GAT["evaluate"](models[1], *task.validating) == pytest.approx((loss[chosen], accuracy[chosen]))
    assert GAT["evaluate"](models[1], *task.testing)[1] == pytest.approx(test[chosen])


@pytest.fixture(scope="module")
def at_the_end():
    """What the chapter leaves behind, on a small stand-in and after six epochs."""
    plt.switch_backend("Agg")
    namespace = definitions.of_chapter("gat")
    cora = citation.block_model("cora")
    task, alone = namespace["Task"](cora), namespace["Task"](cora, np.empty((0, 2), np.int64))
    namespace.update(settings={"epochs": 6}, cora=cora, tasks={"cora": task, "cora, alone": alone})
    trained = {"cora": namespace["train_many"]("cora", 2, "")}
    namespace.update(trained=trained, histories={"cora": trained["cora"][0]})
    namespace["plain"] = {"cora": namespace["train_many"]("cora, alone", 1, "")[0]}
    return namespace


def check_sharpened(after):
    model, view = after["trained"]["cora"][1].eval(), after["view"]
    with torch.no_grad():
        as_trained, near = after["sharpened"](model, view, 1)
        torch.testing.assert_close(as_trained, model(view))
        _, even = after["sharpened"](model, view, 0)
        sharp, pointed = after["sharpened"](model, view, 1e6)
        torch.testing.assert_close(after["sharpened"](model, view, 1)[0], as_trained)  # nothing was changed
    assert even == pytest.approx(1)
    assert even >= near > pointed + 0.1
    assert not torch.allclose(sharp, as_trained)
    assert all(0 <= accuracy <= 100 for accuracy in after["accuracies"].values())


def check_masks(after):
    assert after["SparseWords"].times is after["one_mask"]
    words = after["SparseWords"](sp.random(40, 30, 0.3, format="csr", dtype=np.float32, random_state=0))
    weight = torch.randn(1, 30, 4).expand(3, -1, -1)
    torch.testing.assert_close(after["mask_per_head"](words, weight), words.times(weight))
    coins = np.random.default_rng(0)
    heads = {way: way(words, weight, lambda x: after["drop"](x, coins)) for way in after["ways"].values()}
    torch.testing.assert_close(*heads[after["one_mask"]][:2])
    assert not torch.allclose(*heads[after["mask_per_head"]][:2])
    assert [len(found) for found in after["accuracy"].values()] == [after["SEEDS"]] * 2


def check_dynamic(after):
    assert after["GraphAttention"].coefficients is after["static_coefficients"]
    torch.manual_seed(0)
    sources, targets = after["attention_edges"](np.array([[0, 1], [1, 2], [2, 3], [0, 3]]), 5)
    edges, layer = after["Edges"](sources, targets, (5, 5), copies=2), after["GraphAttention"](6, 3, 2)
    projected = torch.randn(2, 5, 3)
    weights = after["dynamic_coefficients"](layer, projected, edges).view(2, -1)
    for head in range(2):
        ends = projected[head][:, None] + projected[head]
        scores = torch.nn.functional.leaky_relu(ends, 0.2) @ layer.attention[head, :, 0]
        hears = torch.zeros(5, 5, dtype=torch.bool)
        hears[targets, sources] = True
        dense = scores.masked_fill(~hears, -math.inf).softmax(1)
        torch.testing.assert_close(weights[head], dense[targets, sources])


def check_heads(after):
    network = after["network"]
    assert len(network.heads) == 8
    assert after["logits"].shape == (1000, 8, 8)
    for head in network.heads:
        orders = head.weights(*[part[:1] for part in after["inputs"]])[0].argsort(1)
        assert len(orders.unique(dim=0)) == 1  # each head is static


def check_strangers(after):
    edges, shuffled = after["cora"].edges, after["strangers"].edges
    assert len(set(map(tuple, edges)) & set(map(tuple, shuffled))) < 0.05 * len(edges)
    before, now = (np.bincount(e.ravel(), minlength=1000) for e in (edges, shuffled))
    assert np.abs(before - now).sum() == 2 * (len(edges) - len(shuffled))
    assert {title: len(runs) for title, runs in after["found"].items()} == {"no edges": 1, "attention": 1, "average": 1}
    everyone = after["edges"].starts.diff().double()
    assert after["own"] == pytest.approx((1 / everyone).mean().item(), rel=1e-3)  # the last run is the plain average


CHECKS = (check_sharpened, check_masks, check_dynamic, check_heads, check_strangers)


@pytest.mark.parametrize("number", range(5))
def test_the_solutions_of_the_exercises_run(number, at_the_end):
    code = exercises.solutions("gat")[number].replace("4e4", "1e3")
    exec(re.sub(r"^(SEEDS|STEPS) = \d+", r"\1 = 1", code, flags=re.M), at_the_end)
    CHECKS[number](at_the_end)
    plt.close("all")
