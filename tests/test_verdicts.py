"""Verdicts on recorded runs, and the test that holds a new run against a recorded one."""

from __future__ import annotations

import numpy as np
import pytest
from test_claims import claim

from utils.records import verdicts
from utils.records.claims import ClaimsFile

TIGHT = [80.2, 79.9, 80.1, 80.4, 79.8]
CONTROLLED = {"controls": ({"id": "shuffled", "statement": "on shuffled labels"},)}
AT_LEAST = {"kind": "at least"}
ORDERING = {"kind": "ordering", "paper": None, "tolerance": 0}
SLOPE = {"kind": "trend", "paper": 2.0, "tolerance": 0.1}
RISING = {"kind": "trend", "paper": None, "tolerance": 0, "direction": "increasing"}


@pytest.mark.parametrize(
    ("changes", "values", "verdict"),
    [
        ({}, TIGHT, "reproduced"),
        ({}, [v + 1.5 for v in TIGHT], "close"),
        ({}, [v - 1.5 for v in TIGHT], "close"),
        ({}, [v + 3 for v in TIGHT], "not reproduced"),
        ({}, [v + 0.9 for v in TIGHT], "undecided"),  # the interval holds the edge of the band
        ({}, [76.0, 80.0, 84.0], "undecided"),  # in the middle of the band, and too wide
        ({}, [80.0, 80.1], "undecided"),  # two values give no interval
        ({}, None, "not run"),
        ({"deterministic": True}, [80.9], "reproduced"),
        ({"deterministic": True}, [81.5], "close"),
        (AT_LEAST, [95.0, 95.1, 94.9], "reproduced"),
        (AT_LEAST, [79.3, 78.8, 79.0], "undecided"),
        (AT_LEAST, [78.2, 78.3, 78.1], "close"),
        (AT_LEAST, [70.0, 70.1, 69.9], "not reproduced"),
        ({"kind": "at most"}, [3.0, 3.1, 3.2], "reproduced"),
        ({"kind": "exact", "tolerance": 0.0}, [80.0], "reproduced"),
        ({"kind": "exact", "tolerance": 0.0}, [80.0, 81.0], "not reproduced"),
        (ORDERING, [1.0, 0.5, 2.0, 1.5], "reproduced"),
        (ORDERING, [1.0, -0.5, 2.0, -1.5], "undecided"),
        (ORDERING, [-1.0, -0.5, -2.0, -1.5], "not reproduced"),
        (SLOPE, [[1, 3], [10, 300], [100, 30000], [1000, 3e6]], "reproduced"),
        (SLOPE | {"paper": 1.0}, [[1, 3], [10, 300], [100, 30000], [1000, 3e6]], "not reproduced"),
        (RISING, [[1, 2], [2, 4], [4, 6], [8, 8.1]], "reproduced"),
        (RISING, [[1, 8], [2, 6], [4, 4], [8, 2.1]], "not reproduced"),
        (RISING, [[1, 2], [2, 4]], "undecided"),
    ],
)
def test_verdicts(changes, values, verdict):
    assert verdicts.judge(claim(**changes), values) == verdict


