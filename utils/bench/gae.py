"""A training epoch of the variational auto-encoder on Cora, plain and fast, against DGL's layers on dense words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from utils.bench.common import Entry, Step, dgl_or_stop
from utils.datasets import citation
from utils.tools.definitions import of_chapter


def measure(entry: Entry) -> None:
    """Measure, and put what was found into the entry."""
    chapter, graph = of_chapter("gae"), citation.load("cora")
    dgl, nodes = dgl_or_stop(), len(graph.labels)
    edges, _, _ = chapter["split_edges"](graph.edges, nodes, 0)
    a_hat, words = chapter["normalised_adjacency"](edges, nodes), chapter["sparse_tensor"](graph.features)
    constant, inputs = chapter["Constant"], words.shape[1]
    dense_loss, blocked_loss = chapter["DenseLoss"](edges, nodes), chapter["BlockedLoss"](edges, nodes)
    both = dgl.add_self_loop(dgl.to_bidirected(dgl.graph(tuple(edges.T), num_nodes=nodes)))
    layers = [dgl.nn.GraphConv(*shape, bias=False) for shape in ((inputs, 32), (32, 16), (32, 16))]

    def library(graph: Any, words: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = layers[0](graph, words).relu()
        return layers[1](graph, hidden), layers[2](graph, hidden)

    def epoch(encoder: Callable, parameters: list, matrix: Any, words: Any, loss: Callable) -> Step:
        optimizer = torch.optim.Adam(parameters, lr=0.01)

        def step() -> None:
            value = chapter["variational"](loss, *encoder(matrix, words))
            optimizer.zero_grad()
            value.backward()
            optimizer.step()

        return step

    fast, plain = chapter["FastEncoder"](inputs), chapter["Encoder"](inputs)
    theirs = [weight for layer in layers for weight in layer.parameters()]
    steps = {
        "this book, gradient in blocks": epoch(
            fast, list(fast.parameters()), constant(a_hat), constant(words), blocked_loss
        ),
        "this book, plain form": epoch(plain, list(plain.parameters()), a_hat, words, dense_loss),
        "DGL GraphConv, dense words and loss": epoch(library, theirs, both, words.to_dense(), dense_loss),
    }
    entry.compare("VGAE, training epoch on Cora", entry.medians(steps, 5, 5), wanted=3)

    def blocks(nodes: int) -> Step:
        codes = torch.randn(nodes, 16)
        return lambda: chapter["pair_gradient"](codes)

    def full(nodes: int) -> Step:
        codes = torch.randn(nodes, 16)
        return lambda: 2 * (codes @ codes.T).sigmoid_() @ codes

    rows, whole = "in blocks of rows", "whole matrix of pairs"
    makers = {rows: (blocks, entry.sizes(500, 16_000)), whole: (full, entry.sizes(500, 8000))}
    fills = {rows: lambda n: 256 * 4 * n, whole: lambda n: 4 * n**2}
    entry.grow("GAE, gradient of the loss over all pairs, by nodes", "nodes", makers, fills)
