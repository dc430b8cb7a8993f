"""The claims machinery: judging, files, records, what makes a run fail."""

from __future__ import annotations

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from utils import notebook
from utils.notebook import show
from utils.records import claims, runs
from utils.records.claims import Claim, ClaimError

BASE = {
    "id": "accuracy",
    "statement": "The model classifies.",
    "paper": 80.0,
    "source": "Table 1",
    "read": "paper",
    "protocol": {"split": "fixed", "seeds": 3, "metric": "accuracy", "selection": "last epoch"},
    "kind": "interval",
    "tolerance": 1.0,
    "reason": "a reason",
    "expected": {"quick": "reproduced", "full": "reproduced"},
}


def claim(**changes) -> Claim:
    return Claim(**{**BASE, **changes})


def write(folder, *entries, **changes):
    content = {
        "chapter": "sample",
        "title": "A sample",
        "paper": "key",
        "data": ["cora"],
        "claims": list(entries),
    }
    (folder / "sample.yml").write_text(yaml.safe_dump(content | changes))


@pytest.mark.parametrize(
    ("changes", "values", "verdict"),
    [
        ({}, [79.0, 80.0, 82.4], "reproduced"),
        ({}, [81.0], "reproduced"),
        ({}, [81.5], "close"),
        ({}, [78.0], "close"),
        ({}, [82.1], "not reproduced"),
        ({}, None, "not run"),
        ({"kind": "at least"}, [95.0], "reproduced"),
        ({"kind": "at least"}, [78.5], "close"),
        ({"kind": "at least"}, [77.0], "not reproduced"),
        ({"kind": "at most"}, [3.0], "reproduced"),
        ({"kind": "at most"}, [81.9], "close"),
        ({"kind": "at most"}, [83.0], "not reproduced"),
        ({"kind": "exact", "tolerance": 0.0}, [80.0], "reproduced"),
        ({"kind": "exact", "tolerance": 0.0}, [80.0, 81.0], "not reproduced"),
        ({"kind": "ordering", "wins": 1.0}, [1.0, 0.5, 2.0], "reproduced"),
        ({"kind": "ordering", "wins": 1.0}, [1.0, 0.0, 2.0], "not reproduced"),
        ({"kind": "ordering", "wins": 0.8}, [1.0] * 8 + [-1.0] * 2, "reproduced"),
        ({"kind": "ordering", "wins": 0.8}, [1.0] * 6 + [-1.0] * 4, "close"),
        ({"kind": "ordering", "wins": 0.8}, [1.0] * 5 + [-1.0] * 5, "not reproduced"),
        ({"kind": "trend", "paper": 2.0, "tolerance": 0.1}, [[1, 3], [10, 300], [100, 30000]], "reproduced"),
        (
            {"kind": "trend", "paper": 1.0, "tolerance": 0.1},
            [[1, 3], [10, 300], [100, 30000]],
            "not reproduced",
        ),
        ({"kind": "trend", "paper": None, "direction": "increasing"}, [[1, 2], [3, 9], [2, 4]], "reproduced"),
        (
            {"kind": "trend", "paper": None, "direction": "decreasing", "tolerance": 0},
            [[1, 2], [2, 4]],
            "not reproduced",
        ),
    ],
)
def test_verdicts(changes, values, verdict):
    assert claim(**changes).judge(values) == verdict


UNDECIDED = {"kind": "ordering", "wins": 1.0, "expected": {"quick": "undecided", "full": "reproduced"}}


@pytest.mark.parametrize(
    ("margins", "verdict"),
    [
        ([0.5, 0.2, 0.9, -0.1], "undecided"),
        ([0.5, 0.2, 0.9], "undecided"),  # few seeds that agree settle nothing either
        ([0.5, 0.2, 0.9, -0.1, 0.3], "not reproduced"),
        ([0.5, 0.2, 0.9, 0.1, 0.3], "reproduced"),
        ([], "not run"),
    ],
)
def test_a_claim_is_undecided_with_fewer_than_five_values_and_in_the_profile_that_says_so(margins, verdict):
    assert claim(**UNDECIDED).judge(margins, "quick") == verdict
    assert "undecided" not in (claim(**UNDECIDED).judge(margins, "full"), claim(**UNDECIDED).judge(margins))


