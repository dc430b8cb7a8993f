"""The benchmarks: each runs at a tiny size; what is recorded, how the page shows it, and what a broken record does."""

from __future__ import annotations

import copy
import json
import re
import subprocess

import pytest
import torch

from utils.bench import __main__ as command
from utils.bench import common
from utils.notebook import dgl_compat
from utils.records import bench, claims
from utils.site import benchmarks

AGAINST_DGL = {"gcn", "gae", "gat", "graphsage"}


@pytest.mark.parametrize("name", command.BENCHMARKS)
def test_every_benchmark_runs_at_a_tiny_size(name):
    if name in AGAINST_DGL and dgl_compat.load() is None:
        pytest.skip("there is no DGL here")
    torch.set_num_threads(1)
    entry = command.found_by(name, scale=0.002)
    assert entry.comparisons
    for comparison in entry.comparisons:
        assert len(comparison["sides"]) >= 2 and all(side["value"] > 0 for side in comparison["sides"])
    for growth in entry.growth:
        assert all(len(series["points"]) >= 2 for series in growth["series"])


def sample() -> dict:
    """An entry with an aim met, an aim missed, an upper bound met, and two ways that grow."""
    entry = common.Entry()
    entry.compare("Half a <b>second</b>", {"fast": 10.0, "middle": 30.0, "slow": 250.0}, wanted=20, done=(5, "rows"))
    entry.compare("Not what was hoped", {"ours": 10.0, "theirs": 40.0}, wanted=5)
    entry.compare("Memory", {"one": 100.0, "five": 250.0}, wanted=3, unit="MB", sense="at most")
    square = [(n, 1e-4 * n**2) for n in (200, 400, 800, 3200)]
    line = [(n, 0.03 * n) for n in (100, 200, 400, 800, 1600)]
    entry.grew("Two ways", "nodes", {"by pairs": square, "by edges": line}, {"by pairs": lambda n: 4 * n**2})
    stamp = {"device": "CPU, a test's", "date": "2020-01-02", "threads": 1, "code": {"chapters/none.ipynb": "x"}}
    return {"stamp": stamp, "comparisons": entry.comparisons, "growth": entry.growth}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results" / "bench.json"


def test_ratios_rates_and_verdicts():
    fast, missed, memory = sample()["comparisons"]
    assert (fast["ratio"], fast["sides"][0]["rate"], fast["rate_of"]) == (25, 500, "rows")
    assert [bench.met(c) for c in (fast, missed, memory)] == [True, False, True]
    assert not bench.met({**memory, "ratio": 3.1})


def test_slopes_and_breaking_points():
    by_pairs, by_edges = sample()["growth"][0]["series"]
    assert by_pairs["slope"] == pytest.approx(2, abs=1e-3)
    assert by_edges["slope"] == pytest.approx(1, abs=1e-3)
    # a minute is 1e-4 n^2 ms at 24,495 nodes; 4 n^2 bytes are 8 GiB only at 46,341
    assert by_pairs["breaks"] == {"at": 24_000, "by": "time"}
    assert by_edges["breaks"] == {"at": 2_000_000, "by": "time"}
    entry = common.Entry()
    entry.grew("Few", "edges", {"by pairs": [(n, 1e-4 * n**2) for n in (100, 200, 400)]}, most=20_000)
    assert entry.growth[0]["series"][0]["breaks"] is None
    assert "Nothing breaks below 20,000 edges" in benchmarks.first_to_break(entry.growth[0])
    points = [(1, 1.0), (10, 1.0), (100, 1.0)]
    assert common.breaking_point(points, 0.0, None, 60_000) is None
    assert common.breaking_point(points, 0.0, lambda n: 2**30 * n, 60_000) == {"at": 8, "by": "memory"}
    assert bench.slope([(1, 100), (10, 100), (100, 100), (1000, 1000), (10_000, 10_000)]) == pytest.approx(1)


