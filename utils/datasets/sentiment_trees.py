"""The Stanford Sentiment Treebank as trees: sentences of film reviews, each phrase with a sentiment from 0 to 4.
Stand-in: sentences of a small grammar in which negations turn sentiment over and *but* sides with its right part.

A tree is written in brackets, `(3 (2 a) (4 (3 very) (3 good)))`: a label, then a word or two trees."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .errors import BadFile
from .files import path
from .provenance import real_or_stand_in

NAME = "sst-trees"
FILE = "sst-trees/trainDevTestTrees_PTB.zip"
PARTS = {"training": "trees/train.txt", "validation": "trees/dev.txt", "test": "trees/test.txt"}
CLASSES = ("very negative", "negative", "neutral", "positive", "very positive")
TOKEN = re.compile(r"[()]|[^ \t()]+")  # three words of the treebank hold a no-break space


class Tree(NamedTuple):
    """A phrase: a word, or two phrases beside each other.

    *label*: its sentiment, 0 (very negative) to 4 (very positive), 2 is neutral; *word*: the word of a leaf, empty
    in all other nodes; *left*, *right*: the two parts of a phrase, None in a leaf.
    """

    label: int
    word: str = ""
    left: Tree | None = None
    right: Tree | None = None

    def nodes(self) -> Iterator[Tree]:
        """All phrases, parts before their whole; the tree itself comes last."""
        if self.left and self.right:
            yield from self.left.nodes()
            yield from self.right.nodes()
        yield self

    @property
    def words(self) -> list[str]:
        """The words of the phrase, from left to right."""
        return [node.word for node in self.nodes() if node.word]

    def __str__(self) -> str:
        return f"({self.label} {self.word or f'{self.left} {self.right}'})"


@dataclass(frozen=True, eq=False)
class Treebank:
    """Trees in the parts that the files have; *stand_in* says whether they are generated."""

    training: tuple[Tree, ...]
    validation: tuple[Tree, ...]
    test: tuple[Tree, ...]
    stand_in: bool


def load() -> Treebank:
    """Load the trees, or as many generated ones when the file is out of reach.

    Raises:
        DataError: any but Unreachable; BadFile names the part and the line that is wrong.
    """
    return real_or_stand_in(NAME, lambda: read(path(FILE)), generated)


def read(place: Path) -> Treebank:
    """The trees of an archive. Raises BadFile: no whole archive, a part that is missing, not UTF-8 or wrong."""
    texts = {}
    try:
        with zipfile.ZipFile(place) as archive:
            for part, member in PARTS.items():
                texts[part] = archive.read(member).decode("utf-8-sig")
    except (zipfile.BadZipFile, EOFError, KeyError, UnicodeDecodeError) as error:
        raise BadFile(FILE, f"not a whole archive of trees ({error})", str(place), "fetch it again") from error
    return Treebank(**{part: parse(text, PARTS[part]) for part, text in texts.items()}, stand_in=False)


def parse(text: str, name: str = NAME) -> tuple[Tree, ...]:
    """The trees of a text, one a line; empty lines, a byte order mark and carriage returns do no harm.
    Raises BadFile, which names the line."""
    found = []
    for number, line in enumerate(text.removeprefix("\ufeff").replace("\r", "\n").split("\n"), 1):
        if line.strip():
            try:
                found.append(tree(line))
            except ValueError as error:
                raise BadFile(name, f"line {number}: {error}", name, "fetch it again") from None
    if not found:
        raise BadFile(name, "holds no tree", name, "fetch it again")
    return tuple(found)


def tree(text: str) -> Tree:
    """One tree in brackets.

    Raises:
        ValueError: brackets that do not close or close too often, a label that is not 0 to 4, a node that has neither
            a word nor two parts, or more than one tree.
    """
    open_nodes: list[list[int | str | Tree]] = [[]]  # what each open bracket holds so far; the first is the text itself
    for token in TOKEN.findall(text):
        if token == "(":
            open_nodes.append([])
        elif token != ")":
            if len(open_nodes) == 1:
                raise ValueError(f"{token!r} outside of all brackets")
            open_nodes[-1].append(token if open_nodes[-1] else _label(token))
        elif len(open_nodes) == 1:
            raise ValueError("a bracket closes that was not opened")
        else:
            open_nodes[-2].append(_node(open_nodes.pop()))
    if len(open_nodes) > 1:
        raise ValueError(f"{len(open_nodes) - 1} brackets are not closed")
    match open_nodes[0]:
        case [Tree() as whole]:
            return whole
    raise ValueError(f"{len(open_nodes[0])} trees, and not one")


def _label(token: str) -> int:
    if token not in set("01234"):
        raise ValueError(f"the label {token!r} is not 0, 1, 2, 3 or 4")
    return int(token)


def _node(parts: list[int | str | Tree]) -> Tree:
    match parts:
        case [int(label), str(word)]:
            return Tree(label, word)
        case [int(label), Tree() as left, Tree() as right]:
            return Tree(label, "", left, right)
    raise ValueError("a bracket that holds neither a label and a word nor a label and two trees")


THINGS = ("film", "story", "plot", "cast", "script", "ending", "music", "hero", "joke", "scene")
FILLERS = ("the", "a", "this", "its", "with", "of", "and", "in", "also", "just", ",")
GOOD = ("good", "funny", "fresh", "moving", "great", "superb", "charming", "clever")
BAD = ("bad", "dull", "silly", "stale", "awful", "dreadful", "empty", "clumsy")
NEGATIONS = ("not", "never", "n't")


def generated() -> Treebank:
    """The stand-in: as many sentences of a small grammar as the real parts have."""
    rng = np.random.default_rng(11)

    def leaf(words: tuple[str, ...], label: int = 2) -> Tree:
        return Tree(label, words[rng.integers(len(words))])

    def phrase(depth: int) -> Tree:
        kind = rng.random()
        if depth == 0 or kind < 0.15:
            side = rng.random()
            if side < 0.4:
                return leaf(THINGS)
            words, strength = (GOOD, 1) if side < 0.7 else (BAD, -1)
            at = int(rng.integers(len(words)))
            return Tree(2 + strength * (1 + (at % 4 == 0)), words[at])
        if kind < 0.45:
            part = phrase(depth - 1)
            return Tree(part.label, "", leaf(FILLERS), part)
        if kind < 0.6:
            part = phrase(depth - 1)
            return Tree(int(np.clip(4 - part.label, 1, 3)), "", leaf(NEGATIONS, 1), part)
        left, right = phrase(depth - 1), phrase(depth - 1)
        if kind < 0.7:
            return Tree(right.label, "", left, Tree(right.label, "", Tree(2, "but"), right))
        return Tree(int(np.clip(left.label + right.label - 2, 0, 4)), "", left, right)

    def sentence() -> Tree:
        body = phrase(int(rng.integers(2, 5)))
        return Tree(body.label, "", body, Tree(2, "."))

    parts = [tuple(sentence() for _ in range(count)) for count in (8544, 1101, 2210)]
    return Treebank(*parts, stand_in=True)  # type: ignore[misc, arg-type]  # three parts, in the order of the fields
