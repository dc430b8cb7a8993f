"""The hash of the code that decides numbers: what moves it, what does not, under every version of Python."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

from utils import ROOT
from utils.records import claims, sources

BEFORE = '''
import matplotlib.pyplot as plt
from utils import notebook

settings = {"smoke": {"epochs": 1}, "quick": {"epochs": 5}, "full": {"epochs": 200}}

def train(seed):
    """Twice."""
    print("seed", seed)
    return 2 * seed

figure, axes = plt.subplots(1, 2, figsize=(8, 3))
for axis in axes:
    axis.plot([1, 2])
plt.show()
chapter.say("{a}")
chapter.record("a", train(1))
'''


@pytest.mark.parametrize(
    ("old", "new", "moves"),
    [
        ('"""Twice."""', '"""Two times."""', False),
        ("2 * seed", "(2 * seed)  # doubled", False),
        ('"seed", seed', '"The seed is", seed', False),
        ("figsize=(8, 3)", "figsize=(6, 6)", False),
        ("axis.plot([1, 2])", "axis.bar([1, 2], 3)", False),
        ('chapter.say("{a}")', "", False),
        ("from utils import notebook", "from utils import datasets", False),
        ('"smoke": {"epochs": 1}, ', "", False),
        ("2 * seed", "3 * seed", True),
        ('"epochs": 5', '"epochs": 6', True),
        ("train(1)", "train(2)", True),
        ("for axis in axes:\n    axis.plot([1, 2])", "for axis in axes:\n    total += 1", True),
        ("print(", "chapter.record(", True),
    ],
)
def test_only_what_decides_numbers_moves_the_hash(old, new, moves):
    assert BEFORE.count(old) >= 1
    assert (sources.code_hash(BEFORE) != sources.code_hash(BEFORE.replace(old, new))) == moves


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A chapter of the book in a folder of its own, and a function that changes one of its cells."""
    (tmp_path / "chapters").mkdir()
    page = tmp_path / "chapters" / "gcn.ipynb"
    shutil.copy(ROOT / "chapters" / "gcn.ipynb", page)
    monkeypatch.setattr(sources, "ROOT", tmp_path)

    def change(old, new, tag=None):
        content = json.loads(page.read_text(encoding="utf-8"))
        for cell in content["cells"]:
            if cell["cell_type"] == "code" and old in "".join(cell["source"]):
                cell["source"] = "".join(cell["source"]).replace(old, new)
                cell["metadata"]["tags"] = [tag] if tag else []
                break
        else:
            raise AssertionError(old)
        page.write_text(json.dumps(content), encoding="utf-8")

    return change


def test_the_start_cell_and_display_cells_do_not_count(copy):
    before = sources.chapter_hash("gcn")
    copy('REPOSITORY = ""', 'REPOSITORY = "ada/walkthroughs"')
    assert sources.chapter_hash("gcn") == before
    copy("def normalised_adjacency", "def other_matrix")
    changed = sources.chapter_hash("gcn")
    assert changed != before
    copy("def other_matrix", "def third_matrix", tag="display")
    copy("def third_matrix", "def fourth_matrix", tag="display")
    assert sources.chapter_hash("gcn") not in (before, changed)


def test_a_run_depends_on_its_chapter_its_loaders_and_its_data():
    found = sources.hashes("gcn", ["cora"])
    assert {"chapters/gcn.ipynb", "utils/datasets/citation.py", "data set cora"} <= set(found)
    assert not [name for name in found if name.endswith(("download.py", "errors.py", "show.py"))]
    assert sources.stale(found) == []
    assert sources.stale(found | {"data set cora": "0"}) == ["data set cora"]
    assert sources.stale({"data set no-such-set": "0", "chapters/none.ipynb": "0"}) == [
        "data set no-such-set",
        "chapters/none.ipynb",
    ]


def test_a_change_of_the_registry_is_seen(monkeypatch):
    from utils.datasets import registry

    before, rows = sources.data_hash("cora"), dict(registry.registry())
    name = registry.files("cora")[0]
    monkeypatch.setattr(registry, "registry", lambda: rows | {name: rows[name]._replace(sha256="0" * 64)})
    assert sources.data_hash("cora") != before


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_every_version_of_python_gives_the_same_hashes(version):
    python, environment = shutil.which(f"python{version}"), os.environ | {"PYENV_VERSION": version}
    if not python or subprocess.run([python, "-c", ""], env=environment, capture_output=True).returncode:
        pytest.skip(f"no Python {version} here")
    code = (
        "import json, sys\nfrom utils.records import sources\n"
        "print(json.dumps([sources.chapter_hash(name) for name in sys.argv[1:]]))"
    )
    command = [python, "-c", code, *claims.chapters()]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [sources.chapter_hash(chapter) for chapter in claims.chapters()]


def test_cited_modules_exist():
    for chapter in claims.chapters():
        assert all((ROOT / "utils" / "datasets" / f"{name}.py").exists() for name in sources.loaders(chapter))
