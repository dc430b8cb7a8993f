"""English word problems of elementary school with their equations: MAWPS, ASDiv-A and SVAMP, in the files of SVAMP.
Stand-in: stories made of a few patterns, with names and things drawn at random.

Numbers of a text are masked (number0, number1, ...); an equation is in prefix order over these masks and constants."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .errors import BadFile
from .files import path
from .provenance import real_or_stand_in
from .text import read_text

NAME = "math-word-problems"
OPERATIONS = ("+", "-", "*", "/")
MASK = "number"


class Problem(NamedTuple):
    """A word problem.

    *text*: the story and its question, numbers masked, lower case, words apart by blanks; *body*: the text
    without its question, as the file gives it; *question*: the question alone; *equation*: operations, masks
    and constants in prefix order; *numbers*: the value of each mask; *answer*: the one that the file gives;
    *fold*: the published one, 0 to 4, and 0 in SVAMP, which has none.
    """

    text: str
    body: str
    question: str
    equation: tuple[str, ...]
    numbers: tuple[float, ...]
    answer: float
    fold: int

    @property
    def operations(self) -> int:
        """How many operations the equation has."""
        return sum(token in OPERATIONS for token in self.equation)


@dataclass(frozen=True, eq=False)
class WordProblems:
    """The three sets.

    Attributes:
        mawps: 1920 problems in five published folds, which share texts.
        asdiv: the 1217 arithmetic problems of ASDiv, in five published folds.
        svamp: 1000 problems that vary those of ASDiv-A; for tests only.
        stand_in: whether the problems are generated.
    """

    mawps: tuple[Problem, ...]
    asdiv: tuple[Problem, ...]
    svamp: tuple[Problem, ...]
    stand_in: bool


def load() -> WordProblems:
    """Load the problems, or as many generated ones when a file is out of reach.

    Raises:
        DataError: any but Unreachable; BadFile names the file and the row that is wrong.
    """
    return real_or_stand_in(NAME, _of_files, generated)


def _of_files() -> WordProblems:
    def folds(name: str) -> tuple[Problem, ...]:
        files = [f"{NAME}/{name}.fold{fold}.csv" for fold in range(5)]
        return tuple(p for fold, file in enumerate(files) for p in parse(read_text(path(file), file), file, fold))

    svamp = f"{NAME}/svamp.csv"
    return WordProblems(folds("mawps"), folds("asdiv-a"), parse(read_text(path(svamp), svamp), svamp), stand_in=False)


def parse(text: str, file: str, fold: int = 0) -> tuple[Problem, ...]:
    """The problems of a table with the columns Question, Numbers, Equation, Answer, Body and Ques_Statement (or Ques).
    A byte order mark and carriage returns do no harm. Raises BadFile, which names the row."""
    advice, clean = "fetch it again", text.removeprefix("\ufeff").replace("\r\n", "\n")
    table = csv.DictReader(io.StringIO(clean, newline=""))
    columns = list(table.fieldnames or ())
    asked = "Ques" if "Ques" in columns else "Ques_Statement"
    needed = ("Question", "Numbers", "Equation", "Answer", "Body", asked)
    if missing := [name for name in needed if name not in columns]:
        raise BadFile(file, f"lacks the columns {', '.join(missing)}" if columns else "empty", file, advice)
    found = []
    for at, row in enumerate(table, 1):
        try:
            found.append(_problem(row, asked, fold))
        except ValueError as error:
            raise BadFile(file, f"problem {at}: {error}", file, advice) from None
    if not found:
        raise BadFile(file, "holds no problem", file, advice)
    return tuple(found)


def _problem(row: dict[str, str | None], asked: str, fold: int) -> Problem:
    """One row as a problem. Raises ValueError, which says what is wrong."""
    texts = {name: " ".join((row[name] or "").lower().split()) for name in ("Question", "Body", asked)}
    if not texts["Question"]:
        raise ValueError("no text")
    numbers = tuple(float(value) for value in (row["Numbers"] or "").split())
    answer = float(row["Answer"] or "")
    if not np.isfinite([*numbers, answer]).all():
        raise ValueError("a number that is not finite")
    equation = tuple((row["Equation"] or "").split())
    check(equation, len(numbers))
    return Problem(texts["Question"], texts["Body"], texts[asked], equation, numbers, answer, fold)


def check(equation: tuple[str, ...], numbers: int) -> None:
    """Raise ValueError unless the equation is whole, in prefix order, over constants and so many masks."""
    wanted = 1  # operands that are still to come
    for token in equation:
        if not wanted:
            break
        if token in OPERATIONS:
            wanted += 1
            continue
        wanted -= 1
        if token.startswith(MASK):
            index = token.removeprefix(MASK)
            if not index.isdecimal() or int(index) >= numbers:
                raise ValueError(f"{token} in the equation, and {numbers} numbers in the text")
        else:
            float(token)
    else:
        if equation and not wanted:
            return
    raise ValueError(f"not an equation in prefix order: {' '.join(equation)!r}")


NAMES = ("ann", "ben", "carla", "dan", "ella", "finn", "gita", "hugo", "ines", "jack")
THINGS = ("apples", "books", "cards", "dolls", "eggs", "flowers", "games", "hats", "kites", "marbles")
PATTERNS = (  # body, question, equation
    ("{a} has number0 {x} . {b} has number1 {x} .", "how many {x} do they have together ?", "+ number0 number1"),
    ("{a} had number0 {x} and gave number1 to {b} .", "how many {x} does {a} have now ?", "- number0 number1"),
    ("{a} has number0 boxes with number1 {x} each .", "how many {x} does {a} have ?", "* number0 number1"),
    ("{a} shares number0 {x} among number1 friends .", "how many {x} does each friend get ?", "/ number0 number1"),
    ("{a} lost number0 {x} and has number1 left .", "how many {x} did {a} have before ?", "+ number1 number0"),
    (
        "{a} has number0 {x} , {b} has number1 and they sell number2 .",
        "how many {x} are left ?",
        "- + number0 number1 number2",
    ),
    (
        "{a} buys number0 {x} and number1 {y} for number2 coins each .",
        "how many coins does {a} pay ?",
        "* number2 + number0 number1",
    ),
)


def generated() -> WordProblems:
    """The stand-in: patterns filled at random; every fourth problem of MAWPS repeats an earlier text."""
    rng = np.random.default_rng(5)

    def filled(pattern: tuple[str, str, str]) -> tuple[str, str, str]:
        a, b = rng.choice(NAMES, 2, replace=False)
        x, y = rng.choice(THINGS, 2, replace=False)
        body, question, equation = (part.format(a=a, b=b, x=x, y=y) for part in pattern)
        return body, question, equation

    def problems(count: int, repeats: bool = False) -> tuple[Problem, ...]:
        made: list[Problem] = []
        for at in range(count):
            if repeats and at % 4 == 3:
                made.append(made[rng.integers(at)]._replace(fold=at * 5 // count))
                continue
            body, question, prefix = filled(PATTERNS[rng.integers(len(PATTERNS))])
            equation = tuple(prefix.split())
            masks = len({token for token in equation if token.startswith(MASK)})
            numbers = tuple(float(value) for value in np.sort(rng.permutation(np.arange(2, 50))[:masks])[::-1])
            answer = _value(iter(equation), numbers)
            fold = at * 5 // count
            made.append(Problem(f"{body} {question}", body, question, equation, numbers, answer, fold))
        return tuple(made)

    svamp = tuple(problem._replace(fold=0) for problem in problems(1000))
    return WordProblems(problems(1920, repeats=True), problems(1217), svamp, stand_in=True)


def _value(tokens: Iterator[str], numbers: tuple[float, ...]) -> float:
    """The value of an equation that the stand-in made itself."""
    token = next(tokens)
    if token not in OPERATIONS:
        return numbers[int(token.removeprefix(MASK))]
    left, right = _value(tokens, numbers), _value(tokens, numbers)
    return {"+": left + right, "-": left - right, "*": left * right, "/": left / right}[token]
