"""The front page: one claim as an example, the total as a bar, and a card for each chapter."""

from __future__ import annotations

import base64
import io
from collections import Counter
from pathlib import Path

import yaml
from docutils import nodes
from PIL import Image
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from utils import ROOT
from utils.records import sources
from utils.records.claims import ClaimError
from utils.site import chart, scoreboard, views
from utils.tools import reading

GALLERY = ROOT / "data" / "gallery.yml"
FOLDER = "thumbnails"
WIDTH = 480  # pixels of a thumbnail, twice what a card shows


class Example(SphinxDirective):
    """One claim as the chapters show their headline claims; the argument is chapter:claim."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The picture of the claim and a line."""
        chapter, _, name = self.arguments[0].partition(":")
        try:
            file, run = views.file_of(chapter), views.leading(chapter)
            views.note(self.env, chapter)
            if run is None:
                raise ClaimError(f"no run of {chapter} has been recorded")
            row = views.row(file[name], run.records)
        except ClaimError as error:
            raise self.error(str(error)) from error
        page = self.env.app.builder.get_relative_uri(self.env.docname, f"chapters/{chapter}")
        drawn = chart.draw([row], run.records)
        return [views.raw("headline", file=file, run=run, page=page, rows=[row], chart=drawn)]


class Total(SphinxDirective):
    """All scored claims as one bar, a part for each verdict; a part opens the scoreboard with these claims."""

    def run(self) -> list[nodes.Node]:
        """The bar."""
        chapters = scoreboard.board()
        for chapter in chapters:
            views.note(self.env, chapter["file"].chapter)
        counts: Counter = sum((chapter["counts"] for chapter in chapters), Counter())
        parts = [(views.Badge(verdict, verdict), counts[verdict]) for verdict in views.VERDICTS if counts[verdict]]
        page = self.env.app.builder.get_relative_uri(self.env.docname, scoreboard.PAGE)
        total = sum(counts.values())
        return [views.raw("total", parts=parts, total=total, chapters=len(chapters), page=page)]


def picture(chapter: str, name: str) -> tuple[bytes, str]:
    """The stored picture of a cell, named by its id or by the name of its figure, and its text.

    Raises:
        ClaimError: the notebook stores no such picture.
    """
    for cell in sources.cells(sources.path_of(chapter)):
        book = cell["metadata"].get("mystnb", {})
        if name in (cell.get("id"), book.get("figure", {}).get("name")):
            for output in cell["outputs"]:
                if "image/png" in output.get("data", {}):
                    text = book.get("image", {}).get("alt", "")
                    return base64.b64decode("".join(output["data"]["image/png"])), text
    raise ClaimError(f"data/gallery.yml: chapters/{chapter}.ipynb stores no picture {name!r}")


def thumbnail(png: bytes) -> bytes:
    """The picture on white, as wide as a card needs it."""
    image = Image.open(io.BytesIO(png)).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image)
    small = white.convert("RGB").resize(
        (WIDTH, max(1, round(WIDTH * image.height / image.width))), Image.Resampling.LANCZOS
    )
    found = io.BytesIO()
    small.quantize(64).save(found, "PNG", optimize=True)
    return found.getvalue()


class Gallery(SphinxDirective):
    """A card for each chapter: number, title, a picture, one line of result, minutes."""

    def run(self) -> list[nodes.Node]:
        """The cards, in the order of the book."""
        self.env.note_dependency(str(GALLERY))
        pictures = yaml.safe_load(GALLERY.read_text(encoding="utf-8"))
        cards = []
        try:
            for number, chapter in enumerate(scoreboard.board(), 1):
                name = chapter["file"].chapter
                self.env.note_dependency(str(sources.path_of(name)))
                lines = [row for row in chapter["scored"] if row.claim.headline and row.count]
                first = next((row for row in lines if row.claim.paper is not None), lines[0] if lines else None)
                entry = pictures.get(name, {})
                small, alt = write(self.env.app, name, entry["picture"]) if entry else (None, "")
                minutes = reading.length(name).minutes
                cards.append({**chapter, **entry, "number": number, "line": first, "minutes": minutes})
                cards[-1] |= {"small": small, "alt": alt}
        except ClaimError as error:
            raise self.error(str(error)) from error
        return [views.raw("gallery", cards=cards)]


def write(app: Sphinx, chapter: str, name: str) -> tuple[str, str]:
    """Write the thumbnail of a chapter into the site; its address on the front page, and its text."""
    png, alt = picture(chapter, name)
    return put(app, chapter, thumbnail(png)), alt


def put(app: Sphinx, name: str, png: bytes) -> str:
    """Write a picture beside the thumbnails; its address on a page of the top level."""
    folder = Path(app.outdir) / "_static" / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.png").write_bytes(png)
    return f"_static/{FOLDER}/{name}.png"


def setup(app: Sphinx) -> dict:
    """Register the directives."""
    app.add_directive("example-claim", Example)
    app.add_directive("total", Total)
    app.add_directive("gallery", Gallery)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
