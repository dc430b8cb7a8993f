"""What a chapter shows of its claims: tables and prose, with every measured number between fixed marks.

The marks are <span class="measured">...</span>; the comparison of stored outputs blanks what they enclose.
"""

from __future__ import annotations

import html
import os
import re
import statistics
from collections.abc import Sequence
from typing import Any

from utils.claims import Claim, ClaimsFile

SIGNS = {"reproduced": "✓", "close": "≈", "undecided": "?", "not reproduced": "✗", "not run": "–"}


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
    """Text between the marks of measured values."""
    return f'<span class="measured">{text}</span>'


def badge(verdict: str) -> str:
    """A verdict as a coloured badge that also reads without colour."""
    return f'<span class="badge badge-{"-".join(verdict.split())}">{SIGNS[verdict]} {verdict}</span>'


def table(head: Sequence[str], rows: Sequence[str], kind: str) -> str:
    """An HTML table that scrolls inside its own box on a narrow page."""
    cells = "".join(f'<th scope="col">{title}</th>' for title in head)
    return (
        f'<div class="table-box" tabindex="0" role="region" aria-label="{kind}"><table class="{kind}">'
        f"<thead><tr>{cells}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _statement(claim: Claim) -> str:
    protocol = "; ".join(f"{key}: {value}" for key, value in claim.protocol.items())
    details = f"{claim.source}. Band {claim.band()}: {claim.reason}. Protocol: {protocol}."
    return (
        f"{html.escape(claim.statement)}<details><summary>source and protocol</summary>{html.escape(details)}</details>"
    )


def claims_table(chosen: Sequence[Claim], records: dict[str, list], anchors: bool) -> Html:
    """The table that closes a chapter: what the paper reports, what was measured, whether it agrees."""
    rows, verdicts, profile = [], [], os.environ.get("WALKTHROUGHS_PROFILE", "quick")
    for claim in chosen:
        verdict = claim.verdict(records, profile)
        verdicts.append(verdict)
        values = records.get(claim.id)
        ours = claim.describe(values) + (f"<br><small>n = {len(values)}</small>" if values else "")
        controls = []
        for control in claim.controls:
            found = claim.describe(records.get(f"{claim.id}/{control['id']}"))
            controls.append(f"{measured(found)}<br><small>{html.escape(control['statement'])}</small>")
        anchor = f' id="claim-{claim.id}"' if anchors else ""
        rows.append(
            f"<tr{anchor}><td>{_statement(claim)}</td><td>{claim.reported()} {claim.unit}</td>"
            f"<td>{measured(ours)}</td><td>{'<br>'.join(controls)}</td><td>{badge(verdict)}</td></tr>"
        )
    markup = table(("Claim", "Paper", "Ours", "Control", "Verdict"), rows, "claims")
    lines = [f"{claim.id}: {verdict}" for claim, verdict in zip(chosen, verdicts, strict=True)]
    return Html(markup, "\n".join(lines))


def recorded_table(file: ClaimsFile, profile: str, run: dict[str, Any] | None, stale: list[str]) -> Html:
    """A recorded run beside the paper; where there is none, a line that says so."""
    if run is None:
        text = f"The {profile} run of this chapter has not been made yet."
        return Html(f"<p><em>{text}</em></p>", text)
    rows = []
    for claim in file.claims.values():
        values = run["records"].get(claim.id)
        ours = claim.describe(values) + (f" (n = {len(values)})" if values else "")
        verdict = claim.verdict(run["records"], profile)
        if verdict == "undecided":
            reached = claim.met(run["records"]).values()
            ours += "".join(f"<br><small>control {claim.describe(values)}</small>" for values in reached)
        rows.append(
            f"<tr><td>{html.escape(claim.statement)}</td><td>{claim.reported()} {claim.unit}</td>"
            f"<td>{measured(ours)}</td><td>{measured(badge(verdict))}</td></tr>"
        )
    stamp = run["provenance"]
    line = (
        f"Recorded {profile} run of {stamp['date']} on {stamp['device']}, {stamp['wall_seconds'] / 60:.1f} minutes"
        f"{' since it was resumed' if stamp.get('resumed') else ''}, "
        f"peak memory {stamp['peak_memory_bytes'] / 2**30:.1f} GiB, commit {stamp['commit']}. "
    )
    if "device_energy_joules" in stamp:
        line += f"The device used {stamp['device_energy_joules'] / 3.6e6:.3f} kWh. "
    line += f"Stale: changed since then: {', '.join(stale)}." if stale else "Made by the code as it stands."
    markup = f"<p>{measured(html.escape(line))}</p>" + table(("Claim", "Paper", "Recorded", "Verdict"), rows, "claims")
    return Html(markup, f"recorded {profile} run of {file.chapter}")


def comparison_table(label: str, readings: dict[str, dict[str, Sequence[float]]]) -> Html:
    """Values under several conditions: mean, deviation, lowest; of equal ones the value. As Chapter.compare."""
    rows = []
    for name in next(iter(readings.values())):
        cells = ""
        for column in readings.values():
            mean, deviation = statistics.fmean(column[name]), statistics.stdev(column[name])
            largest = max(abs(value) for values in column.values() for value in values)
            digits = 1 if largest > 10 else 2 if largest > 1 else 3
            text = f"{mean:.{digits}f}"
            if deviation:
                text += f" ± {deviation:.{digits}f}, lowest {min(column[name]):.{digits}f}"
            cells += f"<td>{measured(text)}</td>"
        rows.append(f'<tr><th scope="row">{html.escape(name)}</th>{cells}</tr>')
    return Html(table((label, *readings), rows, "comparison"), f"{label}: {', '.join(readings)}")


def stamp_table(provenance: dict[str, Any], profile: str) -> Html:
    """Where and with what a run was made, as a short table."""
    versions = ", ".join(f"{name} {version}" for name, version in provenance["versions"].items())
    rows = {
        "Device": provenance["device"],
        "Versions": versions,
        "Wall time": f"{provenance['wall_seconds']:.0f} s",
        "Peak memory": f"{provenance['peak_memory_bytes'] / 2**30:.1f} GiB",
        "Date": provenance["date"],
    }
    if "device_energy_joules" in provenance:
        rows["Energy of the device"] = f"{provenance['device_energy_joules'] / 3.6e6:.3f} kWh"
    body = [f'<tr><th scope="row">{k}</th><td>{measured(html.escape(v))}</td></tr>' for k, v in rows.items()]
    return Html(table(("Run", f"{profile} profile"), body, "stamp"), f"{profile} run, all verdicts as expected")
