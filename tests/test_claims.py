"""Claims files: what they must hold, and what a reader sees of a claim."""

from __future__ import annotations

import math

import pytest
import yaml
from conftest import SAMPLE_CLAIM

from utils.records import claims, runs, verdicts
from utils.records.claims import Claim, ClaimError

CONTROLS = [{"id": "mlp", "statement": "no edges"}]


def claim(**changes) -> Claim:
    return Claim.model_validate({**SAMPLE_CLAIM, **changes})


def write(folder, *entries, **changes):
    content = {"chapter": "sample", "title": "A sample", "paper": "key", "data": ["cora"], "claims": list(entries)}
    (folder / "sample.yml").write_text(yaml.safe_dump(content | changes))


def test_all_claims_files_of_the_book_are_well_formed():
    assert claims.chapters()
    for chapter in claims.chapters():
        assert claims.load(chapter).claims


@pytest.mark.parametrize("chapter", claims.chapters())
def test_the_verdict_on_the_leading_record_is_the_expected_one(chapter):
    """A verdict changes only with a record or a claim, and then by an edit that is seen."""
    file, run = claims.load(chapter), runs.leading(chapter)
    found = {c.id: verdicts.verdict(c, run.records if run else {}) for c in file.claims}
    quick = runs.load(chapter, "quick")
    for name, verdict in found.items():
        if verdict == "not run" and quick:  # a claim that only the quick run measures
            found[name] = verdicts.verdict(file[name], quick.records)
    assert found == {c.id: c.expected for c in file.claims}


@pytest.mark.parametrize("chapter", claims.chapters())
def test_records_hold_nothing_that_the_claims_file_does_not_know(chapter):
    for profile in ("quick", "full"):
        run = runs.load(chapter, profile)
        assert run is None or run.fits(claims.load(chapter)) == []


@pytest.mark.parametrize("chapter", claims.chapters())
def test_every_value_of_the_quick_record_can_be_compared(chapter):
    """Seconds apart: equal values of certain claims, a spread, or a measured difference between runs."""
    run, file = runs.load(chapter, "quick"), claims.load(chapter)
    assert run is not None
    for name, values in run.records.items():
        claim = file.of_record(name)
        assert verdicts.difference(claim, values, values, 1e-4, claim.control(name.partition("/")[2])) is None, name


def test_a_missing_file_is_named_with_the_nearest_chapters(tmp_path):
    write(tmp_path, SAMPLE_CLAIM)
    with pytest.raises(ClaimError, match=r"sampel\.yml does not exist: did you mean sample\?"):
        claims.load("sampel", tmp_path)


def test_broken_yaml_is_named(tmp_path):
    (tmp_path / "sample.yml").write_text("claims: [unclosed")
    with pytest.raises(ClaimError, match=r"sample\.yml is not valid YAML"):
        claims.load("sample", tmp_path)


@pytest.mark.parametrize("missing", ["source", "reason", "protocol", "expected", "evidence", "paper"])
def test_a_claim_that_lacks_a_field_is_named(tmp_path, missing):
    write(tmp_path, {key: value for key, value in SAMPLE_CLAIM.items() if key != missing})
    with pytest.raises(ClaimError, match=f"'accuracy'.*{missing}"):
        claims.load("sample", tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tolerence": 1}, "tolerence"),
        ({"kind": "roughly"}, "kind"),
        ({"headline": True, "tuning": "as the model"}, "needs controls"),
        ({"headline": True, "controls": CONTROLS}, "needs `tuning`"),
        ({"headline": True, "controls": CONTROLS, "tuning": "as it is", "evidence": "check"}, "paper"),
        ({"evidence": "own"}, "use target"),
        ({"paper": None, "target": 80.0}, "use paper"),
        ({"kind": "ordering"}, "has no number"),
        ({"kind": "trend", "direction": "increasing"}, "a direction, or a slope"),
        ({"protocol": {"split": "fixed"}}, "seeds, metric, selection"),
        ({"after": "last week"}, "after"),
    ],
)
def test_a_claim_that_contradicts_itself_is_refused(tmp_path, changes, words):
    write(tmp_path, SAMPLE_CLAIM | changes)
    with pytest.raises(ClaimError, match=words):
        claims.load("sample", tmp_path)


def test_double_ids_and_another_chapters_file_are_refused(tmp_path):
    write(tmp_path, SAMPLE_CLAIM, SAMPLE_CLAIM)
    with pytest.raises(ClaimError, match="twice"):
        claims.load("sample", tmp_path)
    write(tmp_path, SAMPLE_CLAIM, chapter="other")
    with pytest.raises(ClaimError, match="other"):
        claims.load("sample", tmp_path)


