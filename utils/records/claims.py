"""Claims: what a paper reports or this book expects, and the values that count as agreement.

A chapter's claims stand in data/claims/<chapter>.yml. The models below say what a claim must hold, and are all the
validation there is; `utils.records.verdicts` judges values.
"""

from __future__ import annotations

import difflib
import math
import statistics
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from utils import ROOT

FOLDER = ROOT / "data" / "claims"
Evidence = Literal["paper", "second-hand", "own", "check", "relocated"]
Kind = Literal["exact", "interval", "at least", "at most", "ordering", "trend"]
Verdict = Literal["reproduced", "close", "undecided", "not reproduced", "not run"]
Identifier = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9-]*$")]
Sentence = Annotated[str, Field(min_length=5)]
LARGE = 1e9  # from here on numbers are written with a power of ten
RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
PROTOCOL = ("split", "seeds", "metric", "selection")


class ClaimError(Exception):
    """A claims file is malformed, a record does not fit it, or a run is not what the recorded one was."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Control(_Model):
    """The same run with the paper's idea taken out; it must miss what the claim asks for.

    Attributes:
        short: a name for pictures and lines of numbers, such as "no edges"; without it the id serves in pictures.
        run_to_run: as for a claim.
    """

    id: Identifier
    statement: Sentence
    short: Annotated[str, Field(min_length=2, max_length=20)] | None = None
    run_to_run: Annotated[float, Field(ge=0)] = 0.0

    @property
    def label(self) -> str:
        """A few letters for a picture."""
        return self.short or self.id.replace("-", " ")


class Claim(_Model):
    """One number, order or trend.

    Attributes:
        short: what is measured, for a picture's row: at most 28 characters, such as "Cora, test accuracy".
        evidence: where the claim comes from. *paper*: read in the paper; *second-hand*: a number of the paper that was
            read elsewhere; *own*: this book's expectation; *check*: true by construction, an equality or a count,
            listed apart and not scored; *relocated*: the paper's claim on other data than the paper's.
        paper: the number that the paper reports, and nothing else.
        target: the number that this book set, where the paper has none or reports it on other data.
        tolerance: half the width of the accepted band, or the slack of a bound.
        reason: why the band is as wide as it is.
        deterministic: no seed enters, so that one value is enough.
        timed: the values are seconds, or ratios of seconds; another machine has others.
        run_to_run: standard deviation of a run's mean between runs with other seeds, beyond what the spread of its
            values tells (values of one run may share a teacher or a split); measured, in the unit of the values.
        after: the day on which claim or bound was written, if a run had been seen by then.
        tuning: how the controls of a headline claim were tuned and how long they were trained.
        expected: the verdict on the recorded run that leads: an edit that is seen when a new record changes it.
    """

    id: Identifier
    statement: Annotated[str, Field(min_length=10)]
    evidence: Evidence
    source: Sentence
    protocol: dict[str, str | float]
    kind: Kind
    reason: Sentence
    expected: Verdict
    paper: float | None = None
    target: float | None = None
    unit: str = ""
    digits: Annotated[int, Field(ge=0, le=6)] = 1
    tolerance: Annotated[float, Field(ge=0)] = 0.0
    direction: Literal["increasing", "decreasing"] | None = None
    data: str | None = None
    headline: bool = False
    controls: tuple[Control, ...] = ()
    deterministic: bool = False
    timed: bool = False
    run_to_run: Annotated[float, Field(ge=0)] = 0.0
    after: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$")] | None = None
    tuning: Sentence | None = None
    short: Annotated[str, Field(min_length=2, max_length=28)] | None = None

    @model_validator(mode="after")
    def _whole(self) -> Claim:
        """What one field asks of another."""
        numbered, found = self.kind in ("exact", "interval", "at least", "at most"), []
        if missing := [key for key in PROTOCOL if key not in self.protocol]:
            found.append(f"protocol lacks {', '.join(missing)}")
        if numbered and self.centre is None:
            found.append(f"kind {self.kind} needs a number, paper or target")
        if self.kind == "ordering" and self.centre is not None:
            found.append("an ordering has no number")
        if self.kind == "trend" and (self.direction is None) == (self.centre is None):
            found.append("a trend needs a direction, or a slope")
        if self.evidence in ("own", "check") and self.paper is not None:
            found.append(f"evidence {self.evidence}: `paper` is for numbers of a paper; use target")
        if self.evidence in ("paper", "second-hand") and self.target is not None:
            found.append(f"evidence {self.evidence}: the number is the paper's; use paper")
        if self.headline and not self.controls:
            found.append("a headline claim needs controls")
        if self.headline and not self.tuning:
            found.append("a headline claim needs `tuning`: how its controls were tuned")
        if self.headline and self.evidence == "check":
            found.append("a check is no headline")
        if found:
            raise ValueError("; ".join(found))
        return self

    @property
    def label(self) -> str:
        """A few words for a picture."""
        return self.short or self.id.replace("-", " ")

    @property
    def centre(self) -> float | None:
        """The number that values are held against."""
        return self.paper if self.target is None else self.target

    @property
    def certain(self) -> bool:
        """Whether one value is enough, because chance has no part in it."""
        return self.deterministic or self.kind == "exact" or self.evidence == "check"

    @property
    def band(self) -> tuple[float, float]:
        """The lowest and the highest accepted value of what `summary` gives; for an order, of the mean margin."""
        if self.kind == "ordering" or self.direction == "increasing":
            return 0.0, math.inf
        if self.centre is None:
            return -math.inf, 0.0
        low, high = self.centre - self.tolerance, self.centre + self.tolerance
        return (-math.inf if self.kind == "at most" else low), (math.inf if self.kind == "at least" else high)

    def control(self, control_id: str) -> Control | None:
        """The control of that name, or None for the empty name, which stands for the claim itself."""
        return next((control for control in self.controls if control.id == control_id), None)

    def summary(self, values: list) -> float:
        """One number for the values: their mean; of a trend the slope, on logarithmic axes where it has a number."""
        if self.kind != "trend":
            return statistics.fmean(values)
        return statistics.linear_regression(*self.axes(values)).slope

    def axes(self, values: list) -> tuple[list[float], list[float]]:
        """The x and the y of a trend: logarithms, except where only the direction counts, whose y is taken as it is."""
        x, y = zip(*values, strict=True)
        return [math.log(v) for v in x], [v if self.direction else math.log(v) for v in y]

    def describe(self, values: list | None) -> str:
        """The values as a reader sees them: mean and standard deviation over seeds, wins, or slope."""
        if not values:
            return "not run"
        mean = self.summary(values)
        if self.kind == "ordering":
            ahead = f"ahead in {sum(v > 0 for v in values)} of {len(values)}"
            by = "behind by" if mean < 0 else "by"
            average = f"{ahead}, {by} {_written(abs(mean), self.digits)} on average"
            return average if len(values) > 1 else f"{'' if mean < 0 else '+'}{_written(mean, self.digits)}"
        if self.kind == "trend":
            return f"slope {_written(mean, self.digits)}"
        if len(values) == 1 or self.certain:
            return _written(mean, self.digits)
        return f"{_written(mean, self.digits)} ± {_written(statistics.stdev(values), self.digits)}"

    def in_words(self, values: list | None) -> str:
        """The values as they stand in a sentence: as `describe` has them, with −, except of an order.

        Of an order: the signed mean, and behind it the standard deviation over seeds if chance has a part in it; +
        means ahead, − behind, and a mean that rounds to zero has no sign.
        """
        if not values or self.kind != "ordering":
            return self.describe(values).replace("-", "−")
        mean = statistics.fmean(values)
        sign = "" if round(mean, self.digits) == 0 else "−" if mean < 0 else "+"
        text = f"{sign}{_written(abs(mean), self.digits)}"
        if len(values) == 1 or self.certain:
            return text
        return f"{text} ± {_written(statistics.stdev(values), self.digits)}"

    def reported(self) -> str:
        """The paper's own number as a reader sees it; a dash where the paper has none."""
        if self.evidence in ("own", "check"):
            return "–"
        if self.kind == "ordering":
            return "ahead"
        if self.paper is None:
            return self.direction or "–"
        text = f"slope {self.paper:.{self.digits}f}" if self.kind == "trend" else f"{self.paper:.{self.digits}f}"
        return f"{text} {self.unit}".rstrip()

    def accepted(self) -> str:
        """What counts as agreement, with the bound itself, as a reader sees it."""
        if self.kind == "ordering":
            return "mean difference above 0"
        if self.centre is None:
            return self.direction or ""
        digits = max(self.digits, _digits(self.tolerance), _digits(self.centre))
        centre, slack = f"{self.centre:.{digits}f}", f"{self.tolerance:.{digits}f}"
        if self.kind == "exact" and not self.tolerance:
            text = f"exactly {self.centre:g}"
        elif self.kind in ("at least", "at most"):
            low, high = self.band
            bound = f"{self.kind} {(low if self.kind == 'at least' else high):.{digits}f}"
            sign = "−" if self.kind == "at least" else "+"
            text = f"{bound} ({centre} {sign} {slack})" if self.tolerance else bound
        else:
            text = f"{centre} ± {slack}"
        return f"{text} {self.unit}".rstrip()


