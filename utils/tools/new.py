"""Starts a chapter: a notebook with the sections that every chapter has, its claims file, its place in _toc.yml.

Usage: python .ci/new_chapter.py name

What has to be written is marked WRITE; the tests list the marks that are left.
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
        "# WRITE: title of the chapter\n\nWRITE: two sentences on what the paper found\n\n| | |\n|---|---|\n"
        "| **Paper** | WRITE: authors, title with link, year |\n| **Data** | WRITE: data sets |\n"
        "| **Framework** | WRITE: framework |\n| **Reading and running** | WRITE: minutes to read, minutes to run |\n"
        "| **Terms** | WRITE: key terms, in English and Chinese |",
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
        "## The idea in one picture\n\nWRITE: the picture, drawn by code, and its alternative text",
    ),
    ("markdown", [], "## Data\n\nWRITE: what the data is, and a look at real samples"),
    ("code", [], 'datasets.card("WRITE: name of the data set")'),
    ("markdown", [], "## The model\n\nWRITE: the first equation\n\n$$ y = f(x) \\tag{1} $$"),
    ("code", [], "# WRITE: the code that is eq. (1)"),
    (
        "code",
        ["nbval-check-output"],
        '# WRITE: a check of eq. (1) against other code\nprint("eq. (1) and the library agree to 1e-6:", False)',
    ),
    ("markdown", [], "## Results\n\nWRITE: training, chapter.record() for each claim and its controls"),
    ("markdown", [], "## What the paper left out\n\n> **WRITE: a finding.** WRITE: what was tried and seen"),
    ("markdown", [], "## Paper against measurement"),
    ("code", [], "chapter.table()"),
    ("markdown", [], "### The recorded full run"),
    ("code", [], 'chapter.recorded("full")'),
    ("code", [], "chapter.finish()"),
    (
        "markdown",
        [],
        "## Exercises\n\n1. WRITE: a line to change and what to look at\n\n   <details><summary>A solution</summary>\n"
        "\n   ```python\n   WRITE\n   ```\n\n   </details>\n\n## References\n\n- WRITE: the paper",
    ),
]

CLAIMS = """\
# The claims of this chapter. The fields are explained in data/claims.schema.json.
chapter: NAME
title: "WRITE: a short title"
paper: "WRITE: key of the paper in references.bib"
data: []
claims:
  - id: headline
    statement: "WRITE: what the paper says, in one sentence"
    paper: 0.0
    source: "WRITE: table, row, column"
    read: unverified
    protocol: {split: "WRITE", seeds: "WRITE", metric: "WRITE", selection: "WRITE"}
    kind: interval
    tolerance: 0.0
    reason: "WRITE: why the band is as wide as it is"
    headline: true
    controls:
      - {id: without, statement: "WRITE: the same run with the idea taken out"}
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
    print("Replace every mark WRITE; make test lists what is left.")
