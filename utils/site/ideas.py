"""The map of ideas on the front page: a box for each chapter, an arrow from what it grew out of."""

from __future__ import annotations

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from utils import ROOT
from utils.site import views

WIDTH, HEIGHT = 162, 44  # of a box
STEP = (184, 96)  # from box to box, along and down


def corner(at: list[int]) -> tuple[int, int]:
    """The upper left corner of a box."""
    return at[0] * STEP[0] + 4, at[1] * STEP[1] + 4


def arrow(start: list[int], end: list[int]) -> str:
    """A curve from the side of one box to the side of the other."""
    x1, y1 = map(float, corner(start))
    x2, y2 = map(float, corner(end))
    if start[1] == end[1]:  # along the row, above boxes that stand between
        y1, y2 = y1 + HEIGHT / 2, y2 + HEIGHT / 2
        if end[0] - start[0] == 1:
            return f"M{x1 + WIDTH} {y1} L{x2 - 3} {y2}"
        down = HEIGHT / 2 + 26
        x1, x2 = x1 + WIDTH / 2, x2 + WIDTH / 2
        return f"M{x1} {y1 + HEIGHT / 2} C{x1} {y1 + down} {x2} {y2 + down} {x2} {y2 + HEIGHT / 2 + 3}"
    x1, x2 = x1 + WIDTH / 2, x2 + WIDTH / 2
    y1, y2 = (y1 + HEIGHT, y2 - 3) if end[1] > start[1] else (y1, y2 + HEIGHT + 3)
    middle = (y1 + y2) / 2
    return f"M{x1} {y1} C{x1} {middle} {x2} {middle} {x2} {y2}"


def ideas_html(ideas: list[dict]) -> str:
    """The map as one SVG whose boxes are links; chapters that do not exist are left out."""
    here = {idea["chapter"]: idea for idea in ideas if (ROOT / f"chapters/{idea['chapter']}.ipynb").exists()}
    paths = [
        arrow(here[name]["at"], idea["at"]) for idea in here.values() for name in idea.get("from", []) if name in here
    ]
    boxes = [(name, *corner(idea["at"]), idea["label"], idea["year"]) for name, idea in here.items()]
    columns, rows = (max(idea["at"][axis] for idea in here.values()) for axis in (0, 1))
    size = columns * STEP[0] + WIDTH + 8, rows * STEP[1] + HEIGHT + 8
    return views.markup("ideas", boxes=boxes, paths=paths, size=size, box=(WIDTH, HEIGHT))


class Ideas(SphinxDirective):
    """The map of ideas, from data/ideas.yml."""

    def run(self) -> list[nodes.Node]:
        """The map."""
        path = ROOT / "data/ideas.yml"
        self.env.note_dependency(str(path))
        ideas = yaml.safe_load(path.read_text(encoding="utf-8"))
        return [nodes.raw("", ideas_html(ideas), format="html")]


def setup(app: Sphinx) -> dict:
    """Register the directive."""
    app.add_directive("ideas", Ideas)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
