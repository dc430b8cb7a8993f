"""Pages without what the theme loads in vain: a style sheet of its icons; the index of words on the search page only.

The theme loads all of Font Awesome, 1.5 MB, on each page and shows a dozen of its icons; and the index of words, though
only the search page looks anything up.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

from sphinx.application import Sphinx

SCRIPT = re.compile(r'\s*<script[^>]*src="[^"]*scripts/fontawesome\.js[^"]*"[^>]*></script>')
PRELOAD = re.compile(r'\s*<link rel="preload"[^>]*fontawesome\.js[^>]*>')
SEARCH = re.compile(r'\s*<script src="[^"]*\b(?:searchtools|language_data|searchindex)\.js[^"]*"></script>')
USED = re.compile(r"\bfa-([a-z][a-z0-9-]*)")
DEFINED = r'[{{,]"?{name}"?:\[(\d+),(\d+),\[[^\]]*\],"[0-9a-f]*","([^"]*)"\]'
NO_ICONS = {"solid", "regular", "brands", "lg"}
NOTICE = "/* Icons: Font Awesome Free, CC BY 4.0, https://fontawesome.com/license/free */\n"
RULES = """html :is(.fas, .far, .fab, .fa-solid, .fa-regular, .fa-brands) { font-family: inherit; }
html :is(.fas, .far, .fab, .fa-solid, .fa-regular, .fa-brands)::before {
  content: ""; font-family: inherit; display: inline-block; width: 1em; height: 1em; vertical-align: -0.125em;
  background: currentcolor; mask: var(--icon) center / contain no-repeat;
}
.fa-lg { font-size: 1.25em; }
.bd-header-article .btn :is(.fas, .far, .fab, .fa-solid, .fa-regular, .fa-brands) { font-size: 1.3rem; }
"""


def definition(library: str, name: str) -> tuple[str, str, str]:
    """Width, height and path of an icon, as the theme's script defines it.

    Raises:
        ValueError: the script defines no such icon.
    """
    found = re.search(DEFINED.format(name=re.escape(name)), library)
    if not found:
        raise ValueError(f"the theme's script has no icon {name!r}")
    return found[1], found[2], found[3]


def style_sheet(library: str, names: set[str]) -> str:
    """A rule for each icon, its drawing inside."""
    rules = []
    for name in sorted(names):
        width, height, path = definition(library, name)
        drawing = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"><path d="{path}"/></svg>'
        rules.append(f'.fa-{name} {{ --icon: url("data:image/svg+xml,{quote(drawing)}"); }}\n')
    return NOTICE + RULES + "".join(rules)


def lighten(app: Sphinx, failure: Exception | None) -> None:
    """After a build: the style sheet, and pages that load no script in vain."""
    if failure is not None or app.builder.format != "html":
        return
    out, used = Path(app.outdir), set()
    for page in out.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        used |= set(USED.findall(text))
        light = PRELOAD.sub("", SCRIPT.sub("", text))
        light = light if page.name == "search.html" else SEARCH.sub("", light)
        if light != text:
            page.write_text(light, encoding="utf-8")
    for script in (out / "_static").rglob("*theme.js"):
        used |= set(USED.findall(script.read_text(encoding="utf-8")))
    library = (out / "_static/scripts/fontawesome.js").read_text(encoding="utf-8")
    (out / "_static/icons.css").write_text(style_sheet(library, used - NO_ICONS), encoding="utf-8")


def setup(app: Sphinx) -> dict:
    """Connect it, and have every page load the style sheet."""
    app.add_css_file("icons.css")
    app.connect("build-finished", lighten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
