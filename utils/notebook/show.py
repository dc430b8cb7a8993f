"""What a notebook shows of its claims: tables and prose, with every measured number between fixed marks.

The marks are <span class="measured">...</span>; the comparison of stored outputs blanks what they enclose.
"""

from __future__ import annotations

import functools
import html
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.records import verdicts
from utils.records.claims import Claim
from utils.records.runs import Provenance

if TYPE_CHECKING:
    import jinja2


class Html:
    """A piece of HTML for a notebook's output, with a short text for everything that shows none."""

    def __init__(self, markup: str, text: str) -> None:
        self.markup, self.text = markup, text

    def _repr_html_(self) -> str:
        return self.markup

    def __repr__(self) -> str:
        return self.text


class Markdown:
    """Prose for a notebook's output."""

    def __init__(self, text: str) -> None:
        self.text = text

    def _repr_markdown_(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return re.sub(r'<span class="measured">(.*?)</span>', r"⟨\1⟩", self.text)


class Measured:
    """A measured value that puts itself between the marks when it is formatted."""

    def __init__(self, value: Any, paper: str = "") -> None:
        self.value, self.paper = value, paper

    def __format__(self, spec: str) -> str:
        return measured(format(self.value, spec))


def measured(text: str) -> str:
    """HTML between the marks of measured values."""
    return f'<span class="measured">{text}</span>'


@functools.cache
def templates(folder: Path = Path(__file__).parent / "templates") -> jinja2.Environment:
    """The templates in a folder; whatever they fill in is escaped."""
    import jinja2

    return jinja2.Environment(loader=jinja2.FileSystemLoader(folder), autoescape=True, undefined=jinja2.StrictUndefined)


def details(claim: Claim) -> str:
    """Where a claim comes from, why its band is as wide as it is, and the protocol, in one paragraph."""
    protocol = "; ".join(f"{key}: {value}" for key, value in claim.protocol.items())
    text = f"{claim.source}. Accepted: {claim.accepted()}, because {claim.reason}. Protocol: {protocol}."
    if claim.tuning:
        text += f" Controls: {claim.tuning}."
    if claim.after:
        text += f" Written on {claim.after}, after a run had been seen."
    return text


def claims_table(chosen: Sequence[Claim], records: dict[str, list], recorded: dict[str, list], anchors: bool) -> Html:
    """What a run measured beside the paper, and whether each value agrees with the recorded run of the same profile."""
    share = verdicts.FALSE_ALARMS / max(1, len(recorded))
    rows = []
    for claim in chosen:
        values = records.get(claim.id)
        controls = [
            {"value": claim.describe(records.get(f"{claim.id}/{control.id}")), "statement": control.statement}
            for control in claim.controls
        ]
        rows.append(
            {
                "claim": claim,
                "details": details(claim),
                "ours": claim.describe(values),
                "count": len(values or ()),
                "controls": controls,
                "state": _state(claim, values, recorded.get(claim.id), share),
            }
        )
    markup = templates().get_template("claims.html").render(rows=rows, anchors=anchors)
    lines = [f"{claim.id}: {row['state']}" for claim, row in zip(chosen, rows, strict=True)]
    return Html(markup, "\n".join(lines))


def _state(claim: Claim, values: list | None, recorded: list | None, share: float) -> str:
    """How a claim's values stand to the recorded ones, in a word or two that do not change from machine to machine."""
    if not values:
        return "not run"
    if claim.timed:
        return "seconds, not compared"
    if not recorded:
        return "no record yet"
    return "differs" if verdicts.difference(claim, values, recorded, share) else "agrees"


def comparison_table(label: str, readings: dict[str, dict[str, Sequence[float]]]) -> Html:
    """Values under several conditions: mean and deviation; of equal ones the value. As Chapter.compare."""
    rows = []
    for name in next(iter(readings.values())):
        cells = []
        for column in readings.values():
            largest = max(abs(value) for values in column.values() for value in values)
            cells.append(_spread(column[name], 1 if largest > 10 else 2 if largest > 1 else 3))
        rows.append((name, cells))
    markup = templates().get_template("comparison.html").render(label=label, head=(label, *readings), rows=rows)
    return Html(markup, f"{label}: {', '.join(readings)}")


def _spread(values: Sequence[float], digits: int) -> str:
    mean, deviation = statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0
    text = f"{mean:.{digits}f}"
    return f"{text} ± {deviation:.{digits}f}" if deviation else text


def stamp_table(stamp: Provenance, title: str) -> Html:
    """Where and with what a run was made, as a short table."""
    rows = [
        ("Device", stamp.device),
        ("Versions", ", ".join(f"{name} {version}" for name, version in stamp.versions.items())),
        ("Wall time", f"{stamp.wall_seconds:.0f} s"),
        ("Peak memory", f"{stamp.peak_memory_bytes / 2**30:.1f} GiB" if stamp.peak_memory_bytes else "not known"),
        ("Date", stamp.date),
    ]
    if stamp.device_energy_joules is not None:
        rows.append(("Energy of the device", f"{stamp.device_energy_joules / 3.6e6:.3f} kWh"))
    cells = [(name, [value]) for name, value in rows]
    markup = templates().get_template("comparison.html").render(label="Run", head=("Run", title), rows=cells)
    return Html(markup, title)


def text(value: object) -> str:
    """`value` as HTML text; a dash for nothing."""
    return "–" if value in (None, "") else html.escape(str(value))
