"""The definitions of the chapter on Transformers as graph networks against references, properties and bad input."""

from __future__ import annotations

import math

import networkx as nx
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from utils.notebook import dgl_compat
from utils.tools import definitions, exercises

CHAPTER = definitions.of_chapter("transformers_are_gnns")
edges_where, attend = CHAPTER["edges_where"], CHAPTER["attend"]


@st.composite
def graphs(draw, least=0):
    """A random boolean matrix of who hears whom, words that nobody speaks to included."""
    words = draw(st.integers(least, 9))
    return torch.tensor(
        draw(st.lists(st.lists(st.booleans(), min_size=words, max_size=words), min_size=words, max_size=words)),
        dtype=torch.bool,
    ).reshape(words, words)


def masked(queries, keys, values, hears):
    """The matrix formula for (words, heads, d), with zeros for words that hear nobody."""
    scores = torch.einsum("ihd,jhd->hij", queries, keys) / math.sqrt(queries.shape[-1])
    weights = scores.masked_fill(~hears, -math.inf).softmax(-1).nan_to_num(0.0)
    return torch.einsum("hij,jhd->ihd", weights, values)


@given(graphs(), st.integers(1, 3), st.integers(0, 10_000))
@settings(max_examples=80, deadline=None)
def test_attention_on_any_graph_is_the_masked_formula_and_never_nan(hears, heads, seed):
    inputs = (
        torch.randn(3, len(hears), heads, 4, generator=torch.Generator().manual_seed(seed)).double().requires_grad_()
    )
    ours = attend(*inputs, edges_where(hears))
    torch.testing.assert_close(ours, masked(*inputs, hears), atol=1e-12, rtol=0)
    assert (ours[~hears.any(1)] == 0).all()
    (gradient,) = torch.autograd.grad(ours.square().sum(), inputs)
    assert gradient.isfinite().all()


@given(graphs(least=1), st.floats(-300, 300), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_weights_sum_to_one_and_forget_a_common_shift_however_large(hears, shift, seed):
    source, target = edges_where(hears)
    scores = torch.randn(len(source), 2, generator=torch.Generator().manual_seed(seed)).double()
    weights = CHAPTER["edge_softmax"](scores, target, len(hears))
    sums = torch.zeros(len(hears), 2).double().index_add(0, target, weights)
    torch.testing.assert_close(sums, hears.any(1)[:, None].double().expand(-1, 2), atol=1e-12, rtol=0)
    torch.testing.assert_close(CHAPTER["edge_softmax"](scores + shift, target, len(hears)), weights, atol=1e-9, rtol=0)


def test_gradients_against_finite_differences():
    torch.manual_seed(0)
    hears = CHAPTER["random_sparse"](5, 2)
    inputs = torch.randn(3, 5, 2, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: attend(*x, edges_where(hears)), inputs)
    banded = torch.randn(3, 2, 5, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: CHAPTER["banded_attention"](*x, radius=1, block=2), banded)


@given(st.integers(0, 70), st.integers(0, 40), st.integers(1, 33))
@settings(max_examples=60, deadline=None)
def test_the_band_is_the_window_graph_for_any_length_radius_and_block(words, radius, block):
    inputs = torch.randn(3, 2, words, 4, generator=torch.Generator().manual_seed(words)).double()
    banded = CHAPTER["banded_attention"](*inputs, radius, block)
    by_edges = attend(*inputs.transpose(1, 2), edges_where(CHAPTER["window"](words, radius)))
    torch.testing.assert_close(banded, by_edges.transpose(0, 1), atol=1e-12, rtol=0)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_layer_is_torchs_layer(norm_first, dtype):
    assert CHAPTER["against_layer"](norm_first, dtype) < CHAPTER["BOUNDS"][dtype]


@pytest.mark.parametrize(
    "fault",
    [
        {"/ math.sqrt(queries.shape[-1])\n    weights": "/ queries.shape[-1]\n    weights"},
        {"powers / totals.index_select(0, target)": "powers / (1 + totals.index_select(0, target))"},
        {"weights[..., None] * values": "weights[..., None].sqrt() * values"},
        {"self.norm1(states + self.attention": "self.norm1(self.attention"},
    ],
)
def test_the_equality_fails_for_a_broken_layer(fault):
    broken = definitions.of_chapter("transformers_are_gnns", fault)
    assert broken["against_layer"](False, torch.float64) > 1e-3


@pytest.mark.parametrize("name", sorted(CHAPTER["GRAPHS"]))
@pytest.mark.parametrize("words", [0, 1, 2, 30])
def test_graphs_have_loops_and_layers_take_any_sentence(name, words):
    hears = CHAPTER["GRAPHS"][name](words)
    assert hears.shape == (words, words) and hears.dtype == torch.bool and hears.diagonal().all()
    torch.manual_seed(0)
    for norm_first in (False, True):
        layer = CHAPTER["GraphTransformerLayer"](8, 2, 16, norm_first)
        output = layer(torch.randn(words, 8), edges_where(hears))
        assert output.shape == (words, 8) and output.isfinite().all()
        output.sum().backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in layer.parameters())