def test_turns_are_taken_and_the_first_is_not_counted():
    calls = []
    found = common.medians({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2, repeats=3)
    assert calls == 3 * (["a"] * 3 + ["b"] * 3)
    assert set(found) == {"a", "b"} and all(value >= 0 for value in found.values())


def test_growth_is_measured_at_the_sizes_of_each_way():
    entry, made = common.Entry(), []
    makers = {"short": (lambda n: made.append(n) or (lambda: sum(range(n))), common.geometric(1000, 8000))}
    makers["long"] = (lambda n: lambda: sum(range(n)), common.geometric(1000, 70_000, 4))
    entry.grow("Sums", "numbers", makers, rounds=2)
    sizes = {series["name"]: [size for size, _ in series["points"]] for series in entry.growth[0]["series"]}
    assert made == sizes["short"] == [1000, 2000, 4000, 8000]
    assert sizes["long"] == [1000, 4000, 16_000, 64_000]


def memory() -> dict:
    """A growth of memory: one way follows the size, the other does not."""
    entry = common.Entry()
    points = {"all": [(n, n / 2) for n in (200, 400, 800, 1600)], "some": [(n, 90.0) for n in (200, 400, 800)]}
    entry.grew("Memory", "lines", points, unit="MB")
    return entry.growth[0]


def test_memory_that_grows_breaks_where_it_is_full_and_is_shown_as_memory():
    growth = memory()
    whole, some = growth["series"]
    assert whole["breaks"] == {"at": 16_000, "by": "memory"} and some["breaks"] is None
    drawn = benchmarks.growth_html(growth)
    assert "memory against size" in drawn and "time against size" not in drawn
    assert "all: 100 MB at 200 lines" in drawn and ">1 GB</text>" in drawn and " ms" not in drawn
    assert "<i>Some</i> needs less memory than <i>all</i> at every size" in drawn
    assert "where it needs 8 GiB of memory" in drawn


def test_only_the_entry_that_was_measured_changes(path):
    command.record("gat", sample(), path)
    other = sample()
    other["stamp"]["date"] = "2021-01-01"
    command.record("gcn", other, path)
    entries = bench.load(path)
    assert list(entries) == ["gcn", "gat"]
    assert entries["gat"] == json.loads(json.dumps(sample())) and entries["gcn"]["stamp"]["date"] == "2021-01-01"
    bench.save({**entries, "gone": sample()}, path)
    command.record("gcn", sample(), path)
    assert list(bench.load(path)) == ["gcn", "gat"]


def test_the_record_is_written_whole_or_not_at_all(path, monkeypatch):
    command.record("gcn", sample(), path)
    before = path.read_text(encoding="utf-8")
    faulty = copy.deepcopy(sample())
    faulty["comparisons"][0]["ratio"] = float("nan")
    with pytest.raises(ValueError, match="gcn"):
        command.record("gcn", faulty, path)

    def killed(self, content):
        with self.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(type(path), "write_bytes", killed)
    with pytest.raises(KeyboardInterrupt):
        command.record("gat", sample(), path)
    assert path.read_text(encoding="utf-8") == before


def delete_ratio(entry):
    del entry["comparisons"][0]["ratio"]


def make_text_of_wanted(entry):
    entry["comparisons"][1]["wanted"] = "much"


def lose_points(entry):
    del entry["growth"][0]["series"][0]["points"][1:]


def negative_time(entry):
    entry["growth"][0]["series"][0]["points"][0][1] = -1.0


def other_sense(entry):
    entry["comparisons"][0]["sense"] = "about"


@pytest.mark.parametrize("fault", [delete_ratio, make_text_of_wanted, lose_points, negative_time, other_sense])
def test_a_broken_record_is_named(path, fault):
    entry = sample()
    fault(entry)
    path.parent.mkdir()
    path.write_text(json.dumps({"entries": {"gcn": entry}}), encoding="utf-8")
    with pytest.raises(bench.RecordError, match=r"data/results/bench\.json is not a record.*make bench"):
        bench.load(path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"entries": [1]}', '{"entries": {"gcn": 3}}'])
def test_what_is_no_record_at_all_is_named_too(path, content):
    path.parent.mkdir()
    path.write_text(content, encoding="utf-8")
    with pytest.raises(bench.RecordError, match=r"bench\.json"):
        bench.load(path)


def test_a_page_without_a_record_says_so(path):
    assert bench.load(path) == {}
    assert "Nothing has been measured yet" in benchmarks.comparisons_html({})
    assert "make bench" in benchmarks.comparisons_html({})


def test_the_table_shows_misses_as_misses_and_names_device_and_date():
    page = benchmarks.comparisons_html({"gcn": sample()})
    rows = [row for row in re.findall(r"<tr>(.*?)</tr>", page) if "<td>" in row]
    assert [("missed" in row, "✓ met<" in row) for row in rows] == [(False, True), (True, False), (False, True)]
    assert "2 of 3 aims are met, 1 missed" in page and "CPU, a test&#39;s" in page and "2020-01-02" in rows[0]
    assert "Half a &lt;b&gt;second&lt;/b&gt;" in rows[0] and 'data-sort="25.0"' in rows[0]
    assert "at most 3" in rows[2] and " ms" not in page  # ratios only
    assert "<b>fast</b>; against slow" in rows[0] and "<b>one</b>; against five" in rows[2]
    assert "older code" in rows[0]  # the stamp's code is not what stands there


def test_the_chart_holds_every_point_inside_its_frame_and_says_what_it_shows():
    growth = sample()["growth"][0]
    drawn = benchmarks.growth_html(growth)
    marks = drawn.partition("</svg>")[0]
    assert marks.count("<circle") == 4 and marks.count('width="6.4"') == 5
    for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)(?= L|\")", marks):
        assert benchmarks.LEFT - 0.1 <= float(x) <= benchmarks.WIDTH - benchmarks.RIGHT + 0.1
        assert benchmarks.TOP - 0.1 <= float(y) <= benchmarks.HEIGHT - benchmarks.BOTTOM + 0.1
    label = re.search(r'aria-label="(.*?)"', drawn)[1]
    assert len(label) > 40 and "slope 2.0" in label and "by edges" in label
    assert "http" not in drawn
    assert "First to break: <i>by pairs</i>, at about 24,000 nodes, where it needs a minute of time." in drawn
    assert "<i>By edges</i> is faster than <i>by pairs</i> from 400 nodes on." in drawn
    assert "24,000 nodes" in str(benchmarks.summary_row(growth)) and "by pairs" in str(benchmarks.summary_row(growth))
    assert "2,000,000" not in drawn and "beyond 16,000" in drawn and "24,000" in drawn


