"""The page on speed: what was timed against what, and how cost grows with size, from data/results/bench.json."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import Any

from docutils import nodes
from markupsafe import Markup
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from utils.records import bench, claims, sources
from utils.site import views

PEER = re.compile(r"\b(DGL|TensorFlow|released)\b|^torch")  # what a reader would otherwise use
FARTHEST = 10  # times the largest measured size, up to which a line is carried on
WIDTH, HEIGHT = 360, 230  # of a chart, in its own units
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 12, 40


def comparisons_html(entries: dict[str, Any]) -> str:
    """How many aims were met, and where; a table against what a reader would otherwise use, and one of the rest."""
    rows = [
        {"comparison": comparison, "met": bench.met(comparison), "name": name, "stamp": entry["stamp"]}
        | {"peer": against_a_peer(comparison), "faster": smaller(comparison)}
        | {"title": views.file_of(name).title, "old": sources.stale(entry["stamp"].get("code", {}))}
        for name, entry in entries.items()
        for comparison in entry["comparisons"]
    ]
    devices = sorted({entry["stamp"]["device"] for entry in entries.values()})
    return views.markup("bench_comparisons", rows=rows, met=sum(row["met"] for row in rows), devices=devices)


def against_a_peer(comparison: dict[str, Any]) -> bool:
    """Whether this book stands on one side, and a library or the authors' code on the other."""
    first, last = (comparison["sides"][k]["name"] for k in (0, -1))
    return bool(PEER.search(last)) and not PEER.search(first)


def smaller(comparison: dict[str, Any]) -> str:
    """The side, of the two that are compared, which needs less."""
    first, last = (comparison["sides"][k] for k in (0, -1))
    return str((first if first["value"] <= last["value"] else last)["name"])


