"""The scoreboard: verdicts by chapter, every claim with its recorded run, and the checks; in the order of the book."""

from __future__ import annotations

import functools
import re
from collections import Counter
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective

from utils import ROOT
from utils.records import claims
from utils.records.claims import ClaimError
from utils.site import views

PAGE = "scoreboard"


@functools.cache
def contents() -> tuple[str, ...]:
    """The pages of the book, without endings, in the order of _toc.yml."""
    return tuple(re.findall(r"(?:root|file): (\S+)", (ROOT / "_toc.yml").read_text(encoding="utf-8")))


@functools.cache
def in_order() -> tuple[str, ...]:
    """The chapters in the order of _toc.yml; chapters that it lacks come last."""
    listed = [name.removeprefix("chapters/") for name in contents() if name.startswith("chapters/")]
    known = claims.chapters()
    return (*(name for name in listed if name in known), *(name for name in known if name not in listed))


def board() -> list[dict[str, Any]]:
    """For each chapter its claims file, the run that leads, the rows of both kinds, and its verdicts counted."""
    found = []
    for name in in_order():
        file, run = views.file_of(name), views.leading(name)
        scored, checks = views.rows(file, run)
        counts = Counter(row.badge.verdict for row in scored)
        found.append({"file": file, "run": run, "scored": scored, "checks": checks, "counts": counts})
    return found


def scoreboard_html() -> str:
    """One table of the chapters, one of all scored claims, one of the checks; each from the run that leads."""
    chapters = board()
    every = [row for chapter in chapters for row in chapter["scored"]]
    return views.markup(
        "scoreboard",
        chapters=chapters,
        verdicts=views.VERDICTS,
        total=len(every),
        names=[(chapter["file"].chapter, chapter["file"].title) for chapter in chapters],
        words=[(verdict, f"{views.SIGNS[verdict]} {verdict}") for verdict in views.VERDICTS],
        kinds=[(kind, f"{kind}: {meaning}") for kind, meaning in views.EVIDENCE.items() if kind != "check"],
    )


class Scoreboard(SphinxDirective):
    """All claims of all chapters, with their verdicts."""

    def run(self) -> list[nodes.Node]:
        """The tables; a broken file stops the build by its name."""
        try:
            for chapter in claims.chapters():
                views.note(self.env, chapter)
            return [nodes.raw("", scoreboard_html(), format="html")]
        except ClaimError as error:
            raise self.error(str(error)) from error


def look_for_chapters(app: Sphinx, env: BuildEnvironment, added: set, changed: set, removed: set) -> list[str]:
    """The pages that show all chapters are made again when there is a new chapter, or one less."""
    return [app.config.root_doc, PAGE] if added or removed else []


def setup(app: Sphinx) -> dict:
    """Register the directive."""
    app.connect("env-get-outdated", look_for_chapters)
    app.add_directive("scoreboard", Scoreboard)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
