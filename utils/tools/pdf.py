"""Print the built site into one PDF: python -m utils.tools.pdf [page ...]. Needs Chromium.

Pages follow each other in the order of the contents. Sources and protocols of claims, and how to cite, are unfolded;
solutions of exercises and folded code stay folded.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from utils import ROOT
from utils.site import scoreboard

SITE = ROOT / "_build" / "html"
OUT = ROOT / "_build" / "paper-walkthroughs.pdf"
UNFOLD = """document.querySelectorAll('.recorded-run details, details.cite, .headlines details, .sd-dropdown')
  .forEach(box => { box.open = true; })"""
EDGE = ("16mm", "14mm", "16mm", "14mm")  # of a sheet: top, right, bottom, left


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder, served on this machine as long as the block runs, without a word."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def contents() -> list[str]:
    """The pages of the book in their order, as _toc.yml has them."""
    return [f"{name}.html" for name in scoreboard.contents()]


def chromium() -> str | None:
    """A browser: the one named by CHROMIUM or one on the path; None leaves the choice to playwright."""
    names = [os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"]
    return next((path for name in names if name and (path := shutil.which(name))), None)


def print_pages(pages: list[str], out: Path = OUT, site: Path = SITE) -> int:
    """Print pages of a built site into one file; the number of its sheets.

    Raises:
        SystemExit: the site has no such page.
    """
    from playwright.sync_api import PdfMargins, sync_playwright
    from pypdf import PdfWriter

    if missing := [name for name in pages if not (site / name).is_file()]:
        sys.exit(f"the site has no {', '.join(missing)}: make book")
    book = PdfWriter()
    with served(site) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        for name in pages:
            page = browser.new_page(color_scheme="light")
            page.goto(address + name, wait_until="networkidle")
            page.evaluate("window.MathJax?.startup?.promise")
            page.evaluate("document.querySelectorAll('img').forEach(image => { image.loading = 'eager'; })")
            page.evaluate(UNFOLD)
            title = page.title().partition(" — ")[0]
            top, right, bottom, left = EDGE
            margin: PdfMargins = {"top": top, "right": right, "bottom": bottom, "left": left}
            sheets = page.pdf(format="A4", print_background=True, margin=margin, scale=0.85)
            book.append(io.BytesIO(sheets), outline_item=title)
            page.close()
        browser.close()
    book.add_metadata({"/Title": "Paper Walkthroughs"})
    out.parent.mkdir(parents=True, exist_ok=True)
    book.write(out)
    return len(book.pages)


if __name__ == "__main__":
    print(f"{print_pages(sys.argv[1:] or contents())} sheets: {OUT.relative_to(ROOT)}")
