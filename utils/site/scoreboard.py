"""The scoreboard of the front page: verdicts by chapter, every claim with its recorded run, and the checks."""

from __future__ import annotations

from collections import Counter

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective

from utils.records import claims
from utils.records.claims import ClaimError
from utils.site import views


def scoreboard_html() -> str:
    """One table of the chapters, one of all scored claims, one of the checks; each from the run that leads."""
    chapters, total = [], 0
    for name in claims.chapters():
        file, run = views.file_of(name), views.leading(name)
        scored, checks = views.rows(file, run)
        counts = Counter(row.badge.verdict for row in scored)
        total += len(scored)
        chapters.append({"file": file, "run": run, "scored": scored, "checks": checks, "counts": counts})
    return views.markup("scoreboard", chapters=chapters, verdicts=views.VERDICTS, total=total)


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
    """The front page is made again when there is a new chapter, or one less."""
    return [app.config.root_doc] if added or removed else []


def setup(app: Sphinx) -> dict:
    """Register the directive."""
    app.connect("env-get-outdated", look_for_chapters)
    app.add_directive("scoreboard", Scoreboard)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
