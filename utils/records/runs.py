"""Recorded runs: what a run measured and where, one JSON file per chapter and profile in data/results."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from utils import ROOT
from utils.records import sources
from utils.records.claims import ClaimError, ClaimsFile

FOLDER = ROOT / "data" / "results"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Provenance(_Model):
    """Where, when and with what a run was made.

    Attributes:
        device: name of the processor or accelerator.
        date: the day, YYYY-MM-DD.
        versions: of Python and of the packages on which results may depend.
        commit: the repository's, with a plus sign where the chapter's files had been changed; or "unknown".
        code: what the numbers depend on, and a hash of each (`utils.records.sources.hashes`).
        wall_seconds: of the part of the run that wrote this record.
        processor_seconds: of that part, helper processes included.
        kept_seconds: processor seconds of results that earlier, stopped parts of the run had left.
        peak_memory_bytes: of the largest process.
        peak_device_memory_bytes: on an accelerator.
        device_energy_joules: what an accelerator used.
        resumed: earlier parts had left results; without kept_seconds their cost is not known.
    """

    device: str
    date: str
    versions: dict[str, str]
    commit: str
    code: dict[str, str]
    wall_seconds: float
    processor_seconds: float
    kept_seconds: float = 0.0
    peak_memory_bytes: int
    peak_device_memory_bytes: int | None = None
    device_energy_joules: float | None = None
    resumed: bool = False

    @property
    def minutes(self) -> float:
        """Processor minutes of the whole run, stopped parts included as far as their cost was kept."""
        return (self.processor_seconds + self.kept_seconds) / 60

    @property
    def cost(self) -> str:
        """The processor time of the whole run in words, stopped parts included."""
        minutes = self.minutes
        text = f"{minutes:.1f} processor minutes" if minutes < 90 else f"{minutes / 60:.1f} processor hours"
        if self.resumed and not self.kept_seconds:
            return f"{text} since it was resumed; the cost of its earlier parts was not kept"
        return text


class Run(_Model):
    """What one run of a chapter measured.

    Attributes:
        chapter: the notebook's name.
        profile: quick or full.
        records: values by claim id, and by "claim/control" for controls; pairs for trends.
        curves: further series of numbers, for figures.
        provenance: where the run was made.
    """

    chapter: str
    profile: str
    records: dict[str, list[float | list[float]]]
    curves: dict[str, Any] = Field(default_factory=dict)
    provenance: Provenance

    @model_validator(mode="after")
    def _not_empty(self) -> Run:
        if empty := [name for name, values in self.records.items() if not values]:
            raise ValueError(f"no values for {', '.join(empty)}")
        return self

    @property
    def stale(self) -> list[str]:
        """What has changed since the run was made and may change its numbers; empty for a current record."""
        return sources.stale(self.provenance.code)

    def fits(self, file: ClaimsFile) -> list[str]:
        """Names in the record that the claims file does not hold."""
        known = {claim.id for claim in file.claims}
        known |= {f"{claim.id}/{control.id}" for claim in file.claims for control in claim.controls}
        return sorted(set(self.records) - known)


def load(chapter: str, profile: str, folder: Path = FOLDER) -> Run | None:
    """The recorded run of a chapter in a profile, or None where none was made.

    Raises:
        ClaimError: the file is there but is not a record.
    """
    path = folder / f"{chapter}.{profile}.json"
    if not path.exists():
        return None
    try:
        return Run.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        first = error.errors()[0]
        what = f"{'/'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"
        raise ClaimError(f"data/results/{path.name} is not a recorded run ({what}): make the run again") from error


def leading(chapter: str, folder: Path = FOLDER) -> Run | None:
    """The recorded run that a page leads with: the full one where there is one, else the quick one."""
    return load(chapter, "full", folder) or load(chapter, "quick", folder)


def save(run: Run, folder: Path = FOLDER) -> Path:
    """Write a run whole or not at all."""
    text = json.dumps(run.model_dump(exclude_defaults=True), indent=1, sort_keys=True, allow_nan=False) + "\n"
    return write_whole(folder / f"{run.chapter}.{run.profile}.json", text.encode())


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file so that nobody, whatever happens, meets a part of it; its folder is made where it is missing.

    Where it cannot be written, on a full disk for one, nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        part.write_bytes(content)
        return part.replace(path)
    finally:
        part.unlink(missing_ok=True)