def short(value: float) -> str:
    """1000 as 1k, 2000000 as 2M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def duration(milliseconds: float) -> str:
    """A time with the unit that suits it."""
    for size, unit in ((1e3, "s"), (1, "ms"), (1e-3, "µs")):
        if milliseconds >= size:
            return f"{milliseconds / size:.3g} {unit}"
    return f"{milliseconds * 1e6:.3g} ns"


def amount(value: float, unit: str) -> str:
    """A measured value in words: a time in the unit that suits it, a memory in MB or GB."""
    if unit == "ms":
        return duration(value)
    return f"{value / 1e3:.3g} GB" if value >= 1e3 else f"{value:.3g} {unit}"


def unit_of(growth: dict[str, Any]) -> str:
    """What was measured at each size: ms, or MB of memory."""
    return growth.get("unit", "ms")


def decades(low: float, high: float) -> list[float]:
    """The powers of ten from low to high."""
    return [10.0**k for k in range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)]


def marker(kind: int, x: float, y: float) -> Markup:
    """The mark of a series: its shape tells it apart where its colour does not."""
    shapes = (
        Markup('<circle cx="{:.1f}" cy="{:.1f}" r="3.5"/>').format(x, y),
        Markup('<rect x="{:.1f}" y="{:.1f}" width="6.4" height="6.4"/>').format(x - 3.2, y - 3.2),
        Markup('<path d="M{:.1f} {:.1f} l4.2 7.4 h-8.4 z"/>').format(x, y - 4.4),
    )
    return shapes[kind % 3]


def chart(growth: dict[str, Any]) -> dict[str, Any]:
    """What the template draws: times or memory against sizes on logarithmic axes, in the units of the chart."""
    unit = unit_of(growth)
    points = [point for series in growth["series"] for point in series["points"]]
    sizes, times = ([point[axis] for point in points] for axis in (0, 1))
    low, high = 10 ** math.floor(math.log10(min(times))), 10 ** math.ceil(math.log10(max(times)))
    least, most = min(sizes), max(sizes)

    def across(size: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(size / least) / math.log(most / least)

    def up(time: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * math.log(time / low) / math.log(high / low)

    lines = []
    for series in growth["series"]:
        places = [(across(size), up(time)) for size, time in series["points"]]
        lines.append({"path": "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in places), "places": places})
    ends = [
        f"{series['name']}: {amount(series['points'][0][1], unit)} at {series['points'][0][0]:,} {growth['along']}, "
        f"{amount(series['points'][-1][1], unit)} at {series['points'][-1][0]:,}, slope {series['slope']:.1f}"
        for series in growth["series"]
    ]
    measured = "time" if unit == "ms" else "memory"
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "sides": (LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM),
        "levels": [(up(time), amount(time, unit)) for time in decades(low, high)],
        "columns": [(across(size), short(size)) for size in decades(least, most)],
        "lines": lines,
        "label": f"{growth['title']}, {measured} against size on logarithmic axes. {'. '.join(ends)}.",
    }


def faster(growth: dict[str, Any]) -> list[Markup]:
    """A sentence for each two neighbouring ways: which is faster or leaner, and where that changes."""
    along, told = growth["along"], []
    leads_by = "is faster" if unit_of(growth) == "ms" else "needs less memory"
    for one, other in pairwise(growth["series"]):
        times = {size: [time] for size, time in one["points"]}
        for size, time in other["points"]:
            times.setdefault(size, []).append(time)
        both = sorted(size for size, found in times.items() if len(found) == 2)
        if not both:
            continue
        leads = [times[size][0] < times[size][1] for size in both]
        winner, loser = (one, other) if leads[-1] else (other, one)
        since = next((k for k in range(len(leads), 0, -1) if leads[k - 1] != leads[-1]), 0)
        where = f"from {both[since]:,} {along} on" if since else "at every size that both were measured at"
        sentence = Markup("<i>{}</i> {} than <i>{}</i> {}.")
        told.append(sentence.format(winner["name"].capitalize(), leads_by, loser["name"], where))
    return told


def reason(growth: dict, breaks: dict[str, Any]) -> str:
    """Why a size is too large."""
    limit = {60: "a minute", 3600: "an hour"}.get(growth["limit"], f"{growth['limit']:g} seconds")
    memory = f"{bench.MEMORY / 2**30:g} GiB of memory"
    return memory if breaks["by"] == "memory" else f"{limit} of time"


def largest(series: dict[str, Any]) -> int:
    """The largest size that was measured."""
    return int(max(size for size, _ in series["points"]))


def near(series: dict[str, Any]) -> bool:
    """Whether a series gives out at a size that the measured ones can tell of."""
    return bool(series["breaks"]) and series["breaks"]["at"] <= FARTHEST * largest(series)


def end_of(series: dict[str, Any]) -> str:
    """From which size on a series gives out, as far as the measured sizes tell."""
    if near(series):
        return f"{series['breaks']['at']:,.0f}"
    return f"beyond {FARTHEST * largest(series):,}" if series["breaks"] else "–"


def breaks_first(growth: dict[str, Any]) -> dict[str, Any] | None:
    """The series that gives out at the smallest size, of those that are known to."""
    ends = [series for series in growth["series"] if near(series)]
    return min(ends, key=lambda series: series["breaks"]["at"], default=None)


def first_to_break(growth: dict[str, Any]) -> Markup:
    """What gives out first as the size grows, in a sentence."""
    if (series := breaks_first(growth)) is None:
        if any(series["breaks"] for series in growth["series"]):
            return Markup("Nothing breaks up to ten times the sizes that were measured.")
        nothing = Markup("Nothing breaks below {:,.0f} {}, the most that there can be.")
        return nothing.format(growth["most"], growth["along"])
    sentence = Markup("First to break: <i>{}</i>, at about {:,.0f} {}, where it needs {}.")
    return sentence.format(series["name"], series["breaks"]["at"], growth["along"], reason(growth, series["breaks"]))


def place(growth: dict[str, Any]) -> str:
    """The id of the section on a growth."""
    return f"growth-{nodes.make_id(growth['title'])}"


def summary_row(growth: dict[str, Any]) -> dict[str, str]:
    """What breaks first in a growth, as a row of the summary."""
    row = {"place": place(growth), "title": growth["title"], "name": "–", "at": "–", "reason": "–"}
    if series := breaks_first(growth):
        at = f"{series['breaks']['at']:,.0f} {growth['along']}"
        row |= {"name": series["name"], "at": at, "reason": reason(growth, series["breaks"])}
    return row


def growth_html(growth: dict[str, Any]) -> str:
    """A chart with its legend, what it tells in sentences, and the table of its ways."""
    rows = [
        {
            "name": series["name"],
            "slope": series["slope"],
            "largest": largest(series),
            "end": end_of(series),
            "reason": reason(growth, series["breaks"]) if near(series) else "–",
        }
        for series in growth["series"]
    ]
    told = [first_to_break(growth), *faster(growth)]
    return views.markup("bench_growth", growth=growth, chart=chart(growth), marker=marker, told=told, rows=rows)


class FromRecord(SphinxDirective):
    """A part of the page that is made from the record; a broken record stops the build by its name."""

    def entries(self) -> dict[str, Any]:
        """The record; the page is made again when it changes."""
        self.env.note_dependency(str(bench.PATH))
        for chapter in claims.chapters():
            self.env.note_dependency(str(claims.FOLDER / f"{chapter}.yml"))
            self.env.note_dependency(str(sources.path_of(chapter)))
        try:
            return bench.load()
        except bench.RecordError as error:
            raise self.error(str(error)) from error


class Comparisons(FromRecord):
    """The table of what was timed against what."""

    def run(self) -> list[nodes.Node]:
        """The table."""
        return [nodes.raw("", comparisons_html(self.entries()), format="html")]


class Growth(FromRecord):
    """A section for each measurement at several sizes."""

    def run(self) -> list[nodes.Node]:
        """The sections, after a summary."""
        every = [growth for entry in self.entries().values() for growth in entry["growth"]]
        if not every:
            return [views.raw("bench_missing")]
        sections = [views.raw("bench_summary", rows=[summary_row(growth) for growth in every])]
        for growth in every:
            section = nodes.section(ids=[place(growth)], names=[])
            section += nodes.title(text=growth["title"])
            section += nodes.raw("", growth_html(growth), format="html")
            sections.append(section)
        return sections


def setup(app: Sphinx) -> dict:
    """Register the directives."""
    app.add_directive("bench-comparisons", Comparisons)
    app.add_directive("bench-growth", Growth)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
