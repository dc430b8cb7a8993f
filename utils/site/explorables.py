"""What draws explorable figures on a page: Vega's scripts, served by the site, and a short one that starts them."""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path

import vl_convert
from docutils import nodes
from sphinx.application import Sphinx

LOADER = Path(__file__).parent / "templates" / "explorable.js"
FIGURE = 'class="explorable"'  # as utils.notebook.explorables writes it
VERSIONS = f"Vega {vl_convert.get_vega_version()}, Vega-Lite {vl_convert.get_vegalite_versions()[-1]}, "
VERSIONS += f"Vega-Embed {vl_convert.get_vega_embed_version()}"
HEAD = f"/* {VERSIONS} and what they need, as vl-convert-python {metadata.version('vl-convert-python')} carries them. "
HEAD += "Vega: BSD-3-Clause, University of Washington Interactive Data Lab. */\n"


def write_vega(path: Path) -> None:
    """Vega, Vega-Lite and Vega-Embed in one script, which sets `vegaEmbed` and no other name. Once for each version."""
    if path.exists() and path.read_text(encoding="utf-8").startswith(HEAD):
        return
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    # The bundle is a module, which no browser loads from a folder of its machine. It imports and exports nothing.
    path.write_text(f'{HEAD}(() => {{"use strict";{bundle}\n}})();\n', encoding="utf-8")


def add_scripts(app: Sphinx) -> None:
    """Before pages are written: both scripts."""
    if app.builder.format == "html":
        static = Path(app.outdir) / "_static"
        static.mkdir(parents=True, exist_ok=True)
        write_vega(static / "vega.js")
        shutil.copyfile(LOADER, static / LOADER.name)


def add_loader(app: Sphinx, pagename: str, templatename: str, context: dict, doctree: nodes.document | None) -> None:
    """A page with an explorable figure loads the short script, others load nothing."""
    if FIGURE in context.get("body", ""):
        app.add_js_file(LOADER.name, loading_method="defer")


def setup(app: Sphinx) -> dict:
    """Connect both."""
    app.connect("builder-inited", add_scripts)
    app.connect("html-page-context", add_loader)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
