"""A window of 32 words on either side against the fused kernel on the complete graph; how far an edge list is."""

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

    def step(attention: Callable, words: int) -> Callable[[], None]:
        return chapter["forward_and_backward"](attention)(words)

    for words, wanted in ((entry.few(4096, 128), 3), (entry.few(8192, 256), 5)):
        steps = {
            "this book, window as a band": step(chapter["banded"], words),
            "torch, fused, complete graph": step(chapter["fused"], words),
        }
        entry.compare(
            f"Attention, {words} words, forward and backward", entry.medians(steps, rounds=3, repeats=1), wanted
        )
    for words in (128, 256, 512):
        steps = {
            "torch, fused, complete graph": step(chapter["fused"], words),
            "this book, edge list, complete graph": step(chapter["on_edges"](chapter["complete"]), words),
        }
        if dgl is not None:
            graph = dgl.graph(tuple(chapter["edges_where"](chapter["complete"](words))), num_nodes=words)
            inputs = torch.randn(3, words, 4, 16, requires_grad=True)

            def built_in(graph=graph, inputs=inputs) -> None:
                torch.autograd.grad(chapter["dgl_built_in"](dgl, graph, *inputs).sum(), inputs)

            steps = {**dict(list(steps.items())[:1]), "DGL's built-in functions, complete graph": built_in, **steps}
        milliseconds = entry.medians(steps, rounds=3, repeats=max(1, 512 // words))
        entry.compare(f"Message passing against a fused kernel, {words} words", milliseconds, wanted=1)

    listed, whole, near = "edge list, complete graph", "fused kernel, complete graph", "band, 32 words on either side"
    makers = {
        listed: (lambda words: step(chapter["on_edges"](chapter["complete"]), words), entry.sizes(64, 512)),
        whole: (lambda words: step(chapter["fused"], words), entry.sizes(64, 4096)),
        near: (lambda words: step(chapter["banded"], words), entry.sizes(64, 16_384)),
    }
    # 4 heads of 16 numbers: five arrays of them for an edge and its ends; for a word of the band 96 weights a head,
    # and the key and the value in three blocks
    fills = {listed: lambda n: n**2 * (5 * 4 * 16 * 4 + 16), near: lambda n: n * 4 * (4 * 96 + 2 * 3 * 4 * 16)}
    entry.grow("Attention, forward and backward, by length", "words", makers, fills, rounds=3)
