"""The two ways in beside a clone: the archive that the site hands out, and a machine that lacks what Linux has."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from utils import ROOT
from utils.records import claims, machine
from utils.tools import archive, repository

BUILT = ROOT / "_build" / "html" / "_static" / "paper-walkthroughs.zip"

# Runs a notebook cell by cell. The helper code of this tree is hidden first: only the archive has it.
READER = """
import importlib.machinery, json, pathlib, sys, types
book = pathlib.Path({root!r})
sys.path[:] = [p for p in sys.path if p and pathlib.Path(p).resolve() != book]
sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in getattr(f, "__module__", "")]
sys.path_hooks[:] = [h for h in sys.path_hooks if "ditable" not in getattr(h, "__qualname__", "")]
if importlib.machinery.PathFinder.find_spec("utils"):
    raise SystemExit("there is another utils to import")
import matplotlib
matplotlib.use("Agg")
module = sys.modules["__main__"] = types.ModuleType("__main__")
module.display = print
for cell in json.loads(pathlib.Path({notebook!r}).read_text(encoding="utf-8"))["cells"]:
    if cell["cell_type"] == "code":
        exec(compile("".join(cell["source"]), cell["id"], "exec"), vars(module))
ours = [m.__file__ for name, m in sys.modules.items() if name.split(".")[0] == "utils" and getattr(m, "__file__", "")]
print(json.dumps({{"ours": ours, "closed": str(cell["id"])}}))
"""


def outside(**more: str) -> dict[str, str]:
    """The environment of a reader who runs the smoke profile, without what belongs to this process, tree or machine."""
    own = ("CACHE", "MIRROR", "RECORD", "KEPT", "SEED_SHIFT")
    foreign = ("GIT_", "PYTHON", "PYTEST", *(f"WALKTHROUGHS_{name}" for name in own))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**kept, "WALKTHROUGHS_PROFILE": "smoke", "WALKTHROUGHS_QUIET": "1", "OMP_NUM_THREADS": "1", **more}


def read(notebook: Path, **more: str) -> list[str]:
    """Run a notebook beside the archive for the first time, without data of earlier runs; the files of utils used."""
    code = READER.format(root=str(ROOT), notebook=str(notebook))
    command = [sys.executable, "-c", code]
    first = outside(WALKTHROUGHS_CACHE=str(notebook.parent / "data"), **more)
    done = subprocess.run(command, cwd=notebook.parent, env=first, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-1000:]}\n{done.stderr[-4000:]}"
    return json.loads(done.stdout.splitlines()[-1])["ours"]


def beside_the_archive(folder: Path, chapter: str, handed_out: Path) -> Path:
    """A folder with the archive and one notebook, as a reader has it."""
    folder.mkdir(exist_ok=True)
    shutil.copy(handed_out, folder / "paper-walkthroughs.zip")
    return Path(shutil.copy(ROOT / "chapters" / f"{chapter}.ipynb", folder))


@pytest.fixture(scope="module")
def handed_out(tmp_path_factory) -> Path:
    """The archive of the site, if one is built of the files as they stand; else the archive that it would hold."""
    made = archive.write(tmp_path_factory.mktemp("archive") / "paper-walkthroughs.zip")
    return BUILT if BUILT.exists() and BUILT.read_bytes() == made.read_bytes() else made


@pytest.mark.parametrize(
    "chapter", [pytest.param(name, marks=pytest.mark.door(name), id=name) for name in claims.chapters()]
)
def test_a_chapter_runs_from_the_archive_to_its_end(chapter, handed_out, tmp_path):
    used = read(beside_the_archive(tmp_path / "reader", chapter, handed_out))
    assert used and all(file.startswith(str(tmp_path / "reader")) for file in used)


SHORT = """
from utils import notebook
chapter = notebook.start("gcn")
chapter.table()
chapter.finish()
"""


@pytest.fixture
def short(tmp_path, handed_out) -> Path:
    """Beside the archive, a notebook that starts a chapter and closes it."""
    page = beside_the_archive(tmp_path / "reader", "gcn", handed_out)
    content = json.loads(page.read_text(encoding="utf-8"))
    start = next(cell for cell in content["cells"] if repository.is_start_cell(cell))
    rest = {"cell_type": "code", "id": "rest", "metadata": {}, "source": SHORT.splitlines(keepends=True)}
    page.write_text(json.dumps({**content, "cells": [start, rest]}), encoding="utf-8")
    return page


def test_a_chapter_starts_and_closes_from_the_archive_without_git(short, tmp_path):
    nothing = tmp_path / "no programs"
    nothing.mkdir()
    used = read(short, PATH=str(nothing))
    assert used and all(file.startswith(str(short.parent)) for file in used)


def test_the_archive_that_lacks_a_style_is_noticed(short):
    packed = short.parent / "paper-walkthroughs.zip"
    with zipfile.ZipFile(packed) as whole:
        parts = {name: whole.read(name) for name in whole.namelist()}
    del parts["utils/notebook/plots.mplstyle"]
    with zipfile.ZipFile(packed, "w") as lacking:
        for name, content in parts.items():
            lacking.writestr(name, content)
    with pytest.raises(AssertionError, match="mplstyle"):
        read(short)


def test_the_archive_is_the_same_each_time_and_holds_no_outputs(tmp_path):
    one, two = (archive.write(tmp_path / name).read_bytes() for name in ("one.zip", "two.zip"))
    assert one == two
    names = {path.as_posix() for path in archive.shipped()}
    assert {"utils/tools/template.ipynb", "data/cards.yml", "chapters/gcn.ipynb", "LICENSE"} <= names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]
    page = json.loads(archive.content(ROOT / "chapters" / "gcn.ipynb"))
    assert not any(cell.get("outputs") for cell in page["cells"])


@pytest.mark.parametrize(
    ("taken", "what"),
    [
        ("sys.modules['resource'] = None", "machine.peak_memory() == 0"),  # as on Windows
        ("del os.sched_getaffinity", "machine.cores() == os.cpu_count()"),  # as on macOS
    ],
)
def test_a_chapter_starts_where_the_system_lacks_something(taken, what):
    code = (
        f"import os, sys\n{taken}\nfrom utils import notebook\nfrom utils.records import machine\n"
        f"from utils.tools import run\nassert {what}\nnotebook.start('gcn').finish()\nrun.keep_results('gcn', None)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=outside(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_macos_counts_memory_in_bytes_and_linux_in_kibibytes(monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrusage", lambda who: type("Usage", (), {"ru_maxrss": 5000}))
    monkeypatch.setattr(machine.sys, "platform", "darwin")
    assert machine.peak_memory() == 5000
    monkeypatch.setattr(machine.sys, "platform", "linux")
    assert machine.peak_memory() == 5000 * 1024


# --- the address of the book, and the versions of Python: no record gets old by them ---

STALE = """
import sys
from utils.records import claims, runs
print([(c, p, runs.load(c, p).stale) for c in claims.chapters() for p in ("quick", "full") if runs.load(c, p)])
"""
HASHES = """
from pathlib import Path
from utils import ROOT
from utils.records import sources
for path in sorted((ROOT / "chapters").glob("*.ipynb")):
    print(path.stem, sources.chapter_hash(path.stem), [sources.hash_now(f"utils/datasets/{m}.py") for m in
          sources.loaders(path.stem)], sources.hash_now("data set cora"))
