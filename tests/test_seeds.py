"""Training once per seed: the same results however the calls are made, and none made twice."""

from __future__ import annotations

import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from utils import ROOT
from utils.notebook import seeds
from utils.records import machine


def walk(steps, seed):
    """A result that depends on the seed alone when every generator starts from it."""
    drawn = {"python": random.random(), "numpy": np.random.random()}  # noqa: NPY002
    return {"seed": seed, "torch": torch.rand(steps).cumsum(0), **drawn}


def same(some, others):
    assert len(some) == len(others) > 0
    for one, other in zip(some, others, strict=True):
        assert one.keys() == other.keys()
        assert torch.equal(one["torch"], other["torch"]) and one["python"] == other["python"]


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("WALKTHROUGHS_KEPT", str(tmp_path / "kept"))
    return tmp_path / "kept"


def test_a_call_does_not_depend_on_the_calls_before_it():
    torch.rand(3)
    assert len({row["python"] for row in seeds.each(walk, [3, 4], 5)}) == 2
    same(seeds.each(walk, [4], 5), seeds.each(walk, [3, 4], 5)[1:])


def test_processes_give_what_the_loop_gives(monkeypatch):
    plain = seeds.each(walk, range(4), 5)
    monkeypatch.setenv("WALKTHROUGHS_JOBS", "2")
    same(plain, seeds.each(walk, range(4), 5))


def test_a_cluster_gives_what_the_loop_gives(monkeypatch, tmp_path):
    from distributed import LocalCluster

    plain = seeds.each(walk, range(4), 5)
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=tmp_path) as cluster:
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", cluster.scheduler_address)
        found = seeds.each(walk, range(4), 5)
    for one, other in zip(plain, found, strict=True):  # but for Python's own generator: dask's threads draw from it
        assert torch.equal(one["torch"], other["torch"]) and one["numpy"] == other["numpy"]


def test_workers_with_several_threads_are_refused(monkeypatch, tmp_path):
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None, local_directory=tmp_path) as cluster:
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", cluster.scheduler_address)
        with pytest.raises(ValueError, match="one thread"):
            seeds.each(walk, range(2), 5)


def test_a_kept_result_is_not_computed_again(kept, capsys):
    first = seeds.each(walk, range(3), 5)
    files = {path: path.stat().st_mtime_ns for path in kept.iterdir()}
    assert len(files) == 3
    same(first, seeds.each(walk, range(3), 5))
    assert "3 done before, 0 left" in capsys.readouterr().out
    same(first, seeds.each(walk, range(4), 5)[:3])
    assert "4 done, 0 left, end at " in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in files} == files  # and nothing was written twice


def test_other_arguments_are_other_results(kept):
    assert [len(seeds.each(walk, [0], steps)[0]["torch"]) for steps in (5, 6)] == [5, 6]
    assert seeds.each(apply, [2], "a", [walk, {"b": (1, None)}])[0] != seeds.each(apply, [2], "a", [same, {}])[0]
    assert len(list(kept.iterdir())) == 4


def apply(name, functions, seed):
    return name, [str(function) for function in functions], seed


@pytest.mark.parametrize("where", ["kept", "here"])
def test_the_contract_is_the_same_in_every_profile(kept, monkeypatch, where):
    """What could not be kept is refused where nothing is kept, too: in quick, and not after hours in full."""
    if where == "here":
        monkeypatch.delenv("WALKTHROUGHS_KEPT")
    with pytest.raises(TypeError, match="has no name to keep results under"):
        seeds.each(lambda seed: seed, [0])
    with pytest.raises(TypeError, match="has no name to keep results under"):
        seeds.each(apply, [0], "a", torch.rand(3))
    assert not kept.exists()


CHAPTER = """
import pathlib, time
from utils.notebook import seeds
log = pathlib.Path({log!r})

class Curve(list):
    pass

def train(width, seed):
    with log.open("a") as file:
        file.write(f"{{seed}}\\n")
    if seed == 2 and log.read_text().split().count("2") == 1:
        time.sleep(60)  # is killed here, the first time
    return Curve([seed, width])

print([list(curve) for curve in seeds.each(train, range(4), 8)])
"""


