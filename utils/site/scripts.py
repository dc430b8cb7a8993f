"""The book's scripts: each is served by the site and loaded by the pages that need it, and by no other."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

TEMPLATES = Path(__file__).parent / "templates"


def static(app: Sphinx) -> Path:
    """The folder of the built site for files that pages load."""
    folder = Path(app.outdir) / "_static"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def load_where(app: Sphinx, mark: str, scripts: Sequence[Path], beside: Sequence[Path] = ()) -> None:
    """Pages whose body holds `mark` load the scripts, in this order; files `beside` them are only served."""

    def copy(app: Sphinx) -> None:
        if app.builder.format == "html":
            for path in (*scripts, *beside):
                shutil.copyfile(path, static(app) / path.name)

    def load(app: Sphinx, pagename: str, templatename: str, context: dict, doctree: nodes.document | None) -> None:
        if mark in context.get("body", ""):
            for path in scripts:
                app.add_js_file(path.name, loading_method="defer")

    app.connect("builder-inited", copy)
    app.connect("html-page-context", load)
