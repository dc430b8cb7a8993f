"""Commands for authors: a new chapter and what it lacks, names that are not there, ports that cannot be had."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from utils import ROOT
from utils.records import claims
from utils.tools import archive, check, new, repository, run, serve


@pytest.fixture
def book(tmp_path) -> Path:
    """What a new chapter is added to."""
    shared = ["_toc.yml", "symbols.md", "glossary.md", "references.bib"]
    for path in [*map(str, archive.shipped()), *shared]:
        if not path.startswith("chapters/"):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, tmp_path / path)
    (tmp_path / "chapters").mkdir()
    return tmp_path


def parts(book: Path) -> dict[str, list[str]]:
    found = yaml.safe_load((book / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    return {part["caption"]: [entry["file"] for entry in part["chapters"]] for part in found}


def test_a_new_chapter_has_the_anatomy_and_its_claims_are_valid(book):
    before = (book / "_toc.yml").read_text(encoding="utf-8")
    page, written, contents = new.create("deep_sets", root=book)
    cells = json.loads(page.read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells]
    assert sum(map(repository.is_start_cell, cells)) == 1 and repository.start_cell() in texts
    for wanted in ('notebook.start("deep_sets")', "{headline} deep_sets", "{recorded-run} deep_sets", '"smoke"'):
        assert any(wanted in text for text in texts), wanted
    assert texts[-2].endswith("chapter.finish()") and not any("NAME" in text for text in texts)
    assert claims.load("deep_sets", written.parent).claims[0].headline
    assert list(parts(book).values())[-2][-1] == "chapters/deep_sets"
    assert contents.read_text(encoding="utf-8").replace("      - file: chapters/deep_sets\n", "") == before


@pytest.mark.parametrize("part", [part for part in parts(ROOT) if part != new.ABOUT])
def test_the_part_can_be_named(book, part):
    before = parts(book)
    new.create("deep_sets", part, book)
    assert parts(book) == {**before, part: [*before[part], "chapters/deep_sets"]}


def test_an_unknown_part_is_named_with_those_that_exist(book):
    with pytest.raises(SystemExit, match="no part 'Grapes'.*Memory, Graphs"):
        new.create("deep_sets", "Grapes", book)
    assert not list((book / "chapters").iterdir())


def test_everything_that_a_new_chapter_lacks_is_named_with_its_file(book):
    new.create("deep_sets", root=book)
    missing = new.remaining("deep_sets", book)
    assert "chapters/deep_sets.ipynb: WRITE: the first equation" in missing
    assert "data/claims/deep_sets.yml: WRITE: table, row, column" in missing
    others = ["data/ideas.yml", "symbols.md", "glossary.md", "references.bib", "tests/test_deep_sets.py"]
    assert set(others) <= {line.split(":")[0] for line in missing}


@pytest.mark.parametrize("chapter", claims.chapters())
def test_no_chapter_lacks_anything(chapter):
    assert new.remaining(chapter) == []


@pytest.mark.parametrize("name", ["", "Deep", "deep sets", "../x", "9", "a" * 300])
def test_a_malformed_name_is_refused_in_one_line(name, book):
    with pytest.raises(SystemExit, match="^CHAPTER is .* make new CHAPTER=deep_sets$") as refused:
        new.create(name, root=book)
    assert len(str(refused.value)) < 200 and not list((book / "chapters").iterdir())


def test_a_chapter_is_never_overwritten(book):
    new.create("deep_sets", root=book)
    with pytest.raises(SystemExit, match="already"):
        new.create("deep_sets", root=book)


@pytest.mark.parametrize("name", ["gnc", "chapters/gcn.ipynb", "GCN"])
@pytest.mark.parametrize("command", ["utils.tools.check", "utils.tools.run"])
def test_an_unknown_chapter_is_named_with_the_list_before_anything_runs(command, name):
    done = subprocess.run([sys.executable, "-m", command, name], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode and not done.stdout
    assert f"no chapter '{name}'" in done.stderr and "gcn, gnn_fixed_point" in done.stderr
    assert "Traceback" not in done.stderr


def test_several_unknown_chapters_are_all_named():
    assert check.unknown(["gcn"]) == ""
    assert "'gnc' and 'gaet'. Did you mean gcn and gat?" in check.unknown(["gnc", "gcn", "gaet"])


@pytest.mark.parametrize("port", ["abc", "0", "99999", "-1", ""])
def test_an_impossible_port_is_refused_in_one_line(port):
    with pytest.raises(SystemExit, match="PORT is .*; it must be a number from 1 to 65535"):
        serve.server(port)


def test_a_port_in_use_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit, match=f"port {port} cannot be had"):
            serve.server(str(port))


@pytest.mark.parametrize(
    ("arguments", "shift", "recorded"),
    [(["gcn"], "", True), (["gcn", "full"], "", True), (["gcn", "smoke"], "", False), (["gcn"], "1000", False)],
)
def test_smoke_and_shifted_runs_are_not_recorded(monkeypatch, tmp_path, capsys, arguments, shift, recorded):
    seen = []
    for name in ("execute_plain", "execute_notebook"):
        monkeypatch.setattr(run, name, lambda chapter: seen.append(run.os.environ.get("WALKTHROUGHS_RECORD")))
    monkeypatch.setattr(run, "unrecorded", lambda *_: [])
    monkeypatch.setattr(run.datasets, "within_reach", lambda name: True)
    monkeypatch.setattr(run, "ROOT", tmp_path)
    monkeypatch.setattr(run, "KEPT", tmp_path / ".kept")
    monkeypatch.setattr(run.sys, "argv", ["run", *arguments])
    with monkeypatch.context() as patched:
        for name in ("RECORD", "QUIET", "PROFILE", "KEPT", "JOBS"):
            patched.setenv(f"WALKTHROUGHS_{name}", "")  # so that they are as before afterwards
        patched.setenv("WALKTHROUGHS_SEED_SHIFT", shift)
        run.main()
    assert seen == ["1" if recorded else None]
    assert ("not recorded" in capsys.readouterr().out) != recorded


def test_results_of_other_states_of_the_code_are_removed_and_those_of_other_chapters_kept(monkeypatch, tmp_path):
    monkeypatch.setattr(run, "KEPT", tmp_path)
    for name in ("gcn-cpu-old", "gcn-cpu-now", "gat-cpu-old"):
        (tmp_path / name).mkdir()
    run.forget("gcn", but=tmp_path / "gcn-cpu-now")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gat-cpu-old", "gcn-cpu-now"]


def test_kept_results_depend_on_code_data_versions_and_seeds_and_not_on_helpers(monkeypatch):
    first = run.fingerprint("gcn")
    assert first == run.fingerprint("gcn") != run.fingerprint("gat")
    monkeypatch.setenv("WALKTHROUGHS_SEED_SHIFT", "1000")
    assert run.fingerprint("gcn") != first
    monkeypatch.delenv("WALKTHROUGHS_SEED_SHIFT")
    monkeypatch.setattr(run.machine, "versions", lambda: {"torch": "0.0"})
    assert run.fingerprint("gcn") != first