@pytest.mark.parametrize(
    ("changes", "values", "verdict"),
    [
        ({}, [84.0, 79.0], "undecided"),
        ({}, [80.1, 80.2, 80.0, 80.3, 79.8], "reproduced"),
        ({}, [81.5, 80.0, 80.5, 82.0, 80.1], "reproduced"),  # another verdict is near: it is judged all the same
        ({}, [70.1, 70.2, 70.0, 70.3, 69.9], "not reproduced"),
        ({"kind": "exact", "tolerance": 0.0}, [80.0, 81.0], "not reproduced"),  # chance plays no part
        ({"kind": "trend", "paper": 1.0, "tolerance": 0.25}, [[1, 1], [2, 3], [4, 8]], "undecided"),
    ],
)
def test_five_values_and_exact_ones_are_judged_where_fewer_are_undecided(changes, values, verdict):
    assert claim(expected={"quick": "undecided", "full": "close"}, **changes).judge(values, "quick") == verdict


@pytest.mark.parametrize(("margins", "count"), [([0.7, -0.1, 0.5], 0), ([0.5, 0.52, 0.49, 0.5, 0.47], 1)])
def test_a_run_that_decides_an_undecided_order_is_a_fault(margins, count):
    file = claims.ClaimsFile("sample", "", "", (), {"accuracy": claim(**UNDECIDED)})
    assert len(claims.faults(file, {"accuracy": margins}, "quick", set())) == count


CONTROLLED = {"controls": ({"id": "shuffled", "statement": "on shuffled labels"},)}
FIVE = [80.2, 79.9, 80.1, 80.4, 79.8]


@pytest.mark.parametrize(
    ("ours", "control", "verdict"),
    [
        (FIVE, [80.9] * 5, "undecided"),  # both lie within the band
        ([81.5] * 5, [80.9] * 5, "undecided"),  # ours is close, the control within
        (FIVE, [81.5] * 5, "reproduced"),  # a control that is close has missed the band
        (FIVE, [70.0] * 5, "reproduced"),
        ([70.0] * 5, [80.9] * 5, "not reproduced"),  # a control does not mend a claim that fails
        (None, [80.9] * 5, "not run"),
    ],
)
def test_a_claim_that_its_control_meets_too_is_undecided(ours, control, verdict):
    records = {"accuracy": ours, "accuracy/shuffled": control}
    assert claim(**CONTROLLED).verdict({k: v for k, v in records.items() if v}, "full") == verdict


@pytest.mark.parametrize(
    ("expected", "ours", "control", "faults"),
    [
        ("undecided", FIVE, [80.9] * 5, []),  # announced, and so it is
        ("undecided", FIVE, [70.0] * 5, ["reproduced"]),  # announced, and the control misses the band
        ("reproduced", FIVE, [80.9] * 5, ["undecided", "control meets"]),
        ("not reproduced", [70.0] * 5, [80.9] * 5, ["control meets"]),
        ("undecided", FIVE[:3], [80.9] * 3, ["control meets"]),  # undecided for its few seeds is no excuse
        ("undecided", FIVE, None, ["reproduced", "not run"]),
    ],
)
def test_a_control_that_meets_its_claim_is_a_fault_unless_it_was_announced(expected, ours, control, faults):
    one = claim(expected={"quick": "close", "full": expected}, **CONTROLLED)
    file = claims.ClaimsFile("sample", "", "", (), {"accuracy": one})
    records = {"accuracy": ours} | ({"accuracy/shuffled": control} if control else {})
    found = claims.faults(file, records, "full", set())
    assert len(found) == len(faults)
    assert all(words in line for words, line in zip(faults, found, strict=True))


def test_the_recorded_run_shows_the_control_that_leaves_a_claim_undecided():
    one = claim(expected={"quick": "close", "full": "undecided"}, **CONTROLLED)
    file = claims.ClaimsFile("sample", "", "", (), {"accuracy": one})
    stamp = {"date": "2020-01-01", "device": "CPU", "wall_seconds": 60.0, "peak_memory_bytes": 2**30, "commit": "abc"}
    run_with = {"records": {"accuracy": FIVE, "accuracy/shuffled": [80.9] * 5}, "provenance": stamp}
    assert "<small>control 80.9 ± 0.0</small>" in show.recorded_table(file, "full", run_with, []).markup
    run_with["records"]["accuracy/shuffled"] = [70.0] * 5
    assert "control" not in show.recorded_table(file, "full", run_with, []).markup


@given(st.floats(-1e3, 1e3), st.floats(0.1, 50), st.floats(0, 5))
def test_an_interval_is_judged_by_its_distance_alone(paper, tolerance, widths):
    value = paper + widths * tolerance
    expected = "reproduced" if widths <= 1 else "close" if widths <= 2 else "not reproduced"
    if abs(widths - 1) > 1e-6 and abs(widths - 2) > 1e-6:
        assert claim(paper=paper, tolerance=tolerance).judge([value]) == expected
        assert claim(paper=-paper, tolerance=tolerance).judge([-value]) == expected


