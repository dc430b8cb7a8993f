"""Pictures of the chapters are shown at the size they were drawn for; a click shows all their pixels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import imagesize
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

from utils.site import scripts

PER_INCH = 110  # pixels of a page that an inch of a figure takes; a wide figure takes the page's width at most


def inches(path: Path) -> float | None:
    """The width of a picture, if it says how dense its pixels are."""
    density, _ = imagesize.getDPI(path)
    return imagesize.get(path)[0] / density if density > 0 else None


class Widths(SphinxPostTransform):
    """Gives the pictures in outputs of cells their width."""

    default_priority = 400  # after the outputs that suit the builder have been chosen
    formats = ("html",)

    def run(self, **_: Any) -> None:
        """All pictures without a width of their own."""
        for image in self.document.findall(nodes.image):
            path = Path(os.path.join(self.env.srcdir, image["uri"]))
            if path.suffix != ".png" or not path.exists() or "width" in image or not _is_output(image):
                continue
            if width := inches(path):
                image["width"] = f"{width * PER_INCH:.0f}px"
                image["classes"].append("no-scaled-link")


def _is_output(node: nodes.Node | None) -> bool:
    while node is not None:
        if isinstance(node, nodes.Element) and "cell_output" in node.get("classes", []):
            return True
        node = node.parent
    return False


def setup(app: Sphinx) -> dict:
    """Register the transform, load the script that enlarges."""
    scripts.load_where(app, "cell_output", [scripts.TEMPLATES / "figures.js"])
    app.add_post_transform(Widths)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
