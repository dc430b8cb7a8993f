"""The definitions of the chapter on word problems: equations, folds, networks, rivals, views, and bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.datasets import word_problems
from utils.tools import definitions, exercises

CHAPTER = definitions.of_chapter("word_problems")
CHAPTER["DEVICE"] = "cpu"
STAND_IN = word_problems.generated()
FEW = word_problems.WordProblems(STAND_IN.mawps[::24], STAND_IN.asdiv[::24], STAND_IN.svamp[::40], stand_in=True)


def problem(text="ann had number0 hats and lost number1 .", equation="- number0 number1", numbers=(9.0, 4.0), fold=0):
    answer = CHAPTER["value"](equation.split(), numbers)
    return word_problems.Problem(text, text, "how many ?", tuple(equation.split()), numbers, answer, fold)


def fresh(found=FEW):
    """The chapter's definitions with a few generated problems."""
    chapter = definitions.of_chapter("word_problems")
    chapter |= {"DEVICE": "cpu", "problems": found, "settings": {"every": 1, "plain_epochs": 1}}
    return chapter


@pytest.fixture(scope="module")
def small():
    """Definitions, and a network that was trained a little."""
    chapter = fresh()
    learn, tests = chapter["parts"](0)
    torch.manual_seed(0)
    return chapter, learn, tests, chapter["train"](learn, epochs=1)


# --- equations ---


@pytest.mark.parametrize(
    ("equation", "wanted"),
    [
        ("- number0 number1", 5.0),
        ("- number1 number0", -5.0),
        ("/ number0 number1", 2.25),
        ("* 0.5 + number0 number1", 6.5),
        ("- - number0 number1 2", 3.0),
        ("- number0 - number1 2", 7.0),
        ("number1", 4.0),
    ],
)
def test_equations_in_prefix_order_have_a_value(equation, wanted):
    assert CHAPTER["value"](equation.split(), (9.0, 4.0)) == wanted


@pytest.mark.parametrize(
    "equation", ["", "-", "- number0", "number0 number1", "/ number0 0", "+ number0 number2", "+ 1 x"]
)
def test_what_is_no_equation_has_no_value(equation):
    assert CHAPTER["value"](equation.split(), (9.0, 4.0)) is None
    assert not CHAPTER["solves"](equation.split(), problem())


TREES = st.recursive(
    st.integers(0, 2).map(lambda n: [f"number{n}"]) | st.sampled_from(["2.0", "0.5"]).map(lambda c: [c]),
    lambda inner: st.tuples(st.sampled_from("+-*"), inner, inner).map(lambda t: [t[0], *t[1], *t[2]]),
    max_leaves=8,
)


def infix(tokens):
    token = next(tokens)
    return f"({infix(tokens)} {token} {infix(tokens)})" if token in "+-*" else token.replace("number", "n")


@given(TREES)
@settings(max_examples=60, deadline=None)
def test_values_are_those_of_python(tokens):
    numbers = {"n0": 3.0, "n1": 5.0, "n2": 7.0}
    parts = iter(tokens)
    token = next(parts)
    if token in "+-*":
        left = infix(parts)
        text = f"({left} {token} {infix(parts)})"
    else:
        text = token.replace("number", "n")
    assert math.isclose(CHAPTER["value"](tokens, (3.0, 5.0, 7.0)), eval(text, numbers))


def test_answers_may_be_off_by_a_tenth_of_a_percent():
    third = problem(equation="/ number0 number1", numbers=(1.0, 3.0))._replace(answer=0.3333)
    assert CHAPTER["solves"](third.equation, third)
    assert not CHAPTER["solves"](third.equation, third._replace(answer=0.333 * 1.01))
    assert CHAPTER["solves"](("+", "number1", "number0"), problem(equation="+ number0 number1"))  # in another order


# --- parts ---


@pytest.mark.parametrize("fold", range(5))
def test_nothing_is_learned_that_stands_in_a_test(fold):
    learn, tests = fresh(STAND_IN)["parts"](fold)
    texts = {CHAPTER["bare"](p.text) for test in tests.values() for p in test}
    assert learn and not any(CHAPTER["bare"](p.text) in texts for p in learn)
    assert {p.fold for p in tests["mawps"]} == {p.fold for p in tests["asdiv"]} == {fold}
    assert all(p.fold != fold for p in learn)


