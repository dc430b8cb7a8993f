"""The pattern of a chapter: the reader first. Chapters that follow it are listed here; the others will join them."""

from __future__ import annotations

import re

import pytest
from conftest import FOLLOW

from utils.records import claims, sources
from utils.tools import exercises, reading

MOST_LINES_TO_THE_FIRST_RESULT = 80
LONGEST_CELL = 40
SECTIONS = ("by hand", "The layer|The model", "plain model", "The result", "Making it fast", "left out", "measurement")


@pytest.fixture(params=FOLLOW)
def chapter(request):
    return request.param


def code_of(chapter):
    cells = sources.cells(sources.path_of(chapter))
    return [cell for cell in cells if not sources.is_start_cell(cell["source"])]


def tags(cell):
    return set(cell["metadata"].get("tags", []))


def prose_of(chapter):
    return [cell["source"] for cell in sources.cells(sources.path_of(chapter), "markdown")]


def test_it_is_short_enough_to_be_read(chapter):
    assert reading.length(chapter).faults() == []
    for cell in code_of(chapter):
        assert len(cell["source"].splitlines()) <= LONGEST_CELL or tags(cell) & reading.FOLDED, cell["source"]


def test_too_long_a_chapter_is_told_what_is_too_long():
    assert reading.Length(50, 701, 100).faults() == [
        "50 code cells, at most 45",
        "701 visible lines of code, at most 700",
    ]
    assert reading.Length(1, 400, 4000).faults() == ["30 minutes to read, at most 25"]
    assert reading.Length(45, 400, 2000).minutes == 20


def test_the_sections_come_in_their_order(chapter):
    headings = re.findall(r"^##+ (.*)$", "\n".join(prose_of(chapter)), re.M)
    found = [next(n for n, heading in enumerate(headings) if re.search(wanted, heading)) for wanted in SECTIONS]
    assert found == sorted(found), headings


def test_the_plain_model_gives_a_result_before_anything_is_made_fast(chapter):
    """Lines in sight up to the first measured value, without the cells that load and show data."""
    lines = 0
    for cell in code_of(chapter):
        about_data = "datasets.card(" in cell["source"] or "notebook.start(" in cell["source"]
        checks = "nbval-check-output" in tags(cell)
        if not (tags(cell) & reading.FOLDED or about_data or checks):
            lines += len([line for line in cell["source"].splitlines() if line.strip()])
        if "chapter.say(" in cell["source"] and "train(" in cell["source"]:
            break
    else:
        raise AssertionError("no cell trains and says what it measured")
    assert lines <= MOST_LINES_TO_THE_FIRST_RESULT


def test_every_figure_has_a_caption_and_every_folded_cell_a_name(chapter):
    for cell in code_of(chapter):
        book = cell["metadata"].get("mystnb", {})
        if any("image/png" in output.get("data", {}) for output in cell["outputs"]):
            assert len(book.get("figure", {}).get("caption", "")) > 20, cell["source"]
        if "hide-input" in tags(cell) and "figure" not in book:
            assert book.get("code_prompt_show"), cell["source"]


def test_claims_are_recorded_in_cells_of_their_own(chapter):
    for cell in code_of(chapter):
        if re.search(r"chapter\.record(_curve)?\(", cell["source"]):
            assert "hide-input" in tags(cell), cell["source"]


def test_it_is_tied_to_other_chapters_the_bibliography_and_the_glossary(chapter):
    text = "\n".join(prose_of(chapter))
    others = set(re.findall(r"\((\w+)\.ipynb\)", text)) - {chapter}
    assert len(others) >= 2 and others <= set(claims.chapters())
    assert "{cite" in text and "../glossary.md" in text
    assert "## References" not in text


def test_exercises_change_arguments_and_nothing_that_the_chapter_defined(chapter):
    names = set(re.findall(r"^(?:def|class) (\w+)", "\n".join(c["source"] for c in code_of(chapter)), re.M))
    for solution in exercises.solutions(chapter):
        assigned = set(re.findall(r"^\s*(\w+)(?:\.\w+)* = ", solution, re.M))
        assert not assigned & names, solution
        assert not re.search(r"^\s*global ", solution, re.M)
