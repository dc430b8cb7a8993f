"""The definitions of the chapter on sentiment in trees: recursion, levels, wrong trees, negations, rivals, runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.datasets import sentiment_trees
from utils.datasets.sentiment_trees import Tree
from utils.tools import definitions, exercises

WORDS = ("good", "bad", "not", "film", "the", "n't", "also")
TABLE = {word: number for number, word in enumerate(WORDS, 1)}


def leaf(word, label=2):
    return Tree(label, word)


def pair(left, right, label=2):
    return Tree(label, "", left, right)


def fresh(trees=()):
    """The chapter's definitions with a few trees in all parts."""
    chapter = definitions.of_chapter("sentiment_trees")
    bank = sentiment_trees.Treebank(tuple(trees), tuple(trees), tuple(trees), stand_in=True)
    found = {"every": 1, "epochs": 1, "plain_trees": 5, "plain_epochs": 1}
    return chapter | {"DEVICE": "cpu", "table": TABLE, "bank": bank, "training": bank.training, "settings": found}


def with_globals(chapter):
    """The same namespace as the functions see."""
    chapter["flat"].__globals__.update(chapter)
    return chapter


TREES = st.recursive(
    st.builds(leaf, st.sampled_from((*WORDS, "unseen")), st.integers(0, 4)),
    lambda part: st.builds(pair, part, part, st.integers(0, 4)),
    max_leaves=9,
)
SOME = [
    pair(leaf("the"), pair(leaf("not", 1), leaf("good", 3), 1), 1),
    pair(pair(leaf("good", 3), leaf("film"), 4), pair(leaf("n't"), pair(leaf("bad", 0), leaf("film"), 1), 2), 3),
    leaf("bad", 0),
    pair(leaf("also"), leaf("good", 3), 3),
]
CHAPTER = with_globals(fresh(SOME))


def tensor_network(seed=0):
    torch.manual_seed(seed)
    model = CHAPTER["RNTN"](len(TABLE) + 1, width=4)
    torch.nn.init.normal_(model.forms)
    return model


# --- by hand ---


@pytest.mark.parametrize("text", ["a and b", "a or not b", "not (a or b) and a", "not (not a and not b)"])
def test_expressions_have_the_value_that_python_gives(text):
    import ast

    for a in (0, 1):
        for b in (0, 1):
            tree = ast.parse(text, mode="eval").body
            assert CHAPTER["truth"](tree, {"a": a, "b": b}) == int(bool(eval(text, {"a": a, "b": b})))


def test_only_the_product_turns_a_negation_over():
    for word, sign in (("good", 1), ("bad", -1)):
        assert CHAPTER["meaning"](("not", word), CHAPTER["multiplied"])[0] == -sign
    assert CHAPTER["meaning"](("not", ("not", "good")), CHAPTER["multiplied"])[0] == 1
    assert CHAPTER["meaning"](("not", "bad"), CHAPTER["added"])[0] == -3


# --- networks ---


def test_a_rare_word_is_unknown():
    chapter = definitions.of_chapter("sentiment_trees")
    assert chapter["table_of"]([pair(leaf("Good"), leaf("good")), pair(leaf("rare"), leaf("A"))]) == {"good": 1}


def test_the_tensor_network_is_eq_3():
    model, parts = tensor_network(), torch.randn(5, 8)
    for x, found in zip(parts, model.combine(parts), strict=True):
        layer = model.layer.weight @ x + model.layer.bias
        wanted = [torch.tanh(x @ model.forms[:, k] @ x / 8 + layer[k]) for k in range(4)]
        torch.testing.assert_close(found, torch.stack(wanted))


def test_it_begins_as_the_recursive_network():
    torch.manual_seed(1)
    model, parts = CHAPTER["RNTN"](9), torch.randn(3, 50)
    torch.testing.assert_close(model.combine(parts), CHAPTER["RNN"].combine(model, parts))