def test_a_run_killed_at_any_moment_goes_on_at_the_seed_under_way(kept, tmp_path):
    log = tmp_path / "log"
    command = [sys.executable, "-c", CHAPTER.format(log=str(log))]
    first = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (log.exists() and log.read_text().endswith("2\n")):
        assert first.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert not list(kept.glob("*.part"))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[[0, 8], [1, 8], [2, 8], [3, 8]]", done.stderr
    assert log.read_text().split() == ["0", "1", "2", "2", "3"]


def test_the_cost_of_kept_results_is_added_up(kept, monkeypatch):
    monkeypatch.setattr(seeds, "_kept", [])
    seeds.each(slow, range(2))
    assert seeds.kept_seconds() == 0
    seeds.each(slow, range(3))
    assert 0.1 < seeds.kept_seconds() < 5  # of the two, not of the third
    stamp = machine.provenance("gcn", "cpu", 1.0, [], seeds.kept_seconds())
    assert stamp.resumed and stamp.kept_seconds == pytest.approx(seeds.kept_seconds(), abs=0.06)
    assert not machine.provenance("gcn", "cpu", 1.0, [], 0.0).resumed


def slow(seed):
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    return seed


def test_a_damaged_result_is_named(kept):
    seeds.each(walk, [0], 5)
    (path,) = kept.glob("*.pickle")
    for content in (path.read_bytes()[:20], b"", pickle.dumps([1])):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{path.name} is not a whole result"):
            seeds.each(walk, [0], 5)


@pytest.mark.parametrize("jobs", ["x", "-1", "0", "1.5"])
def test_a_number_of_jobs_that_is_none_is_named(monkeypatch, jobs):
    monkeypatch.setenv("WALKTHROUGHS_JOBS", jobs)
    with pytest.raises(ValueError, match="WALKTHROUGHS_JOBS is"):
        seeds.each(walk, [0], 5)


def test_a_result_is_written_whole_or_not_at_all(kept, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", stop)
    with pytest.raises(KeyboardInterrupt):
        seeds.each(walk, [0], 5)
    monkeypatch.undo()
    assert not list(kept.glob("*.pickle"))


CELLS = """
import dataclasses, functools, os
import torch
from utils.notebook import seeds

WEIGHTS = torch.arange(4.0)

@dataclasses.dataclass
class Run:
    error: float
    process: int
    classes: int = 3  # as torch.classes, which cannot be pickled

def train(power, seed):
    made = Run(error(power) + torch.rand(1).item(), os.getpid())
    assert made.classes == 3
    return made

@functools.cache
def error(power):
    return float((WEIGHTS**power).sum())

runs = seeds.each(train, range(4), 2)
assert all(isinstance(run, Run) for run in runs)
"""


def test_the_runner_trains_a_chapters_functions_in_processes_and_goes_on(tmp_path):
    cells = [{"cell_type": "code", "metadata": {}, "source": part} for part in CELLS.split("\n\n")]
    (tmp_path / "chapter.ipynb").write_text(json.dumps({"cells": cells}))
    code = (
        "import os, sys\nfrom pathlib import Path\n"
        "from utils.tools import run\n"
        f"run.sources.path_of = lambda name: Path({str(tmp_path / 'chapter.ipynb')!r})\n"
        "run.execute_plain('chapter')\n"
        "runs = sys.modules['__main__'].runs\n"
        "print(len({run.process for run in runs} - {os.getpid()}), [run.error for run in runs])"
    )
    environment = {**os.environ, "WALKTHROUGHS_KEPT": str(tmp_path / "kept")}
    lines = []
    for jobs in ("2", "1", "1"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=environment | {"WALKTHROUGHS_JOBS": jobs},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        lines.append(done.stdout.splitlines()[-1])
        if len(lines) == 2:  # now without what was kept, here
            environment["WALKTHROUGHS_KEPT"] = str(tmp_path / "other")
    assert lines[0].split(" ", 1)[0] in "12" and lines[0] == lines[1]
    assert lines[2].split(" ", 1) == ["0", lines[0].split(" ", 1)[1]]
