"""The repository as a whole: start cells, address, requirements, workflows, no traces of a machine."""

import csv
import functools
import importlib.util
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "chapters").glob("*.ipynb"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def script(name: str):
    """The module of a script in .ci."""
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


repository, new_chapter = script("repository"), script("new_chapter")


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
    for name in ("_config.yml", ".ci/start_cell.py", *(f"chapters/{path.name}" for path in NOTEBOOKS)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    repository.set_repository("test/xyzzy", tmp_path)
    settings = yaml.safe_load((tmp_path / "_config.yml").read_text(encoding="utf-8"))
    assert settings["repository"]["url"] == "https://github.com/test/xyzzy"
    assert settings["launch_buttons"]["colab_url"] == "https://colab.research.google.com"
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
    for target in ("book", "test", "run", "new", "bench", "serve", "clean", "repository"):
        assert f"make {target} " in done.stdout


@pytest.mark.parametrize(("arguments", "expected"), [([], "gcn quick"), (["PROFILE=full"], "gcn full")])
def test_make_run_is_quick_unless_told(arguments, expected):
    dry = ["make", "-C", str(ROOT), "-n", "run", "CHAPTER=gcn", *arguments]
    assert f".ci/run_chapter.py {expected}" in subprocess.run(dry, capture_output=True, text=True).stdout


def test_make_test_takes_all_chapters_or_one():
    dry = ["make", "-C", str(ROOT), "-n", "test"]
    ours = ("MAKE", "CHAPTER")  # set where make itself runs this test
    outside = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    dry_run = functools.partial(subprocess.run, capture_output=True, text=True, check=True, env=outside)
    every = dry_run(dry).stdout
    assert "--ignore" not in every and "tests/run_chapters.py  ||" in every
    one = dry_run([*dry, "CHAPTER=gcn"]).stdout
    left_out = set(re.findall(r"--ignore=(\S+)", one))
    assert left_out == {f"tests/test_{path.stem}.py" for path in ROOT.glob("chapters/*.ipynb") if path.stem != "gcn"}
    assert all((ROOT / name).is_file() for name in left_out) and "tests/run_chapters.py gcn ||" in one


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-site.txt"])
def test_requirements_are_pinned_and_say_why(name):
    assert pins(name)
    for line in pins(name).values():
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]* +# \S.+", line), line


def test_constraints_cover_the_requirements():
    constraints = {name: line.split("==")[1] for name, line in pins("constraints.txt").items()}
    assert len(constraints) > 100
    for name, line in (pins("requirements.txt") | pins("requirements-site.txt")).items():
        assert constraints[name] == line.split("==")[1].split()[0], name
    assert not [name for name in constraints if name.startswith("nvidia")]


def test_licences_are_stated_for_exactly_what_is_installed():
    with (ROOT / "data" / "licences.csv").open(encoding="utf-8", newline="") as file:
        stated = list(csv.DictReader(file))
    pinned = {**pins("requirements-site.txt"), **pins("requirements.txt")}
    wanted = [line.split("#")[0].strip() for line in pinned.values()]
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


def left_to_write(root: Path) -> list[str]:
    """The marks WRITE in chapters and claims, as `file: what is missing`."""
    files = sorted([*root.glob("chapters/*.ipynb"), *root.glob("data/claims/*.yml")])
    marks = [
        (path, mark)
        for path in files
        for mark in re.findall(r"\bWRITE\b:? ?[^\\|\"]*", path.read_text(encoding="utf-8"))
    ]
    return [f"{path.relative_to(root)}: {mark.strip()}" for path, mark in marks]


def test_no_chapter_has_anything_left_to_write():
    missing = left_to_write(ROOT)
    assert not missing, "\n".join(missing)


@pytest.fixture
def book(tmp_path):
    """What a new chapter is added to: the start cell and the table of contents."""
    for name in (".ci", "chapters", "data/claims"):
        (tmp_path / name).mkdir(parents=True)
    for name in (".ci/start_cell.py", "_toc.yml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_a_new_chapter_has_the_anatomy_and_its_gaps_are_named(book):
    before = (book / "_toc.yml").read_text()
    page, claims, contents = new_chapter.create("deep_sets", book)
    cells = json.loads(page.read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells]
    assert repository.start_cell() in sources
    assert 'chapter = notebook.start("deep_sets")' in "\n".join(sources)
    assert [source for source in sources if source.startswith("## Paper against measurement")]
    schema = json.loads((ROOT / "data" / "claims.schema.json").read_text())
    jsonschema.validate(yaml.safe_load(claims.read_text()), schema)
    parts = yaml.safe_load(contents.read_text())["parts"]
    assert parts[-2]["chapters"][-1] == {"file": "chapters/deep_sets"}
    assert contents.read_text().replace("      - file: chapters/deep_sets\n", "") == before
    missing = left_to_write(book)
    assert "chapters/deep_sets.ipynb: WRITE: the first equation" in missing
    assert "data/claims/deep_sets.yml: WRITE: table, row, column" in missing


@pytest.mark.parametrize("name", ["", "Deep", "deep sets", "../x", "9"])
def test_a_malformed_chapter_name_is_refused(name, book):
    with pytest.raises(SystemExit, match="make new CHAPTER="):
        new_chapter.create(name, book)
    assert not list((book / "chapters").iterdir())


def test_a_chapter_is_never_overwritten(book):
    new_chapter.create("deep_sets", book)
    with pytest.raises(SystemExit, match="already"):
        new_chapter.create("deep_sets", book)
