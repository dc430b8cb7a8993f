"""How a run is set up: nothing heavy at import, seeds, unknown chapters, DGL behind its one module."""

from __future__ import annotations

import importlib
import importlib.util
import os
import random
import subprocess
import sys

import numpy as np
import pytest

from utils import ROOT
import torch

from utils import notebook
from utils.notebook import dgl_compat
from utils.records import claims, runs, sources

HEAVY = {"torch", "tensorflow", "dgl", "matplotlib.pyplot", "scipy", "sklearn", "requests", "IPython"}


def test_importing_utils_loads_no_framework_and_opens_no_connection():
    code = (
        "import socket, sys\n"
        "def refuse(*_): raise AssertionError('a connection was opened')\n"
        "socket.socket.connect = refuse\n"
        "from utils import claims, colab, datasets, dgl_compat, notebooks, plots, results, run, seeds, show, timing\n"
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
    command = [sys.executable, str(ROOT / ".ci" / "run_chapter.py"), "gnc"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert "no chapter 'gnc'" in done.stderr and "gcn" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_on_stand_ins_is_not_recorded(tmp_path):
    command = [sys.executable, str(ROOT / ".ci" / "run_chapter.py"), "gcn"]
    environment = {**os.environ, "WALKTHROUGHS_CACHE": str(tmp_path), "WALKTHROUGHS_MIRROR": ""}
    environment |= {"HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}  # no network
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
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
    code = "from utils import dgl_compat; dgl_compat.load()"
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
ABSENT |= {"distributed", "ir_datasets", "jsonschema", "wordfreq", "jieba"}

RENTED = f"""
import importlib.abc, sys

class Without(importlib.abc.MetaPathFinder):
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, *rest):
        return None if name.split(".")[0] in {ABSENT} else self.finder.find_spec(name, *rest)

sys.meta_path[:] = map(Without, sys.meta_path)
sys.path.insert(0, ".ci")
import run_chapter
from utils.records import claims, sources

def beginning(path, kind="code", whole=sources.cells):
    found = whole(path, kind)
    return found[: 1 + next(n for n, cell in enumerate(found) if "notebook.start(" in cell["source"])]

run_chapter.datasets.within_reach = lambda name: True
run_chapter.unrecorded = lambda *_: []  # only the beginnings are run
for chapter in claims.chapters():
    if chapter != "gnn_fixed_point":  # which is about TensorFlow
        whole, sources.cells = sources.cells, beginning
        sys.argv = ["run_chapter.py", chapter, "full"]
        run_chapter.main()
        sources.cells = whole
        print("started", chapter, sys.modules["__main__"].chapter.profile)
"""


def test_a_full_run_of_a_torch_chapter_needs_no_jupyter_no_tensorflow_and_no_dgl():
    """Such is a rented GPU: torch, transformers and the packages of science, and no way to fetch more."""
    done = subprocess.run([sys.executable, "-c", RENTED], capture_output=True, text=True, cwd=ROOT)
    started = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("started ")]
    assert started == [[name, "full"] for name in claims.chapters() if name != "gnn_fixed_point"], done.stderr


def test_a_run_that_recorded_nothing_of_a_set_in_reach_is_reported(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / ".ci")
    runner = importlib.import_module("run_chapter")
    whole = runs.load("diffpool", "full")
    without = whole | {"records": {k: v for k, v in whole["records"].items() if not k.startswith("dd-")}}
    for reached, found, expected in (
        ({"ENZYMES", "DD"}, without, ["dd-as-reported", "dd-det", "dd-mean"]),
        ({"ENZYMES"}, without, []),
        ({"ENZYMES", "DD"}, whole, []),
    ):
        monkeypatch.setattr(runner.datasets, "within_reach", reached.__contains__)
        monkeypatch.setattr(runner.results, "load", lambda *_, run=found: run)
        assert runner.unrecorded("diffpool", "full") == expected
    monkeypatch.setattr(runner.results, "load", lambda *_: None)
    assert "memory" in runner.unrecorded("diffpool", "full")
