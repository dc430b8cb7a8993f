"""What the pages show of claims and recorded runs: badges, rows of tables, and the templates that set them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import jinja2
from docutils import nodes
from sphinx.environment import BuildEnvironment

from utils import ROOT
from utils.notebook import show
from utils.records import claims, runs, verdicts
from utils.records.claims import Claim, ClaimsFile, Evidence, Verdict
from utils.records.runs import Run

TEMPLATES = Path(__file__).parent / "templates"
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
SIGNS = {"reproduced": "✓", "close": "≈", "undecided": "?", "not reproduced": "✗", "not run": "–"}
WORDS: dict[str, dict[str, str]] = {
    "own": {"reproduced": "holds", "not reproduced": "does not hold"},
    "relocated": {"reproduced": "holds here", "close": "close here", "not reproduced": "does not hold here"},
    "check": {"reproduced": "passed", "not reproduced": "failed"},
}
EVIDENCE: dict[str, str] = {
    "paper": "read in the paper",
    "second-hand": "the paper's, but read elsewhere",
    "own": "this book's expectation",
    "relocated": "the paper's claim on other data",
    "check": "true by construction",
}
GIB = 2**30


@dataclass(frozen=True)
class Badge:
    """A verdict in the words that suit the evidence, with a sign, so that it reads without colour."""

    verdict: Verdict
    words: str

    @property
    def sign(self) -> str:
        """The sign before the words."""
        return SIGNS[self.verdict]

    @property
    def order(self) -> int:
        """Where the verdict stands among all, for sorting."""
        return VERDICTS.index(self.verdict)

    @property
    def css(self) -> str:
        """The class that gives the colour."""
        return f"badge-{'-'.join(self.verdict.split())}"


@dataclass(frozen=True)
class Row:
    """A claim and what one run recorded for it."""

    claim: Claim
    badge: Badge
    recorded: str
    count: int
    interval: str
    controls: tuple[tuple[str, str], ...]
    reason: str
    details: str


def badge(evidence: Evidence, verdict: Verdict) -> Badge:
    """The badge of a verdict; a check has no middle, it passes or fails."""
    if evidence == "check" and verdict == "close":
        verdict = "not reproduced"
    return Badge(verdict, WORDS.get(evidence, {}).get(verdict, verdict))


def row(claim: Claim, records: dict[str, list]) -> Row:
    """What a table shows of a claim among the records of a run."""
    values = records.get(claim.id)
    controls = [(_with_unit(claim, records.get(f"{claim.id}/{c.id}")), c.statement) for c in claim.controls]
    return Row(
        claim=claim,
        badge=badge(claim.evidence, verdicts.verdict(claim, records)),
        recorded=_with_unit(claim, values),
        count=len(values or ()),
        interval=_interval(claim, values),
        controls=tuple(controls),
        reason=verdicts.reason(claim, records),
        details=show.details(claim),
    )


def _with_unit(claim: Claim, values: list | None) -> str:
    """Described values; numbers with their unit."""
    plain = not values or claim.kind in ("ordering", "trend")
    return claim.describe(values) if plain else f"{claim.describe(values)} {claim.unit}".rstrip()


def _interval(claim: Claim, values: list | None) -> str:
    """The interval behind a verdict, one digit finer than the value; nothing where chance has no part or n is small."""
    ends = verdicts.interval(claim, values) if values and not claim.certain else None
    digits = min(claim.digits + 1, 6)
    return f"{ends[0]:.{digits}f} to {ends[1]:.{digits}f}" if ends else ""


def rows(file: ClaimsFile, run: Run | None) -> tuple[list[Row], list[Row]]:
    """The rows of a chapter: scored claims, headline claims first, and checks, which are not scored."""
    records = run.records if run else {}
    every = [row(claim, records) for claim in sorted(file.claims, key=lambda claim: not claim.headline)]
    scored = [found for found in every if found.claim.evidence in verdicts.SCORED]
    return scored, [found for found in every if found.claim.evidence not in verdicts.SCORED]


@functools.cache
def file_of(chapter: str) -> ClaimsFile:
    """The claims of a chapter, read once a build."""
    return claims.load(chapter)


@functools.cache
def leading(chapter: str) -> Run | None:
    """The run that a chapter leads with, read once a build."""
    return runs.leading(chapter)


def note(env: BuildEnvironment, chapter: str) -> None:
    """Have the page that is being read made again when claims or records of a chapter change, or their code."""
    paths = [claims.FOLDER / f"{chapter}.yml", runs.FOLDER / f"{chapter}.full.json"]
    if not paths[1].exists():  # a page without a full run is made again each time, and finds one as soon as it is there
        paths.append(runs.FOLDER / f"{chapter}.quick.json")
    run = leading(chapter)
    for name in run.provenance.code if run else ():
        paths.append(ROOT / ("data/registry.csv" if name.startswith("data set ") else name))
    for path in paths:
        env.note_dependency(str(path))


def memory(size: int) -> str:
    """Bytes in GiB, in words."""
    return f"{size / GIB:.1f} GiB" if size else "not known"


@functools.cache
def _environment() -> jinja2.Environment:
    environment = show.templates(TEMPLATES)
    environment.globals |= {"EVIDENCE": EVIDENCE, "SIGNS": SIGNS, "memory": memory}
    return environment


def markup(template: str, **context: Any) -> str:
    """A filled template."""
    return _environment().get_template(f"{template}.html").render(**context)


def raw(template: str, **context: Any) -> nodes.raw:
    """A filled template, as a piece of a page."""
    return nodes.raw("", markup(template, **context), format="html")
