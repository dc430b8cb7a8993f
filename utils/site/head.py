"""The head of each page: what search engines and shared links show, and no script that the page does not need."""

from __future__ import annotations

import html
import re
import subprocess
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

from utils import ROOT
from utils.site import front

LONGEST = 200  # characters of a description
SHEETS = {"mystnb": "cell", "sphinx-design": "sd-", "sphinx-thebe": "thebe"}  # and how the classes begin that need one


def description(doctree: nodes.document) -> str:
    """The first paragraph of prose, cut at a word."""
    for paragraph in doctree.findall(nodes.paragraph):
        if not isinstance(paragraph.parent, nodes.section):
            continue  # in a table, a list or a note
        text = " ".join(paragraph.astext().split())
        if len(text) > LONGEST:
            text = text[: LONGEST - 1].rsplit(" ", 1)[0].rstrip(",;:") + "…"
        if len(text) > 20:
            return text
    return ""


def tags(app: Sphinx, pagename: str, title: str, said: str) -> str:
    """Meta elements for a page: description, Open Graph, and the picture of a chapter where the site has an address."""
    site = app.config.html_baseurl.rstrip("/")
    pairs = [("og:title", title), ("og:type", "article"), ("og:site_name", str(app.config.html_title))]
    if said:
        pairs.append(("og:description", said))
    if site:
        pairs.append(("og:url", f"{site}/{pagename}.html"))
        name = pagename.removeprefix("chapters/") if pagename.startswith("chapters/") else "gcn"
        picture = f"_static/{front.FOLDER}/{name}.png"
        if (Path(app.outdir) / picture).exists():
            pairs.append(("og:image", f"{site}/{picture}"))
    found = [f'<meta property="{name}" content="{html.escape(value)}">' for name, value in pairs]
    if said:
        found.append(f'<meta name="description" content="{html.escape(said)}">')
    return "\n".join(found)


def last_change(source: Path) -> str | None:
    """Day and commit of the last change of a page; None outside of a clone, or before its first commit."""
    command = ["git", "log", "-1", "--format=%cs, commit %h", "--", str(source)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:  # no git on this machine
        return None
    return done.stdout.strip() or None


def name_of(file: object) -> str:
    """The name of a script or style sheet in the context of a page, where it may stand as text or as an object."""
    return str(getattr(file, "filename", file))


def fill(app: Sphinx, pagename: str, templatename: str, context: dict, doctree: nodes.document | None) -> None:
    """Add the meta elements and the last change; leave out MathJax where there is no formula, and idle style sheets."""
    if doctree is not None:
        context["last_updated"] = last_change(Path(app.env.doc2path(pagename)))
        title = re.sub(r"<[^>]+>", "", str(context.get("title", "")))
        context["metatags"] = context.get("metatags", "") + tags(app, pagename, title, description(doctree))
    formulas = app.env.get_domain("math").data["has_equations"].get(pagename)  # of the page, not of those below it
    if "script_files" in context and not formulas:
        scripts = context["script_files"]
        context["script_files"] = [file for file in scripts if "mathjax" not in name_of(file)]
    body = context.get("body", "")
    idle = [sheet for sheet, start in SHEETS.items() if not re.search(rf'class="(?:[^"]* )?{start}', body)]
    removed = (context.get("meta") or {}).get("html_theme.sidebar_secondary.remove")
    if context.get("display_toc") and not removed:  # contents stand on the right
        idle.append("wide.css")
    if "css_files" in context:
        sheets = context["css_files"]
        context["css_files"] = [file for file in sheets if not any(sheet in name_of(file) for sheet in idle)]


def write_sitemap(app: Sphinx, failure: Exception | None) -> None:
    """After a build of a site with an address: sitemap.xml and robots.txt."""
    site = app.config.html_baseurl.rstrip("/")
    if failure is not None or app.builder.format != "html" or not site:
        return
    pages = sorted(app.env.found_docs)
    places = "".join(f"<url><loc>{html.escape(f'{site}/{name}.html')}</loc></url>\n" for name in pages)
    head = '<?xml version="1.0" encoding="utf-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
    (Path(app.outdir) / "sitemap.xml").write_text(f"{head}{places}</urlset>\n", encoding="utf-8")
    (Path(app.outdir) / "robots.txt").write_text(f"User-agent: *\nSitemap: {site}/sitemap.xml\n", encoding="utf-8")


def not_found(app: Sphinx) -> list[tuple[str, dict, str]]:
    """The page that a host shows for an address that is not there."""
    words = "<h1>Not here</h1><p>This page has moved or never was.</p>"
    return [("404", {"title": "Not here", "body": words, "metatags": ""}, "page.html")]


def setup(app: Sphinx) -> dict:
    """Connect them."""
    app.connect("html-page-context", fill, priority=900)
    app.connect("html-collect-pages", not_found)
    app.connect("build-finished", write_sitemap)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
