"""The index of symbols: every equation that it names is there and holds the symbol."""

from __future__ import annotations

import pytest

from utils import ROOT
from utils.records import claims
from utils.site import symbols

PAGE = (ROOT / "symbols.md").read_text(encoding="utf-8")


def test_every_symbol_occurs_in_every_equation_that_is_listed_for_it():
    assert symbols.missing(PAGE) == []


def test_no_row_escapes_the_check():
    rows = symbols.ROW.findall(PAGE)
    assert len(rows) == sum(line.startswith("| $") for line in PAGE.splitlines()) > 50
    assert len({(symbol, meaning) for symbol, meaning, _ in rows}) == len(rows)


def test_every_chapter_is_in_the_index():
    named = {chapter for _, _, places in symbols.ROW.findall(PAGE) for chapter, _ in symbols.PLACE.findall(places)}
    assert named == set(claims.chapters())


@pytest.mark.parametrize(
    ("places", "complaint"),
    [
        ("gcn (99)", "no equation (99) in gcn"),
        ("gnc (5)", "no chapter gnc"),
        ("gcn (4)", "does not occur in equation (4) of gcn"),
        ("gcn 5", "no list of chapters"),
        ("gcn (1), and more", "no list of chapters"),
    ],
)
def test_a_wrong_row_is_named(places, complaint):
    found = symbols.missing(rf"| $\hat A$ | A matrix. | {places} |")
    assert len(found) == 1 and complaint in found[0]


@pytest.mark.parametrize(
    ("symbol", "formula", "there"),
    [
        ("T", r"x \text{ if } T > 1", True),
        ("x", r"\exp y", False),
        ("o", r"\operatorname{top}(s)", False),
        (r"\Vert", r"[a \| b]", True),
        ("h_{N(v)}", r"h_{N(v)} = \operatorname{aggregate}", True),
        (r"\hat A", r"\hat y A", False),
    ],
)
def test_letters_are_not_found_inside_commands(symbol, formula, there):
    assert symbols.occurs(symbol, formula) == there
