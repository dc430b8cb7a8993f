"""The definitions of the chapter on Transformers as graph networks against references, properties and bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from scipy import sparse
from torch import nn

from utils.datasets import citation
from utils.notebook import dgl_compat
from utils.tools import definitions, exercises

CHAPTER = definitions.of_chapter("transformers_are_gnns")
edges_of = CHAPTER["edges_of"]


def made(kind, width=8, heads=2):
    torch.manual_seed(0)
    return CHAPTER["randomised"](CHAPTER[kind](width, heads)).double()


def by_formula(q, k, v, mask):
    """Eqs. (2) and (3) for (words, heads, d), receiver by receiver."""
    out = torch.zeros_like(q)
    for i, senders in enumerate(mask):
        for head in range(q.shape[1]):
            some = senders.nonzero()[:, 0]
            if len(some):
                s = k[some, head] @ q[i, head] / math.sqrt(q.shape[2])
                out[i, head] = s.softmax(0) @ v[some, head]
    return out


@st.composite
def masks(draw):
    receivers, senders = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    rows = st.lists(st.booleans(), min_size=senders, max_size=senders)
    return torch.tensor(draw(st.lists(rows, min_size=receivers, max_size=receivers)), dtype=torch.bool)


@given(masks(), st.integers(0, 1000))
@examples(max_examples=60, deadline=None)
def test_attention_on_any_graph_is_the_formula_and_never_nan(mask, seed):
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(mask.shape[0], 2, 4, generator=generator).double().requires_grad_()
    k, v = torch.randn(2, mask.shape[1], 2, 4, generator=generator).double()
    expected = by_formula(q, k, v, mask)
    for kind, graph in (("EdgeList", edges_of(mask)), ("Matrix", mask)):
        found = made(kind).attend(graph, q, k, v)
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
        (gradient,) = torch.autograd.grad(found.square().sum(), q)
        assert gradient.isfinite().all()
    if dgl_compat.load() is not None and mask.any():
        sender, receiver = edges_of(mask)
        sizes = {"a": mask.shape[1], "b": mask.shape[0]}
        graph = dgl_compat.load().heterograph({("a", "to", "b"): (sender, receiver)}, sizes)
        torch.testing.assert_close(made("Attention").attend(graph, q, k, v), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("shift", [-300.0, 300.0])
def test_large_scores_stay_finite(shift):
    q, k = torch.full((3, 1, 4), shift).double(), torch.randn(3, 1, 4).double()
    for kind, graph in (("EdgeList", edges_of(CHAPTER["complete"](3))), ("Matrix", CHAPTER["complete"](3))):
        assert made(kind, 4, 1).attend(graph, q, k, k).isfinite().all()


def test_edges_of_several_sentences_lie_side_by_side():
    mask = torch.tensor([[1, 1, 0], [0, 0, 1]], dtype=torch.bool)  # 2 receivers, 3 senders
    edges = {tuple(edge) for edge in edges_of(mask, 2).T.tolist()}
    assert edges == {(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 3)}


def test_the_graphs_are_what_they_are_called():
    n = 12
    place = np.arange(n)
    apart = np.abs(place[:, None] - place)
    assert CHAPTER["complete"](n).all()
    assert np.array_equal(CHAPTER["causal"](n), place[:, None] >= place)
    assert np.array_equal(CHAPTER["window"](n, 2), apart <= 2)
    both = (apart <= 3) | (place == 0) | (place[:, None] == 0)
    assert np.array_equal(CHAPTER["window_and_global"](n), both)
    random = CHAPTER["random_graph"](n)
    assert random.diagonal().all() and random.sum(1).min() >= 6 and random.sum(1).max() <= 7


def test_the_toy():
    received = definitions.of_chapter("transformers_are_gnns")["received"]
    score = {("a", "a"): 0.0, ("b", "a"): math.log(2)}
    received.__globals__.update(value={"a": 6.0, "b": 12.0}, score=score)
    assert received(list(score)) == pytest.approx(10)
    assert received([("b", "a")]) == pytest.approx(12)


def test_a_layer_is_that_of_torch():
    torch.manual_seed(0)
    ours = CHAPTER["randomised"](CHAPTER["Layer"](16, 4, 32, CHAPTER["Matrix"])).double()
    theirs = nn.TransformerEncoderLayer(16, 4, 32, dropout=0, batch_first=True).double()
    theirs.self_attn.load_state_dict(CHAPTER["as_torch"](ours.attention).state_dict())
    pairs = (theirs.linear1, ours.mlp[0]), (theirs.linear2, ours.mlp[2])
    for one, other in (*pairs, (theirs.norm1, ours.norm), (theirs.norm2, ours.norm_mlp)):
        one.load_state_dict(other.state_dict())
    h = torch.randn(2, 5, 16).double()
    found = ours(CHAPTER["complete"](5), h.flatten(0, 1))
    torch.testing.assert_close(found, theirs(h).flatten(0, 1), atol=1e-10, rtol=0)
    fused = CHAPTER["Layer"](16, 4, 32, CHAPTER["Fused"]).double()
    fused.load_state_dict(ours.state_dict())
    torch.testing.assert_close(fused(CHAPTER["causal"](5), h[0]), ours(CHAPTER["causal"](5), h[0]))
    alone = CHAPTER["Layer"](16, 4, None, CHAPTER["Matrix"]).double()
    torch.testing.assert_close(alone(CHAPTER["complete"](5), h[0]), alone.attention(CHAPTER["complete"](5), h[0]))


def test_scores_of_four_kinds():
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 2, 5, 4).double()
    leaky = nn.LeakyReLU(0.2)
    static, dynamic, constant = made("Static"), made("Dynamic"), made("Constant")
    for head in range(2):
        for i in range(5):
            for j in range(5):
                a, b = static.a[head, 0], static.b[head, 0]
                expected = leaky(q[0, head, i] @ a + k[0, head, j] @ b)
                assert static.scores(q, k)[0, head, i, j].item() == pytest.approx(expected.item())
                expected = leaky(q[0, head, i] + k[0, head, j]) @ dynamic.a[head, 0]
                assert dynamic.scores(q, k)[0, head, i, j].item() == pytest.approx(expected.item())
    assert (constant.scores(q, k) == 0).all()
    assert (static.scores(q, k).argmax(-1).amin(-1) == static.scores(q, k).argmax(-1).amax(-1)).all()  # one favourite


def test_other_aggregators():
    torch.manual_seed(0)
    mask = CHAPTER["window"](9, 3)
    v = torch.randn(1, 2, 9, 4).double()
    layers = made("Sum"), made("Max")
    total, largest = (layer.aggregate(mask[None, None], v, v, v) for layer in layers)
    for i in range(9):
        near = mask[i].nonzero()[:, 0]
        some, (weights, added) = v[0, :, near], (layer.bias[:, near - i + 31, None] for layer in layers)
        torch.testing.assert_close(total[0, :, i], (weights.exp() / 32 * some).sum(1))
        torch.testing.assert_close(largest[0, :, i], (added + some).amax(1))
    convolution = made("Convolution")
    scores = convolution.scores(v, v)
    kernel = convolution.kernel(v)
    assert scores[0, 1, 4, 6].item() == pytest.approx(kernel[0, 1, 4, 5].item())
    assert scores[0, 0, 4, 1].item() == pytest.approx(kernel[0, 0, 4, 0].item())


@pytest.mark.parametrize("n", [5, 32])
def test_a_bias_belongs_to_a_head_and_a_distance(n):
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 2, n, 4).double()
    layer, scattered = made("Distances"), made("Scattered")
    extra = layer.scores(q, k) - q @ k.transpose(-1, -2) / 2
    for i in range(n):
        for j in range(n):
            torch.testing.assert_close(extra[0, :, i, j], layer.bias[:, j - i + 31])
    whole = scattered.biases(32)
    assert torch.equal(scattered.biases(n), whole[:, :n, :n])
    scattered.load_state_dict(layer.state_dict())
    assert torch.equal(scattered.biases(32).flatten(1).sort(1)[0], layer.biases(32).flatten(1).sort(1)[0])
    assert not torch.equal(scattered.biases(32), layer.biases(32))


def test_a_graph_that_is_told_a_tree_stays_complete_but_for_padding():
    torch.manual_seed(0)
    layer, plain = made("Told"), made("Distances")
    plain.load_state_dict({name: value for name, value in layer.state_dict().items() if name != "joined"})
    tree = CHAPTER["tree_mask"](np.array([1, -1, 1, 2]))[:6, :6]  # two places are padding
    v = torch.randn(1, 2, 6, 4).double()
    found = layer.aggregate(tree[None, None], v, v, v)
    scores = plain.scores(v, v)[0]
    for head in range(2):
        for i in range(6):
            heard = [j for j in range(6) if j < 4 or j == i]
            score = [scores[head, i, j] + layer.joined[head, 0, 0] * (bool(tree[i, j]) and i != j) for j in heard]
            expected = torch.stack(score).softmax(0) @ v[0, head, heard]
            torch.testing.assert_close(found[0, head, i], expected)


def test_dictionaries_hold_their_answers():
    words, answers = CHAPTER["dictionaries"](50)
    words, answers = words.view(50, 16, 2), answers.view(50, 16)
    assert (answers[:, :8] == -100).all() and (words[:, 8:, 1] == 16).all()
    for row, wanted in zip(words.tolist(), answers[:, 8:].tolist(), strict=True):
        held = {key: value - 8 for key, value in row[:8]}
        assert sorted(held) == sorted(held.values()) == list(range(8))
        assert wanted == [held[key] for key, _ in row[8:]]


def test_a_word_of_two_symbols_is_their_sum():
    torch.manual_seed(0)
    model, words = CHAPTER["Words"](17, 8, CHAPTER["Matrix"], layers=0), torch.tensor([[3, 9], [3, 16]])
    expected = model.answer(model.embed.weight[[3, 3]] + model.embed.weight[[9, 16]])
    torch.testing.assert_close(model(None, words), expected)


def measured(row, option, seed):
    assert (row, seed) == ("row", 1000)
    return {0.1: (3.0, 30), 0.2: (2.0, 10), 0.4: (1.0, 20)}[option]


@pytest.mark.parametrize("by, wanted", [(lambda run: run[0], 0.1), (lambda run: -run[1], 0.2)])
def test_an_option_is_chosen_by_one_network_of_a_seed_of_its_own(by, wanted):
    assert CHAPTER["tuned"](measured, (0.1, 0.2, 0.4), "row", by=by) == wanted
    assert CHAPTER["tuned"](None, (0.3,), "row") == 0.3


def by_several(row, option, seed):
    """The first network likes 0.1, all together like 0.2."""
    assert row == "row" and seed in (1000, 1001, 1002)
    return ({0.1: 9.0, 0.2: 8.0}[option] if seed == 1000 else {0.1: 1.0, 0.2: 8.0}[option],)


def test_an_option_is_chosen_by_the_mean_of_several_networks():
    assert CHAPTER["tuned"](by_several, (0.1, 0.2), "row") == 0.1
    assert CHAPTER["tuned"](by_several, (0.1, 0.2), "row", networks=3) == 0.2


def test_what_a_question_hears():
    """A network that scores keys by hand: questions hear their own key alone, or all but that."""
    chapter = definitions.of_chapter("transformers_are_gnns")
    for sign, favourites in ((1, 8.0), (-1, None)):

        def by_hand(kind, heads, inner, rate, seed, steps, sign=sign):
            torch.manual_seed(seed)
            model = CHAPTER["Words"](17, 8, CHAPTER["Matrix"], 1, None)
            attention, (embed, answer) = model.layers[0].attention, (model.embed, model.answer)
            for part in (attention.query, attention.key, attention.value, attention.output, answer):
                part.weight.data.zero_(), part.bias.data.zero_()
            embed.weight.data = torch.eye(17, 32)
            for key in range(8):
                attention.query.weight.data[key, key] = sign * 2000.0
                attention.key.weight.data[key, key] = 1.0
                attention.value.weight.data[key, 8 + key] = 1.0
            attention.key.weight.data[8, 16] = -1.0  # questions are not heard
            attention.query.bias.data[8] = 4000.0
            attention.output.weight.data = torch.eye(32)
            answer.weight.data = sign * torch.eye(8, 32)
            return model, CHAPTER["complete"](16), steps

        chapter["hears"].__globals__.update(network=by_hand, settings={"longer_steps": 1})
        right, alone, of_a_head, together, own, another = chapter["hears"](None, 1, None, 0.1, 0)
        assert right == 100 and of_a_head == together
        if sign > 0:
            assert alone == 100 and of_a_head == favourites and own == pytest.approx(100) and another < 1e-6
        else:
            assert alone < 40 and own < 1e-6 and another == pytest.approx(100 / 7)


def test_fewer_steps_come_before_more_right_answers():
    runs = [(99.0, 50, 0), (99.9, 60, 0), (80.0, 2000, 0), (70.0, 2000, 0)]
    assert sorted(runs, key=CHAPTER["soon_or_right"], reverse=True) == runs


def papers():
    """The chapter with 60 papers of two subjects, whose words do not tell it and whose citations do."""
    chapter = definitions.of_chapter("transformers_are_gnns")
    rng, n = np.random.default_rng(0), 60
    labels = np.arange(n) % 2
    features = sparse.csr_matrix(np.eye(n, dtype=np.float32))
    edges = np.array([(i, j) for i in range(n) for j in range(i) if labels[i] == labels[j] and rng.random() < 0.5])
    split = np.arange(20), np.arange(20, 40), np.arange(40, 60)
    graph = citation.CitationGraph("cora", features, edges, labels, *split, 2, len(edges), 0, True)
    chapter["classify"].__globals__.update(cora=graph, blank=n, settings={"paper_epochs": 100})
    return chapter


def test_papers_learn_from_those_they_cite_and_nothing_without_them():
    classify = papers()["classify"]
    assert classify("citations", 5e-4, 0)[1] > 90
    assert max(classify(kind, 5e-4, 0)[1] for kind in ("no edges", "all pairs")) < 80


def test_the_epoch_for_papers_is_chosen_by_validation():
    chapter = papers()
    graph = chapter["classify"].__globals__["cora"]
    graph.labels[graph.test] = 1 - graph.labels[graph.test]
    validated, right = chapter["classify"]("citations", 5e-4, 0)
    assert validated > 90 and right < 10


def test_the_graphs_of_papers_are_what_they_are_called():
    chapter = papers()
    graph = chapter["classify"].__globals__["cora"]
    found = {kind: chapter["paper_edges"](kind)[2] for kind in ("citations", "no edges", "all pairs")}
    pairs = {tuple(pair) for pair in graph.edges.tolist()}
    loops = {(i, i) for i in range(60)}
    assert {tuple(pair) for pair in found["citations"].T.tolist()} == pairs | {(j, i) for i, j in pairs} | loops
    assert {tuple(pair) for pair in found["no edges"].T.tolist()} == loops
    assert found["all pairs"].shape == (60, 60) and found["all pairs"].all()


def test_the_language_follows_its_rule():
    source, target, answers = (x.view(60, 7) for x in CHAPTER["sentences_of"](60))
    assert set(source[:, 0].tolist()) == {8, 9} and set(target[:, 0].tolist()) == {10, 11}
    assert (target[:, 1:] == 12).all() and (answers[:, 0] == -100).all() and source[:, 1:].max() < 8
    dialect, tone = source[:, :1] - 8, target[:, :1] - 10
    assert torch.equal(answers[:, 1:], 4 * source[:, 1:] + 2 * dialect + tone)


def test_three_kinds_of_edges_can_be_taken_away():
    whole = CHAPTER["three_kinds"]()
    assert whole["source"].all() and whole["cross"].all() and torch.equal(whole["target"], CHAPTER["causal"](7))
    assert torch.equal(CHAPTER["three_kinds"](aligned=True)["cross"], torch.eye(7, dtype=torch.bool))
    for kind in whole:
        masks_ = CHAPTER["three_kinds"](kind)
        left = masks_.pop(kind)
        assert left.sum() == (0 if kind == "cross" else len(left))
        assert all(torch.equal(mask, whole[other]) for other, mask in masks_.items())


def outputs(changed, without=None, aligned=False):
    """Which target places notice a change of one source or target word."""
    torch.manual_seed(0)
    model, (source, target, _) = CHAPTER["Translator"](CHAPTER["Matrix"]), CHAPTER["sentences_of"](1)
    edges = CHAPTER["three_kinds"](without, aligned)
    before = model(edges, source, target)
    (source if changed[0] == "source" else target)[changed[1]] = changed[2]
    apart = (model(edges, source, target) - before).abs().amax(1)
    return [place for place in range(7) if apart[place] > 1e-6]


def test_the_translator_sees_what_its_edges_bring():
    everywhere = list(range(7))
    assert outputs(("source", 0, 12)) == everywhere and outputs(("target", 0, 12)) == everywhere
    assert outputs(("source", 3, 12), "cross") == [] and outputs(("source", 3, 12), "source", True) == [3]
    assert outputs(("target", 4, 10)) == [4, 5, 6] and outputs(("target", 4, 10), "target") == [4]
    assert outputs(("source", 0, 12), None, True) == everywhere


def test_training_stops_when_it_has_learned_and_not_before():
    class Oracle(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.calls = nn.Parameter(torch.zeros(())), 0

        def forward(self, graph, answers):
            self.calls += 1
            return (20.0 * (self.calls > 7) + self.scale) * nn.functional.one_hot(answers, 3)

    def draw(batch):
        answers = torch.randint(3, (batch,))
        return answers, answers

    assert CHAPTER["train"](Oracle(), None, draw, 30, 0.01) == 8
    assert CHAPTER["train"](Oracle(), None, draw, 5, 0.01) == 5
    model = Oracle()
    model.calls = 10
    assert CHAPTER["right"](model, None, draw) == 100


TEXT = """# text = He sleeps .
1\tHe\the\tPRON\t_\t_\t2\tnsubj:pass\t_\t_
2\tsleeps\tsleep\tVERB\t_\t_\t0\troot\t_\t_
2.1\tx\tx\tX\t_\t_\t_\t_\t_\t_
3-4\t.n\t_\t_\t_\t_\t_\t_\t_\t_
3\t.\t.\tPUNCT\t_\t_\t2\tpunct\t_\t_