def test_counts_of_edges():
    n = 40
    counts = {name: int(graph(n).sum()) for name, graph in CHAPTER["GRAPHS"].items()}
    assert counts["complete"] == n * n and counts["causal"] == n * (n + 1) // 2
    assert counts["window"] == 7 * n - 12
    assert counts["window + global"] == counts["window"] + 2 * (n - 4)
    assert 6 * n <= counts["random"] <= 7 * n


def test_sentences_side_by_side_do_not_hear_each_other():
    torch.manual_seed(0)
    layer, lengths = CHAPTER["GraphTransformerLayer"](8, 2, 16), (3, 0, 1, 5)
    states = torch.randn(9, 8)
    together = layer(states, CHAPTER["side_by_side"](lengths))
    alone = [layer(part, edges_where(CHAPTER["complete"](len(part)))) for part in states.split(lengths)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-6, rtol=0)
    assert CHAPTER["side_by_side"](()).shape == (2, 0)


@given(graphs(least=1), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_masks_and_edges_are_one_attention(hears, seed):
    torch.manual_seed(seed)
    by_edges, by_mask = CHAPTER["GraphAttention"](8, 2).double(), CHAPTER["MaskedAttention"](8, 2).double()
    by_mask.load_state_dict(by_edges.state_dict())
    states = torch.randn(len(hears), 8).double()
    torch.testing.assert_close(
        by_mask(states[None], hears)[0], by_edges(states, edges_where(hears)), atol=1e-12, rtol=0
    )


@given(st.lists(st.integers(-5, 5), max_size=20))
def test_a_rarity_tree_is_a_projective_tree_in_which_ranks_fall(ranks):
    hears = CHAPTER["tree"](ranks)
    assert (hears == hears.T).all() and hears.diagonal().all()
    graph = nx.from_numpy_array((hears & ~torch.eye(len(ranks), dtype=torch.bool)).numpy())
    if ranks:
        assert nx.is_tree(graph)
    for a, b in graph.edges:
        assert max(ranks[min(a, b) : max(a, b) + 1]) == max(ranks[a], ranks[b])  # so that no two edges cross


def test_gates_close_heads_and_open_again():
    torch.manual_seed(0)
    model = CHAPTER["WordNetwork"](11, 10, 17, tasks=2).cpu()
    draw, graph = CHAPTER["mirror_and_sort"], CHAPTER["complete"](17)
    words, _ = draw(4)
    before = model(words, graph)
    importance = CHAPTER["head_importance"](model, draw, graph)
    assert importance.shape == (2, 4) and (importance >= 0).all()
    torch.testing.assert_close(importance.norm(dim=1), torch.ones(2))
    CHAPTER["accuracy_without"](model, draw, graph, range(8))
    torch.testing.assert_close(model(words, graph), before)


def test_the_importance_of_a_head_is_the_slope_of_the_loss():
    torch.manual_seed(0)
    model = CHAPTER["WordNetwork"](11, 10, 17, layers=1, tasks=2).cpu().double()
    graph, (words, targets) = CHAPTER["complete"](17), CHAPTER["mirror_and_sort"](1)

    def loss(head, gate):
        gates = torch.ones(4, 1, 1).double()
        gates[head] = gate
        model.layers[0].attention.gates = gates
        return F.cross_entropy(model(words, graph).flatten(0, -2), targets.flatten(), reduction="sum").item()

    slopes = torch.tensor([abs(loss(h, 1 + 1e-5) - loss(h, 1 - 1e-5)) for h in range(4)])
    model.layers[0].attention.gates = 1.0
    found = CHAPTER["head_importance"](model.float(), lambda batch: (words, targets), graph, batch=1)[0]
    torch.testing.assert_close(found, F.normalize(slopes, dim=0), atol=1e-3, rtol=0)


def test_additive_attention_ranks_alike_for_all_words_and_the_dynamic_one_does_not():
    torch.manual_seed(0)
    states, graph = torch.randn(1, 40, 16), CHAPTER["complete"](40)
    for name, static in (("AdditiveAttention", True), ("DynamicAttention", False), ("MaskedAttention", False)):
        attention = CHAPTER["randomise"](CHAPTER[name](16, 1))
        attention(10 * states, graph)
        favourites = attention.seen[0, 0].argmax(-1).unique()
        assert (len(favourites) == 1) == static, name


def test_tasks_ask_for_what_they_say():
    torch.manual_seed(0)
    words, targets = CHAPTER["mirror_and_sort"](50)
    assert (targets[:, 0] == -100).all() and (words[:, 0] == 10).all()
    assert (targets[:, 1:, 0] == words[:, 1:].flip(1)).all()
    assert (targets[:, 1:, 1] == words[:, 1:].sort(1).values).all()
    words, targets = CHAPTER["copy_from"](3, 8)(20)
    assert (targets[:, :3] == -100).all() and (targets[:, 3:] == words[:, :-3]).all()
    words, targets = CHAPTER["look_up"](30)
    for row, wanted in zip(words.tolist(), targets[:, 8:].tolist(), strict=True):
        book = {word // 9: word % 9 for word in row[:8]}
        assert [book[word // 9] for word in row[8:]] == wanted
        assert all(word % 9 == 8 for word in row[8:])


def test_the_learning_rate_rises_then_falls_and_never_leaves_its_bounds():
    rates = [CHAPTER["learning_rate"](step, 100, 20) for step in range(1, 101)]
    assert max(rates) == 1 == rates[19] and min(rates) > 0
    assert rates[:20] == sorted(rates[:20]) and rates[20:] == sorted(rates[20:], reverse=True)
    assert CHAPTER["learning_rate"](1, 100, 0) == 1


def test_reviews_do_not_hear_the_padding_and_drop_nothing_in_evaluation():
    torch.manual_seed(0)
    model = CHAPTER["ReviewNetwork"]()
    model.embedding = nn.Embedding(20, 32)
    model = model.cpu().eval()
    words, hears = torch.randint(1, 20, (1, 6)), CHAPTER["complete"](6)[None, None]
    padded = F.pad(words, (0, 5)), F.pad(hears, (0, 5, 0, 5))
    torch.testing.assert_close(model(*padded), model(words, hears), atol=1e-5, rtol=0)
    torch.testing.assert_close(model(words, hears), model(words, hears), atol=0, rtol=0)
    assert not torch.equal(model.train()(words, hears), model(words, hears))


def test_scores_of_masked_attention_are_divided_by_the_root_of_the_width():
    queries, keys = torch.randn(2, 1, 2, 5, 16)
    expected = torch.einsum("bhid,bhjd->bhij", queries, keys) / 4
    torch.testing.assert_close(CHAPTER["MaskedAttention"](32, 2).scores(queries, keys), expected, atol=1e-5, rtol=0)


def test_a_warm_up_takes_at_most_half_of_the_steps():
    model = CHAPTER["WordNetwork"](10, 10, 8, layers=1).cpu()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    losses = CHAPTER["fit"](model, CHAPTER["copy_from"](2, 8), CHAPTER["window"](8, 2), 2, warm=40)
    assert len(losses) == 2
    assert any(not torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


def test_the_clamped_softmax_is_a_softmax_of_small_scores_only():
    scores = torch.tensor([[0.0, 1.0, -2.0], [9.0, 6.0, 0.0]])
    clamped = CHAPTER["clamped_softmax"](scores)
    torch.testing.assert_close(clamped[0], scores[0].softmax(0))
    assert clamped[1, 0] == clamped[1, 1]


def test_position_codes_tell_places_apart():
    codes = CHAPTER["position_codes"](50, 16)
    assert codes.shape == (50, 16) and torch.cdist(codes, codes).add(torch.eye(50)).min() > 0.1
    assert CHAPTER["position_codes"](0, 16).shape == (0, 16)


def test_dgl_says_the_same():
    dgl = dgl_compat.load()
    if dgl is None:
        pytest.skip("DGL is not installed")
    torch.manual_seed(0)
    hears = CHAPTER["random_sparse"](20, 4)
    queries, keys, values = torch.randn(3, 20, 3, 4)
    graph = dgl.graph(tuple(edges_where(hears)), num_nodes=20)
    ours = attend(queries, keys, values, edges_where(hears))
    torch.testing.assert_close(CHAPTER["dgl_built_in"](dgl, graph, queries, keys, values), ours, atol=1e-6, rtol=0)
    by_functions = CHAPTER["dgl_by_functions"](graph, queries[:, 0], keys[:, 0], values[:, 0])
    torch.testing.assert_close(by_functions, ours[:, 0], atol=1e-6, rtol=0)


def test_the_recurrent_layer_takes_an_empty_sentence():
    weight = torch.eye(3)
    assert CHAPTER["recurrent"](torch.zeros(0, 3), weight, weight, torch.zeros(3)).shape == (0, 3)


@pytest.mark.parametrize("fault", [None, {"scores.softmax(-1) * graph": "scores.softmax(-1) * 0"}])
def test_a_network_whose_words_do_not_hear_each_other_cannot_copy(fault):
    chapter = definitions.of_chapter("transformers_are_gnns", fault)
    torch.manual_seed(0)
    draw, graph = chapter["copy_from"](2, 8), chapter["window"](8, 2)
    model = chapter["WordNetwork"](10, 10, 8, layers=1)
    chapter["fit"](model, draw, graph, 200, enough=0.05)
    accuracy = float(np.nanmean(chapter["right"](model, draw, graph)))
    assert accuracy < 0.2 if fault else accuracy > 0.9


def at_the_end():
    """What the chapter leaves behind; its training takes three steps and notes the graphs."""
    after = definitions.of_chapter("transformers_are_gnns")

    def sort_only(batch):
        words, targets = after["mirror_and_sort"](batch)
        return words, targets[..., 1]

    whole = after["complete"](after["WORDS"])
    after.update(DEVICE="cpu", settings={"steps": 3}, whole=whole, sort_only=sort_only)
    fit, after["trained_on"] = after["fit"], []

    def noting_the_graph(model, draw, graph, steps, **how):
        after["trained_on"].append((model, graph, *draw(4)))
        return fit(model, draw, graph, 3, **how | {"warm": 1})

    after["fit"] = noting_the_graph
    return after


def check_global_words(after, printed):
    assert len(printed.splitlines()) == 4 == len(after["trained_on"])
    for _, graph, words, targets in after["trained_on"]:
        assert len(graph) == words.shape[1] == targets.shape[1]
        empty = (words[0] == after["SYMBOLS"]).sum()
        assert (targets[:, :empty] == -100).all() and (targets[:, empty:] >= 0).all()
    (_, one, *_), (_, four, *_), (_, beside, *_), (_, spread, *_) = after["trained_on"]
    assert torch.equal(one, after["window_and_global"](17, 3)) and len(four) == 20
    for graph, heads in ((four, [0, 1, 2, 3]), (beside, [1, 2, 3, 4]), (spread, [2, 6, 10, 14])):
        everywhere = graph.all(0) & graph.all(1)
        assert everywhere.nonzero()[:, 0].tolist() == heads


def check_depths(after, printed):
    assert [len(model.layers) for model, *_ in after["trained_on"]] == [2, 3, 6]
    assert all(torch.equal(graph, after["window"](17, 3)) for _, graph, *_ in after["trained_on"])
    _, _, words, targets = after["trained_on"][0]
    assert torch.equal(targets[:, 1:], words[:, 1:].flip(1))
    assert printed.splitlines()[0].split()[1:] == [str(d) for d in range(1, 16, 2)]
    assert all(len(row) == 8 and all(0 <= value <= 100 for value in row) for row in after["by_layers"].values())


def check_without_codes(after, printed):
    assert [len(model.places) for model, *_ in after["trained_on"]] == [17, 0, 17, 0]
    assert set(after["sorted_right"]) == {(name, codes) for name in ("complete", "causal") for codes in (True, False)}
    permuted = [line for line in printed.splitlines() if "permuted" in line]
    assert [line.rpartition(" ")[2] for line in permuted] == ["True", "False"]


def check_fewer_heads(after, _):
    models = [model for model, *_ in after["trained_on"]]
    one, closed = models[0], models[-1]
    assert one.layers[0].attention.heads == 1
    assert sum(p.numel() for p in one.parameters()) == sum(p.numel() for p in closed.parameters())
    for layer in closed.layers:
        assert layer.attention.gates.flatten().tolist() == [1, 0, 0, 0]
    assert list(after["with_heads"]) == [(1, ()), (4, ()), (4, (1, 2, 3))]


def check_relative(after, _):
    assert after["written_as"] == {
        "complete": True,
        "causal": True,
        "window": True,
        "window + global": False,
        "random": False,
    }
    attention = after["RelativeAttention"](8, 2, words=5)
    nn.init.normal_(attention.b)
    queries, keys = torch.randn(2, 1, 2, 5, 4)
    added = attention.scores(queries, keys) - queries @ keys.transpose(-1, -2) / 2
    for i in range(5):
        for j in range(5):
            torch.testing.assert_close(added[0, 0, i, j], attention.b[4 + j - i].detach(), atol=1e-5, rtol=0)


CHECKS = (check_global_words, check_depths, check_without_codes, check_fewer_heads, check_relative)


@pytest.mark.parametrize("number", range(5))
def test_the_solutions_of_the_exercises_run(number, capsys):
    after = at_the_end()
    exercises.execute("transformers_are_gnns", number, after)
    CHECKS[number](after, capsys.readouterr().out)