def test_nothing_is_told_of_sizes_ten_times_beyond_the_largest_that_was_measured():
    entry = common.Entry()
    entry.grew("Flat", "nodes", {"by edges": [(n, 0.03 * n) for n in (100, 200, 400)]})
    growth = entry.growth[0]
    assert growth["series"][0]["breaks"]["at"] > 4000
    assert benchmarks.end_of(growth["series"][0]) == "beyond 4,000"
    assert "up to ten times the sizes" in benchmarks.first_to_break(growth)
    assert benchmarks.summary_row(growth)["at"] == "–"


@pytest.mark.parametrize(
    ("first", "last", "peer"),
    [
        ("this book", "DGL GATConv, dense features", True),
        ("this book", "torch.nn.LSTM", True),
        ("torch, fused", "this book, edge list", False),
        ("student", "teacher", False),
        ("this book", "the released network", True),
    ],
)
def test_a_comparison_with_a_library_is_told_from_one_within_the_book(first, last, peer):
    sides = [{"name": first, "value": 1.0}, {"name": last, "value": 2.0}]
    assert benchmarks.against_a_peer({"sides": sides}) == peer
    assert benchmarks.smaller({"sides": sides}) == first


def test_the_stored_record_can_be_shown_and_belongs_to_benchmarks():
    entries = bench.load()
    assert set(entries) <= set(command.BENCHMARKS)
    for entry in entries.values():
        for growth in entry["growth"]:
            for series in growth["series"]:
                assert series["slope"] == pytest.approx(bench.slope(series["points"]), abs=0.02)
        for comparison in entry["comparisons"]:
            first, last = (comparison["sides"][k]["value"] for k in (0, -1))
            assert comparison["ratio"] == pytest.approx(last / first, rel=0.01)
    assert "<table" in benchmarks.comparisons_html(entries) or not entries


def test_every_benchmark_belongs_to_a_chapter_and_unknown_names_are_refused():
    assert set(command.BENCHMARKS) <= set(claims.chapters())
    with pytest.raises(SystemExit, match="no benchmark no_such_chapter"):
        command.main(["gcn", "no_such_chapter"])


def test_each_benchmark_runs_in_a_process_of_its_own_and_a_failure_is_told(monkeypatch):
    seen = []

    def run(command, env):
        seen.append((command[-2:], env["OMP_NUM_THREADS"]))
        return subprocess.CompletedProcess(command, command[-1] == "gat")

    monkeypatch.setattr(command.subprocess, "run", run)
    assert command.main(["gcn"]) == 0
    assert command.main(["gat", "gcn"]) == 1
    assert seen[1:] == [(["--in-this-process", name], "1") for name in ("gat", "gcn")]