# next
1\tGo\tgo\tVERB\t_\t_\t0\troot\t_\t_
"""


def test_trees_are_read():
    first, second = CHAPTER["parse"](TEXT)
    assert first["words"] == ["He", "sleeps", "."] and first["tags"] == ["PRON", "VERB", "PUNCT"]
    assert first["heads"].tolist() == [1, -1, 1] and first["relations"] == ["nsubj", "root", "punct"]
    assert second["heads"].tolist() == [-1]


def test_readings_name_the_strongest_other_word():
    weights = torch.tensor([[[0.9, 0.1, 0.0], [0.2, 0.5, 0.3], [0.6, 0.3, 0.1]]])
    by_row, by_column = CHAPTER["guesses"](weights)
    assert by_row.tolist() == [1, 2, 0] and by_column.tolist() == [2, 2, 1]
    offsets = CHAPTER["by_offset"](["a", "b"])
    assert offsets.shape == (20, 2) and offsets[10].tolist() == [1, 2] and offsets[9].tolist() == [-1, 0]


def test_readings_are_chosen_on_one_part_and_counted_on_the_other():
    chapter = definitions.of_chapter("transformers_are_gnns")

    def sentence(head):
        return {"words": ["a", "b", "c"], "heads": np.array([-1, head, 1]), "relations": ["root", "obj", "punct"]}

    chapter["settings"] = {"sentences": 50}
    chapter["development"], chapter["testing"] = [sentence(0)] * 4, [sentence(0)] * 3 + [sentence(2)]
    right, relations, numbers = chapter["chosen_on_development"](chapter["by_offset"])
    assert right.tolist() == [True, True, True, False]
    assert relations.tolist() == ["obj"] * 4 and numbers.tolist() == [0, 1, 2, 3]
    chapter["development"] = [sentence(2)] * 4
    right, *_ = chapter["chosen_on_development"](chapter["by_offset"])
    assert right.tolist() == [False, False, False, True]


def test_the_partition_has_few_edges_and_two_hops():
    mask = CHAPTER["partition"](16)
    assert mask.shape == (31, 31) and mask.sum() < 31**2 / 2
    assert (torch.linalg.matrix_power(mask.double(), 2)[:16, :16] > 0).all()
    assert mask[16, :16].all() and mask[17, :8].all() and not mask[17, 8:16].any()


def test_trees_become_masks():
    mask = CHAPTER["tree_mask"](np.array([1, -1, 1]))
    expected = torch.eye(32, dtype=torch.bool)
    for i, j in ((0, 1), (1, 0), (1, 2), (2, 1)):
        expected[i, j] = True
    assert torch.equal(mask, expected)
    mixed = CHAPTER["tree_mask"](np.array([1, -1, 1, 2]), np.random.default_rng(0))
    assert mixed.sum() == 32 + 6


def tagger():
    chapter = definitions.of_chapter("transformers_are_gnns")
    chapter["GRAPHS"] |= {"window of 1": chapter["near"], "partition": chapter["partition"]}
    rng = np.random.default_rng(0)
    words = [rng.choice(["the", "cat", "sat"], 5).tolist() for _ in range(260)]
    tag = {"the": "DET", "cat": "NOUN", "sat": "VERB"}
    sentences = [{"words": w, "tags": [tag[x] for x in w], "heads": np.arange(5) - 1} for w in words]
    chapter["tag"].__globals__.update(
        parts={"learn": sentences[:64], "validate": sentences[64:96], "test": sentences[:20]},
        tag_names=["DET", "NOUN", "VERB"],
        known={"the": 3, "cat": 4, "sat": 5},
        settings={"tag_epochs": 30},
    )
    return chapter


@pytest.mark.parametrize("graph", ["no edges", "partition", "tree", "complete"])
def test_a_tagger_learns_what_words_tell(graph):
    chapter = tagger()
    validated, right, epoch = chapter["tag"](graph, chapter["Matrix"], 4, 64, 8e-3, 0)
    assert min(validated, right) > 95 and 1 <= epoch <= 30


def test_the_epoch_of_a_tagger_is_chosen_by_validation():
    chapter = tagger()
    parts = chapter["tag"].__globals__["parts"]
    other = {"DET": "NOUN", "NOUN": "VERB", "VERB": "DET"}
    parts["test"] = [s | {"tags": [other[t] for t in s["tags"]]} for s in parts["test"]]
    validated, right, _ = chapter["tag"]("no edges", chapter["Matrix"], 4, 64, 8e-3, 0)
    assert validated > 95 and right < 5


def test_padding_neither_sends_nor_counts():
    chapter = tagger()
    some = chapter["part_of"].__globals__["parts"]["test"][:2]
    words, tags, mask = chapter["part_of"](some, "complete")
    assert words.shape == (2, 32) and words[:, 5:].sum() == 0 and (tags[:, 5:] == -100).all()
    assert not (mask & ~torch.eye(32, dtype=torch.bool))[:, :, 5:].any() and mask[:, :5, :5].all()
    words, tags, mask = chapter["part_of"](some[:1], "partition")
    assert (words[0, 32:] == 1).all() and (tags[0, 32:] == -100).all() and mask.shape == (1, 63, 63)


def check_window(after, printed):
    assert printed.count("% right") == 2


def check_chain(after, printed):
    assert printed == "11 layers: False\n12 layers: True\n"


def check_gated(after, printed):
    assert "Matrix:" in printed and "Gated:" in printed


CHECKS = (check_window, check_chain, check_gated)


@pytest.mark.parametrize("number", range(len(CHECKS)))
def test_the_solutions_of_the_exercises_run(number, capsys):
    after = definitions.of_chapter("transformers_are_gnns")
    fewer = {"STEPS = 400": "STEPS = 2", "STEPS = 600": "STEPS = 2"}
    exercises.execute("transformers_are_gnns", number, after, fewer)
    CHECKS[number](after, capsys.readouterr().out)
