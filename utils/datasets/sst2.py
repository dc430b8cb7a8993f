"""Sentences of film reviews with two labels: the Stanford Sentiment Treebank, whole sentences.
Stand-in: sentences of made-up words, some of them good or bad, some turned round by a negation."""

from dataclasses import dataclass

import numpy as np

from .errors import BadFile
from .files import path
from .provenance import real_or_stand_in
from .text import read_text

PARTS = {"train": "train", "validation": "dev", "test": "test"}  # our name -> the file's


@dataclass(frozen=True)
class Sentence:
    """One review sentence: its words, in lower case as in the file, and 1 if it is positive, else 0."""

    words: tuple[str, ...]
    label: int


@dataclass(frozen=True, eq=False)
class Sentences:
    """The three parts of the set; `stand_in` tells generated sentences from real ones."""

    train: tuple[Sentence, ...]
    validation: tuple[Sentence, ...]
    test: tuple[Sentence, ...]
    stand_in: bool


def load() -> Sentences:
    """Load the sentences (6920, 872 and 1821), or 600, 150 and 150 generated ones when the files are out of
    reach. Raises any DataError but Unreachable; BadFile for a line without words or with another label."""
    return real_or_stand_in("sst2", _of_files, generated)


def _of_files() -> Sentences:
    return Sentences(**{part: _read(f"sst2/sentence-{name}.tsv") for part, name in PARTS.items()}, stand_in=False)


def _read(name: str) -> tuple[Sentence, ...]:
    lines = read_text(path(name), name).rstrip("\n").split("\n")
    return tuple(parse(line, name, number) for number, line in enumerate(lines, 1))


def parse(line: str, name: str = "sst2", number: int = 1) -> Sentence:
    """A sentence from a line `words<tab>label`; a byte order mark before it is dropped.
    Raises BadFile, which names the file and the line."""
    text, _, label = line.removeprefix("\ufeff").rpartition("\t")
    if not text.split() or label.strip() not in ("0", "1"):
        what = f"line {number} is not a sentence, a tab and the label 0 or 1: {line[:60]!r}"
        raise BadFile(name, what, name, "fetch the file again")
    return Sentence(tuple(text.split()), int(label))


def generated() -> Sentences:
    """The stand-in: 3 to 20 words out of 40 good, 40 bad and 200 plain ones; `not` turns the coloured word after it."""
    rng = np.random.default_rng(7)

    def sentence() -> Sentence:
        words = [f"plain{w}" for w in rng.integers(200, size=rng.integers(3, 21))]
        good, turned, place = rng.integers(2), rng.integers(2), rng.integers(1, len(words))
        words[place] = f"{'good' if good else 'bad'}{rng.integers(40)}"
        words[place - 1] = "not" if turned else words[place - 1]
        return Sentence(tuple(words), int(good ^ turned))

    sizes = {"train": 600, "validation": 150, "test": 150}
    return Sentences(**{part: tuple(sentence() for _ in range(size)) for part, size in sizes.items()}, stand_in=True)