def test_an_unknown_claim_is_refused_with_the_nearest_name(tmp_path):
    write(tmp_path, SAMPLE_CLAIM)
    with pytest.raises(ClaimError, match="did you mean accuracy"):
        claims.load("sample", tmp_path)["acuracy"]


@pytest.mark.parametrize("values", [math.nan, [1.0, math.inf], [], [[1.0, math.nan]]])
def test_a_value_that_is_not_a_number_is_refused(values):
    with pytest.raises(ClaimError, match="accuracy"):
        claims.checked(values, "accuracy")


def test_values_are_described_by_mean_and_sample_deviation():
    assert claim().describe([80.0, 81.0, 82.0]) == "81.0 ± 1.0"
    assert claim(kind="ordering", paper=None).describe([1.0, -2.0]) == "ahead in 1 of 2, behind by 0.5 on average"
    assert claim(deterministic=True).describe([80.0, 80.0]) == "80.0"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([963002.0], "963002.0"),
        ([999999999.0], "999999999.0"),
        ([1e9], "1.0 × 10⁹"),
        ([2904918112994.517], "2.9 × 10¹²"),
        ([-9.96e12], "-1.0 × 10¹³"),
        ([2e12, 4e12], "3.0 × 10¹² ± 1.4 × 10¹²"),
        ([2e12, 2e12 + 4], "2.0 × 10¹² ± 2.8"),
    ],
)
def test_very_large_numbers_are_described_with_a_power_of_ten(values, said):
    assert claim().describe(values) == said


def test_very_large_differences_and_slopes_are_described_with_a_power_of_ten():
    order = claim(kind="ordering", paper=None)
    assert order.describe([2e12]) == "+2.0 × 10¹²"
    assert order.describe([-2e12]) == "-2.0 × 10¹²"
    assert order.describe([-2e12, -4e12]) == "ahead in 0 of 2, behind by 3.0 × 10¹² on average"
    assert (order.describe([1.25]), order.describe([-1.25]), order.describe([0.0])) == ("+1.2", "-1.2", "+0.0")


@pytest.mark.parametrize(
    ("values", "changes", "words"),
    [
        ([0.5, 1.5], {}, "+1.0 ± 0.7"),
        ([-2.0, 1.0], {}, "−0.5 ± 2.1"),
        ([-0.0001, 0.0], {"digits": 3}, "0.000 ± 0.000"),
        ([0.04, 0.0], {}, "0.0 ± 0.0"),
        ([0.7], {}, "+0.7"),
        ([-0.7], {}, "−0.7"),
        ([2.0, 2.0], {"deterministic": True}, "+2.0"),
        (None, {}, "not run"),
    ],
)
def test_in_a_sentence_an_order_has_a_signed_mean(values, changes, words):
    assert claim(kind="ordering", paper=None, **changes).in_words(values) == words


def test_in_a_sentence_other_kinds_stand_as_in_tables():
    assert claim().in_words([80.0, 81.0, 82.0]) == claim().describe([80.0, 81.0, 82.0]) == "81.0 ± 1.0"
    assert claim().in_words([-1.0, -1.0]) == "−1.0 ± 0.0"
    trend = claim(kind="trend", paper=None, direction="decreasing")
    assert trend.in_words([[1, 3.0], [math.e, 2.0]]) == "slope −1.0"


@pytest.mark.parametrize(
    ("changes", "paper", "accepted"),
    [
        ({}, "80.0 %", "80.0 ± 1.0 %"),
        ({"kind": "at least", "tolerance": 2.5}, "80.0 %", "at least 77.5 (80.0 − 2.5) %"),
        ({"kind": "at most", "tolerance": 0}, "80.0 %", "at most 80.0 %"),
        ({"evidence": "own", "paper": None, "target": 80.0}, "–", "80.0 ± 1.0 %"),
        ({"evidence": "relocated", "target": 70.0}, "80.0 %", "70.0 ± 1.0 %"),
        ({"kind": "ordering", "paper": None, "tolerance": 0}, "ahead", "mean difference above 0"),
        ({"kind": "exact", "tolerance": 0}, "80.0 %", "exactly 80 %"),
        ({"tolerance": 0.25}, "80.0 %", "80.00 ± 0.25 %"),
    ],
)
def test_the_papers_number_and_the_accepted_bound_are_told_apart(changes, paper, accepted):
    assert (claim(**changes).reported(), claim(**changes).accepted()) == (paper, accepted)