def test_repeats_of_mawps_are_left_in_when_asked_and_no_others():
    chapter = fresh(STAND_IN)
    clean, tests = chapter["parts"](1)
    every, same = chapter["parts"](1, repeats=True)
    assert same == tests and len(every) > len(clean)
    mawps = {p.text for p in tests["mawps"]}
    extra = [p for p in every if p not in set(clean)]
    assert all(p.text in mawps for p in extra) and set(extra) <= set(STAND_IN.mawps)
    others = {p.text for name in ("asdiv", "svamp") for p in tests[name]}
    assert not any(p.text in others for p in every)


@pytest.mark.parametrize(
    "text",
    ["ann 's hats , ben 's", "ann's hats ben's .", "ann ' s hats , ben’s", "ann’ s hats, ben 's ?", "anns hats bens"],
)
def test_only_words_tell_texts_apart(text):
    assert CHAPTER["bare"](text) == "anns hats bens"
    assert CHAPTER["apart"]([problem(text)], [problem("anns hats , bens")]) == []
    assert CHAPTER["bare"]("ann is here , so so") == "ann is here so so"


def test_masks_are_words():
    known, asked = problem("number0 and number1"), problem("number1 and number0")
    assert CHAPTER["apart"]([known], [asked]) == [known]


# --- networks ---


