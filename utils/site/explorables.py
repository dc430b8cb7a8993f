"""Explorable figures: Vega's scripts, served by the site, a short one that starts them, and the list of all of them."""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote

import vl_convert
import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from utils.records import sources
from utils.site import front, scoreboard, scripts, views

FIGURE = 'class="explorable"'  # as utils.notebook.explorables writes it
VERSIONS = f"Vega {vl_convert.get_vega_version()}, Vega-Lite {vl_convert.get_vegalite_versions()[-1]}, "
VERSIONS += f"Vega-Embed {vl_convert.get_vega_embed_version()}"
HEAD = f"/* {VERSIONS} and what they need, as vl-convert-python {metadata.version('vl-convert-python')} carries them. "
HEAD += "Vega: BSD-3-Clause, University of Washington Interactive Data Lab. */\n"


def write_vega(path: Path) -> None:
    """Vega, Vega-Lite and Vega-Embed in one script, which sets `vegaEmbed` and no other name. Once for each version."""
    if path.exists() and path.read_text(encoding="utf-8").startswith(HEAD):
        return
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    # The bundle is a module, which no browser loads from a folder of its machine. It imports and exports nothing.
    path.write_text(f'{HEAD}(() => {{"use strict";{bundle}\n}})();\n', encoding="utf-8")


def add_vega(app: Sphinx) -> None:
    """Before pages are written: Vega, which the short script loads."""
    if app.builder.format == "html":
        write_vega(scripts.static(app) / "vega.js")


def add_anchors(app: Sphinx, pagename: str, templatename: str, context: dict, doctree: nodes.document | None) -> None:
    """Each explorable figure of a page gets a place to link to."""
    if FIGURE in context.get("body", ""):
        numbers = itertools.count(1)
        context["body"] = re.sub(FIGURE, lambda found: f'id="explorable-{next(numbers)}" {found[0]}', context["body"])


def drawings(chapter: str) -> Iterator[tuple[str, str]]:
    """The drawing (SVG) of each explorable figure of a chapter, and its alternative text."""
    for cell in sources.cells(sources.path_of(chapter)):
        for output in cell["outputs"]:
            text = "".join(output.get("data", {}).get("text/html", ""))
            for alt, address in re.findall(rf'<figure {FIGURE}><img alt="([^"]*)" [^>]*src="([^"]*)"', text):
                yield unquote(html.unescape(address).partition(",")[2]), html.unescape(alt)


def pictures(app: Sphinx, chapter: str, texts: dict) -> Iterator[tuple[str, str, str]]:
    """Place in its page, address of a small picture and text of each explorable figure of a chapter.

    One with a script of its own has the place `at` of `texts`, the chapter's entry in data/gallery.yml, and the
    chapter's picture.
    """
    for number, (drawing, alt) in enumerate(drawings(chapter), 1):
        png = front.thumbnail(vl_convert.svg_to_png(drawing, scale=2))
        yield f"explorable-{number}", front.put(app, f"{chapter}-{number}", png), alt
    if place := texts.get("at"):
        yield place, *front.write(app, chapter, texts["picture"])


class Explorables(SphinxDirective):
    """A card for each explorable figure of the book: a picture, and what to try."""

    def run(self) -> list[nodes.Node]:
        """The cards, in the order of the book. A chapter with such a figure says in data/gallery.yml what to try."""
        self.env.note_dependency(str(front.GALLERY))
        texts, cards = yaml.safe_load(front.GALLERY.read_text(encoding="utf-8")), []
        for number, row in enumerate(scoreboard.board(), 1):
            name = row["file"].chapter
            self.env.note_dependency(str(sources.path_of(name)))
            entry = texts.get(name, {})
            for place, address, alt in pictures(self.env.app, name, entry):
                if not (says := entry.get("explore")):
                    raise self.error(f"data/gallery.yml does not say what to explore in {name}: add `explore`")
                page = self.env.app.builder.get_relative_uri(self.env.docname, f"chapters/{name}")
                title = f"{number}. {row['file'].title}"
                card = {"link": f"{page}#{place}", "picture": address, "alt": alt, "title": title, "says": says}
                cards.append(card)
        return [views.raw("explorables", cards=cards)]


def setup(app: Sphinx) -> dict:
    """Connect them, register the list."""
    app.add_directive("explorables", Explorables)
    app.connect("builder-inited", add_vega)
    scripts.load_where(app, FIGURE, [scripts.TEMPLATES / "explorable.js"])
    app.connect("html-page-context", add_anchors)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
