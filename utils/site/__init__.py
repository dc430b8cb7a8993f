"""The parts of the site, as one Sphinx extension: scoreboard, recorded runs in chapters, map of ideas, and more."""

from __future__ import annotations

from sphinx.application import Sphinx

PARTS: tuple[str, ...] = ("recorded", "scoreboard", "tables", "front", "pages", "ideas", "symbols", "benchmarks")
PARTS += ("explorables", "pictures", "assets", "icons", "head", "search")


def setup(app: Sphinx) -> dict:
    """Load every part."""
    for part in PARTS:
        app.setup_extension(f"utils.site.{part}")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
