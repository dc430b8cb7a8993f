"""Claims: what a paper reports, written down before the run, and how a measured value is judged.

A chapter's claims stand in data/claims/<chapter>.yml; data/claims.schema.json says what a claim must hold.
"""

from __future__ import annotations

import difflib
import importlib.util
import json
import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
VERDICTS = ("reproduced", "close", "undecided", "not reproduced", "not run")


class ClaimError(Exception):
    """A claims file is malformed, a record does not fit it, or a verdict is not the expected one."""


@dataclass(frozen=True)
class Claim:
    """One number, order or trend that a paper states; field names follow data/claims.schema.json."""

    id: str
    statement: str
    source: str
    read: str
    protocol: dict[str, Any]
    kind: str
    reason: str
    expected: dict[str, str]
    paper: float | None = None
    unit: str = ""
    digits: int = 1
    tolerance: float = 0.0
    wins: float = 1.0
    direction: str | None = None
    data: str | None = None
    headline: bool = False
    controls: tuple[dict[str, str], ...] = ()

    def distance(self, values: list) -> tuple[float, float]:
        """How far the values lie outside the accepted band, and the width of the band.

        Args:
            values: one number per seed (for an ordering: the margin of the claimed winner per seed; for a
                trend: pairs of x and y).

        Returns:
            The distance (0 inside the band) and the width: up to one width outside counts as *close*.
        """
        if self.kind == "ordering":
            allowed = len(values) - math.ceil(self.wins * len(values))
            return max(0, sum(v <= 0 for v in values) - allowed), allowed
        if self.kind == "trend" and self.direction:
            ordered = [y for _, y in sorted(values)]
            sign = 1 if self.direction == "increasing" else -1
            return sum(sign * (b - a) <= 0 for a, b in zip(ordered, ordered[1:], strict=False)), self.tolerance
        value = self.summary(values)
        if self.kind == "at least":
            return max(0.0, self.paper - self.tolerance - value), self.tolerance
        if self.kind == "at most":
            return max(0.0, value - self.paper - self.tolerance), self.tolerance
        if self.kind == "exact":
            return max(max(0.0, abs(v - self.paper) - self.tolerance) for v in values), 0.0
        return max(0.0, abs(value - self.paper) - self.tolerance), self.tolerance

    def judge(self, values: list | None, profile: str = "") -> str:
        """The verdict on measured values: one of VERDICTS. Undecided is what the claims file calls so for this
        profile, since runs on two processors gave two verdicts; five values, or one that must be exact, are judged.
        """
        if not values:
            return "not run"
        if self.expected.get(profile) == "undecided" and len(values) < 5 and self.kind != "exact":
            return "undecided"
        outside, width = self.distance(values)
        if outside <= 1e-9:
            return "reproduced"
        return "close" if outside <= width else "not reproduced"

    def verdict(self, records: dict[str, list], profile: str = "") -> str:
        """The verdict on a claim among the records of its run. A claim that holds, or is close, proves nothing where
        one of its controls holds, too: it is undecided."""
        found = self.judge(records.get(self.id), profile)
        return "undecided" if found in ("reproduced", "close") and self.met(records) else found

    def met(self, records: dict[str, list]) -> dict[str, list]:
        """The values of those controls that meet the claim, by the names that records give them."""
        found = {name: records.get(name) for name in (f"{self.id}/{control['id']}" for control in self.controls)}
        return {name: values for name, values in found.items() if self.judge(values) == "reproduced"}

    def summary(self, values: list) -> float:
        """One number for the values: their mean, or for a trend the slope on logarithmic axes."""
        if self.kind != "trend":
            return statistics.fmean(values)
        return statistics.linear_regression(*([math.log(pair[i]) for pair in values] for i in (0, 1))).slope

    def describe(self, values: list | None) -> str:
        """The values as a reader sees them: mean and standard deviation over seeds, wins, or slope."""
        if not values:
            return "not run"
        if self.kind == "ordering":
            return f"{sum(v > 0 for v in values)} of {len(values)}"
        if self.kind == "trend":
            return f"slope {self.summary(values):.{self.digits}f}" if self.paper is not None else self.direction
        mean = self.summary(values)
        if len(values) == 1:
            return f"{mean:.{self.digits}f}"
        return f"{mean:.{self.digits}f} ± {statistics.stdev(values):.{self.digits}f}"

    def reported(self) -> str:
        """The paper's side as a reader sees it."""
        if self.kind == "ordering":
            return "in every seed" if self.wins == 1 else f"in {self.wins:.0%} of seeds"
        if self.paper is None:
            return self.direction or ""
        text = f"{self.paper:.{self.digits}f}"
        text = f"slope {text}" if self.kind == "trend" else text
        text = f"{self.kind} {text}" if self.kind.startswith("at ") else text
        return text + {"unverified": " (unverified)", "own": " (expected)"}.get(self.read, "")

    def band(self) -> str:
        """The accepted band in words."""
        if self.kind in ("interval", "trend") and self.paper is not None:
            return f"± {self.tolerance:g}"
        return {"exact": "exactly", "ordering": "", "trend": ""}.get(self.kind, f"slack {self.tolerance:g}")


