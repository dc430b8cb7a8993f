"""Starts a chapter: a notebook with the sections that every chapter has, its claims file, its place in _toc.yml.

Usage: python .ci/new_chapter.py name

What has to be written is marked TODO; the tests list the marks that are left.
"""

import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from repository import ROOT, start_cell  # noqa: E402

LAST_PART = "  - caption: About the book"

# Cells of the notebook: "code" or "markdown", tags, source.
CELLS = [
    (
        "markdown",
        [],
        "# TODO: title of the chapter\n\nTODO: two sentences on what the paper found\n\n| | |\n|---|---|\n"
        "| **Paper** | TODO: authors, title with link, year |\n| **Data** | TODO: data sets |\n"
        "| **Framework** | TODO: framework |\n| **Reading and running** | TODO: minutes to read, minutes to run |\n"
        "| **Terms** | TODO: key terms, in English and Chinese |",
    ),
    ("code", ["remove-cell"], "START"),
    ("code", ["hide-input"], "import torch\n\nfrom utils import datasets, plots, run"),
    (
        "code",
        [],
        'chapter = run.start("NAME")\nDEVICE = run.device()\nsettings = {"quick": {}, "full": {}}[chapter.profile]',
    ),
    (
        "markdown",
        [],
        "## The idea in one picture\n\nTODO: the picture, drawn by code, and its alternative text",
    ),
    ("markdown", [], "## Data\n\nTODO: what the data is, and a look at real samples"),
    ("code", [], 'datasets.card("TODO: name of the data set")'),
    ("markdown", [], "## The model\n\nTODO: the first equation\n\n$$ y = f(x) \\tag{1} $$"),
    ("code", [], "# TODO: the code that is eq. (1)"),
    (
        "code",
        ["nbval-check-output"],
        '# TODO: a check of eq. (1) against other code\nprint("eq. (1) and the library agree to 1e-6:", False)',
    ),
    ("markdown", [], "## Results\n\nTODO: training, chapter.record() for each claim and its controls"),
    ("markdown", [], "## What the paper left out\n\n> **TODO: a finding.** TODO: what was tried and seen"),
    ("markdown", [], "## Paper against measurement"),
    ("code", [], "chapter.table()"),
    ("markdown", [], "### The recorded full run"),
    ("code", [], 'chapter.recorded("full")'),
    ("code", [], "chapter.finish()"),
    (
        "markdown",
        [],
        "## Exercises\n\n1. TODO: a line to change and what to look at\n\n## References\n\n- TODO: the paper",
    ),
]

CLAIMS = """\
# The claims of this chapter. The fields are explained in data/claims.schema.json.
chapter: NAME
title: "TODO: a short title"
paper: "TODO: key of the paper in references.bib"
data: []
claims:
  - id: headline
    statement: "TODO: what the paper says, in one sentence"
    paper: 0.0
    source: "TODO: table, row, column"
    read: unverified
    protocol: {split: "TODO", seeds: "TODO", metric: "TODO", selection: "TODO"}
    kind: interval
    tolerance: 0.0
    reason: "TODO: why the band is as wide as it is"
    headline: true
    controls:
      - {id: without, statement: "TODO: the same run with the idea taken out"}
    expected: {quick: not run, full: not run}
"""


def notebook(name: str, start: str) -> dict:
    """The notebook of a new chapter as a JSON object (nbformat 4.5)."""
    cells = []
    for number, (kind, tags, source) in enumerate(CELLS):
        text = start if source == "START" else source.replace("NAME", name)
        cell = {"cell_type": kind, "id": f"new-{number:02d}", "metadata": {"tags": tags} if tags else {}}
        cell["source"] = text.splitlines(keepends=True)
        cells.append(cell | ({"execution_count": None, "outputs": []} if kind == "code" else {}))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def create(name: str, root: Path = ROOT) -> list[Path]:
    """Write the three files; their paths. Exits with a line when the name is malformed or taken."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        sys.exit(f"CHAPTER is {name!r} but must be small letters, digits and _, as in: make new CHAPTER=deep_sets")
    page, claims, contents = root / f"chapters/{name}.ipynb", root / f"data/claims/{name}.yml", root / "_toc.yml"
    if page.exists() or claims.exists():
        sys.exit(f"there is a chapter {name} already")
    before, mark, after = contents.read_text(encoding="utf-8").partition(LAST_PART)
    if not mark:
        sys.exit(f"_toc.yml has no line {LAST_PART!r}")
    page.write_text(json.dumps(notebook(name, start_cell(root)), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    claims.write_text(CLAIMS.replace("NAME", name), encoding="utf-8")
    contents.write_text(f"{before}      - file: chapters/{name}\n{mark}{after}", encoding="utf-8")
    return [page, claims, contents]


if __name__ == "__main__":
    for path in create(sys.argv[1] if len(sys.argv) > 1 else ""):
        print(path.relative_to(ROOT))
    print("Write what is marked TODO; make test lists what is left.")