def test_the_interval_is_students():
    from scipy import stats

    low, high = verdicts.interval(claim(), TIGHT)
    known = stats.ttest_1samp(TIGHT, 0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((known.low, known.high))
    x, y = [1.0, 2.0, 4.0, 8.0], [1.1, 3.9, 17.0, 60.0]
    low, high = verdicts.interval(claim(**SLOPE), list(zip(x, y, strict=True)))
    found = stats.linregress(np.log(x), np.log(y))
    assert (low + high) / 2 == pytest.approx(found.slope) and low < found.slope - found.stderr


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng, held = np.random.default_rng(0), 0
    for _ in range(2000):
        low, high = verdicts.interval(claim(), rng.normal(80, 1, 5).tolist())
        held += low <= 80 <= high
    assert 0.93 < held / 2000 < 0.97


@pytest.mark.parametrize(
    ("ours", "control", "verdict"),
    [
        (TIGHT, [80.5, 80.4, 80.6], "undecided"),  # both lie within the band
        ([v + 1.5 for v in TIGHT], [80.5, 80.4, 80.6], "undecided"),  # ours is close, the control within
        (TIGHT, [80.9], "undecided"),  # of a single value the value counts
        (TIGHT, [81.5, 81.6, 81.4], "reproduced"),  # a control that is close has missed the band
        (TIGHT, [70.0], "reproduced"),
        ([v - 9 for v in TIGHT], [80.9], "not reproduced"),  # a control does not mend a claim that fails
        (None, [80.9], "not run"),
    ],
)
def test_a_claim_that_its_control_meets_too_is_undecided(ours, control, verdict):
    records = {"accuracy": ours, "accuracy/shuffled": control}
    one = claim(**CONTROLLED)
    assert verdicts.verdict(one, {k: v for k, v in records.items() if v}) == verdict
    if verdict == "undecided":
        assert "shuffled" in verdicts.reason(one, records)


def test_too_few_values_are_said_to_be_the_reason():
    assert verdicts.reason(claim(), {"accuracy": [80.0, 80.1]}) == "2 values: too few for an interval"
    assert verdicts.reason(claim(), {"accuracy": TIGHT}) == ""


def file_of(*many):
    return ClaimsFile(chapter="sample", title="Sample", paper="key", data=(), claims=many)


SHARE = verdicts.FALSE_ALARMS / 30  # as in a chapter with thirty claims


@pytest.mark.parametrize(
    ("changes", "now", "recorded", "same"),
    [
        ({}, TIGHT, TIGHT, True),
        ({}, [v + 0.3 for v in TIGHT], TIGHT, True),  # other draws
        ({}, [v - 5 for v in TIGHT], TIGHT, False),  # another model
        ({}, [80.0] * 3, [80.0] * 3, True),
        ({}, [80.0, 80.0, 79.9], [80.0] * 3, True),  # no spread is below the last digit shown
        ({"run_to_run": 2.0}, [77.0], [80.0], True),
        ({"run_to_run": 0.2}, [77.0], [80.0], False),
        ({"run_to_run": 4.0}, [v - 9 for v in TIGHT], TIGHT, True),  # a shared teacher moves them all
        ({"deterministic": True}, [80.0 + 1e-8], [80.0], True),
        ({"deterministic": True}, [80.01], [80.0], False),
        ({"kind": "exact", "tolerance": 0}, [81.0], [80.0], False),
        ({"kind": "exact", "tolerance": 0}, [80.0, 80.0], [80.0], False),
        ({"timed": True}, [8.0], [80.0], True),
        ({"evidence": "check", "paper": None, "target": 80.0}, [80.9], [79.1], True),  # both hold
        ({"evidence": "check", "paper": None, "target": 80.0}, [81.1], [79.1], False),
        (RISING, [[1, 2], [2, 4], [4, 6], [8, 8.1]], [[1, 92], [2, 94], [4, 96], [8, 98.2]], True),  # another level
        (RISING, [[1, 2], [2, 4], [4, 6], [8, 8.1]], [[1, 8], [2, 6], [4, 4], [8, 2.1]], False),  # another slope
        (RISING | {"run_to_run": 9.0}, [[1, 2], [2, 4], [4, 6], [8, 8.1]], [[1, 8], [2, 6], [4, 4], [8, 2.1]], True),
        (SLOPE, [[1, 3], [10, 310], [100, 30000]], [[1, 30], [10, 3000], [100, 305000]], True),
        (SLOPE, [[k, 3 * k**2] for k in range(1, 8)], [[k, 3 * k] for k in range(1, 8)], False),
    ],
)
def test_a_run_is_held_against_the_recorded_one(changes, now, recorded, same):
    assert (verdicts.difference(claim(**changes), now, recorded, SHARE) is None) == same


@pytest.mark.parametrize(
    ("now", "recorded", "between", "same"),
    [
        ([55.0, 56.0, 54.0], [54.5, 55.5, 56.5], 0.0, True),
        ([79.0, 80.0, 81.0], [54.5, 55.5, 56.5], 0.0, False),
        ([20.0], [60.0], 0.0, True),  # it misses the claim as before, and nothing tells its spread
        ([80.0], [60.0], 0.0, False),  # it has come to life
        ([20.0], [60.0], 1.0, False),
    ],
)
def test_a_control_is_held_against_the_recorded_one(now, recorded, between, same):
    one = claim(controls=({"id": "shuffled", "statement": "on shuffled labels", "run_to_run": between},))
    assert (verdicts.difference(one, now, recorded, SHARE, one.control("shuffled")) is None) == same


def test_single_values_without_a_known_spread_cannot_be_compared():
    with pytest.raises(ValueError, match="run_to_run"):
        verdicts.difference(claim(), [80.0], [80.0], SHARE)


def test_false_alarms_are_as_rare_as_stated():
    """Thirty claims of three seeds, two runs that differ by their draws alone: at most one in a hundred is an alarm."""
    many = [claim(id=f"claim-{k}", digits=6) for k in range(30)]
    rng, alarms, trials = np.random.default_rng(1), 0, 400
    for _ in range(trials):
        now, then = ({c.id: rng.normal(80, 1, 3).tolist() for c in many} for _ in range(2))
        alarms += bool(verdicts.differences(file_of(*many), now, then, set()))
    assert alarms / trials <= 0.025  # 0.01, and three standard errors


def test_runs_that_move_as_a_whole_raise_no_more_alarms():
    one = claim(run_to_run=3.0, digits=6)
    rng, alarms, trials = np.random.default_rng(2), 0, 3000
    for _ in range(trials):
        now, then = ((rng.normal(80, 3) + rng.normal(0, 1, 3)).tolist() for _ in range(2))
        alarms += verdicts.difference(one, now, then, 0.01) is not None
    assert alarms / trials <= 0.016


def test_a_model_that_lost_ten_deviations_is_found():
    rng, found, trials = np.random.default_rng(3), 0, 200
    for _ in range(trials):
        found += verdicts.difference(claim(), rng.normal(70, 1, 5).tolist(), TIGHT, SHARE) is not None
    assert found / trials > 0.95


def test_what_is_missing_or_new_is_named_and_stand_ins_are_not_compared():
    one, other = claim(data="cora", **CONTROLLED), claim(id="other")
    recorded = {"accuracy": TIGHT, "accuracy/shuffled": [50.0, 51.0, 49.0], "other": TIGHT}
    found = verdicts.differences(file_of(one, other), {"accuracy": TIGHT, "other": TIGHT}, recorded, {"cora"})
    assert found == ["accuracy/shuffled: nothing was recorded"]
    assert verdicts.differences(file_of(one, other), {"other": TIGHT}, recorded, set()) == []
    new = verdicts.differences(file_of(one, other), recorded, {"other": TIGHT}, {"cora"})
    assert all("make it again" in line for line in new) and len(new) == 2
