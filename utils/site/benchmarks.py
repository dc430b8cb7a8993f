"""The page on speed: what was timed against what, and how cost grows with size, from data/results/bench.json."""

import html
import math
from itertools import pairwise

import bench_record
from book import link, table, text
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from utils import claims, results

WIDTH, HEIGHT = 360, 230  # of a chart, in its own units
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 12, 40
MISSING = "<p>Nothing has been measured yet: <code>make bench</code> does it and writes what this page shows.</p>"
COLUMNS = ["Chapter", "What is compared", "Ratio", "Wanted", "Verdict", "Run"]
SERIES = ["Way", "Slope", "Largest size measured", "Too large from about", "Because of"]


def comparison_rows(name: str, entry: dict) -> list[str]:
    """A table row for each comparison of a chapter."""
    stamp, rows, old = entry["stamp"], [], ""
    title = link(f"chapters/{name}.html", claims.load(name).title)
    if results.stale({"provenance": {"code": stamp.get("code", {})}}):
        old = '<br><span class="stale" title="the chapter has changed since">older code</span>'
    for comparison in entry["comparisons"]:
        good = bench_record.met(comparison)
        badge = f'<span class="badge-{"reproduced" if good else "not-reproduced"}">{"met" if good else "missed"}</span>'
        first, last = (text(comparison["sides"][k]["name"]) for k in (0, -1))
        ratio = comparison["ratio"]
        cells = [
            f"<td>{title}</td>",
            f'<td class="compared">{text(comparison["title"])}<br><small>{first}; against {last}</small></td>',
            f'<td data-sort="{ratio}">{ratio:.3g}</td>',
            f"<td>{comparison['sense']} {comparison['wanted']:g}</td>",
            f"<td>{badge}</td>",
            f'<td><span title="{text(stamp["device"])}">{text(stamp["device"].split(",")[0])}</span><br>'
            f"{text(stamp['date'])}{old}</td>",
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return rows


def comparisons_html(entries: dict) -> str:
    """How many aims were met, where that was measured, and the table."""
    if not entries:
        return MISSING
    every = [comparison for entry in entries.values() for comparison in entry["comparisons"]]
    devices = sorted({entry["stamp"]["device"] for entry in entries.values()})
    rows = [row for name, entry in entries.items() for row in comparison_rows(name, entry)]
    met = sum(map(bench_record.met, every))
    return (
        f"<p>{met} of {len(every)} aims are met, {len(every) - met} missed. "
        f"Measured on: {text('; '.join(devices))}.</p>"
        f"{table('Speed, this book against others', COLUMNS, rows)}"
    )


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


def unit_of(growth: dict) -> str:
    """What was measured at each size: ms, or MB of memory."""
    return growth.get("unit", "ms")


def decades(low: float, high: float) -> list[float]:
    """The powers of ten from low to high."""
    return [10.0**k for k in range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)]


def marker(kind: int, x: float, y: float) -> str:
    """The mark of a series: its shape tells it apart where its colour does not."""
    shapes = (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>',
        f'<rect x="{x - 3.2:.1f}" y="{y - 3.2:.1f}" width="6.4" height="6.4"/>',
        f'<path d="M{x:.1f} {y - 4.4:.1f} l4.2 7.4 h-8.4 z"/>',
    )
    return shapes[kind % 3]


