"""A training epoch on Cora: the chapter's sparse network against DGL's GraphConv on dense features."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from utils.bench.common import Entry, Step, dgl_or_stop
from utils.datasets import citation
from utils.tools.definitions import of_chapter


def measure(entry: Entry) -> None:
    """Measure, and put what was found into the entry."""
    chapter, graph = of_chapter("gcn"), citation.load("cora")
    dgl = dgl_or_stop()
    task = chapter["Task"](graph, networks=1)
    nodes, words = task.features.shape
    train, labels = task.split[0], task.labels
    heard, (part, rows) = chapter["models"](task, "renormalised")(0)
    part_optimiser = torch.optim.Adam(decayed_first([heard.first], [heard.second]), lr=0.01, fused=True)
    model = chapter["GCN"](task.features, chapter["build_filter"]("renormalised", graph.edges, nodes), graph.classes)
    optimiser = torch.optim.Adam(decayed_first([model.first], [model.second]), lr=0.01, fused=True)

    dense = task.features.tensor.to_dense()
    their_graph = dgl.add_self_loop(dgl.to_bidirected(dgl.graph(tuple(graph.edges.T), num_nodes=nodes)))
    layers = torch.nn.ModuleList(dgl.nn.GraphConv(*w, bias=False) for w in ((words, 16), (16, graph.classes)))
    their_optimiser = torch.optim.Adam(decayed_first(layers[0].parameters(), layers[1].parameters()), lr=0.01)

    def theirs() -> torch.Tensor:
        hidden = layers[0](their_graph, F.dropout(dense, 0.5)).relu()
        return layers[1](their_graph, F.dropout(hidden, 0.5))

    def step(logits: Callable[[], torch.Tensor], optimiser: torch.optim.Optimizer, rows: torch.Tensor = train) -> None:
        loss = F.cross_entropy(logits()[rows], labels[train])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    steps = {
        "this book, dropout on the non-zeros": lambda: step(lambda: model.train()()[0], optimiser),
        "the same, only the nodes that labels hear": lambda: step(lambda: part.train()()[0], part_optimiser, rows),
        "DGL GraphConv, dense features": lambda: step(theirs, their_optimiser),
    }
    entry.compare("GCN, training epoch on Cora", entry.medians(steps), wanted=20)
    grow(entry, chapter)


def decayed_first(first: Iterable[torch.Tensor], second: Iterable[torch.Tensor]) -> list[dict[str, Any]]:
    """The parameters of two layers, of which the first has weight decay."""
    return [{"params": first, "weight_decay": 5e-4}, {"params": second}]


def grow(entry: Entry, chapter: dict[str, Any]) -> None:
    """Nodes of a random graph with two edges each; then edges among 4000 nodes."""
    chapter["DEVICE"], sparse, dense = "cpu", "sparse matrix", "dense matrix"
    makers = {
        sparse: (lambda nodes: chapter["random_epoch"](2 * nodes), entry.sizes(500, 512_000, 4)),
        dense: (lambda nodes: chapter["random_epoch"](2 * nodes, dense=True), entry.sizes(500, 8000)),
    }
    # five entries a row, then the weights of X = I with gradient and moments, and the hidden layer, 32 numbers each
    fills = {sparse: lambda n: n * (5 * 8 + 5 * 32 * 4), dense: lambda n: 4 * n**2}
    entry.grow("GCN, training epoch, by nodes", "nodes", makers, fills)

    nodes, generator = entry.few(4000, 500), np.random.default_rng(0)

    def propagate(edges: int, dense: bool = False) -> Step:
        matrix = chapter["propagation_matrix"](generator.integers(0, nodes, (edges, 2)), nodes)
        matrix = torch.from_numpy(matrix.toarray()) if dense else chapter["sparse_tensor"](matrix)
        states, direction = torch.randn(nodes, 32, requires_grad=True), torch.randn(nodes, 32)
        return lambda: torch.autograd.grad(chapter["Propagate"].apply(matrix, states), states, direction)

    makers = {
        sparse: (propagate, entry.sizes(nodes, 512 * nodes)),
        dense: (lambda edges: propagate(edges, dense=True), entry.sizes(nodes, 512 * nodes)),
    }
    title = f"GCN, one propagation and its gradient among {nodes} nodes, by edges"
    entry.grow(title, "edges", makers, most=nodes * (nodes - 1) / 2)
