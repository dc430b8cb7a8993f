"""Guards over the stored chapters: run in order, compared, free of errors and of one machine's traces."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from utils import ROOT, datasets
from utils.notebook import show
from utils.records import claims, sources
from utils.tools import definitions, exercises

CHAPTERS = sorted(path.stem for path in (ROOT / "chapters").glob("*.ipynb"))
NOT_COMPARED = {"nbval-ignore-output", "nbval-skip"}
LONGEST_CELL = 52  # lines; settings of three profiles may be longer
MACHINE = re.compile(r"/(?:home|root|work|tmp|Users|content)/\w|[A-Z]:\\\\")


def code_cells(chapter):
    return [cell for cell in sources.cells(sources.path_of(chapter)) if cell["source"].strip()]


def tags(cell):
    return set(cell["metadata"].get("tags", []))


def shows_figure(cell):
    return any("image/png" in output.get("data", {}) for output in cell["outputs"])


def test_every_chapter_has_claims_and_every_claims_file_a_chapter():
    assert claims.chapters() == CHAPTERS


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_cells_were_run_top_to_bottom_in_one_kernel(chapter):
    counts = [cell["execution_count"] for cell in code_cells(chapter)]
    assert counts == list(range(1, len(counts) + 1))


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_no_stored_output_is_an_error_a_warning_or_a_path_of_a_machine(chapter):
    for cell in code_cells(chapter):
        kinds = [(output["output_type"], output.get("name")) for output in cell["outputs"]]
        assert ("error", None) not in kinds
        assert ("stream", "stderr") not in kinds, cell["outputs"]
        without_pictures = [
            {**o, "data": {k: v for k, v in o.get("data", {}).items() if k != "image/png"}} for o in cell["outputs"]
        ]
        assert not MACHINE.search(json.dumps(without_pictures)), cell["source"]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_page_leads_with_its_headline_shows_the_recorded_run_and_has_three_profiles(chapter):
    prose = [cell["source"] for cell in sources.cells(sources.path_of(chapter), "markdown")]
    for directive in ("headline", "recorded-run"):
        assert sum(text.count(f"{{{directive}}} {chapter}") for text in prose) == 1, directive
    code = "\n".join(cell["source"] for cell in code_cells(chapter))
    assert all(f'"{profile}"' in code for profile in ("smoke", "quick", "full"))


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_stored_table_says_what_the_claims_say(chapter):
    outputs = [output for cell in code_cells(chapter) for output in cell["outputs"]]
    markup = "".join("".join(output.get("data", {}).get("text/html", "")) for output in outputs)
    stored = re.findall(r'<tr id="run-([^"]+)"><td>(.*?)</td>', markup, re.DOTALL)
    by_id = {claim.id: claim for claim in claims.load(chapter).claims}
    assert {name for name, _ in stored} == set(by_id)
    for name, text in stored:
        claim = by_id[name]
        assert claim.statement in html.unescape(text)
        assert show.details(claim) in html.unescape(text)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_stored_outputs_come_from_real_data(chapter):
    assert "STAND-IN DATA" not in sources.path_of(chapter).read_text(encoding="utf-8")


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_checks_cards_and_claims_are_compared_and_most_cells_are(chapter):
    cells = code_cells(chapter)
    compared = [cell for cell in cells if not tags(cell) & NOT_COMPARED]
    assert len(compared) >= len(cells) / 2
    texts = [cell["source"] for cell in compared]
    for wanted in ("chapter.table()", "chapter.finish()", "datasets.card("):
        assert any(wanted in text for text in texts), wanted
    checks = [cell for cell in cells if re.search(r"print\(.*agree", cell["source"])]
    assert checks
    assert all(cell in compared and "nbval-check-output" in tags(cell) for cell in checks)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_cells_are_short_and_figures_have_alt_text(chapter):
    for cell in code_cells(chapter):
        if sources.is_start_cell(cell["source"]):  # not shown
            continue
        if "}[chapter.profile]" not in cell["source"]:
            assert len(cell["source"].splitlines()) <= LONGEST_CELL, cell["source"]
        if shows_figure(cell):
            assert len(cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")) > 40, cell["source"]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_cited_equations_exist_and_are_numbered_in_order(chapter):
    prose = "\n".join(cell["source"] for cell in sources.cells(sources.path_of(chapter), "markdown"))
    numbers = [int(n) for n in re.findall(r"\\tag\{(\d+)\}", prose)]
    assert numbers == list(range(1, len(numbers) + 1))
    # Sphinx puts a formula with a double backslash into a split, where MathJax takes no tag; \cr ends a line too.
    assert not [f for f in re.findall(r"\$\$.*?\$\$", prose, re.S) if r"\tag" in f and r"\\" in f]
    own = re.sub(r"paper's eq\. \d+", "", prose + "\n".join(cell["source"] for cell in code_cells(chapter)))
    cited = {int(n) for n in re.findall(r"[Ee]q\. \((\d+)\)", own)}
    assert cited <= set(numbers)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_exercise_has_a_folded_solution_that_the_tests_execute(chapter):
    assert 3 <= len(exercises.solutions(chapter)) <= 5
    tests = {path.stem for path in Path(__file__).parent.glob("test_*.py") if "exercises." in path.read_text("utf-8")}
    assert any(chapter.startswith(name.removeprefix("test_")) for name in tests)


def test_an_exercise_without_its_solution_is_named(monkeypatch):
    folded = "   <details><summary>A solution</summary>\n\n   None.\n\n   </details>\n"
    cell = {"source": f"## Exercises\n\n1. First.\n\n{folded}"}
    monkeypatch.setattr(sources, "cells", lambda *_: [cell])
    with pytest.raises(ValueError, match="exercise 1 of the chapter"):
        exercises.solutions(CHAPTERS[0])
    cell["source"] = "## Exercises\n\nNone."
    with pytest.raises(ValueError, match="has no exercises"):
        exercises.solutions(CHAPTERS[0])


def test_a_definition_can_be_taken_out_of_a_chapter_and_broken():
    assert callable(definitions.of_chapter(CHAPTERS[0])[next(iter(_functions(CHAPTERS[0])))])
    with pytest.raises(ValueError, match="does not contain"):
        definitions.of_chapter(CHAPTERS[0], {"no such code": ""})
    with pytest.raises(FileNotFoundError, match=CHAPTERS[0]):
        sources.path_of("no_such_chapter")


def _functions(chapter):
    source = "\n".join(cell["source"] for cell in code_cells(chapter))
    return re.findall(r"^def (\w+)", source, flags=re.M)


def test_layout_comments_and_docstrings_do_not_change_the_hash_but_code_does():
    one = sources.code_hash('def f(x):\n    """Twice."""\n    return 2 * x\n')
    assert one == sources.code_hash("def f(x):  # doubled\n\n    return (2 * x)\n")
    assert one != sources.code_hash("def f(x):\n    return 3 * x\n")


@pytest.mark.parametrize(("fault", "status"), [(None, 0), ("return states @ self.weight", 1)])
def test_a_model_without_aggregation_turns_nbval_red(tmp_path, fault, status):
    """The opening of the GCN chapter under nbval, as it is and with the propagation taken out."""
    notebook = json.loads(sources.path_of("gcn").read_text(encoding="utf-8"))
    texts = ["".join(cell["source"]) for cell in notebook["cells"]]
    last = next(number for number, source in enumerate(texts) if '"DGL, values' in source)
    notebook["cells"] = [
        cell
        for cell, source in zip(notebook["cells"][: last + 1], texts, strict=False)
        if not any(word in source for word in ("citation.load", "datasets.card", "graphs.items"))
    ]
    text = json.dumps(notebook)
    if fault:
        assert text.count("return a_hat @ (states @ self.weight)") == 1
        text = text.replace("return a_hat @ (states @ self.weight)", fault)
    shutil.copytree(ROOT / "utils", tmp_path / "utils")
    shutil.copytree(ROOT / "data", tmp_path / "data")
    (tmp_path / "chapters").mkdir()
    (tmp_path / "chapters" / "gcn.ipynb").write_text(text, encoding="utf-8")
    mode = "--nbval" if datasets.within_reach("karate-club") else "--nbval-lax"  # as utils.tools.check chooses
    command = [sys.executable, "-m", "pytest", "-p", "no:python", mode, "-q", "-p", "no:cacheprovider"]
    command += ["--nbval-sanitize-with", str(ROOT / "tests" / "nbval_sanitize.cfg"), "chapters"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == status, done.stdout
    if fault:
        assert "2 failed" in done.stdout  # against the dense formula, against DGL
        assert "1e-5: False" in done.stdout
