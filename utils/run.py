"""How a run of a chapter is set up and closed: profile, device, seeds, quiet logs, records, verdicts.

A chapter begins with `chapter = run.start("gcn")`, records its values and ends with `chapter.finish()`.
"""

from __future__ import annotations

import logging
import os
import random
import sys
import time
import warnings
from typing import Any

from utils import claims, datasets, plots, results
from utils.show import Html, Markdown, Measured, claims_table, comparison_table, recorded_table, stamp_table

PROFILES = ("quick", "full")


def profile() -> str:
    """The profile named by WALKTHROUGHS_PROFILE: quick (the default) or full.

    Raises:
        ValueError: any other name.
    """
    name = os.environ.get("WALKTHROUGHS_PROFILE", "quick")
    if name not in PROFILES:
        raise ValueError(f"WALKTHROUGHS_PROFILE is {name!r}; it must be one of {', '.join(PROFILES)}")
    return name


def device() -> str:
    """The device of this run: cuda in a full run on a machine that has one, otherwise cpu."""
    if profile() == "quick":
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def seed_everything(seed: int) -> None:
    """Seed Python's generator and those of numpy, torch and tensorflow, as far as they are loaded."""
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].random.set_seed(seed)


def progress(iterable: Any, label: str) -> Any:
    """The iterable with a progress bar; without one where outputs are stored or compared."""
    if "WALKTHROUGHS_QUIET" in os.environ:
        return iterable
    from tqdm.auto import tqdm

    return tqdm(iterable, desc=label, leave=False)


def start(name: str) -> Chapter:
    """Set a chapter's run up: quiet logs, figure style, seeds, one thread in the quick profile, claims.

    The quick profile is meant for one core of any machine: with one thread its results repeat exactly, and
    small operations do not wait for each other.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="Sparse (CSR tensor support|invariant checks)")
    warnings.filterwarnings("ignore", message="IProgress not found")  # a plain progress bar serves as well
    if profile() == "quick" and "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    seed_everything(0)  # a draw that a chapter forgot to seed repeats all the same
    plots.use_style()
    return Chapter(name)


class Chapter:
    """A running chapter: its claims, the values recorded so far, and what is shown of them.

    Attributes:
        name: the notebook's name.
        profile: quick or full.
        device: cpu or cuda.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.profile = profile()
        self.device = device()
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
        if control and control not in {c["id"] for c in claim.controls}:
            raise claims.ClaimError(f"claim {claim_id!r} names no control {control!r}")
        plain = claims.checked(values, claim_id)
        if not claim.data or claim.data in self.real_data():
            self.records[f"{claim_id}/{control}" if control else claim_id] = plain

    def record_curve(self, name: str, **series: Any) -> None:
        """Keep named series of numbers (equal or unequal lengths) with the run, for figures of recorded runs."""
        self.curves[name] = {key: claims.checked(values, name) for key, values in series.items()}

    def recorded_curve(self, name: str, profile: str = "full") -> dict[str, Any] | None:
        """A curve of the recorded run, or None while that run has not been made."""
        run = results.load(self.name, profile)
        return run["curves"].get(name) if run else None

    def say(self, template: str, **values: float) -> Markdown:
        """Prose with measured numbers filled in.

        `{cora-accuracy}` becomes the value recorded for a claim, `{cora-accuracy/mlp}` that of a control,
        `{cora-accuracy.paper}` what the paper reports; keyword values take a format, as in `{ms:.1f}`.
        """
        fields = {key: Measured(value) for key, value in values.items()}
        for claim in self.claims.claims.values():
            for key in (claim.id, *(f"{claim.id}/{c['id']}" for c in claim.controls)):
                fields[key] = Measured(claim.describe(self.records.get(key)), paper=claim.reported())
        return Markdown(template.format_map(fields))

    def table(self, *claim_ids: str) -> Html:
        """The claims table: paper, ours, controls, verdict. All claims, or those named."""
        chosen = [self.claims[i] for i in claim_ids] or list(self.claims.claims.values())
        return claims_table(chosen, self.records, anchors=not claim_ids)

    def compare(self, label: str, readings: dict[str, dict[str, Any]]) -> Html:
        """A table of values under several conditions: readings[column][row] is one number per seed."""
        return comparison_table(label, readings)

    def recorded(self, profile: str = "full") -> Html:
        """The recorded run of a profile beside the paper, or the plain statement that none was made."""
        run = results.load(self.name, profile)
        return recorded_table(self.claims, profile, run, results.stale(run) if run else [])

    def finish(self) -> Html:
        """Close the run: write its record where one is wanted, then hold it against what is expected.

        Returns:
            The stamp of the run: device, versions, seconds, peak memory.

        Raises:
            ClaimError: a verdict is not the expected one, or a control meets its claim.
        """
        seconds = time.perf_counter() - self.began
        provenance = results.provenance(self.name, self.device, seconds)
        run = {
            "chapter": self.name,
            "profile": self.profile,
            "records": self.records,
            "curves": self.curves,
            "provenance": provenance,
        }
        if os.environ.get("WALKTHROUGHS_RECORD") == "1":
            results.save(run)
        faults = claims.faults(self.claims, self.records, self.profile, self.real_data())
        if faults:
            raise claims.ClaimError("this run is not what was expected:\n- " + "\n- ".join(faults))
        return stamp_table(provenance, self.profile)