def test_left_and_right_are_told_apart():
    model = tensor_network()
    one, other = (CHAPTER["read"](model, t)[-1] for t in (pair(*SOME[:2]), pair(*SOME[1::-1])))
    assert not torch.allclose(one, other)


@given(st.lists(TREES, min_size=1, max_size=4))
@settings(max_examples=25, deadline=None)
def test_levels_give_what_the_recursion_gives(trees):
    model = tensor_network()
    batch = CHAPTER["batch_of"]([CHAPTER["flat"](tree) for tree in trees])
    wanted = torch.stack([v for tree in trees for v in CHAPTER["read"](model, tree)])
    torch.testing.assert_close(CHAPTER["vectors"](model, batch), wanted, atol=1e-5, rtol=1e-4)
    nodes = [node for tree in trees for node in tree.nodes()]
    assert batch.labels.tolist() == [node.label for node in nodes]
    assert batch.length.tolist() == [len(node.words) for node in nodes]
    assert [nodes[n] for n in batch.roots.tolist()] == trees


@given(st.lists(TREES, min_size=1, max_size=4))
@settings(max_examples=25, deadline=None)
def test_the_bag_is_the_mean_of_the_words(trees):
    model = tensor_network()
    batch = CHAPTER["batch_of"]([CHAPTER["flat"](tree) for tree in trees])
    nodes = [node for tree in trees for node in tree.nodes()]
    numbers = [[TABLE.get(word, 0) for word in node.words] for node in nodes]
    wanted = torch.stack([model.word.weight[n].mean(0) for n in numbers])
    torch.testing.assert_close(CHAPTER["means"](model, batch), wanted, atol=1e-5, rtol=1e-4)
    total = wanted * batch.length[:, None]
    torch.testing.assert_close(CHAPTER["sums"](model, batch), total, atol=1e-5, rtol=1e-4)
    deep = model.combine(torch.cat([wanted, wanted], 1))
    torch.testing.assert_close(CHAPTER["deep_means"](model, batch), deep, atol=1e-5, rtol=1e-4)


def test_all_nodes_are_learned():
    chapter = with_globals(fresh(SOME))
    torch.manual_seed(0)
    model = chapter["train"](SOME * 20, rate=1e-2, epochs=20)
    assert all(all(tree) for tree in chapter["right"](model, SOME))


# --- other trees ---


@given(TREES)
@settings(max_examples=40, deadline=None)
def test_wrong_trees_keep_words_their_labels_and_that_of_the_sentence(tree):
    for name in ("sparse", "chain", "balanced"):
        changed = CHAPTER[name](tree)
        words = [(node.word, node.label) for node in changed.nodes() if node.word]
        if tree.word:
            assert changed == tree
            continue
        assert words == [(node.word, node.label) for node in tree.nodes() if node.word]
        inner = [node.label for node in changed.nodes() if not node.word]
        assert inner == [-1] * (len(inner) - 1) + [tree.label]


def test_the_shapes_of_wrong_trees():
    words = [leaf(word) for word in ("the", "film", "good", "bad")]
    tree = pair(words[0], pair(words[1], pair(words[2], words[3])), 4)
    assert str(CHAPTER["sparse"](tree)) == "(4 (2 the) (-1 (2 film) (-1 (2 good) (2 bad))))"
    assert str(CHAPTER["chain"](tree)) == "(4 (-1 (-1 (2 the) (2 film)) (2 good)) (2 bad))"
    assert str(CHAPTER["balanced"](tree)) == "(4 (-1 (2 the) (2 film)) (-1 (2 good) (2 bad)))"


@given(TREES)
@settings(max_examples=40, deadline=None)
def test_shuffled_words_stay_in_the_same_tree(tree):
    mixed = CHAPTER["shuffled"](tree, np.random.default_rng(0))
    assert sorted(mixed.words) == sorted(tree.words)
    assert [n.label for n in mixed.nodes()] == [n.label for n in tree.nodes()]
    np.testing.assert_array_equal(CHAPTER["flat"](mixed)[1:], CHAPTER["flat"](tree)[1:])


