"""Places to link to at the numbered equations of chapters, and the links of the index of symbols."""

from __future__ import annotations

import functools
import re

from docutils import nodes
from sphinx.application import Sphinx

from utils.records import claims, sources
from utils.site import views

NUMBER = re.compile(r"\\tag\{(\d+)\}")
FORMULA = re.compile(r"\$\$(.*?)\$\$", re.S)
ROW = re.compile(r"^\| \$(.+?)\$ \| (.+?) \| (.+?) \|$", re.M)
PLACE = re.compile(r"(\w+) \((\d+)\)")


@functools.cache
def equations(chapter: str) -> dict[int, str]:
    """The numbered equations of a chapter, in LaTeX."""
    prose = "\n".join(cell["source"] for cell in sources.cells(sources.path_of(chapter), "markdown"))
    return {int(found[1]): formula for formula in FORMULA.findall(prose) if (found := NUMBER.search(formula))}


def plain(formula: str) -> str:
    """LaTeX without the spaces that do not show, and with one way to write the double bar."""
    return re.sub(r"\\[,;!]|\s", "", formula.replace(r"\|", r"\Vert "))


def occurs(symbol: str, formula: str) -> bool:
    """Whether the formula holds the symbol; letters are not looked for inside the names of commands and words."""
    if "\\" not in symbol:
        formula = re.sub(r"\\(?:operatorname|text|mathrm)\{[^}]*\}|\\[a-zA-Z]+", "", formula)
    return plain(symbol) in plain(formula)


def missing(page: str) -> list[str]:
    """The rows of the page whose equation is not there or does not hold the symbol; all that is wrong, in words."""
    wrong, chapters = [], set(claims.chapters())
    for symbol, _, places in ROW.findall(page):
        found = PLACE.findall(places)
        if not found or PLACE.sub("", places).strip(", "):
            wrong.append(f"${symbol}$: {places!r} is no list of chapters and equations")
        for chapter, number in found:
            if chapter not in chapters:
                wrong.append(f"${symbol}$: there is no chapter {chapter}")
            elif (formula := equations(chapter).get(int(number))) is None:
                wrong.append(f"${symbol}$: there is no equation ({number}) in {chapter}")
            elif not occurs(symbol, formula):
                wrong.append(f"${symbol}$ does not occur in equation ({number}) of {chapter}")
    return wrong


def name_equations(doctree: nodes.document) -> None:
    """Give each numbered equation the id that links lead to."""
    for formula in doctree.findall(nodes.math_block):
        if number := NUMBER.search(formula.astext()):
            formula["ids"].append(f"eq-{number[1]}")


def link_places(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """In the last column of the table, links to the equations under the titles of their chapters."""
    for row in doctree.findall(nodes.row):
        paragraph = next(iter(row[-1].findall(nodes.paragraph)), None)
        places = PLACE.findall(paragraph.astext()) if paragraph else []
        if paragraph is None or not places:
            continue
        paragraph.children, before = [], None
        for chapter, number in places:
            target = f"{app.builder.get_relative_uri(docname, f'chapters/{chapter}')}#eq-{number}"
            if paragraph.children:
                paragraph += nodes.Text(", ")
            title = views.file_of(chapter).title
            label = f"({number})" if chapter == before else f"{title} ({number})"
            paragraph += nodes.reference("", label, internal=True, refuri=target, reftitle=f"{title}, eq. ({number})")
            before = chapter


def finish_page(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Ids in chapters, links in the index."""
    if docname.startswith("chapters/"):
        name_equations(doctree)
    if docname == "symbols":
        link_places(app, doctree, docname)


def setup(app: Sphinx) -> dict:
    """Connect both."""
    app.connect("doctree-resolved", finish_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
