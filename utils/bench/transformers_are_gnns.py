"""Message passing on the complete graph of a sentence against matrices and torch's fused kernel."""

from __future__ import annotations

from collections.abc import Callable

import torch

from utils.bench.common import Entry
from utils.notebook import dgl_compat
from utils.tools.definitions import of_chapter


def measure(entry: Entry) -> None:
    """Measure, and put what was found into the entry."""
    chapter, dgl = of_chapter("transformers_are_gnns"), dgl_compat.load()
    torch.manual_seed(0)

    def step(name: str) -> Callable[[int], Callable[[], None]]:
        return lambda words: chapter["step_of"](chapter[name], words)

    names = {"this book, matrix": "Matrix", "this book, edge list": "EdgeList"}
    if dgl is not None:
        names["DGL"] = "Attention"
    for words in (entry.few(128, 16), entry.few(512, 32)):
        steps = {"torch, fused": step("Fused")(words)} | {label: step(name)(words) for label, name in names.items()}
        milliseconds = entry.medians(steps, rounds=3, repeats=1)
        entry.compare(f"Attention, {words} words, complete graph, forward and backward", milliseconds, wanted=1)
    makers = {
        "edge list": (step("EdgeList"), entry.sizes(64, 512)),
        "fused kernel": (step("Fused"), entry.sizes(64, 4096)),
    }
    # 4 heads of 16 numbers: five arrays of them for an edge and its ends
    fills = {"edge list": lambda n: n**2 * (5 * 4 * 16 * 4 + 16)}
    entry.grow("Attention, complete graph, forward and backward, by length", "words", makers, fills, rounds=3)