def _written(number: float, digits: int) -> str:
    """A number with so many digits after the point; a very large one with two digits and a power of ten."""
    if abs(number) < LARGE:
        return f"{number:.{digits}f}"
    head, power = f"{number:.1e}".split("e")
    return f"{head} × 10{str(int(power)).translate(RAISED)}"


def _digits(number: float) -> int:
    """How many digits after the point a number is written with, four at most."""
    text = f"{number:.4f}".rstrip("0")
    return len(text.partition(".")[2])


class ClaimsFile(_Model):
    """The claims of one chapter.

    Attributes:
        chapter: the notebook's name.
        title: its short title.
        paper: the paper's key in references.bib.
        data: the data sets without which the quick run means nothing.
        claims: the claims, each with an id of its own.
    """

    chapter: Annotated[str, Field(pattern="^[a-z0-9_]+$")]
    title: Annotated[str, Field(min_length=3)]
    paper: str
    data: tuple[str, ...]
    claims: Annotated[tuple[Claim, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _distinct(self) -> ClaimsFile:
        names = [claim.id for claim in self.claims]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"holds the claim {' and '.join(map(repr, twice))} twice")
        return self

    def __getitem__(self, claim_id: str) -> Claim:
        for claim in self.claims:
            if claim.id == claim_id:
                return claim
        near = difflib.get_close_matches(claim_id, [claim.id for claim in self.claims], n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ClaimError(f"data/claims/{self.chapter}.yml holds no claim {claim_id!r}{hint}")

    def of_record(self, name: str) -> Claim:
        """The claim that a recorded name, `claim` or `claim/control`, belongs to."""
        return self[name.partition("/")[0]]


def chapters(folder: Path = FOLDER) -> list[str]:
    """The chapters that have a claims file, by name."""
    return sorted(path.stem for path in folder.glob("*.yml"))


def load(chapter: str, folder: Path = FOLDER) -> ClaimsFile:
    """Read and check a chapter's claims.

    Raises:
        ClaimError: the file is missing, is not YAML, or is not as the models above say; the message says which file,
            which claim and what to mend.
    """
    import yaml

    path = folder / f"{chapter}.yml"
    where = f"data/claims/{path.name}"
    if not path.exists():
        known = chapters(folder)
        near = difflib.get_close_matches(chapter, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"the chapters are {', '.join(known)}"
        raise ClaimError(f"{where} does not exist: {hint} A new chapter writes its claims before its first run.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ClaimError(f"{where} is not valid YAML: {error}") from error
    try:
        file = ClaimsFile.model_validate(content)
    except ValidationError as error:
        raise ClaimError("\n".join(_in_words(fault, content, where) for fault in error.errors()[:9])) from None
    if file.chapter != chapter:
        raise ClaimError(f"{where} says chapter: {file.chapter}, which must equal the file's name")
    return file


def _in_words(fault: Any, content: Any, where: str) -> str:
    """One fault that pydantic found, with the claim's id in place of its number."""
    spot = list(fault["loc"])
    if spot[:1] == ["claims"] and len(spot) > 1:
        claim = content["claims"][spot[1]]
        name = claim.get("id", "without id") if isinstance(claim, dict) else claim
        where, spot = f"{where}, claim {name!r}", spot[2:]
    place = f", {'/'.join(map(str, spot))}" if spot else ""
    return f"{where}{place}: {fault['msg'].removeprefix('Value error, ')}"


def checked(values: Any, name: str) -> list:
    """Measured values as plain numbers (or pairs), refused when one is missing, NaN or infinite."""
    if hasattr(values, "tolist"):
        values = values.tolist()
    values = list(values) if isinstance(values, (list, tuple)) else [values]
    if not values:
        raise ClaimError(f"claim {name!r}: no value was given")
    plain = [[float(part) for part in v] if isinstance(v, (list, tuple)) else float(v) for v in values]
    for value in plain:
        if not all(math.isfinite(part) for part in (value if isinstance(value, list) else [value])):
            raise ClaimError(f"claim {name!r}: a measured value is {value}, not a finite number")
    return plain
