"""What brings sortable tables to life: DataTables, served by the site, and a short script that starts it."""

from __future__ import annotations

from pathlib import Path

from sphinx.application import Sphinx

from utils.site import scripts

VENDOR = Path(__file__).parent / "vendor"
TABLE = ' sortable"'  # as the macro `sortable` writes it


def setup(app: Sphinx) -> dict:
    """Serve them, with the licence of the one that is not the book's."""
    both = [VENDOR / "dataTables.min.js", scripts.TEMPLATES / "tables.js"]
    scripts.load_where(app, TABLE, both, beside=[VENDOR / "dataTables.LICENSE.txt"])
    return {"parallel_read_safe": True, "parallel_write_safe": True}