def test_values_are_described_by_mean_and_sample_deviation():
    assert claim().describe([80.0, 81.0, 82.0]) == "81.0 ± 1.0"
    assert claim(kind="ordering").describe([1.0, -1.0]) == "1 of 2"
    assert claim(read="unverified").reported() == "80.0 (unverified)"


def test_all_claims_files_of_the_book_are_well_formed():
    assert claims.chapters()
    for chapter in claims.chapters():
        assert claims.load(chapter).claims


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ClaimError, match=r"sample\.yml does not exist"):
        claims.load("sample", tmp_path)


def test_broken_yaml_is_named(tmp_path):
    (tmp_path / "sample.yml").write_text("claims: [unclosed")
    with pytest.raises(ClaimError, match=r"sample\.yml is not valid YAML"):
        claims.load("sample", tmp_path)


@pytest.mark.parametrize("missing", ["source", "reason", "protocol", "expected", "read", "tolerance", "paper"])
def test_a_claim_that_lacks_a_field_is_named(tmp_path, missing):
    write(tmp_path, {key: value for key, value in BASE.items() if key != missing})
    with pytest.raises(ClaimError, match=f"'accuracy'.*'{missing}'"):
        claims.load("sample", tmp_path)


def test_unknown_fields_kinds_and_double_ids_are_refused(tmp_path):
    write(tmp_path, BASE | {"tolerence": 1})
    with pytest.raises(ClaimError, match="tolerence"):
        claims.load("sample", tmp_path)
    write(tmp_path, BASE | {"kind": "roughly"})
    with pytest.raises(ClaimError, match="roughly"):
        claims.load("sample", tmp_path)
    write(tmp_path, BASE, BASE)
    with pytest.raises(ClaimError, match="twice"):
        claims.load("sample", tmp_path)
    write(tmp_path, BASE, chapter="other")
    with pytest.raises(ClaimError, match="other"):
        claims.load("sample", tmp_path)


def test_a_headline_claim_needs_a_control(tmp_path):
    write(tmp_path, BASE | {"headline": True})
    with pytest.raises(ClaimError, match="controls"):
        claims.load("sample", tmp_path)


@pytest.mark.parametrize("values", [math.nan, [1.0, math.inf], [], [[1.0, math.nan]]])
def test_a_value_that_is_not_a_number_is_refused(values):
    with pytest.raises(ClaimError, match="accuracy"):
        claims.checked(values, "accuracy")


@pytest.fixture
def sample(tmp_path, monkeypatch):
    """A running chapter with one claim on Cora and one control, and an empty folder for results."""
    write(
        tmp_path,
        BASE | {"data": "cora", "headline": True, "controls": [{"id": "mlp", "statement": "no edges"}]},
    )
    file = claims.load("sample", tmp_path)
    monkeypatch.setattr(run.claims, "load", lambda name: file)
    monkeypatch.setattr(run.datasets, "loaded", {"cora": "real"})
    monkeypatch.setattr(
        run.results,
        "provenance",
        lambda *_: {
            "versions": {},
            "device": "CPU",
            "wall_seconds": 1.0,
            "peak_memory_bytes": 1,
            "date": "2026-01-01",
        },
    )
    return run.Chapter("sample")


def test_a_good_run_passes(sample):
    sample.record("accuracy", [80.0, 80.5])
    sample.record("accuracy", [55.0], control="mlp")
    assert "as expected" in repr(sample.finish())


def test_an_unexpected_verdict_fails_the_run(sample):
    sample.record("accuracy", [70.0])
    sample.record("accuracy", [55.0], control="mlp")
    with pytest.raises(ClaimError, match=r"accuracy: not reproduced \(70.0\), expected reproduced"):
        sample.finish()


def test_a_control_that_meets_the_claim_fails_the_run(sample):
    sample.record("accuracy", [80.0])
    sample.record("accuracy", [80.9], control="mlp")
    with pytest.raises(ClaimError, match="the control meets the claim"):
        sample.finish()


def test_a_control_or_claim_that_was_not_run_fails_the_run(sample):
    with pytest.raises(ClaimError, match="accuracy: not run"):
        sample.finish()
    sample.record("accuracy", [80.0])
    with pytest.raises(ClaimError, match="accuracy/mlp: the control was not run"):
        sample.finish()


def test_unknown_claims_and_controls_are_refused_with_the_nearest_name(sample):
    with pytest.raises(ClaimError, match="did you mean accuracy"):
        sample.record("acuracy", [1.0])
    with pytest.raises(ClaimError, match="no control 'rewired'"):
        sample.record("accuracy", [1.0], control="rewired")


def test_stand_ins_are_never_compared(sample, monkeypatch):
    monkeypatch.setattr(run.datasets, "loaded", {"cora": "stand-in"})
    sample.record("accuracy", [10.0])
    assert sample.records == {}
    assert "not run" in sample.table().text
    sample.finish()


