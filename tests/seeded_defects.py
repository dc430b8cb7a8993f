"""Wrong models, put in on purpose: which of them turn the tests of their chapter, or its quick run, red?

python tests/seeded_defects.py [chapter ...] [--tests-only] tries the defects of tests/defects.yml, one after the other,
on a copy of the book, and prints a table. The hash of the code plays no part: a defect has to be found by what it does.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import yaml

from utils import ROOT

FILE = Path(__file__).with_name("defects.yml")
COPIED = ("chapters", "data", "tests", "utils", "pyproject.toml")


class Defect(NamedTuple):
    """A replacement in the code of a chapter that makes its model, or its experiment, wrong."""

    chapter: str
    name: str
    old: str
    new: str


def defects(chosen: list[str] | None = None) -> list[Defect]:
    """The defects of the chosen chapters, or of all."""
    content = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    unknown = sorted(set(chosen or []) - set(content))
    if unknown:
        raise SystemExit(f"no defects of {', '.join(unknown)}; there are some of {', '.join(content)}")
    return [Defect(name, **entry) for name in chosen or content for entry in content[name]]


def broken(notebook: dict, defect: Defect) -> dict:
    """The notebook with the defect in its code.

    Raises:
        ValueError: the text to replace does not stand in exactly one place.
    """
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    places = sum("".join(cell["source"]).count(defect.old) for cell in cells)
    if places != 1:
        raise ValueError(f"{defect.chapter}, {defect.name}: {defect.old!r} stands in {places} places, expected 1")
    for cell in cells:
        cell["source"] = "".join(cell["source"]).replace(defect.old, defect.new).splitlines(keepends=True)
    return notebook


def found_by(defect: Defect, tests_only: bool) -> str:
    """What turns red: "unit tests", "quick run" or "nothing"."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            source = ROOT / name
            copied = shutil.copytree if source.is_dir() else shutil.copy
            copied(source, copy / name)
        page = copy / "chapters" / f"{defect.chapter}.ipynb"
        notebook = broken(json.loads(page.read_text(encoding="utf-8")), defect)
        page.write_text(json.dumps(notebook), encoding="utf-8")
        environment = {**os.environ, "PYTHONPATH": folder, "OMP_NUM_THREADS": "1"}
        environment |= {"WALKTHROUGHS_QUIET": "1", "WALKTHROUGHS_PROFILE": "quick"}
        pytest = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
        stages = {"unit tests": [*pytest, f"tests/test_{defect.chapter}.py"]}
        if not tests_only:
            clean = ["-p", "no:python", "--nbval-lax", "--nbval-sanitize-with", "tests/nbval_sanitize.cfg"]
            stages["quick run"] = [*pytest, *clean, f"chapters/{defect.chapter}.ipynb"]
        for stage, command in stages.items():
            done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
            if done.returncode == 1:
                return stage
            if done.returncode:
                raise RuntimeError(f"{defect.chapter}, {defect.name}: {done.stdout[-800:]}{done.stderr[-800:]}")
    return "nothing"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*")
    parser.add_argument("--tests-only", action="store_true", help="leave out the quick runs, which take minutes each")
    options = parser.parse_args()
    found = {}
    for defect in defects(options.chapters):
        found[defect] = found_by(defect, options.tests_only)
        print(f"{defect.chapter:24} {defect.name:50} {found[defect]}", flush=True)
    caught = sum(what != "nothing" for what in found.values())
    print(f"{caught} of {len(found)} were found")
    return 0 if caught >= 0.9 * len(found) else 1


if __name__ == "__main__":
    sys.exit(main())