"""


def answer(python: str, code: str, cwd: Path, *options: str) -> str:
    done = subprocess.run([python, *options, "-c", code], cwd=cwd, env=outside(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_setting_the_address_makes_no_record_old(tmp_path):
    book = tmp_path / "book"
    for path in [*archive.shipped(), Path("_config.yml")]:
        (book / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, book / path)
    before = answer(sys.executable, STALE, book), answer(sys.executable, HASHES, book)
    repository.set_repository("ada/walkthroughs", book)
    assert 'REPOSITORY = \\"ada/walkthroughs\\"' in (book / "chapters" / "gcn.ipynb").read_text(encoding="utf-8")
    assert (answer(sys.executable, STALE, book), answer(sys.executable, HASHES, book)) == before
    (page,) = book.glob("chapters/gcn.ipynb")
    page.write_text(page.read_text(encoding="utf-8").replace("class GCN(", "class Gcn("), encoding="utf-8")
    assert answer(sys.executable, HASHES, book) != before[1]


@pytest.mark.parametrize("python", ["python3.11", "python3.12", "python3.13"])
def test_every_python_finds_the_same_hashes_with_its_own_library_alone(python):
    place = shutil.which(python)
    if place is None or subprocess.run([place, "-c", ""], capture_output=True).returncode:
        pytest.skip(f"there is no {python} here")
    alone = answer(place, HASHES, ROOT, "-S")
    assert alone.count("\n") == len(claims.chapters()) and alone == answer(sys.executable, HASHES, ROOT)