@dataclass(frozen=True)
class ClaimsFile:
    """The claims of one chapter."""

    chapter: str
    title: str
    paper: str
    data: tuple[str, ...]
    claims: dict[str, Claim]

    def __getitem__(self, claim_id: str) -> Claim:
        if claim_id not in self.claims:
            near = difflib.get_close_matches(claim_id, self.claims, n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ClaimError(f"data/claims/{self.chapter}.yml holds no claim {claim_id!r}{hint}")
        return self.claims[claim_id]


def chapters(folder: Path = ROOT / "data" / "claims") -> list[str]:
    """The chapters that have a claims file, by name."""
    return sorted(path.stem for path in folder.glob("*.yml"))


def load(chapter: str, folder: Path = ROOT / "data" / "claims") -> ClaimsFile:
    """Read and check a chapter's claims.

    Raises:
        ClaimError: the file is missing, is not YAML, breaks the schema, or names an id twice; the message
            says which file, which claim and what to mend.
    """
    import yaml

    path = folder / f"{chapter}.yml"
    where = f"data/claims/{path.name}"
    if not path.exists():
        raise ClaimError(f"{where} does not exist: write the chapter's claims there before its first run")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ClaimError(f"{where} is not valid YAML: {error}") from error
    _hold_against_schema(content, where)
    if content["chapter"] != chapter:
        raise ClaimError(f"{where} says chapter: {content['chapter']}, which must equal the file's name")
    found: dict[str, Claim] = {}
    for entry in content["claims"]:
        if entry["id"] in found:
            raise ClaimError(f"{where} holds the claim {entry['id']!r} twice")
        found[entry["id"]] = Claim(**{**entry, "controls": tuple(entry.get("controls", ()))})
    return ClaimsFile(chapter, content["title"], content["paper"], tuple(content["data"]), found)


def _hold_against_schema(content: Any, where: str) -> None:
    """Raise ClaimError for the worst fault of a claims file; jsonschema may be absent, as on a rented GPU."""
    if importlib.util.find_spec("jsonschema") is None:
        return
    import jsonschema

    schema = json.loads((ROOT / "data" / "claims.schema.json").read_text(encoding="utf-8"))
    fault = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(content))
    if fault is not None:
        spot = list(fault.absolute_path)
        claim = content["claims"][spot[1]].get("id", "without id") if spot[:1] == ["claims"] and spot[1:] else None
        place = "/".join(map(str, spot)) or "the file"
        raise ClaimError(f"{where}, {f'claim {claim!r}, ' if claim else ''}{place}: {fault.message}")


def checked(values: Any, claim_id: str) -> list:
    """Measured values as plain numbers (or pairs), refused when one is missing, NaN or infinite."""
    if hasattr(values, "tolist"):
        values = values.tolist()
    values = list(values) if isinstance(values, (list, tuple)) else [values]
    if not values:
        raise ClaimError(f"claim {claim_id!r}: no value was given")
    plain = [[float(part) for part in v] if isinstance(v, (list, tuple)) else float(v) for v in values]
    for value in plain:
        if not all(math.isfinite(part) for part in (value if isinstance(value, list) else [value])):
            raise ClaimError(f"claim {claim_id!r}: a measured value is {value}, not a finite number")
    return plain


def faults(file: ClaimsFile, records: dict[str, list], profile: str, real: set[str]) -> list[str]:
    """What is wrong with a run: a verdict that is not the expected one, a control that meets its claim unannounced.

    Args:
        file: the chapter's claims.
        records: values by claim id, and by "claim/control" for controls.
        profile: quick or full.
        real: names of the data sets that were loaded as real data. A claim on any other set was not run and
            is not held against the run.
    """
    found = []
    for claim in file.claims.values():
        if claim.data and claim.data not in real:
            continue
        verdict, expected = claim.verdict(records, profile), claim.expected[profile]
        if verdict != expected:
            found.append(f"{claim.id}: {verdict} ({claim.describe(records.get(claim.id))}), expected {expected}")
        announced = verdict == expected == "undecided" != claim.judge(records.get(claim.id), profile)
        met = {} if announced else claim.met(records)
        for control in claim.controls:
            name = f"{claim.id}/{control['id']}"
            if verdict == "not run":
                continue
            if name not in records:
                found.append(f"{name}: the control was not run")
            elif name in met:
                found.append(f"{name}: the control meets the claim ({claim.describe(records[name])})")
    return found
