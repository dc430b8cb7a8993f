"""Measure and record: python -m utils.bench [name ...].

The named chapters, or all, each in a process of its own and on one thread; what is found goes into
data/results/bench.json, from where a page of the book shows it.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from utils.bench.common import Entry
from utils.records import bench, machine

BENCHMARKS = (
    "gcn",
    "gae",
    "transformers_are_gnns",
    "gat",
    "graphsage",
    "diffpool",
    "distilling_knowledge",
    "lattice_lstm_ner",
    "char_rnn_lyrics",
    "gnn_tensorflow",
    "bert_to_bilstm",
    "rin_query_suggestion",
)
STAMP = ("device", "date", "versions", "commit", "wall_seconds")


def found_by(name: str, scale: float = 1.0) -> Entry:
    """What the benchmark of a chapter finds, here and now."""
    entry = Entry(scale)
    importlib.import_module(f"utils.bench.{name}").measure(entry)
    return entry


def measure(name: str) -> bool:
    """Measure one chapter in this process and write it into the record; whether all aims were met."""
    import torch

    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="Sparse")
    began = time.perf_counter()
    entry = found_by(name)
    made = machine.provenance(name, "cpu", time.perf_counter() - began, [], 0.0)
    stamp = made.model_dump(include=set(STAMP)) | {"threads": torch.get_num_threads()}
    stamp["code"] = {path: code for path, code in made.code.items() if path.startswith("chapters/")}
    record(name, {"stamp": stamp, "comparisons": entry.comparisons, "growth": entry.growth})
    return all(map(bench.met, entry.comparisons))


def record(name: str, found: dict[str, Any], path: Path = bench.PATH) -> None:
    """Write one entry into the record; the others stay as they are, those of benchmarks that are gone go."""
    entries = {**bench.load(path), name: found}
    bench.save({key: entries[key] for key in BENCHMARKS if key in entries}, path)


def main(arguments: list[str]) -> int:
    """Measure the named chapters, or all; 1 where an aim was missed. Exits with a line for an unknown name."""
    if arguments[:1] == ["--in-this-process"]:
        return 0 if measure(arguments[1]) else 1
    chosen = arguments or list(BENCHMARKS)
    unknown = [name for name in chosen if name not in BENCHMARKS]
    if unknown:
        sys.exit(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    bench.load()  # a broken record is named before anything is measured
    alone = [sys.executable, "-m", "utils.bench", "--in-this-process"]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}
    codes = [subprocess.run([*alone, name], env=one_thread).returncode for name in chosen]
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
