"""Explorable figures: charts with sliders and menus that need no kernel, for the book and for a notebook alike.

`notebook.explorable(chart, alt)` takes a chart of Altair whose data are small and already computed. The book draws it
with scripts that it serves itself (`utils.site.explorables`); on paper and where scripts do not run is a picture.
The colours, the ground and the frame are the book's unless the chart says otherwise.
"""

from __future__ import annotations

import html
import importlib.util
import json
import os
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from utils.notebook.plots import COLOURS

if TYPE_CHECKING:
    import altair

SHORTEST_ALT = 40  # characters, as for the other figures
# JupyterLab draws no newer version; what a chart of Altair 6 says is understood by it.
MIME_TYPE = "application/vnd.vegalite.v5+json"
LOOK = {
    "background": "transparent",
    "mark": {"color": COLOURS[0]},
    "range": {"category": list(COLOURS)},
    "view": {"stroke": "transparent"},
}


class Explorable:
    """A chart for a notebook's output: its specification, and the figure of the book with a picture in it."""

    def __init__(self, spec: dict[str, Any], markup: str, alt: str) -> None:
        self.spec, self.markup, self.alt = spec, markup, alt

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        """The figure where outputs are stored or compared, elsewhere the chart, which JupyterLab and VS Code draw.

        Not both: JupyterLab would show the figure, there a still picture, and the book knows nothing of charts.
        """
        stored = "WALKTHROUGHS_QUIET" in os.environ
        return {"text/plain": repr(self), **({"text/html": self.markup} if stored else {MIME_TYPE: self.spec})}

    def __repr__(self) -> str:
        return f"Explorable figure: {self.alt}"


def explorable(chart: altair.TopLevelMixin, alt: str) -> Explorable | altair.TopLevelMixin:
    """A chart that readers of the book can explore.

    Each control needs a name that says what it sets (`altair.binding_range(..., name="Number of layers ")`). Numbers
    are stored as the chart has them: round them first. On a narrow page a chart of one view with a `width` in pixels is
    laid out anew, others shrink.

    Args:
        chart: a chart of Altair that holds its data.
        alt: what the chart shows, for those who do not see it; at least 40 characters.

    Returns:
        An object that a notebook displays. On Colab, which shows charts by itself, and where vl-convert-python is not
        installed, the chart as it came.

    Raises:
        ValueError: the alternative text is too short, a control has no name, the chart loads something from an address,
            or its data hold a number that is not finite.
    """
    alt = " ".join(alt.split())
    if len(alt) < SHORTEST_ALT:
        raise ValueError(
            f"the alternative text has {len(alt)} characters; say in at least {SHORTEST_ALT} what is shown"
        )
    if "google.colab" in sys.modules or importlib.util.find_spec("vl_convert") is None:
        return chart
    spec = chart.to_dict()
    check(spec)
    spec["config"] = merged(LOOK, spec.get("config", {}))
    spec.setdefault("description", alt)
    text = json.dumps(spec, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return Explorable(spec, figure(text, picture(spec), alt), alt)


def check(spec: dict[str, Any]) -> None:
    """Refuse what does not work on a page of the book; ValueError as `explorable` says."""
    for part in parts({key: value for key, value in spec.items() if key != "datasets"}):
        if "url" in part:
            raise ValueError("the chart loads something from an address; give it the values themselves")
        if "input" in part and not str(part.get("name", "")).strip():
            raise ValueError(f"a control of the chart ({part['input']}) has no name; say what it sets: name='...'")


def parts(value: Any) -> Iterator[dict[str, Any]]:
    """All mappings within a value, except rows of data."""
    if isinstance(value, dict):
        yield value
        for key, inner in value.items():
            if key != "values":
                yield from parts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from parts(inner)


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Two settings in one; where both name something, the second holds."""
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        result[key] = merged(base[key], value) if both else value
    return result


def picture(spec: dict[str, Any]) -> str:
    """The chart as SVG, before anybody has moved a control. Equal charts give equal pictures."""
    import vl_convert

    room = {"left": 5, "right": 20, "top": 5, "bottom": 5}  # letters are wider where the reader has other fonts
    svg = vl_convert.vegalite_to_svg({"padding": room, **spec}, allowed_base_urls=[])
    # What is said of each mark is heard only where the chart is drawn; a picture has its alternative text.
    svg = re.sub("<[^>]+>", lambda tag: re.sub(r' (?:role|aria-[a-z]+)="[^"]*"', "", tag[0]), svg)
    # The numbers of clips and gradients go on counting from one picture to the next.
    numbers: dict[str, str] = {}
    return re.sub(
        r'(?<=[" (#])(clip|gradient_)(\d+)(?=[")])',
        lambda found: found[1] + numbers.setdefault(found[0], str(len(numbers))),
        svg,
    )


def figure(text: str, svg: str, alt: str) -> str:
    """The figure of the book: the specification for the script, and the picture that stands in until it is drawn."""
    size = re.search(r'<svg [^>]*?width="([\d.]+)" height="([\d.]+)"', svg)
    if size is None:
        raise ValueError("the picture of the chart has no size")
    width, height = (round(float(side)) for side in size.groups())
    short = svg.replace("'", "&#39;").replace('"', "'")  # an address may hold the one sign as it is, not the other
    address = "data:image/svg+xml," + quote(short, safe=" /:=;,()'+-.!*?@$")
    label = html.escape(alt)
    image = f'<img alt="{label}" width="{width}" height="{height}" src="{address}">'
    specification = text.replace("<", "\\u003c")  # no text of the chart may end the script
    return f'<figure class="explorable">{image}<script type="application/json">{specification}</script></figure>'
