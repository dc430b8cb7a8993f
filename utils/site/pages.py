"""What the site adds to every chapter: links to the glossary, how to run and to cite it; and tables of facts.

The tables: running times of the recorded runs, cards of the data sets, licences of packages.
"""

from __future__ import annotations

import ast
import csv
import re
from pathlib import Path

import yaml
from docutils import nodes
from PIL import Image
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from utils import ROOT
from utils.datasets import cards
from utils.records import claims, runs
from utils.records.runs import Run
from utils.site import views

PICTURE = re.compile(r'<img (?=[^>]*src="(?:\.\./)*_images/([^"]+)")')
UNTOUCHED = (nodes.reference, nodes.literal, nodes.math, nodes.title, nodes.table, nodes.raw)


def glossary() -> dict[str, str]:
    """The terms of glossary.md and their meanings, longest terms first, so that none hides inside a longer one."""
    rows = re.findall(r"^\| (\w.+?) \|.*\| (.+?) \|$", (ROOT / "glossary.md").read_text(encoding="utf-8"), re.M)
    found = {term: meaning for term, meaning in rows if (term, meaning) != ("Term", "Meaning")}
    return dict(sorted(found.items(), key=lambda pair: -len(pair[0])))


def anchor(term: str) -> str:
    """The id of a term's row."""
    return f"term-{nodes.make_id(term)}"


def name_terms(doctree: nodes.document) -> None:
    """Give each row of the glossary the id that links lead to."""
    terms = glossary()
    for row in doctree.findall(nodes.row):
        if (term := row[0].astext()) in terms:
            row["ids"].append(anchor(term))


