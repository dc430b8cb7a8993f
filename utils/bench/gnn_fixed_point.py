"""A training step on sub_15_7_200: the article's TensorFlow 1 program against the chapter's model.

At the weights of several steps of a training run, on processor time: at the same number of forward
iterations; then from the last fixed point at the same threshold, each program at the same steps of its own
training, ours without a penalty and with one in every sixteenth step.
"""

from __future__ import annotations

from utils.bench.common import Entry
from utils.tools.definitions import of_chapter


def measure(entry: Entry) -> None:
    """Measure, and put what was found into the entry."""
    chapter = of_chapter("gnn_fixed_point")
    for kind in ("intra", "inter"):
        getattr(chapter["tf"].config.threading, f"set_{kind}_op_parallelism_threads")(1)
    parts = chapter["load_graphs"]("sub_15_7_200", few=None if entry.scale == 1 else 3)[0]
    chapter["graphs"] = {name: chapter["as_graph"](part) for name, part in parts.items()}
    ways = ("through_the_loop", "from_the_last", "penalised_lazily")
    moments = [chapter["article_run"](chapter[way], entry.few(3000, 4), 0)[1][::2] for way in ways]
    speed = chapter["speeds"](zip(*moments, strict=True), parts["train"], chapter["graphs"]["train"], entry.few(6))
    milliseconds = {name: 1e3 * sum(row[name] for row in speed) / len(speed) for name in speed[0]}
    counts = ", ".join(str(row["iterations"]) for row in speed)
    for name, wanted in (("same iterations", 2.5), ("from the last", 6.0)):
        pair = {f"this book, {name}": milliseconds[name], "TensorFlow 1, from zero": milliseconds["TensorFlow 1"]}
        entry.compare(f"Fixed-point GNN, a training step, {name} ({counts} iterations from zero)", pair, wanted)
    sides = {
        "this book, lazy penalty, from the last": milliseconds["lazy"],
        "TensorFlow 1 at the weights of that training": milliseconds["TensorFlow 1, lazy"],
        "TensorFlow 1 at the weights of its own": milliseconds["TensorFlow 1"],
    }
    counts = ", ".join(str(row["lazy iterations"]) for row in speed)
    entry.compare(f"Fixed-point GNN, a training step, lazy penalty ({counts} iterations from zero)", sides, 6.0)