def test_words_are_shuffled():
    tree = SOME[1]
    assert any(CHAPTER["shuffled"](tree, np.random.default_rng(n)).words != tree.words for n in range(3))


# --- scores, negations, rivals ---


def test_neutral_nodes_count_for_five_classes_only():
    found = torch.eye(5)[[4, 3, 2, 2, 1]] * 0.6 + torch.tensor([0.1, 0.05, 0.0, 0.0, 0.0])
    found[2, 3] = 0.5  # a neutral node that leans upwards
    labels, roots = torch.tensor([3, 3, 2, 0, 0]), torch.tensor([1, 4])
    scores = CHAPTER["scores"](found, labels, roots)
    assert scores["all"] == pytest.approx(40) and scores["root"] == pytest.approx(50)
    assert scores["binary all"] == pytest.approx(100) and scores["binary root"] == pytest.approx(100)
    assert CHAPTER["scores"](found, torch.tensor([-1, 3, 2, -1, 0]), roots)["all"] == pytest.approx(200 / 3)


def test_negated_phrases_are_those_that_a_negation_moves():
    lowered = pair(leaf("Not", 1), leaf("good", 3), 1)
    long = pair(pair(leaf("does"), leaf("n't")), pair(leaf("good", 4), leaf("film"), 4), 3)
    raised = pair(leaf("never"), leaf("bad", 0), 2)
    others = [
        pair(leaf("not", 1), leaf("good", 3), 3),
        pair(leaf("not", 1), leaf("film"), 1),
        pair(leaf("also"), leaf("good", 3), 2),
        pair(leaf("good", 3), leaf("not", 1), 1),
        pair(leaf("not", 1), leaf("bad", 1), 0),
        pair(pair(leaf("the"), pair(leaf("film"), pair(leaf("is"), leaf("not")))), leaf("good", 3), 1),
    ]
    trees = [pair(leaf("the"), lowered, 1), long, raised, *others]
    assert list(CHAPTER["negated"](trees, True)) == [lowered, long]
    assert list(CHAPTER["negated"](trees, False)) == [raised]


def test_neutral_words_stand_where_negations_stood():
    tree = pair(pair(leaf("does"), leaf("N't")), leaf("good"))
    assert CHAPTER["instead"](tree, "also").words == ["does", "also", "good"]


def test_rises_are_from_the_right_part_to_the_whole():
    model = tensor_network()
    nodes = [SOME[0], SOME[1]]
    with torch.no_grad():
        found = [
            [float(model.classify(CHAPTER["read"](model, t)[-1]).softmax(0) @ torch.arange(5.0)) for t in (n, n.right)]
            for n in nodes
        ]
    wanted = [whole - part for whole, part in found]
    np.testing.assert_allclose(CHAPTER["rise"](model, CHAPTER["vectors"], nodes), wanted, atol=1e-5)


def test_shares_of_negations_are_counted_in_the_right_direction():
    lowered, raised = pair(leaf("not", 1), leaf("good", 3), 1), pair(leaf("not", 1), leaf("bad", 1), 2)
    chapter = with_globals(fresh([lowered, raised]))
    chapter["negation"].__globals__["rise"] = lambda model, reader, nodes: np.array(
        [-0.5 if "not" in node.words else -0.2 for node in nodes]
    )
    shares = chapter["negation"](None, None)
    assert shares["positive"] == shares["positive, neutral"] == shares["positive, beyond"] == 100
    assert shares["negative"] == shares["negative, neutral"] == shares["negative, beyond"] == 0


def test_texts_of_phrases_come_in_the_order_of_the_nodes():
    tree = SOME[1]
    assert CHAPTER["texts"](tree) == [" ".join(node.words) for node in tree.nodes()]


