"""A training epoch on Cora: the chapter's network, plain and fast, against DGL's GraphConv on dense features."""

from __future__ import annotations

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
    words, labels, split = chapter["inputs"](graph)
    chapter |= {"labels": labels, "split": split}  # which the chapter's `epoch` reads
    a_hat, constant = chapter["normalised_adjacency"](graph.edges, len(labels)), chapter["Constant"]
    size = words.shape[1], 16, graph.classes
    library = chapter["DenseGCN"](*size)
    library.first, library.second = (dgl.nn.GraphConv(*ends, bias=False) for ends in (size[:2], size[1:]))
    both = dgl.to_bidirected(dgl.graph(tuple(graph.edges.T), num_nodes=len(labels)))
    forms = {
        "this book, fast form": (chapter["FastGCN"](*size), constant(a_hat), constant(words)),
        "this book, plain form": (chapter["GCN"](*size), a_hat, words),
        "DGL GraphConv, dense features": (library, dgl.add_self_loop(both), words.to_dense()),
    }
    steps = {name: chapter["epoch"](*form) for name, form in forms.items()}
    entry.compare("GCN, training epoch on Cora", entry.medians(steps), wanted=20)
    grow(entry, chapter)


def grow(entry: Entry, chapter: dict[str, Any]) -> None:
    """Nodes of a random graph with two edges each; then edges among 4000 nodes."""
    sparse, dense = "sparse matrix", "dense matrix"

    def random_epoch(nodes: int, dense: bool = False) -> Step:
        """One step on a random graph with X = I, so that X W is W: 32 hidden units, all labels alike."""
        edges = np.random.default_rng(0).integers(0, nodes, (2 * nodes, 2))
        matrix = chapter["normalised_adjacency"](edges, nodes)
        matrix = matrix.to_dense() if dense else chapter["Constant"](matrix)
        first = torch.randn(nodes, 32).mul_(0.1).requires_grad_()
        second = torch.randn(32, 2).mul_(0.1).requires_grad_()
        optimizer = torch.optim.Adam([first, second], lr=0.01, fused=True)
        target = torch.zeros(nodes, dtype=torch.long)

        def step() -> float:
            loss = F.cross_entropy(matrix @ ((matrix @ first).relu() @ second), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss.item()

        return step

    makers = {
        sparse: (random_epoch, entry.sizes(500, 512_000, 4)),
        dense: (lambda nodes: random_epoch(nodes, dense=True), entry.sizes(500, 8000)),
    }
    # five entries a row, then the weights of X = I with gradient and moments, and the hidden layer, 32 numbers each
    fills = {sparse: lambda n: n * (5 * 8 + 5 * 32 * 4), dense: lambda n: 4 * n**2}
    entry.grow("GCN, training epoch, by nodes", "nodes", makers, fills)

    nodes, generator = entry.few(4000, 500), np.random.default_rng(0)

    def propagate(edges: int, dense: bool = False) -> Step:
        matrix = chapter["normalised_adjacency"](generator.integers(0, nodes, (edges, 2)), nodes)
        matrix = matrix.to_dense() if dense else chapter["Constant"](matrix)
        states, direction = torch.randn(nodes, 32, requires_grad=True), torch.randn(nodes, 32)
        return lambda: torch.autograd.grad(matrix @ states, states, direction)

    makers = {
        sparse: (propagate, entry.sizes(nodes, 512 * nodes)),
        dense: (lambda edges: propagate(edges, dense=True), entry.sizes(nodes, 512 * nodes)),
    }
    title = f"GCN, one propagation and its gradient among {nodes} nodes, by edges"
    entry.grow(title, "edges", makers, most=nodes * (nodes - 1) / 2)