def link_terms(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Link the first mention of each term in the prose of a chapter to the glossary."""
    target = app.builder.get_relative_uri(docname, "glossary")
    waiting = glossary()
    for paragraph in list(doctree.findall(nodes.paragraph)):
        for term in list(waiting):
            if link_first(paragraph, term, waiting[term], target):
                del waiting[term]


def untouched(node: nodes.Node) -> bool:
    """Whether the node stands in code, a formula, a link, a table, or among the references."""
    while (node := node.parent) is not None:
        if isinstance(node, UNTOUCHED) or (isinstance(node, nodes.section) and node[0].astext() == "References"):
            return True
    return False


def link_first(paragraph: nodes.paragraph, term: str, meaning: str, target: str) -> bool:
    """Whether the term stood in the plain text of the paragraph; its first mention is now a link."""
    pattern = re.compile(rf"(?<![\w-]){re.escape(term)}(?:s|es)?(?![\w-])", re.I)
    for piece in list(paragraph.findall(nodes.Text)):
        if (match := pattern.search(piece)) and not untouched(piece):
            before, word, after = piece[: match.start()], match.group(), piece[match.end() :]
            reference = nodes.reference("", word, internal=True, refuri=f"{target}#{anchor(term)}", classes=["term"])
            reference["reftitle"] = re.sub(r"[$*`]", "", meaning)
            around = [nodes.Text(before), reference, nodes.Text(after)]
            piece.parent.replace(piece, [node for node in around if node.astext()])
            return True
    return False


SCROLLS = re.compile(r'<div (?=style="[^"]*overflow-x:auto)')


def let_keyboards_scroll(doctree: nodes.document) -> None:
    """Boxes that scroll sideways in the HTML outputs of chapters can be reached with the keyboard."""
    for output in list(doctree.findall(nodes.raw)):
        if SCROLLS.search(output.astext()):
            output.children = [nodes.Text(SCROLLS.sub('<div tabindex="0" ', output.astext()))]


def recorded_runs(chapter: str) -> list[Run]:
    """The recorded runs of a chapter, the full one first."""
    return [run for profile in ("full", "quick") if (run := runs.load(chapter, profile))]


def cite_box(app: Sphinx, chapter: str, docname: str) -> nodes.raw:
    """A folded BibTeX entry of the chapter, and where its paper stands."""
    title, site = views.file_of(chapter).title, app.config.html_baseurl.rstrip("/")
    entry = {
        "author": "{The Paper Walkthroughs authors}",
        "title": title,
        "howpublished": "Paper Walkthroughs",
        "url": f"{site}/{docname}.html" if site else app.config.html_theme_options.get("repository_url", ""),
        "year": max((run.provenance.date[:4] for run in recorded_runs(chapter)), default=""),
    }
    key = f"paperwalkthroughs-{chapter.replace('_', '-')}"
    lines = "\n".join(f"  {name:12} = {{{value}}}," for name, value in entry.items() if value)
    papers = app.builder.get_relative_uri(docname, "bibliography")
    return views.raw("cite", entry=f"@misc{{{key},\n{lines}\n}}", papers=papers)


def note_how_to_run(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Under the title: how to open the chapter, in Colab by one click where the book has a public address."""
    address = app.config.html_theme_options.get("repository_url", "").rstrip("/")
    branch = app.config.html_theme_options.get("repository_branch") or "main"
    colab = f"{address.replace('github.com', 'colab.research.google.com/github')}/blob/{branch}/{docname}.ipynb"
    title = next(doctree.findall(nodes.title))
    running = app.builder.get_relative_uri(docname, "running")
    source = app.builder.get_relative_uri(docname, "index").replace("index.html", f"_sources/{docname}.ipynb")
    line = views.raw("how_to_run", running=running, source=source, colab=colab if address else "")
    title.parent.insert(title.parent.index(title) + 1, line)


def drop_empty_heads(doctree: nodes.document) -> None:
    """A table with empty headings, as chapters use for their card, needs no heading row."""
    for head in [head for head in doctree.findall(nodes.thead) if not head.astext().strip()]:
        head.parent.remove(head)


def finish_page(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """All additions to a page."""
    drop_empty_heads(doctree)
    if docname == "glossary":
        name_terms(doctree)
    if docname.startswith("chapters/"):
        link_terms(app, doctree, docname)
        let_keyboards_scroll(doctree)
        note_how_to_run(app, doctree, docname)
        first = next(doctree.findall(nodes.section))
        first += cite_box(app, docname.removeprefix("chapters/"), docname)


def mend_citations(
    app: Sphinx, pagename: str, templatename: str, context: dict, doctree: nodes.document | None
) -> None:
    """Sphinx marks the bibliography as a list whose children are not list items; screen readers stumble over it."""
    context["body"] = context.get("body", "").replace('role="list" class="citation-list"', 'class="citation-list"')


def put_off_pictures(
    app: Sphinx, pagename: str, templatename: str, context: dict, doctree: nodes.document | None
) -> None:
    """Pictures are loaded when they come near the window; until then their size in pixels keeps their place."""
    sources = {name: source for source, (_, name) in app.env.images.items()}

    def later(found: re.Match[str]) -> str:
        with Image.open(Path(app.srcdir) / sources[found[1]]) as picture:
            width, height = picture.size
        return f'<img loading="lazy" width="{width}" height="{height}" '

    context["body"] = PICTURE.sub(later, context.get("body", ""))


class RunTimes(SphinxDirective):
    """How long the recorded run of each chapter took, and the memory that it needed."""

    def run(self) -> list[nodes.Node]:
        """The table."""
        for chapter in claims.chapters():
            for profile in ("full", "quick"):
                self.env.note_dependency(str(runs.FOLDER / f"{chapter}.{profile}.json"))
        made = [run for chapter in claims.chapters() for run in recorded_runs(chapter)]
        longest = max((run.provenance.minutes for run in made), default=1)
        titles = {run.chapter: views.file_of(run.chapter).title for run in made}
        return [views.raw("run_times", runs=made, longest=longest, titles=titles)]


class DatasetCards(SphinxDirective):
    """One section for each card in data/cards.yml."""

    def run(self) -> list[nodes.Node]:
        """The sections."""
        path = ROOT / "data/cards.yml"
        self.env.note_dependency(str(path))
        sections = []
        for name in yaml.safe_load(path.read_text(encoding="utf-8")):
            card = cards.card(name)
            section = nodes.section(ids=[f"data-{nodes.make_id(name)}"], names=[])
            section += nodes.title(text=card.title)
            section += nodes.raw("", card._repr_html_(), format="html")
            sections.append(section)
        return sections


class Licences(SphinxDirective):
    """The licences of the packages that the book installs by name, from data/licences.csv."""

    def run(self) -> list[nodes.Node]:
        """The table."""
        path = ROOT / "data/licences.csv"
        self.env.note_dependency(str(path))
        with path.open(encoding="utf-8", newline="") as file:
            head, *lines = csv.reader(file)
        return [views.raw("licences", head=[name.capitalize() for name in head], lines=lines)]


def modules(room: str) -> dict[str, str]:
    """The modules of a room of `utils` and what each says of itself first; nothing is imported."""
    found = {}
    for path in sorted((ROOT / "utils" / room).rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        if not source:
            continue  # only makes a package of its folder
        parts = path.relative_to(ROOT).with_suffix("").parts
        said = ast.get_docstring(ast.parse(source)) or source.partition("\n")[0].lstrip("# ")
        found[".".join(part for part in parts if part != "__init__")] = said.partition("\n\n")[0].replace("\n", " ")
    return found


class Modules(SphinxDirective):
    """The modules of a room of `utils`, a line each."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The table."""
        for path in (ROOT / "utils" / self.arguments[0]).rglob("*.py"):
            self.env.note_dependency(str(path))
        return [views.raw("modules", room=self.arguments[0], modules=modules(self.arguments[0]))]


def setup(app: Sphinx) -> dict:
    """Register the directives and connect the additions."""
    app.add_directive("run-times", RunTimes)
    app.add_directive("dataset-cards", DatasetCards)
    app.add_directive("licences", Licences)
    app.add_directive("modules", Modules)
    app.connect("doctree-resolved", finish_page)
    app.connect("html-page-context", mend_citations)
    app.connect("html-page-context", put_off_pictures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
