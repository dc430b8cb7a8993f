"""A running chapter: its claims, what it has recorded, what it shows of them, and how it is closed."""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from typing import Any

from utils import datasets
from utils.notebook import plots, profiles, seeds
from utils.notebook.show import Html, Markdown, Measured, claims_table, comparison_table, stamp_table
from utils.records import claims, machine, runs, verdicts


def start(name: str) -> Chapter:
    """Set a chapter's run up: quiet logs, figure style, seeds, one thread outside the full profile, claims.

    The quick profile is meant for one core of any machine: with one thread its results repeat exactly, and
    small operations do not wait for each other.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="Sparse (CSR tensor support|invariant checks)")
    warnings.filterwarnings("ignore", message="IProgress not found")  # a plain progress bar serves as well
    if profiles.profile() != "full" and "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    profiles.shift_seeds()
    profiles.seed_everything(0)  # a draw that a chapter forgot to seed repeats all the same
    plots.use_style()
    machine.joules_before()
    return Chapter(name)


class Chapter:
    """A running chapter: its claims, the values recorded so far, and what is shown of them.

    Attributes:
        name: the notebook's name.
        profile: smoke, quick or full.
        device: cpu or cuda.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.profile = profiles.profile()
        self.device = profiles.device()
        self.claims = claims.load(name)
        self.records: dict[str, list] = {}
        self.curves: dict[str, Any] = {}
        self.began = time.perf_counter()

    def real_data(self) -> set[str]:
        """Names of the data sets loaded as real data, not as stand-ins."""
        return {name for name, kind in datasets.loaded.items() if kind == "real"}

    def record(self, claim_id: str, values: Any, control: str | None = None) -> None:
        """Record what was measured for a claim or for one of its controls.

        Args:
            claim_id: a claim in the chapter's claims file.
            values: a number, or one per seed (an ordering: margins; a trend: pairs of x and y).
            control: the id of the control that was run, if it is one.

        Raises:
            ClaimError: unknown claim or control, no value, NaN. A value measured on stand-in data is not kept.
        """
        claim = self.claims[claim_id]
        if control and control not in {c.id for c in claim.controls}:
            raise claims.ClaimError(f"claim {claim_id!r} names no control {control!r}")
        plain = claims.checked(values, claim_id)
        if not claim.data or claim.data in self.real_data():
            self.records[f"{claim_id}/{control}" if control else claim_id] = plain

    def record_curve(self, name: str, **series: Any) -> None:
        """Keep named series of numbers (equal or unequal lengths) with the run, for figures of recorded runs."""
        self.curves[name] = {key: claims.checked(values, name) for key, values in series.items()}

    def recorded(self, claim_id: str, profile: str = "full") -> list:
        """The values of a claim in the recorded run; those of this run while that one has not been made."""
        run = runs.load(self.name, profile)
        return (run.records if run and claim_id in run.records else self.records).get(claim_id, [])

    def recorded_curve(self, name: str, profile: str = "full") -> dict[str, Any] | None:
        """A curve of the recorded run, or None while that run has not been made."""
        run = runs.load(self.name, profile)
        return run.curves.get(name) if run else None

    def say(self, template: str, **values: float) -> Markdown:
        """Prose with measured numbers filled in.

        `{cora-accuracy}` becomes the value recorded for a claim, `{cora-accuracy/mlp}` that of a control,
        `{cora-accuracy.paper}` what the paper reports; keyword values take a format, as in `{ms:.1f}`.

        Raises:
            ClaimError: a keyword has the name of a claim.
        """
        fields = {}
        for claim in self.claims.claims:
            for key in (claim.id, *(f"{claim.id}/{control.id}" for control in claim.controls)):
                fields[key] = Measured(claim.describe(self.records.get(key)), paper=claim.reported())
        if both := sorted(set(fields) & set(values)):
            raise claims.ClaimError(f"{', '.join(both)}: the name of a claim and of a value given here")
        return Markdown(template.format_map(fields | {key: Measured(value) for key, value in values.items()}))

    def table(self, *claim_ids: str) -> Html:
        """What this run measured beside the paper: all claims, or those named; and whether it agrees with the recorded
        run of its profile."""
        chosen = [self.claims[i] for i in claim_ids] or list(self.claims.claims)
        if os.environ.get("WALKTHROUGHS_RECORD") == "1":
            return claims_table(chosen, self.records, self.records, anchors=not claim_ids)  # this run is the record
        recorded = runs.load(self.name, self.profile)
        return claims_table(chosen, self.records, recorded.records if recorded else {}, anchors=not claim_ids)

    def compare(self, label: str, readings: dict[str, dict[str, Any]]) -> Html:
        """A table of values under several conditions: readings[column][row] is one number per seed."""
        return comparison_table(label, readings)

    def finish(self) -> Html:
        """Close the run: write its record where one is wanted, or hold its values against the recorded ones.

        Smoke runs are not compared with anything.

        Returns:
            The stamp of the run: device, versions, seconds, peak memory.

        Raises:
            ClaimError: a value is not compatible with the recorded run of this profile, or was not measured; or a run
                with shifted seeds was to be recorded.
        """
        seconds = time.perf_counter() - self.began
        used = sorted(name for name, kind in datasets.loaded.items() if kind == "real")
        stamp = machine.provenance(self.name, self.device, seconds, used, seeds.kept_seconds())
        if os.environ.get("WALKTHROUGHS_RECORD") == "1":
            self._save(stamp)  # and what follows holds the run against itself, as the next run will be
        recorded = runs.load(self.name, self.profile)
        if self.profile == "smoke" or recorded is None:
            return stamp_table(stamp, f"{self.profile} run, compared with no recorded one")
        found = verdicts.differences(self.claims, self.records, recorded.records, self.real_data())
        if found:
            raise claims.ClaimError("this run is not what the recorded one was:\n- " + "\n- ".join(found))
        return stamp_table(stamp, f"{self.profile} run, compatible with the recorded one")

    def _save(self, stamp: runs.Provenance) -> None:
        if profiles.seed_shift() or self.profile == "smoke":
            raise claims.ClaimError("runs with shifted seeds and smoke runs are not recorded")
        run = runs.Run(
            chapter=self.name, profile=self.profile, records=self.records, curves=self.curves, provenance=stamp
        )
        runs.save(run)
