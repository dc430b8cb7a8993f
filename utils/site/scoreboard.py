"""What this book adds to Jupyter Book: the scoreboard, the dataset cards, a note on every chapter,
the helper archive for Colab, and pages that ask no other host for anything."""

import csv
import html
import sys
import zipfile
from collections import Counter
from pathlib import Path

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.fileutil import copy_asset

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from utils import claims, results, show  # noqa: E402
from utils.datasets import cards  # noqa: E402

COLUMNS = ["Chapter", "Claim", "Verdict", "Paper", "Ours", "Control", "Run"]
HELPERS = ["utils/**/*.py", "data/registry.csv", "data/cards.yml", "data/*.json", "data/claims/*"]
HELPERS += ["data/results/*", "requirements.txt", "LICENSE"]
MATHJAX = ["tex-chtml.js", "input/tex/extensions", "output/chtml/fonts", "a11y", "sre/mathmaps/base.json"]
MATHJAX += ["sre/mathmaps/en.json", "sre/mathmaps/nemeth.json"]


def text(value: object) -> str:
    """`value` as HTML text; a dash for nothing."""
    return "–" if value in (None, "") else html.escape(str(value))


def link(href: str, label: str) -> str:
    return f'<a href="{text(href)}">{text(label)}</a>'


def table(label: str, columns: list[str], rows: list[str], choices: str = "") -> str:
    """A table that scrolls in its own box and that scoreboard.js makes sortable.

    `choices` names columns, by number, whose values scoreboard.js offers to choose from.
    """
    heads = "".join(f'<th scope="col" aria-sort="none"><button>{name}</button></th>' for name in columns)
    return (
        f'<div class="table-box" tabindex="0" role="region" aria-label="{label}">'
        f'<table class="claims sortable" data-choices="{choices}">'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def recorded_runs(chapter: str) -> list[dict]:
    """The recorded runs of a chapter, the full one first."""
    return [run for profile in ("full", "quick") if (run := results.load(chapter, profile))]


def claim_rows(chapter: str) -> list[str]:
    """A table row for each claim of a chapter, with its newest recorded run: full where there is one, else quick."""
    file, rows = claims.load(chapter), []
    runs = recorded_runs(chapter)
    for claim in file.claims.values():
        run = next((run for run in runs if claim.id in run["records"]), None)
        records = run["records"] if run else {}
        verdict = claim.verdict(records, run["profile"] if run else "")
        controls = [claim.describe(records.get(f"{claim.id}/{c['id']}")) for c in claim.controls if run]
        stamp = "–"
        if run:
            made = run["provenance"]
            device = f'<span title="{text(made["device"])}">{text(made["device"].split(",")[0])}</span>'
            stamp = f"{run['profile']}, {device}<br>{made['date']}"
            if changed := results.stale(run):
                stamp += (
                    f'<br><span class="stale" title="changed after this run: {text(", ".join(changed))}">stale</span>'
                )
        cells = [
            f"<td>{text(file.title)}</td>",
            f"<td>{link(f'chapters/{chapter}.html#claim-{claim.id}', claim.statement)}</td>",
            f'<td data-sort="{claims.VERDICTS.index(verdict)}">{show.badge(verdict)}</td>',
            f"<td>{text(claim.reported())} {html.escape(claim.unit)}</td>",
            f"<td>{text(claim.describe(records.get(claim.id)))}</td>",
            f"<td>{text(', '.join(controls))}</td>",
            f"<td>{stamp}</td>",
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return rows


def scoreboard_html() -> str:
    """One table of the chapters and one of all claims."""
    every, chapters = [], []
    for chapter in claims.chapters():
        rows = claim_rows(chapter)
        counts = Counter(verdict for row in rows for verdict in claims.VERDICTS if show.badge(verdict) in row)
        cells = "".join(f"<td>{counts[verdict] or '–'}</td>" for verdict in claims.VERDICTS)
        chapters.append(f"<tr><td>{link(f'chapters/{chapter}.html', claims.load(chapter).title)}</td>{cells}</tr>")
        every += rows
    overview = table("Verdicts by chapter", ["Chapter", *claims.VERDICTS], chapters)
    return f"{overview}<p>All {len(every)} claims:</p>{table('All claims', COLUMNS, every, choices='0 2')}"


class Scoreboard(SphinxDirective):
    """All claims of all chapters, with their verdicts."""

    def run(self) -> list[nodes.Node]:
        return [nodes.raw("", scoreboard_html(), format="html")]


class DatasetCards(SphinxDirective):
    """One section for each card in data/cards.yml."""

    def run(self) -> list[nodes.Node]:
        sections = []
        for name in yaml.safe_load((ROOT / "data/cards.yml").read_text(encoding="utf-8")):
            card = cards.card(name)
            section = nodes.section(ids=[f"data-{nodes.make_id(name)}"], names=[])
            section += nodes.title(text=card.title)
            section += nodes.raw("", card._repr_html_(), format="html")
            sections.append(section)
        return sections


class Licences(SphinxDirective):
    """The licences of the packages that the book installs by name, from data/licences.csv."""

    def run(self) -> list[nodes.Node]:
        with (ROOT / "data/licences.csv").open(encoding="utf-8", newline="") as file:
            head, *lines = csv.reader(file)
        rows = [f"<tr>{''.join(f'<td>{text(value)}</td>' for value in line)}</tr>" for line in lines]
        made = table("Licences of packages", [name.capitalize() for name in head], rows)
        return [nodes.raw("", made, format="html")]


def note_how_to_run(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """While the book has no public address, chapters say how to open them in Colab."""
    if app.config.html_theme_options.get("repository_url") or not docname.startswith("chapters/"):
        return
    title = next(doctree.findall(nodes.title))
    running = app.builder.get_relative_uri(docname, "running")
    source = running.replace("running.html", f"_sources/{docname}.ipynb")
    note = (
        f'<p class="how-to-run">To run it: <a href="{source}" download>download this notebook</a>, '
        f'then see <a href="{running}">how to run a chapter</a>.</p>'
    )
    title.parent.insert(title.parent.index(title) + 1, nodes.raw("", note, format="html"))


def write_helpers(target: Path) -> None:
    """The archive that the start cell of a chapter unpacks on Colab; equal files give equal bytes."""
    paths = sorted({path for pattern in HELPERS for path in ROOT.glob(pattern) if path.is_file()})
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            entry = zipfile.ZipInfo(path.relative_to(ROOT).as_posix(), date_time=(2020, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())


def copy_mathjax(static: Path) -> None:
    """The part of MathJax that LaTeX formulas need, from the package that carries it."""
    source = Path(next(path for path in sys.path if (Path(path) / "sphinx-mathjax-offline").is_dir()))
    for part in MATHJAX:
        path = source / "sphinx-mathjax-offline/static/mathjax" / part
        copy_asset(path, static / "mathjax" / (part if path.is_dir() else Path(part).parent))


def add_files(app: Sphinx, failure: Exception | None) -> None:
    if failure is None and app.builder.format == "html":
        static = Path(app.outdir) / "_static"
        copy_mathjax(static)
        write_helpers(static / "paper-walkthroughs.zip")


def drop_thebe(app: Sphinx, config: object) -> None:
    """Jupyter Book always loads sphinx-thebe, whose script comes from another host; nothing here uses it."""
    for event in ("env-before-read-docs", "doctree-resolved"):
        listeners = app.events.listeners[event]
        listeners[:] = [item for item in listeners if not item.handler.__module__.startswith("sphinx_thebe")]


def setup(app: Sphinx) -> dict:
    app.add_directive("scoreboard", Scoreboard)
    app.add_directive("dataset-cards", DatasetCards)
    app.add_directive("licences", Licences)
    app.connect("config-inited", drop_thebe)
    app.connect("doctree-resolved", note_how_to_run)
    app.connect("build-finished", add_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