def test_prose_numbers_come_from_the_records_and_stand_between_marks(sample):
    sample.record("accuracy", [80.0, 82.0])
    text = sample.say("{accuracy} beside {accuracy.paper}, {ms:.1f} ms", ms=2.04).text
    assert text == f"{show.measured('81.0 ± 1.4')} beside 80.0, {show.measured('2.0')} ms"


def test_a_run_is_written_whole_and_read_back(tmp_path):
    record = {"chapter": "sample", "profile": "quick", "records": {"a": [1.0]}, "provenance": {"code": {}}}
    runs.save(record, tmp_path)
    assert runs.load("sample", "quick", tmp_path) == record
    assert [path.name for path in tmp_path.iterdir()] == ["sample.quick.json"]
    assert runs.load("sample", "full", tmp_path) is None


def test_nan_is_not_written_and_a_broken_record_is_named(tmp_path):
    with pytest.raises(ValueError):
        runs.save({"chapter": "sample", "profile": "quick", "records": {"a": [math.nan]}}, tmp_path)
    assert runs.load("sample", "quick", tmp_path) is None
    (tmp_path / "sample.quick.json").write_text('{"records": ')
    with pytest.raises(ClaimError, match=r"sample\.quick\.json is not a recorded run"):
        runs.load("sample", "quick", tmp_path)


def test_a_record_is_stale_once_the_code_has_changed():
    chapter = claims.chapters()[0]
    current = {"provenance": {"code": results.code_hashes(chapter)}}
    assert runs.stale(current) == []
    changed = {name: "0" for name in current["provenance"]["code"]}
    assert f"chapters/{chapter}.ipynb" in runs.stale({"provenance": {"code": changed}})


@pytest.mark.parametrize(
    ("failing", "expected"), [(None, 7.5), ("nvmlInit_v2", None), ("nvmlDeviceGetHandleByIndex_v2", None)]
)
def test_the_energy_of_a_device_is_read_where_it_is_reported(monkeypatch, failing, expected):
    class Nvml:
        def __init__(self, name):
            assert name == "libnvidia-ml.so.1"

        def nvmlInit_v2(self):  # noqa: N802
            return failing == "nvmlInit_v2"

        def nvmlDeviceGetHandleByIndex_v2(self, index, handle):  # noqa: N802
            return failing == "nvmlDeviceGetHandleByIndex_v2"

        def nvmlDeviceGetTotalEnergyConsumption(self, handle, millijoules):  # noqa: N802
            millijoules._obj.value = 7500
            return 0

    monkeypatch.setattr(results.ctypes, "CDLL", Nvml)
    assert results.device_joules() == expected


def test_a_machine_without_such_a_device_has_no_energy():
    assert results.device_joules("no-such-library.so") is None
    stamp = {"versions": {}, "device": "CPU", "wall_seconds": 1, "peak_memory_bytes": 1, "date": "2026-01-01"}
    assert "Energy" not in show.stamp_table(stamp, "full").markup
    assert "0.500 kWh" in show.stamp_table(stamp | {"device_energy_joules": 1_800_000}, "full").markup


def test_a_comparison_gives_deviation_and_lowest_only_where_values_differ():
    markup = show.comparison_table("rule", {"score, %": {"learned": [80.0, 90.0], "counted": [54.0, 54.0]}}).markup
    assert show.measured("85.0 ± 7.1, lowest 80.0") in markup and show.measured("54.0") in markup


def test_a_recorded_run_is_shown_as_current_stale_or_not_made(sample):
    stamp = {"date": "2026-01-01", "device": "CPU", "wall_seconds": 60, "peak_memory_bytes": 2**30, "commit": "c0ffee"}
    record = {"records": {"accuracy": [80.0]}, "provenance": stamp}
    assert "Made by the code as it stands" in show.recorded_table(sample.claims, "full", record, []).markup
    stale = show.recorded_table(sample.claims, "full", record, ["utils/run.py"]).markup
    assert "Stale: changed since then: utils/run.py" in stale
    resumed = {**record, "provenance": {**stamp, "resumed": True}}
    assert "1.0 minutes since it was resumed" in show.recorded_table(sample.claims, "full", resumed, []).markup
    assert "has not been made yet" in show.recorded_table(sample.claims, "full", None, []).text


def test_profiles(monkeypatch):
    monkeypatch.delenv("WALKTHROUGHS_PROFILE", raising=False)
    assert notebook.profile() == "quick"
    monkeypatch.setenv("WALKTHROUGHS_PROFILE", "fast")
    with pytest.raises(ValueError, match="one of quick, full"):
        notebook.profile()
