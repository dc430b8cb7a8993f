"""The loader of word problems; real files are read from the mirror folder only."""

import os

import pytest

from utils import datasets
from utils.datasets import word_problems

pytestmark = pytest.mark.usefixtures("empty_cache")
needs_mirror = pytest.mark.skipif(not os.environ.get("WALKTHROUGHS_MIRROR"), reason="WALKTHROUGHS_MIRROR is not set")
HEAD = "Question,Numbers,Equation,Answer,group_nums,Body,Ques_Statement\n"
ROW = '"Ann has number0 hats and number1 Kites . How many ?",7 2.5,+ number0 number1,9.5,[],"Ann , .",How many ?\n'


def parse(text, fold=0):
    return word_problems.parse(text, "some.csv", fold)


def sound(found: word_problems.WordProblems) -> None:
    """What holds for the problems, real or not."""
    assert (len(found.mawps), len(found.asdiv), len(found.svamp)) == (1920, 1217, 1000)
    for problem in (*found.mawps, *found.asdiv, *found.svamp):
        assert problem.text == problem.text.lower() and problem.numbers and 0 <= problem.fold < 5
        word_problems.check(problem.equation, len(problem.numbers))
    assert {p.fold for p in found.mawps} == {p.fold for p in found.asdiv} == set(range(5))


@needs_mirror
def test_the_real_problems():
    found = word_problems.load()
    sound(found)
    assert not found.stand_in and datasets.loaded["math-word-problems"] == "real"
    texts = {problem.text for problem in found.mawps}
    assert len(texts) == 1500 and len({problem.text for problem in found.asdiv}) == 1217  # the card's counts
    assert len(texts & {problem.text for problem in found.asdiv}) == 136
    for fold, count in enumerate((128, 110, 112, 118, 114)):  # test problems that stand in the training part
        known = {problem.text for problem in found.mawps if problem.fold != fold}
        assert sum(problem.text in known for problem in found.mawps if problem.fold == fold) >= count
    assert sum(not problem.body for problem in found.mawps) == 8
    one = [sum(p.operations == 1 for p in problems) for problems in (found.mawps, found.asdiv, found.svamp)]
    assert one == [1133, 939, 762]


def test_the_stand_in_is_announced_always_the_same_and_repeats_itself(offline, capsys):
    found = word_problems.load()
    sound(found)
    assert found.stand_in and "STAND-IN DATA for math-word-problems" in capsys.readouterr().out
    assert found.mawps == word_problems.generated().mawps
    assert len({problem.text for problem in found.mawps}) < 1600
    assert "stand-in" in datasets.card("math-word-problems").facts


def test_a_row_becomes_a_problem():
    (problem,) = parse(HEAD + ROW, fold=3)
    assert problem.text == "ann has number0 hats and number1 kites . how many ?"
    assert problem.body == "ann , ." and problem.question == "how many ?"
    assert problem.equation == ("+", "number0", "number1") and problem.numbers == (7.0, 2.5)
    assert problem.answer == 9.5 and problem.fold == 3 and problem.operations == 1


@pytest.mark.parametrize("change", [lambda t: "\ufeff" + t, lambda t: t.replace("\n", "\r\n"), lambda t: t + "\n\n"])
def test_byte_order_mark_windows_line_ends_and_empty_lines_do_no_harm(change):
    assert parse(change(HEAD + ROW)) == parse(HEAD + ROW)


def test_the_question_has_another_name_in_svamp():
    assert parse((HEAD + ROW).replace("Ques_Statement", "Ques")) == parse(HEAD + ROW)


@pytest.mark.parametrize(("text", "words"), [("", "empty"), (HEAD, "holds no problem"), ("\n", "empty")])
def test_an_empty_file_is_refused(text, words):
    with pytest.raises(datasets.BadFile, match=words):
        parse(text)


def test_a_missing_column_is_named():
    with pytest.raises(datasets.BadFile, match="lacks the columns Equation, Body"):
        parse(HEAD.replace("Equation,", "").replace("Body,", "") + ROW)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("+ number0 number1", "+ number0", "not an equation in prefix order"),
        ("+ number0 number1", "+ number0 number1 number1", "not an equation in prefix order"),
        ("+ number0 number1", "number0 + number1", "not an equation in prefix order"),
        ("+ number0 number1", "", "not an equation in prefix order"),
        ("+ number0 number1", "+ number0 number2", "number2 in the equation, and 2 numbers"),
        ("+ number0 number1", "+ number0 number-1", "number-1 in the equation"),
        ("+ number0 number1", "+ number0 two", "could not convert"),
        ("7 2.5", "7 x", "could not convert"),
        ("7 2.5", "7 nan", "not finite"),
        ("7 2.5", "7 inf", "not finite"),
        (",9.5,", ",,", "could not convert"),
        ("Ann has number0 hats and number1 Kites . How many ?", " ", "no text"),
    ],
)
def test_a_row_that_is_wrong_is_named(old, new, words):
    with pytest.raises(datasets.BadFile, match=f"problem 2: .*{words}"):
        parse(HEAD + ROW + ROW.replace(old, new, 1))


def test_a_row_that_is_cut_off_is_refused():
    with pytest.raises(datasets.BadFile, match="problem 1"):
        parse(HEAD + ROW[:60])


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / "some.csv").write_bytes(HEAD.encode() + b"\xff\xfe")
    with pytest.raises(datasets.BadFile, match="not UTF-8"):
        datasets.read_text(tmp_path / "some.csv")
