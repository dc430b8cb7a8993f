"""A training epoch of the plain auto-encoder on Cora with the loss over all pairs, against DGL and a dense loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from utils.bench.common import Entry, Step, dgl_or_stop
from utils.datasets import citation
from utils.tools.definitions import of_chapter


def measure(entry: Entry) -> None:
    """Measure, and put what was found into the entry."""
    chapter, graph = of_chapter("gae"), citation.load("cora")
    dgl, nodes = dgl_or_stop(), len(graph.labels)
    edges, _, _ = chapter["split_edges"](graph.edges, nodes, 0)
    encoder, loss = chapter["Encoder"](edges, nodes, graph.features), chapter["Reconstruction"](edges, nodes)
    optimiser = torch.optim.Adam(encoder.parameters(), lr=0.01, fused=True)

    dense = torch.from_numpy(graph.features.toarray())
    their_graph = dgl.add_self_loop(dgl.to_bidirected(dgl.graph(tuple(edges.T), num_nodes=nodes)))
    layers = torch.nn.ModuleList(dgl.nn.GraphConv(*w, bias=False) for w in ((dense.shape[1], 32), (32, 16)))
    their_optimiser = torch.optim.Adam(layers.parameters(), lr=0.01)
    target = torch.eye(nodes)
    target[loss.rows, loss.columns] = 1
    weight = torch.tensor(loss.weight)

    def theirs() -> torch.Tensor:
        codes = layers[1](their_graph, layers[0](their_graph, dense).relu())
        pairs = F.binary_cross_entropy_with_logits(codes @ codes.T, target, pos_weight=weight)
        return loss.scale * target.numel() * pairs

    def step(value: Callable[[], torch.Tensor], optimiser: torch.optim.Optimizer) -> None:
        optimiser.zero_grad()
        value().backward()
        optimiser.step()

    steps = {
        "this book, gradient in blocks": lambda: step(lambda: loss.surrogate(encoder()[0]), optimiser),
        "DGL GraphConv, dense loss": lambda: step(theirs, their_optimiser),
    }
    entry.compare("GAE, training epoch on Cora", entry.medians(steps, 5, 5), wanted=3)

    def gradient(name: str) -> Callable[[int], Step]:
        def at(nodes: int) -> Step:
            codes = torch.randn(nodes, 16)
            return lambda: chapter[name](codes)

        return at

    blocks, full = "in blocks of rows", "whole matrix of pairs"
    makers = {
        blocks: (gradient("pair_gradient"), entry.sizes(500, 16_000)),
        full: (gradient("dense_gradient"), entry.sizes(500, 8000)),
    }
    fills = {blocks: lambda n: 256 * 4 * n, full: lambda n: 4 * n**2}
    entry.grow("GAE, gradient of the loss over all pairs, by nodes", "nodes", makers, fills)