def test_naive_bayes_chooses_on_validation():
    chapter = fresh()
    positive, negative = pair(leaf("the"), leaf("good", 3), 3), pair(leaf("the"), leaf("bad", 1), 1)
    turned = [t._replace(label=4 - t.label) for t in (positive, negative)]
    bank = sentiment_trees.Treebank((positive, negative) * 5, (positive, negative), tuple(turned), stand_in=True)
    with_globals(chapter | {"bank": bank, "training": bank.training})
    found = chapter["bayes"](1, smoothings=(0.1,))
    assert found["root"] == 0 and found["all"] == pytest.approx(200 / 3)
    given = iter((50.0, 90.0, 60.0, 10.0))  # validation and test, of all phrases and of sentences
    chapter["bayes"].__globals__.update(scores=lambda *_: {"root": next(given)})
    assert chapter["bayes"](1, smoothings=(0.1,)) == {"root": 10.0}


# --- runs ---


def test_the_epoch_is_chosen_on_validation_sentences():
    chapter = with_globals(fresh(SOME * 4))
    seen, shares = [], iter((30.0, 50.0, 40.0))

    def chances(model, reader, rows):
        seen.append((rows, {name: value.clone() for name, value in model.state_dict().items()}))
        return ()

    chapter["fit"].__globals__.update(chances=chances, scores=lambda *_: {"root": next(shares)})
    model, best = chapter["fit"]("RNN", 1e-2, 0.01, 3, batch_size=4)
    assert best == 50 and all(rows is chapter["rows_of"]("RNN", "validation") for rows, _ in seen)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, seen[1][1][name])


def test_rates_and_decays_are_chosen_by_trials(monkeypatch):
    chapter, seen = with_globals(fresh(SOME)), []

    def each(function, numbers, kind, rate, decay, epochs):
        seen.append((function.__name__, tuple(numbers)))
        lucky = {1000: 0.1, 1001: 0.3}  # each seed has a rate with which it does well by chance
        return [-abs(rate - 0.2) - abs(decay - 0.1) + 0.15 * (lucky[number] == rate) for number in numbers]

    monkeypatch.setattr(chapter["seeds"], "each", each)
    assert chapter["chosen"]("RNN", (0.1, 0.2, 0.3), (0.01, 0.1, 0.2), 2, (1000, 1001)) == (0.2, 0.1)
    assert set(seen) == {("trial", (1000, 1001))} and len(seen) == 3 + 2
    assert chapter["chosen"]("RNN", (0.1, 0.2, 0.3), (0.01, 0.1, 0.2), 2, (1000,)) == (0.1, 0.1)
    assert chapter["chosen"]("RNN", (0.3,), (0.01,), 2, ()) == (0.3, 0.01)


def test_a_ladder_goes_on_where_its_end_is_best_and_ends_where_all_are_alike():
    climb = definitions.of_chapter("sentiment_trees")["climb"]
    assert climb((0.01, 0.1), lambda x: -abs(x - 10)) == 10
    assert climb((0.01, 0.1), lambda x: -x) == 0.01
    assert climb((0.01, 0.1), lambda x: 1) == 0.01


@pytest.mark.parametrize("kind", ["RNN", "RNTN", "bag", "deep bag", "sum", "sparse", "chain", "balanced"])
def test_runs_give_what_is_recorded(kind):
    chapter = with_globals(fresh([*SOME, pair(leaf("not", 1), leaf("bad", 1), 2)]))
    found = chapter["run"](kind, 1e-2, 0.01, 1, 0)
    assert {"root", "all", "binary root", "binary all", "validation", "classes"} <= set(found)
    assert len(found["classes"]) == sum(row.shape[1] for row in chapter["rows_of"](kind, "test"))
    assert ("shuffled" in found) == ("negative, beyond" in found) == (kind not in ("sparse", "chain", "balanced"))


@pytest.mark.parametrize("number", range(4))
def test_the_exercises_run(number):
    chapter = fresh(SOME * 5)
    torch.manual_seed(0)
    with_globals(chapter)
    chapter["plain"] = chapter["train"](SOME, epochs=1)
    exercises.execute("sentiment_trees", number, chapter)
