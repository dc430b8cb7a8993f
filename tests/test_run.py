"""How a run is set up: nothing heavy at import, seeds, unknown chapters, DGL behind its one module."""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import SAMPLE_CLAIM

from utils import ROOT, datasets, notebook
from utils.notebook import chapter, dgl_compat, profiles, show
from utils.records import claims, machine, runs
from utils.records.claims import ClaimError
from utils.tools import run

HEAVY = {"torch", "tensorflow", "dgl", "matplotlib.pyplot", "scipy", "sklearn", "requests", "IPython"}


def test_importing_utils_loads_no_framework_and_opens_no_connection():
    code = (
        "import socket, sys\n"
        "def refuse(*_): raise AssertionError('a connection was opened')\n"
        "socket.socket.connect = refuse\n"
        "from utils import datasets, notebook\n"
        "from utils.notebook import colab, dgl_compat, plots, seeds, show, timing\n"
        "from utils.records import bench, claims, machine, runs, sources, verdicts\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_a_seed_repeats_everything_that_is_loaded():
    drawn = []
    for _ in range(2):
        notebook.seed_everything(7)
        drawn.append((random.random(), np.random.random(), torch.rand(1).item()))  # noqa: NPY002
    assert drawn[0] == drawn[1]


def test_the_quick_profile_stays_on_the_processor(monkeypatch):
    monkeypatch.setenv("WALKTHROUGHS_PROFILE", "quick")
    assert notebook.device() == "cpu"


def test_an_unknown_chapter_is_named_with_those_that_exist():
    command = [sys.executable, "-m", "utils.tools.run", "gnc"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode != 0
    assert "no chapter 'gnc'" in done.stderr and "gcn" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_on_stand_ins_is_not_recorded(tmp_path):
    command = [sys.executable, "-m", "utils.tools.run", "gcn"]
    environment = {**os.environ, "WALKTHROUGHS_CACHE": str(tmp_path), "WALKTHROUGHS_MIRROR": ""}
    environment |= {"HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}  # no network
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode != 0
    assert "a run on stand-ins is not recorded" in done.stderr
    assert "Traceback" not in done.stderr


def test_dgl_passes_messages_and_gradients_and_its_layers_work():
    dgl = dgl_compat.load()
    graph = dgl.graph((torch.tensor([0, 1, 1]), torch.tensor([1, 2, 0])))
    states = torch.randn(3, 2, requires_grad=True)
    graph.ndata["h"] = states
    graph.update_all(dgl.function.copy_u("h", "m"), dgl.function.sum("m", "out"))
    torch.testing.assert_close(graph.ndata["out"], states[[1, 0, 1]])
    graph.ndata["out"].sum().backward()
    assert states.grad.tolist() == [[1, 1], [2, 2], [0, 0]]
    looped = dgl.add_self_loop(graph)
    for layer in (dgl.nn.GraphConv(2, 4), dgl.nn.GATConv(2, 4, 1), dgl.nn.SAGEConv(2, 4, "mean")):
        assert torch.isfinite(layer(looped, torch.randn(3, 2))).all()


def test_where_dgl_is_absent_the_module_says_none(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert dgl_compat.load() is None


def test_dgl_keeps_its_silence():
    code = "from utils.notebook import dgl_compat; dgl_compat.load()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ["__path__", "__wrapped__"])
def test_the_stub_of_graphbolt_is_no_trap_for_inspection(name):
    with pytest.raises(AttributeError):
        getattr(dgl_compat._Stub("x"), name)


ABSENT = {
    "tensorflow",
    "keras",
    "dgl",
    "IPython",
    "ipykernel",
    "nbformat",
    "nbclient",
    "jupyter_client",
    "pooch",
    "dask",
}
ABSENT |= {"distributed", "jieba", "nbval", "sacrebleu"}
BROUGHT = {"translation_attention": {"jieba", "sacrebleu"}}  # small wheels of Python alone, which such a chapter brings

RENTED = f"""
import importlib.abc, sys

class Without(importlib.abc.MetaPathFinder):
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, *rest):
        absent = name.split(".")[0] in {ABSENT} - {BROUGHT}.get(chapter, set())
        return None if absent else self.finder.find_spec(name, *rest)

chapter = ""
sys.meta_path[:] = map(Without, sys.meta_path)
from utils.records import claims, sources
from utils.tools import run

def beginning(path, kind="code", whole=sources.cells):
    found = whole(path, kind)
    return found[: 1 + next(n for n, cell in enumerate(found) if "notebook.start(" in cell["source"])]

run.datasets.within_reach = lambda name: True
run.unrecorded = lambda *_: []  # only the beginnings are run
for chapter in claims.chapters():
    if chapter not in ("gnn_fixed_point", "gnn_tensorflow"):  # which need TensorFlow
        whole, sources.cells = sources.cells, beginning
        sys.argv = ["run", chapter, "full"]
        run.main()
        sources.cells = whole
        print("started", chapter, sys.modules["__main__"].chapter.profile)
"""


def test_a_full_run_of_a_torch_chapter_needs_no_jupyter_no_tensorflow_and_no_dgl():
    """Such is a rented GPU: torch, transformers and the packages of science; more is brought there as small wheels."""
    done = subprocess.run([sys.executable, "-c", RENTED], capture_output=True, text=True, cwd=ROOT)
    started = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("started ")]
    assert started == [[name, "full"] for name in claims.chapters() if not name.startswith("gnn_")], done.stderr


def test_a_run_that_recorded_nothing_of_a_set_in_reach_is_reported(monkeypatch):
    whole, sets = runs.load("gcn", "full"), {"cora", "citeseer", "nell", "dblp"}
    without = whole.model_copy(update={"records": {k: v for k, v in whole.records.items() if k != "dblp-edges-help"}})
    for reached, found, expected in (
        (sets, without, {"dblp-edges-help"}),
        (sets - {"dblp"}, without, set()),
        (sets, whole, set()),
    ):
        monkeypatch.setattr(run.datasets, "within_reach", reached.__contains__)
        monkeypatch.setattr(run.runs, "load", lambda *_, record=found: record)
        assert set(run.unrecorded("gcn", "full")) == expected
    monkeypatch.setattr(run.runs, "load", lambda *_: None)
    assert "cora-accuracy" in run.unrecorded("gcn", "full")


# --- profiles, devices, shifted seeds ---


@pytest.mark.parametrize(("value", "found"), [(None, "quick"), ("", "quick"), ("smoke", "smoke"), ("full", "full")])
def test_profiles(monkeypatch, value, found):
    monkeypatch.delenv("WALKTHROUGHS_PROFILE", raising=False)
    if value is not None:
        monkeypatch.setenv("WALKTHROUGHS_PROFILE", value)
    assert notebook.profile() == found


@pytest.mark.parametrize(
    ("name", "value", "function"),
    [
        ("WALKTHROUGHS_PROFILE", "fulll", profiles.profile),
        ("WALKTHROUGHS_DEVICE", "tpu", profiles.device),
        ("WALKTHROUGHS_SEED_SHIFT", "many", profiles.seed_shift),
    ],
)
def test_a_setting_that_means_nothing_is_named(monkeypatch, name, value, function):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=f"{name} is '{value}'; it must be"):
        function()


SHIFTED = """
import random, sys
import numpy as np, torch
from utils.notebook import profiles, seeds
profiles.shift_seeds()
def draw(seed):
    drawn = [np.random.default_rng(seed).random(), np.random.default_rng([seed, 1]).random()]
    drawn += [torch.rand(1, generator=torch.Generator().manual_seed(seed)).item(), torch.rand(1).item()]
    torch.manual_seed(seed)
    return [seed, random.random(), np.random.random(), torch.rand(1).item(), *drawn]
print([round(x, 12) for x in seeds.each(draw, [int(sys.argv[1])])[0]])
"""


def drawn(seed, shift):
    environment = {**os.environ, "WALKTHROUGHS_SEED_SHIFT": shift, "WALKTHROUGHS_QUIET": "1"}
    command = [sys.executable, "-c", SHIFTED, str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    return eval(done.stdout)


def test_a_shift_moves_every_generator_and_no_seed_that_a_function_is_given():
    """So that folds and splits keep their numbers, and a run with shifted seeds is the run of other seeds."""
    plain, shifted, other = drawn(3, ""), drawn(3, "1000"), drawn(1003, "0")
    assert plain[0] == shifted[0] == 3
    assert not [name for name, (a, b) in enumerate(zip(plain[1:], shifted[1:], strict=True)) if a == b]
    assert [shifted[k] for k in (1, 2, 3, 4, 6, 7)] == [other[k] for k in (1, 2, 3, 4, 6, 7)]


# --- a running chapter ---


@pytest.fixture
def sample(tmp_path, monkeypatch):
    """A running chapter with one claim on Cora and one control, and a folder of records with its quick run."""
    claim = SAMPLE_CLAIM | {
        "unit": "",
        "data": "cora",
        "headline": True,
        "controls": [{"id": "mlp", "statement": "no edges"}],
        "tuning": "as the model",
    }
    content = {"chapter": "sample", "title": "Sample", "paper": "key", "data": ["cora"], "claims": [claim]}
    file = claims.ClaimsFile.model_validate(content)
    monkeypatch.setattr(chapter.claims, "load", lambda name: file)
    monkeypatch.setattr(datasets, "loaded", {"cora": "real"})
    monkeypatch.setattr(chapter.machine, "provenance", lambda *_: STAMP)
    monkeypatch.setattr(chapter.runs, "FOLDER", tmp_path)
    monkeypatch.setattr(chapter.runs.load, "__defaults__", (tmp_path,))
    monkeypatch.setattr(chapter.runs.save, "__defaults__", (tmp_path,))
    recorded = {"accuracy": [80.0, 80.5, 79.8], "accuracy/mlp": [55.0, 56.0, 54.0]}
    runs.save(runs.Run(chapter="sample", profile="quick", records=recorded, provenance=STAMP), tmp_path)
    return chapter.Chapter("sample")


STAMP = runs.Provenance(
    device="CPU",
    date="2026-01-01",
    versions={},
    commit="c0ffee",
    code={},
    wall_seconds=60,
    processor_seconds=60,
    peak_memory_bytes=2**30,
)


def test_a_run_like_the_recorded_one_passes(sample):
    sample.record("accuracy", [80.2, 80.4, 79.9])
    sample.record("accuracy", [55.5, 54.5, 55.0], control="mlp")
    assert sample.table().text == "accuracy: agrees"
    assert "compatible with the recorded one" in repr(sample.finish())


def test_a_run_unlike_the_recorded_one_fails(sample):
    sample.record("accuracy", [60.2, 60.4, 59.9])
    sample.record("accuracy", [55.5, 54.5, 55.0], control="mlp")
    assert sample.table().text == "accuracy: differs"
    with pytest.raises(ClaimError, match="accuracy: 60.2 ± 0.3, recorded 80.1 ± 0.4"):
        sample.finish()


def test_a_control_that_came_to_life_fails_the_run(sample):
    sample.record("accuracy", [80.2, 80.4, 79.9])
    sample.record("accuracy", [80.2, 80.4, 79.9], control="mlp")
    with pytest.raises(ClaimError, match="accuracy/mlp: 80.2"):
        sample.finish()


def test_a_control_or_claim_that_was_not_run_fails_the_run(sample):
    with pytest.raises(ClaimError, match="accuracy: nothing was recorded"):
        sample.finish()
    sample.record("accuracy", [80.0, 80.5, 79.8])
    with pytest.raises(ClaimError, match="accuracy/mlp: nothing was recorded"):
        sample.finish()


def test_smoke_runs_are_compared_with_nothing(sample):
    sample.profile = "smoke"
    assert "compared with no recorded one" in repr(sample.finish())


def test_a_recorded_run_is_read_back_and_shifted_or_smoke_runs_are_not_recorded(sample, monkeypatch, tmp_path):
    monkeypatch.setenv("WALKTHROUGHS_RECORD", "1")
    sample.record("accuracy", [70.0, 71.0, 72.0])
    sample.finish()
    assert runs.load("sample", "quick", tmp_path).records == {"accuracy": [70.0, 71.0, 72.0]}
    monkeypatch.setenv("WALKTHROUGHS_SEED_SHIFT", "1000")
    with pytest.raises(ClaimError, match="not recorded"):
        sample.finish()


def test_unknown_claims_and_controls_are_refused_with_the_nearest_name(sample):
    with pytest.raises(ClaimError, match="did you mean accuracy"):
        sample.record("acuracy", [1.0])
    with pytest.raises(ClaimError, match="no control 'rewired'"):
        sample.record("accuracy", [1.0], control="rewired")


def test_stand_ins_are_never_compared(sample, monkeypatch):
    monkeypatch.setattr(datasets, "loaded", {"cora": "stand-in"})
    sample.record("accuracy", [10.0])
    assert sample.records == {}
    assert "not run" in sample.table().text
    sample.finish()


def test_prose_numbers_come_from_the_records_and_stand_between_marks(sample):
    sample.record("accuracy", [80.0, 82.0])
    text = sample.say("{accuracy} beside {accuracy.paper}, {ms:.1f} ms", ms=2.04).text
    assert text == f"{show.measured('81.0 ± 1.4')} beside 80.0, {show.measured('2.0')} ms"
    with pytest.raises(ClaimError, match="accuracy: the name of a claim and of a value"):
        sample.say("{accuracy}", accuracy=3)


def test_what_tables_fill_in_is_escaped(sample):
    assert "<b>" not in show.comparison_table("<b>", {"<b>": {"<b>": [1.0, 2.0]}}).markup.replace("&lt;b&gt;", "")


def test_a_comparison_gives_a_deviation_only_where_values_differ():
    markup = show.comparison_table("rule", {"score, %": {"learned": [80.0, 90.0], "counted": [54.0, 54.0]}}).markup
    assert show.measured("85.0 ± 7.1") in markup and show.measured("54.0") in markup


# --- records and stamps ---


def test_a_run_is_written_whole_and_read_back(tmp_path):
    run = runs.Run(chapter="sample", profile="quick", records={"a": [1.0], "b": [[1.0, 2.0]]}, provenance=STAMP)
    runs.save(run, tmp_path)
    assert runs.load("sample", "quick", tmp_path) == run
    assert [path.name for path in tmp_path.iterdir()] == ["sample.quick.json"]
    assert runs.load("sample", "full", tmp_path) is None and runs.leading("sample", tmp_path) == run


def test_nan_and_empty_records_are_refused_and_a_broken_record_is_named(tmp_path):
    for values in ([float("nan")], []):
        with pytest.raises(ValueError):
            runs.Run(chapter="sample", profile="quick", records={"a": values}, provenance=STAMP)
    for text in ('{"records": ', "{}", '{"chapter": "sample", "profile": "quick", "records": {"a": ["x"]}}'):
        (tmp_path / "sample.quick.json").write_text(text)
        with pytest.raises(ClaimError, match=r"sample\.quick\.json is not a recorded run"):
            runs.load("sample", "quick", tmp_path)


def test_a_full_disk_leaves_the_old_record_and_nothing_else(tmp_path, monkeypatch):
    path = runs.write_whole(tmp_path / "a.json", b"old")

    def full(self, content):
        with open(self, "wb") as file:
            file.write(content[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        runs.write_whole(path, b"new")
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_the_cost_of_a_resumed_run_is_summed_or_said_to_be_unknown():
    assert STAMP.cost == "1.0 processor minutes"
    assert STAMP.model_copy(update={"kept_seconds": 3540.0, "resumed": True}).cost == "60.0 processor minutes"
    assert "was not kept" in STAMP.model_copy(update={"resumed": True}).cost


def test_without_git_the_commit_is_unknown(monkeypatch, tmp_path):
    assert machine.commit("gcn") != ""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.commit("gcn") == "unknown"


def test_memory_and_cores_are_told_on_every_system(monkeypatch):
    linux = machine.peak_memory()
    assert 2**20 < linux < 2**40 and machine.cores() >= 1
    monkeypatch.setattr(sys, "platform", "darwin")
    assert machine.peak_memory() == pytest.approx(linux / 1024, rel=0.1)
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows
    assert machine.peak_memory() == 0
    monkeypatch.delattr(os, "sched_getaffinity")
    assert machine.cores() == os.cpu_count()


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

    monkeypatch.setattr(machine.ctypes, "CDLL", Nvml)
    assert machine.device_joules() == expected


def test_a_second_reading_that_fails_loses_no_record(monkeypatch):
    assert machine.device_joules("no-such-library.so") is None
    for before, now, used in ((3.0, 5.0, 2.0), (3.0, None, None), (None, 5.0, None)):
        monkeypatch.setattr(machine, "joules_before", lambda before=before: before)
        monkeypatch.setattr(machine, "device_joules", lambda now=now: now)
        assert machine.used_joules() == used
    assert "Energy" not in show.stamp_table(STAMP, "full").markup
    with_energy = STAMP.model_copy(update={"device_energy_joules": 1_800_000.0})
    assert "0.500 kWh" in show.stamp_table(with_energy, "full").markup
