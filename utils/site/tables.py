"""What brings sortable tables to life: DataTables, served by the site, and a short script that starts it."""

from __future__ import annotations

import shutil
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

HERE = Path(__file__).parent
SCRIPTS = (HERE / "vendor" / "dataTables.min.js", HERE / "templates" / "tables.js")
TABLE = ' sortable"'  # as the macro `sortable` writes it


def add_scripts(app: Sphinx) -> None:
    """Before pages are written: both scripts, and the licence of the one that is not the book's."""
    if app.builder.format == "html":
        static = Path(app.outdir) / "_static"
        static.mkdir(parents=True, exist_ok=True)
        for path in (*SCRIPTS, HERE / "vendor" / "dataTables.LICENSE.txt"):
            shutil.copyfile(path, static / path.name)


def load_scripts(app: Sphinx, pagename: str, templatename: str, context: dict, doctree: nodes.document | None) -> None:
    """A page with a sortable table loads them, others do not."""
    if TABLE in context.get("body", ""):
        for path in SCRIPTS:
            app.add_js_file(path.name, loading_method="defer")


def setup(app: Sphinx) -> dict:
    """Connect both."""
    app.connect("builder-inited", add_scripts)
    app.connect("html-page-context", load_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
