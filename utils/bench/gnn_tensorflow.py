"""A training step on the article's graphs, at equal weights: its TensorFlow 1 program against the chapter's port.

The weights are those after some steps with the lazy penalty, at which the loop arrives at its fixed point.
"""

from __future__ import annotations

import os

from utils.bench.common import Entry
from utils.tools.definitions import of_chapter


def measure(entry: Entry) -> None:
    """Measure, and put what was found into the entry."""
    for kind in ("INTRAOP", "INTEROP"):
        os.environ.setdefault(f"TF_NUM_{kind}_THREADS", "1")  # which TensorFlow reads when it is imported
    chapter = of_chapter("gnn_tensorflow")
    parts = chapter["load"](None if entry.scale == 1 else 3)
    chapter |= {"parts": parts, "graphs": {name: chapter["as_graph"](part) for name, part in parts.items()}}
    steps = entry.few(500, 2)
    _, weights, states = chapter["article_run"](True, steps, steps, 0)
    sides = entry.medians(chapter["programs"](weights, states))
    named = {name if name == "TensorFlow 1" else f"this book, {name}": value for name, value in sides.items()}
    entry.compare("Fixed-point GNN, a training step at equal weights", dict(reversed(named.items())), 3.0)
