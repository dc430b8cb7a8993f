"""Files that the site serves itself, so that no page asks another host: MathJax, and the helper code for Colab."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util.fileutil import copy_asset

MATHJAX = ["tex-chtml.js", "input/tex/extensions", "output/chtml/fonts", "a11y", "sre/mathmaps/base.json"]
MATHJAX += ["sre/mathmaps/en.json", "sre/mathmaps/nemeth.json"]


def copy_mathjax(static: Path) -> None:
    """The part of MathJax that LaTeX formulas need, from the package that carries it."""
    source = Path(next(path for path in sys.path if (Path(path) / "sphinx-mathjax-offline").is_dir()))
    for part in MATHJAX:
        path = source / "sphinx-mathjax-offline/static/mathjax" / part
        copy_asset(path, static / "mathjax" / (part if path.is_dir() else Path(part).parent))


def without_comments(sheet: str) -> str:
    """A style sheet without its comments, but for those that name a licence (/*!), and without indentation."""
    parts = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|/\*!.*?\*/)|/\*.*?\*/""", re.DOTALL)
    return re.sub(r"\n\s+", "\n", parts.sub(lambda found: found[1] or "", sheet))


def squeeze_sheets(static: Path) -> None:
    """Style sheets as they are read, not as they are written: every page loads them."""
    for path in static.rglob("*.css"):
        path.write_text(without_comments(path.read_text(encoding="utf-8")), encoding="utf-8")


def add_files(app: Sphinx, failure: Exception | None) -> None:
    """After a build: MathJax, the archive, and style sheets without comments."""
    if failure is None and app.builder.format == "html":
        from utils.tools import archive

        static = Path(app.outdir) / "_static"
        copy_mathjax(static)
        squeeze_sheets(static)
        archive.write(static / "paper-walkthroughs.zip")


def drop_thebe(app: Sphinx, config: object) -> None:
    """Jupyter Book always loads sphinx-thebe, whose script comes from another host; nothing here uses it."""
    for event in ("env-before-read-docs", "doctree-resolved"):
        listeners = app.events.listeners[event]
        listeners[:] = [item for item in listeners if not item.handler.__module__.startswith("sphinx_thebe")]


def setup(app: Sphinx) -> dict:
    """Connect both."""
    app.connect("config-inited", drop_thebe)
    app.connect("build-finished", add_files, priority=900)  # after the theme, which writes a sheet at the end, too
    return {"parallel_read_safe": True, "parallel_write_safe": True}
