"""The picture of a chapter's headline claims: what is drawn, and where.

A row for each claim: the paper's value, this book's with its interval, the controls, and the accepted band. Places
across are per cent of the width of the plot, so that one drawing serves every window while letters and marks keep their
size; where letters could touch, the narrowest plot decides.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from utils.records import verdicts
from utils.records.claims import Claim
from utils.site.views import Row

PLOTS = {"narrow": 280, "wide": 430}  # least width of a plot in pixels, without and with names on its left
EDGE = 2.5  # per cent of the plot that stay free at either end, for half a mark
LETTER = 6.2  # width of a letter in pixels, at the size that the style sheet gives to letters in a plot
MARK = {"paper": 6, "elsewhere": 6, "here": 4.5, "control": 4}  # half the width of a mark, in pixels
GAP = 4  # pixels between a mark and its name
TICKS = 6  # on an axis, at most


@dataclass(frozen=True)
class Scale:
    """From values to per cent of the width of a plot."""

    low: float
    high: float

    def __call__(self, value: float) -> float:
        return EDGE + (100 - 2 * EDGE) * (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Mark:
    """A value: the paper's, the paper's on other data (elsewhere), this book's (here), or a control's."""

    kind: str
    x: float
    words: str


@dataclass(frozen=True)
class Name:
    """The name of a control beside its mark: on which side, and in which plots."""

    x: float
    text: str
    side: str
    plots: tuple[str, ...]

    def span(self, width: float) -> tuple[float, float]:
        """From where to where the name reaches in a plot of that width, in pixels."""
        start, length = self.x * width / 100, MARK["control"] + GAP + LETTER * len(self.text)
        return (start, start + length) if self.side == "right" else (start - length, start)


@dataclass(frozen=True)
class Band:
    """What is accepted, from edge to edge; an open end reaches the end of the plot and has no edge."""

    left: float
    right: float
    edges: tuple[float, ...]


@dataclass(frozen=True)
class Line:
    """What is drawn for one claim."""

    label: str
    band: Band
    interval: tuple[float, float] | None
    marks: tuple[Mark, ...]
    names: tuple[Name, ...]


@dataclass(frozen=True)
class Group:
    """Claims that share an axis; `zero` is where a margin vanishes."""

    unit: str
    ticks: tuple[tuple[float, str], ...]
    zero: float | None
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Chart:
    """The whole picture; `silent` tells of the claims without a mark, `label` says in words what is drawn."""

    groups: tuple[Group, ...]
    silent: tuple[str, ...]
    label: str

    @property
    def kinds(self) -> set[str]:
        """The kinds of marks that appear, for the legend."""
        lines = [line for group in self.groups for line in group.lines]
        found = {mark.kind for line in lines for mark in line.marks}
        return found | ({"interval"} if any(line.interval for line in lines) else set())


def drawn(claim: Claim, values: list | None) -> bool:
    """Whether a claim has marks: values on an axis do, an equality or a trend is told in words."""
    return bool(values) and claim.kind not in ("exact", "trend")


def axis_of(claim: Claim) -> tuple[str, str]:
    """What claims must have in common to share an axis: margin or value, and the unit; without a unit, the kind."""
    kind = "margin" if claim.kind == "ordering" else "value" if claim.unit or claim.kind == "interval" else "bound"
    return kind, claim.unit


def ends(claim: Claim, values: list) -> tuple[float, float] | None:
    """The interval to be drawn; none where chance has no part or the values are few."""
    return None if claim.certain else verdicts.interval(claim, values)


def numbers(claim: Claim, records: verdicts.Records) -> list[float]:
    """All values that the row of a claim must have room for."""
    values = records[claim.id]
    found = [claim.summary(values), *(ends(claim, values) or ()), *filter(math.isfinite, claim.band)]
    found += [] if claim.paper is None else [claim.paper]
    return found + [claim.summary(of) for c in claim.controls if (of := records.get(f"{claim.id}/{c.id}"))]


def scale(values: Iterable[float]) -> Scale:
    """A scale on which all these values lie."""
    values = list(values)
    low, high = min(values), max(values)
    room = 0.0 if high > low else abs(low) / 10 or 1.0
    return Scale(low - room, high + room)


def ticks(low: float, high: float, most: int = TICKS) -> list[float]:
    """Round numbers from low to high: multiples of 1, 2 or 5 times a power of ten, two at least."""
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    steps = (power * factor for factor in (1, 2, 5, 10, 20, 50))
    for step in steps:
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            return [k * step for k in range(first, last + 1)]
    raise ValueError(f"no ticks from {low} to {high}")


def written(values: Sequence[float]) -> list[str]:
    """Ticks with as many digits as their step needs."""
    step = min((b - a for a, b in itertools.pairwise(values)), default=1.0)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{value:.{digits}f}".replace("-", "−") if abs(value) > step / 2 else "0" for value in values]


def labelled(on: Scale) -> tuple[tuple[float, str], ...]:
    """As many ticks as there is room for their numbers."""
    for most in range(TICKS, 1, -1):
        values = ticks(on.low, on.high, most)
        places, words = [on(value) for value in values], written(values)
        widest = 100 * LETTER * (max(map(len, words)) + 1) / PLOTS["narrow"]
        if all(b - a >= widest for a, b in itertools.pairwise(places)):
            break
    return tuple(zip(places, words, strict=True))


def names(marks: Sequence[Mark], labels: Sequence[str], taken: Sequence[tuple[float, float]]) -> tuple[Name, ...]:
    """The names of controls that have room beside their marks, in narrow and in wide plots.

    Args:
        marks: all marks of a row.
        labels: names of the controls, in the order of their marks.
        taken: from where to where something else lies, in per cent.
    """
    found: dict[tuple[float, str, str], tuple[str, ...]] = {}
    for plot, width in PLOTS.items():
        spans = [(left * width / 100 - 2, right * width / 100 + 2) for left, right in taken]
        for mark in marks:
            spans.append((mark.x * width / 100 - MARK[mark.kind], mark.x * width / 100 + MARK[mark.kind]))
        for mark, text in zip((m for m in marks if m.kind == "control"), labels, strict=True):
            for side in ("right", "left"):
                name = Name(mark.x, text, side, ())
                left, right = name.span(width)
                letters = (left + MARK["control"], right) if side == "right" else (left, right - MARK["control"])
                if letters[0] >= 0 and letters[1] <= width and not any(_meet(letters, span) for span in spans):
                    spans.append(letters)
                    found[mark.x, text, side] = (*found.get((mark.x, text, side), ()), plot)
                    break
    return tuple(Name(*key, plots) for key, plots in found.items())


def _meet(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] < other[1] - 1e-6 and other[0] < one[1] - 1e-6


def line(row: Row, records: verdicts.Records, on: Scale, zero: float | None) -> Line:
    """The row of one claim."""
    claim, values = row.claim, records[row.claim.id]
    marks, labels = [], []
    for control, (told, statement) in zip(claim.controls, row.controls, strict=True):
        if of := records.get(f"{claim.id}/{control.id}"):
            marks.append(Mark("control", on(claim.summary(of)), f"control, {statement}: {told}"))
            labels.append(control.label)
    if claim.paper is not None:
        kind, where = ("elsewhere", ", on other data") if claim.evidence == "relocated" else ("paper", "")
        marks.append(Mark(kind, on(claim.paper), f"paper{where}: {claim.reported()}"))
    marks.append(Mark("here", on(claim.summary(values)), f"here: {row.recorded}{_reach(row)}"))
    low, high = claim.band
    edges = tuple(on(end) for end in (low, high) if math.isfinite(end))
    band = Band(on(low) if math.isfinite(low) else 0.0, on(high) if math.isfinite(high) else 100.0, edges)
    interval = (on(found[0]), on(found[1])) if (found := ends(claim, values)) else None
    taken = [(edge, edge) for edge in edges] + ([(zero, zero)] if zero is not None else [])
    taken += [interval] if interval else []
    return Line(claim.label, band, interval, tuple(marks), names(marks, labels, taken))


def _reach(row: Row) -> str:
    return f" (95 % interval {row.interval})" if row.interval else ""


def told(row: Row) -> str:
    """What a row shows, as a sentence."""
    paper = {"own": "", "relocated": f"paper, on other data, {row.claim.reported()}, "}
    parts = paper.get(row.claim.evidence, f"paper {row.claim.reported()}, ") if row.claim.paper is not None else ""
    controls = [f", control {c.label} {value}" for c, (value, _) in zip(row.claim.controls, row.controls, strict=True)]
    return f"{row.claim.label}: {parts}here {row.recorded}{_reach(row)}{''.join(controls)}."


def unit_of(kind: str, unit: str) -> str:
    """What stands beside an axis."""
    return " ".join(word for word in ("difference" if kind == "margin" else "", f"in {unit}" if unit else "") if word)


def silent(rows: Sequence[Row]) -> tuple[str, ...]:
    """Sentences on the claims without a mark: what was not run, and what is no place on an axis."""
    absent = [row.claim.label for row in rows if not row.count]
    others = [f"{row.claim.label} ({row.recorded})" for row in rows if row.count]
    return tuple(f"{why}: {', '.join(names)}." for why, names in (("Not run", absent), ("No mark", others)) if names)


def draw(rows: Sequence[Row], records: verdicts.Records) -> Chart | None:
    """The picture of these claims among the records of a run; None where there is nothing to draw."""
    shown = [row for row in rows if drawn(row.claim, records.get(row.claim.id))]
    if not shown:
        return None
    shared: dict[tuple[str, str], list[Row]] = {}
    for row in shown:
        shared.setdefault(axis_of(row.claim), []).append(row)
    groups = []
    for (kind, unit), members in shared.items():
        on = scale(value for row in members for value in numbers(row.claim, records))
        zero = on(0.0) if kind == "margin" else None  # the band of an order begins at 0: it lies on the scale
        lines = tuple(line(row, records, on, zero) for row in members)
        groups.append(Group(unit_of(kind, unit), labelled(on), zero, lines))
    count = f"{len(shown)} headline claim{'s' if len(shown) > 1 else ''}"
    return Chart(
        tuple(groups),
        silent([row for row in rows if row not in shown]),
        " ".join([f"Dot chart of {count}.", *map(told, shown)]),
    )
