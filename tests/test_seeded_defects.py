"""The list of wrong models that the tests have to find, and the tool that tries them."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import seeded_defects

from utils.records import claims, sources


def test_every_chapter_has_five_wrong_models():
    counts = Counter(defect.chapter for defect in seeded_defects.defects())
    assert [chapter for chapter in claims.chapters() if counts[chapter] < 5] == []


@pytest.mark.parametrize("defect", seeded_defects.defects(), ids=lambda defect: f"{defect.chapter}-{defect.name}")
def test_a_defect_changes_one_place_and_leaves_code_that_compiles(defect):
    notebook = json.loads(sources.path_of(defect.chapter).read_text(encoding="utf-8"))
    for cell in seeded_defects.broken(notebook, defect)["cells"]:
        if cell["cell_type"] == "code":
            compile("".join(cell["source"]), defect.name, "exec")


def test_a_defect_that_stands_nowhere_or_twice_is_refused():
    notebook = {"cells": [{"cell_type": "code", "source": ["a = 1\n", "b = 1\n"]}]}
    for old in ("c = 1", "= 1"):
        with pytest.raises(ValueError, match="expected 1"):
            seeded_defects.broken(notebook, seeded_defects.Defect("gcn", "sample", old, "x"))


def test_a_wrong_model_is_found_and_a_harmless_change_is_not():
    harmless = seeded_defects.Defect(
        "gcn", "harmless", 'chapter = notebook.start("gcn")', 'chapter = notebook.start("gcn")  #'
    )
    wrong = next(defect for defect in seeded_defects.defects(["gcn"]))
    assert seeded_defects.found_by(wrong, tests_only=True) == "unit tests"
    assert seeded_defects.found_by(harmless, tests_only=True) == "nothing"
