"""Verdicts on recorded runs, and the test that holds a new run against a recorded one.

A verdict belongs to a recorded run. It looks at the 95 % interval of the mean over seeds or folds: *reproduced* if the
interval lies in the accepted band, *not reproduced* (or *close*) if it lies outside, *undecided* if it holds an edge of
the band or if there are too few values for an interval. A new run is never judged by its label: its values are compared
with the recorded ones of the same profile, by a test that raises a false alarm in one run of a chapter in a hundred.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping

from utils.records.claims import Claim, ClaimsFile, Control, Verdict

CONFIDENCE = 0.95  # of the interval behind a verdict
FEWEST = 3  # values that give an interval
FALSE_ALARMS = 0.01  # chance that one run of a chapter is called different although only its draws differ
KNOWN = 4  # degrees of freedom that `run_to_run` is worth: it was measured from a few runs
SAME = 1e-6  # relative difference at which two values of a certain claim count as one
SCORED = ("paper", "second-hand", "own", "relocated")

Records = Mapping[str, list]


def interval(claim: Claim, values: list) -> tuple[float, float] | None:
    """The 95 % interval of what `claim.summary` gives: Student's t over seeds, or of the slope; None for few values.

    For a claim in which chance has no part it is the value itself.
    """
    if claim.certain:
        return claim.summary(values), claim.summary(values)
    if len(values) < FEWEST:
        return None
    from scipy import stats

    if claim.kind == "trend":
        found = stats.linregress(*claim.axes(values))
        middle, error, freedom = found.slope, found.stderr, len(values) - 2
    else:
        middle, error = statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))
        freedom = len(values) - 1
    reach = stats.t.ppf((1 + CONFIDENCE) / 2, freedom) * error
    return float(middle - reach), float(middle + reach)


def judge(claim: Claim, values: list | None) -> Verdict:
    """The verdict on the values of a recorded run, its controls aside."""
    if not values:
        return "not run"
    low, high = claim.band
    if claim.kind == "exact":
        return "reproduced" if all(low - 1e-9 <= value <= high + 1e-9 for value in values) else "not reproduced"
    ends = interval(claim, values)
    if ends is None:
        return "undecided"
    if low - 1e-9 <= ends[0] and ends[1] <= high + 1e-9:
        return "reproduced"
    if ends[0] <= high and ends[1] >= low:
        return "undecided"
    width, middle = claim.tolerance, claim.summary(values)
    return "close" if low - width <= middle <= high + width else "not reproduced"


def met_controls(claim: Claim, records: Records) -> dict[str, list]:
    """The values of those controls that meet the claim, by name; of few values, the mean counts."""
    found = {}
    for control in claim.controls:
        values = records.get(f"{claim.id}/{control.id}")
        if values and (judge(claim, values) == "reproduced" or (len(values) < FEWEST and _inside(claim, values))):
            found[control.id] = values
    return found


def _inside(claim: Claim, values: list) -> bool:
    return claim.band[0] <= claim.summary(values) <= claim.band[1]


def verdict(claim: Claim, records: Records) -> Verdict:
    """The verdict on a claim among the records of its run.

    A claim that holds or is close proves nothing where one of its controls meets it too: it is undecided.
    """
    found = judge(claim, records.get(claim.id))
    return "undecided" if found in ("reproduced", "close") and met_controls(claim, records) else found


def reason(claim: Claim, records: Records) -> str:
    """Why a verdict is what it is, where that is not plain: a control that meets the claim, or too few values."""
    values = records.get(claim.id)
    if values and not claim.certain and len(values) < FEWEST:
        return f"{len(values)} value{'s' if len(values) > 1 else ''}: too few for an interval"
    met = met_controls(claim, records)
    if met and judge(claim, values) in ("reproduced", "close"):
        return f"its control meets it, too ({', '.join(met)})"
    return ""


# --- a new run against the recorded one ---


def difference(claim: Claim, now: list, recorded: list, share: float, control: Control | None = None) -> str | None:
    """What sets the values of a run apart from the recorded ones, in words; None where they are compatible.

    A check must hold as it did; values in which chance has no part must be equal. Other means may differ as draws of
    the same model do: a two-sided t test with the spread pooled from both runs, at the level `share`; of trends the
    slopes are compared, by their errors. To the error of the means comes `run_to_run`, what runs differ by as wholes;
    no spread is taken to be below the last digit that is shown. A control of a single value and no known spread must
    miss the claim as it did. Seconds are not compared.

    Args:
        claim: the claim.
        now: values of this run.
        recorded: those of the recorded one.
        share: chance of a false alarm.
        control: the control that the values belong to, if they are a control's.
    """
    if claim.timed:
        return None
    between = control.run_to_run if control else claim.run_to_run
    if control is None and claim.evidence == "check" and claim.kind != "exact":
        return _moved(claim, now, recorded, judge(claim, now) == judge(claim, recorded))
    if control is None and claim.certain:
        equal = len(now) == len(recorded) and all(map(_equal, _flat(now), _flat(recorded)))
        return _moved(claim, now, recorded, equal)
    if control is not None and len(now) == len(recorded) == 1 and not between:
        return _moved(claim, now, recorded, _inside(claim, recorded) or not _inside(claim, now))
    chance = _chance(claim, now, recorded, between)
    if chance >= share:
        return None
    return f"{claim.describe(now)}, recorded {claim.describe(recorded)}: chance {chance:.1g}, allowed {share:.1g}"


def _moved(claim: Claim, now: list, recorded: list, same: bool) -> str | None:
    return None if same else f"{claim.describe(now)}, recorded {claim.describe(recorded)}"


def _chance(claim: Claim, now: list, recorded: list, between: float) -> float:
    """The chance that means, or slopes, of two runs of one model lie as far apart as these, both ways."""
    from scipy import stats

    if claim.kind == "trend":
        fits = [stats.linregress(*claim.axes(part)) for part in (now, recorded)]
        apart, freedom = fits[0].slope - fits[1].slope, len(now) + len(recorded) - 4
        of_means = max(sum(fit.stderr**2 for fit in fits), 2 * 10.0 ** (-2 * claim.digits))
    else:
        apart, freedom = statistics.fmean(now) - statistics.fmean(recorded), len(now) + len(recorded) - 2
        squares = sum((v - statistics.fmean(part)) ** 2 for part in (now, recorded) for v in part)
        spread = max(squares / freedom if freedom else 0.0, 10.0 ** (-2 * claim.digits))
        of_means = spread * (1 / len(now) + 1 / len(recorded))
    if not freedom and not between:
        raise ValueError(f"claim {claim.id!r}: single values, and no run_to_run to compare them by")
    of_runs = 2 * between**2
    # Satterthwaite's degrees of freedom of the sum of both variances
    both = (of_means + of_runs) ** 2 / (of_means**2 / max(freedom, 1) + of_runs**2 / KNOWN)
    return float(2 * stats.t.sf(abs(apart) / math.sqrt(of_means + of_runs), both))


def _flat(values: list) -> list[float]:
    return [part for value in values for part in (value if isinstance(value, list) else [value])]


def _equal(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=SAME, abs_tol=1e-9)


def differences(file: ClaimsFile, now: Records, recorded: Records, real: set[str]) -> list[str]:
    """All that sets a run apart from the recorded run of the same profile, one line each.

    Args:
        file: the chapter's claims.
        now: values by claim id, and by "claim/control" for controls.
        recorded: those of the recorded run.
        real: names of the data sets that were loaded as real data. A claim on another set is not held against the run.
    """
    compared = {}
    for name, values in recorded.items():
        claim = file.of_record(name)
        if not claim.data or claim.data in real:
            compared[name] = (claim, values)
    share = FALSE_ALARMS / max(1, len(compared))
    found = [f"{name}: nothing was recorded" for name in compared if name not in now]
    for name, (claim, values) in compared.items():
        control = claim.control(name.partition("/")[2])
        if name in now and (apart := difference(claim, now[name], values, share, control)):
            found.append(f"{name}: {apart}")
    new = [n for n in now if n not in recorded]
    return found + [f"{name}: the recorded run has no such value; make it again" for name in new]