def chart(growth: dict) -> str:
    """Times or memory against sizes, both axes logarithmic, as an SVG that takes the colours of the page."""
    unit = unit_of(growth)
    points = [point for series in growth["series"] for point in series["points"]]
    sizes, times = ([point[axis] for point in points] for axis in (0, 1))
    low, high = 10 ** math.floor(math.log10(min(times))), 10 ** math.ceil(math.log10(max(times)))
    least, most = min(sizes), max(sizes)

    def across(size: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(size / least) / math.log(most / least)

    def up(time: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * math.log(time / low) / math.log(high / low)

    parts = []
    for time in decades(low, high):
        y = up(time)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="time" x="{LEFT - 6}" y="{y + 4:.1f}">{amount(time, unit)}</text>')
    for size in decades(least, most):
        x = across(size)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}">{short(size)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 5}">{html.escape(growth["along"])}</text>')
    for kind, series in enumerate(growth["series"]):
        places = [(across(size), up(time)) for size, time in series["points"]]
        path = " L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        marks = "".join(marker(kind, x, y) for x, y in places)
        parts.append(f'<g class="series-{kind % 3}"><path class="line" d="M{path}"/>{marks}</g>')
    ends = [
        f"{series['name']}: {amount(series['points'][0][1], unit)} at {series['points'][0][0]:,} {growth['along']}, "
        f"{amount(series['points'][-1][1], unit)} at {series['points'][-1][0]:,}, slope {series['slope']:.1f}"
        for series in growth["series"]
    ]
    measured = "time" if unit == "ms" else "memory"
    label = html.escape(f"{growth['title']}, {measured} against size on logarithmic axes. {'. '.join(ends)}.")
    return f'<svg class="growth" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def legend(growth: dict) -> str:
    """Mark and name of each series."""
    items = [
        f'<span class="series"><svg viewBox="0 0 26 12" width="26" height="12" aria-hidden="true">'
        f'<g class="series-{kind % 3}"><path class="line" d="M0 6 L26 6"/>{marker(kind, 13, 6)}</g></svg> '
        f"{text(series['name'])}</span>"
        for kind, series in enumerate(growth["series"])
    ]
    return " ".join(items)


def faster(growth: dict) -> list[str]:
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
        told.append(f"<i>{text(winner['name'].capitalize())}</i> {leads_by} than <i>{text(loser['name'])}</i> {where}.")
    return told


def reason(growth: dict, breaks: dict) -> str:
    """Why a size is too large."""
    limit = {60: "a minute", 3600: "an hour"}.get(growth["limit"], f"{growth['limit']:g} seconds")
    memory = f"{bench_record.MEMORY / 2**30:g} GiB of memory"
    return memory if breaks["by"] == "memory" else f"{limit} of time"


def breaks_first(growth: dict) -> dict | None:
    """The series that gives out at the smallest size."""
    ends = [series for series in growth["series"] if series["breaks"]]
    return min(ends, key=lambda series: series["breaks"]["at"], default=None)


def first_to_break(growth: dict) -> str:
    """What gives out first as the size grows, in a sentence."""
    if (series := breaks_first(growth)) is None:
        return f"Nothing breaks below {growth['most']:,.0f} {growth['along']}, the most that there can be."
    return (
        f"First to break: <i>{text(series['name'])}</i>, at about {series['breaks']['at']:,.0f} {growth['along']}, "
        f"where it needs {reason(growth, series['breaks'])}."
    )


def place(growth: dict) -> str:
    """The id of the section on a growth."""
    return f"growth-{nodes.make_id(growth['title'])}"


def summary_html(every: list[dict]) -> str:
    """One table of what breaks first in each growth."""
    rows = []
    for growth in every:
        series = breaks_first(growth)
        found = ["–"] * 3
        if series:
            at = f"{series['breaks']['at']:,.0f} {growth['along']}"
            found = [text(series["name"]), at, reason(growth, series["breaks"])]
        cells = "".join(f"<td>{cell}</td>" for cell in found)
        rows.append(f"<tr><td>{link('#' + place(growth), growth['title'])}</td>{cells}</tr>")
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("As what grows", "First to break", "At about", "Needs"))
    return (
        '<div class="table-box" tabindex="0" role="region" aria-label="What breaks first">'
        f'<table class="claims"><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def series_table(growth: dict) -> str:
    """The slope of each way and the size at which it gives out."""
    rows = []
    for series in growth["series"]:
        breaks = series["breaks"]
        largest = max(size for size, _ in series["points"])
        end = f"{breaks['at']:,.0f}" if breaks else "–"
        cells = [
            f"<td>{text(series['name'])}</td>",
            f"<td>{series['slope']:.2f}</td>",
            f"<td>{largest:,} {text(growth['along'])}</td>",
            f"<td>{end}</td>",
            f"<td>{reason(growth, breaks) if breaks else '–'}</td>",
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    heads = "".join(f'<th scope="col">{name}</th>' for name in SERIES)
    return (
        f'<div class="table-box" tabindex="0" role="region" aria-label="{text(growth["title"])}">'
        f'<table class="claims"><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def growth_html(growth: dict) -> str:
    told = " ".join([first_to_break(growth), *faster(growth)])
    return f'<figure class="growth">{chart(growth)}<figcaption>{legend(growth)}</figcaption></figure><p>{told}</p>'


class FromRecord(SphinxDirective):
    """A part of the page that is made from the record; a broken record stops the build by its name."""

    def entries(self) -> dict:
        self.env.note_dependency(str(bench_record.PATH))
        try:
            return bench_record.load()
        except bench_record.RecordError as error:
            raise self.error(str(error)) from error


class Comparisons(FromRecord):
    """The table of what was timed against what."""

    def run(self) -> list[nodes.Node]:
        return [nodes.raw("", comparisons_html(self.entries()), format="html")]


class Growth(FromRecord):
    """A section for each measurement at several sizes."""

    def run(self) -> list[nodes.Node]:
        every = [growth for entry in self.entries().values() for growth in entry["growth"]]
        if not every:
            return [nodes.raw("", MISSING, format="html")]
        sections = [nodes.raw("", summary_html(every), format="html")]
        for growth in every:
            section = nodes.section(ids=[place(growth)], names=[])
            section += nodes.title(text=growth["title"])
            section += nodes.raw("", growth_html(growth) + series_table(growth), format="html")
            sections.append(section)
        return sections


def setup(app: Sphinx) -> dict:
    app.add_directive("bench-comparisons", Comparisons)
    app.add_directive("bench-growth", Growth)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