@given(st.integers(1, 200), st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_batches_hold_each_row_once_and_like_lengths_together(count, size):
    lengths = torch.randint(1, 50, (count,))
    found = CHAPTER["batches"](lengths, size)
    assert torch.cat(found).sort().values.tolist() == list(range(count))
    assert len(found) == -(-count // size) and all(len(rows) <= size for rows in found)
    for rows in found:
        assert lengths[rows].tolist() == sorted(lengths[rows].tolist())


def test_batches_come_in_another_order_each_time():
    lengths = torch.arange(64)
    assert [b.tolist() for b in CHAPTER["batches"](lengths, 4)] != [b.tolist() for b in CHAPTER["batches"](lengths, 4)]


def test_rows_are_filled_and_unknown_words_and_empty_texts_are_unknown():
    table = CHAPTER["table_of"]([["a", "b"], ["a", "c"]], least=2)
    assert table == {"a": 4}
    rows = CHAPTER["numbered"]([["a", "b", "a"], []], table)
    assert rows.tolist() == [[4, 3, 4], [3, 0, 0]]
    ends = CHAPTER["numbered"]([["a"]], table, ends=True)
    assert ends.tolist() == [[1, 4, 2]]
    assert CHAPTER["trimmed"](torch.tensor([[4, 0, 0], [4, 5, 0]])).tolist() == [[4, 0], [4, 5]]


@pytest.mark.parametrize("kind", ["attention", "one vector", "body"])
def test_a_problem_has_the_same_scores_alone_and_in_a_batch(kind):
    torch.manual_seed(0)
    model = CHAPTER["untrained"](9, 8, kind).eval()
    text, tokens = torch.randint(4, 9, (3, 6)), torch.randint(4, 8, (3, 4))
    text[1, 3:] = 0
    batch = model(text, tokens)
    assert batch.shape == (3, 4, 8)
    torch.testing.assert_close(model(text[1:2, :3], tokens[1:2]), batch[1:2], atol=1e-5, rtol=1e-4)


def test_what_the_kinds_of_networks_see():
    torch.manual_seed(0)
    text, tokens = torch.tensor([[4, 5, 6, 7]]), torch.tensor([[1, 4]])
    turned = text.flip(1)
    for kind in ("attention", "one vector"):
        model = CHAPTER["untrained"](9, 8, kind).eval()
        assert not torch.allclose(model(text, tokens), model(turned, tokens), atol=1e-5), kind
    looks, blind = (CHAPTER["untrained"](9, 8, kind).eval() for kind in ("attention", "one vector"))
    states, there, mean = blind.reader(text)
    torch.testing.assert_close(mean, states.mean(1))
    told = torch.cat([blind.tokens(tokens[:, 0]), mean], 1)
    state = blind.cell(told, blind.begin(mean).tanh())
    wanted = blind.out(torch.cat([state, mean], 1))
    torch.testing.assert_close(blind(text, tokens)[:, 0], wanted)
    weights = looks.attend(torch.rand(1, 64), states, there)
    torch.testing.assert_close(weights.sum(1), torch.ones(1))


def test_later_tokens_do_not_change_earlier_scores():
    torch.manual_seed(0)
    model = CHAPTER["Solver"](9, 8).eval()
    text, tokens = torch.randint(4, 9, (2, 5)), torch.randint(4, 8, (2, 4))
    changed = tokens.clone()
    changed[:, 2:] = 7
    torch.testing.assert_close(model(text, tokens)[:, :2], model(text, changed)[:, :2])


def test_a_few_problems_can_be_learned_by_heart():
    chapter = fresh()
    three = [
        problem(),
        problem("ben gets number0 and number1 .", "+ number0 number1"),
        problem("ten of number0 to number1 .", "* number0 number1"),
    ]
    torch.manual_seed(0)
    solver = chapter["train"](three * 20, epochs=12, rate=1e-2)
    assert chapter["solved"](chapter["equations"](solver, [p.text for p in three]), three).all()


def test_what_learns_without_questions_reads_bodies():
    chapter = fresh()
    learn = [problem()._replace(body="only words of the body")] * 4
    _, words, _ = chapter["train"](learn, epochs=1, kind="body")
    assert set(words) == set(["only", "words", "of", "the", "body"])


def test_written_equations_have_neither_start_nor_fill_and_end(small):
    chapter, _, tests, (model, words, tokens) = small
    text = chapter["numbered"]([p.text.split() for p in tests["svamp"]], words)
    for writer in ("write", "write_fast"):
        rows = chapter[writer](model, text)
        assert rows.shape[1] <= chapter["LONGEST"] and not torch.isin(rows, torch.tensor([0, 1, 3])).any()
    solver = model, words, tokens
    for equation in chapter["equations"](solver, [p.text for p in tests["svamp"]]):
        assert "END" not in equation and all(token in tokens for token in equation)


@given(st.integers(0, 100))
@settings(max_examples=8, deadline=None)
def test_the_fast_writer_writes_the_same(seed):
    torch.manual_seed(seed)
    model, text = CHAPTER["Solver"](9, 9).eval(), torch.randint(4, 9, (5, 6))
    text[2, 2:] = 0
    plain, fast = CHAPTER["write"](model, text), CHAPTER["write_fast"](model, text)
    assert torch.equal(plain, fast)


def test_what_is_watched_is_what_is_written(small):
    chapter, _, tests, solver = small
    for p in tests["svamp"][:5]:
        written, weights = chapter["watched"](solver, p.text)
        assert written == chapter["equations"](solver, [p.text])[0]
        assert len(weights) == len(written)
        if written:
            assert weights.shape[1] == len(p.text.split())
            np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-4)


# --- rivals and views ---


def test_the_nearest_problem_has_as_many_numbers():
    known = [
        problem("a cat sat on number0 mats", "number0", (2.0,)),
        problem("dogs ran number0 to number1", "+ number0 number1"),
    ]
    asked = [problem("a cat sat on number0 mats and number1", "- number0 number1")]
    given, alike = CHAPTER["nearest"](known, asked, 1)
    assert given == [("+", "number0", "number1")] and 0 < alike[0] < 1
    fewer = [problem("dogs ran number0 to the cat", "number0", (2.0,))]  # nearest to one of two numbers
    assert CHAPTER["nearest"](known, fewer, 1)[0] == [("number0",)]
    given, alike = CHAPTER["nearest"](known, known, 3)
    assert given == [p.equation for p in known]
    np.testing.assert_allclose(alike, 1)


def test_longer_runs_of_words_tell_orders_apart():
    known = [problem("number0 less number1", "- number0 number1"), problem("number1 less number0", "- number1 number0")]
    for n, p in enumerate(known):
        given, alike = CHAPTER["nearest"](known, [p], 2)
        assert given == [known[n].equation] and alike[0] > 0.99
    _, alike = CHAPTER["nearest"](known[:1], known[1:], 1)
    assert alike[0] > 0.99  # words alone are the same


def test_the_commonest_equation_is_that_of_as_many_numbers():
    learn = (
        [problem()] * 3
        + [problem(equation="+ number0 number1")]
        + [problem("number0 twice", "* number0 2", (3.0,))] * 2
    )
    asked = [
        problem(),
        problem("so number0", "number0", (1.0,)),
        problem("number0 number1 number2", "number0", (1.0, 2.0, 3.0)),
    ]
    given = CHAPTER["commonest"](learn, asked)
    assert given == [("-", "number0", "number1"), ("*", "number0", "2"), ("-", "number0", "number1")]


def test_the_linear_model_gives_equations_of_as_many_numbers():
    known = [
        problem("cats sat on number0 mats", "number0", (2.0,)),
        problem("dogs ran number0 to number1", "+ number0 number1"),
        problem("dogs lost number0 of number1", "- number1 number0"),
        problem("number0 and number1 and number2 hats", "+ number0 + number1 number2", (1.0, 2.0, 3.0)),
    ]
    asked = [
        problem("cats sat on number0 mats", "number0", (2.0,)),
        problem("cats sat on number0 mats and ran", "+ number0 number1"),
        problem("number0 and number1 and number2 hats", "number0"),
        problem("cats sat on number0 mats", "number0", (1.0, 2.0, 3.0, 4.0)),
    ]
    given, scores = CHAPTER["linear"](known, asked)
    assert given[0] == ["number0"] and given[1] == ["+", "number0", "number1"]
    assert len(given[2]) == 3 and len(scores) == 4
    assert given[3] == ["number0"]  # none has as many: all are allowed
    given, _ = CHAPTER["linear"](known, known, 2, 10.0)
    assert [tuple(e) for e in given] == [p.equation for p in known]


def test_single_words_do_not_tell_orders_apart_and_runs_do():
    known = [problem("number0 less number1", "- number0 number1"), problem("number1 less number0", "- number1 number0")]
    known += [problem("number0 and number1", "+ number0 number1")]
    alone, _ = CHAPTER["linear"](known, known[:2], 1)
    runs, _ = CHAPTER["linear"](known, known[:2], 2)
    assert alone[0] == alone[1] and runs == [list(p.equation) for p in known[:2]]


def test_the_length_of_runs_is_chosen_without_the_test():
    chapter = fresh(STAND_IN)
    seen = []

    def nearest(known, held, grams=3, texts=None):
        seen.append((known, held, grams))
        return [p.equation if grams == 2 else ("0",) for p in held], None

    assert chapter["best_choice"](0, nearest, [(1,), (2,), (3,)]) == (2,)
    for known, held, _ in seen:
        assert {p.fold for p in held} == {1} and {p.fold for p in known} == {2, 3, 4}
        bare = chapter["bare"]
        assert not {bare(p.text) for p in known} & {bare(p.text) for p in held}


def test_as_many_problems_are_left_out_as_asked():
    some = [problem(fold=n) for n in range(10)]
    assert len(CHAPTER["thinned"](some, 3, 0)) == 7
    assert CHAPTER["thinned"](some, 3, 0) != CHAPTER["thinned"](some, 3, 1)


@given(st.sampled_from(STAND_IN.svamp))
@settings(max_examples=30, deadline=None)
def test_a_renamed_problem_has_the_same_answer(found):
    turned = CHAPTER["renamed"](found)
    assert CHAPTER["solves"](turned.equation, turned)
    assert sorted(turned.text.split()) == sorted(found.text.split()) and turned.numbers == found.numbers[::-1]
    assert CHAPTER["renamed"](turned) == found


def test_views_take_away_or_turn_what_they_say(small):
    chapter, _, tests, _ = small
    views = {view: (seen, texts) for view, seen, texts in chapter["views"](tests["mawps"], 0)}
    assert list(views) == ["whole", "body", "question", "shuffled", "renamed"]
    for p, text, body, question in zip(
        tests["mawps"], *(views[v][1] for v in ("shuffled", "body", "question")), strict=True
    ):
        assert sorted(text.split()) == sorted(p.text.split())
        assert body == p.body and question == p.question and body != p.text
    assert views["shuffled"][1] != views["whole"][1]


# --- runs ---


def test_the_rate_is_chosen_on_validation_problems(monkeypatch):
    chapter, seen = fresh(), []

    def each(function, seeds, kind, rate, epochs, label=""):
        seen.append((function.__name__, tuple(seeds)))
        return [1 - abs(rate - (0.2 if kind == "one vector" else 0.1)), 0.5]

    monkeypatch.setattr(chapter["seeds"], "each", each)
    assert (
        chapter["best_rate"]("one vector", (0.1, 0.2), 1) == 0.2 and chapter["best_rate"]("body", (0.1, 0.2), 1) == 0.1
    )
    assert set(seen) == {("trial", (1000, 1001))} and chapter["best_rate"]("one vector", (0.3,), 1) == 0.3


def test_trials_learn_from_three_folds_and_are_judged_on_another():
    chapter, seen = fresh(STAND_IN), []

    def train(learn, rate, epochs, kind):
        seen.append(learn)
        raise StopIteration

    chapter["trial"].__globals__["train"] = train
    with pytest.raises(StopIteration):
        chapter["trial"]("attention", 0.1, 1, 1000)
    (learn,) = seen
    assert (
        {p.fold for p in learn} == {2, 3, 4} and set(learn) & set(STAND_IN.mawps) and set(learn) & set(STAND_IN.asdiv)
    )
    assert not {p.text for p in learn} & {p.text for p in (*STAND_IN.mawps, *STAND_IN.asdiv) if p.fold < 2}


def test_spare_numbers_are_those_of_no_operand():
    masks = CHAPTER["masks"]
    assert masks(("-", "number0", "number12")) == {"number0", "number12"} and masks(("+", "1.0", "2")) == set()


def test_runs_give_what_is_recorded():
    chapter = fresh()
    found = chapter["network_run"]("attention", 4e-3, False, 1, 0)
    views = ("whole", "body", "question", "shuffled", "renamed")
    keys = {f"{name}, {view}" for name in ("mawps", "asdiv", "svamp") for view in views}
    assert set(found) == keys | {f"{key}, spare used" for key in keys}
    rival = chapter["rival_run"]((1, 2), (1.0,), 0)
    rows = ("whole", "repeats", "thinned", "single words", "linear", "commonest", "operations", "spare", "new")
    _, tests = chapter["parts"](0)
    for name, test in tests.items():
        assert all(rival[f"{name}, {row}"].shape == found[f"{name}, whole"].shape == (len(test),) for row in rows)
        needed = [all(f"number{n}" in p.equation for n in range(len(p.numbers))) for p in test]
        assert (~rival[f"{name}, spare"]).tolist() == needed
    assert rival["nearest"] in ((1,), (2,)) and rival["single words"] == (1, 1.0) and rival["linear"][0] in (1, 4)
    bare = chapter["bare"]
    others = {bare(p.text) for p in FEW.mawps if p.fold != 0}
    assert rival["mawps, new"].tolist() == [bare(p.text) not in others for p in tests["mawps"]]


def test_a_number_that_the_right_equation_lacks_is_a_spare_one():
    chapter = fresh(STAND_IN)
    few = chapter["parts"](0, every=40)
    space = chapter["network_run"].__globals__
    space["parts"], space["train"] = lambda *_, **__: few, lambda *_: None
    right = {p.text: p.equation for test in few[1].values() for p in test}
    space["equations"] = lambda solver, texts, writer: [right[t] for t in texts]
    assert not any(chapter["network_run"]("one vector", 1.0, False, 1, 0)["svamp, whole, spare used"])
    space["equations"] = lambda solver, texts, writer: [("number7",) for _ in texts]
    assert all(chapter["network_run"]("one vector", 1.0, False, 1, 0)["svamp, whole, spare used"])


@pytest.mark.parametrize("number", range(4))
def test_the_exercises_run(number, small):
    chapter, learn, tests, solver = small
    after = chapter | {"learn": learn, "tests": tests, "solver": solver}
    exercises.execute("word_problems", number, after)
