"""A training epoch on Cora: the chapter's heads against DGL's GATConv on dense features, dropout alike."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from utils.bench.common import Entry, dgl_or_stop
from utils.datasets import citation
from utils.tools.definitions import of_chapter


def measure(entry: Entry) -> None:
    """Measure, and put what was found into the entry."""
    chapter, graph = of_chapter("gat"), citation.load("cora")
    dgl = dgl_or_stop()
    task = chapter["Task"](graph)
    nodes, words = task.words.shape
    train, labels = torch.from_numpy(task.train), task.labels[task.train]
    everybody = task.view(np.arange(nodes))

    dense = torch.from_numpy(task.words.toarray())
    sources, targets = chapter["attention_edges"](graph.edges, nodes)
    their_graph = dgl.graph((torch.from_numpy(sources), torch.from_numpy(targets)), num_nodes=nodes)
    layers = torch.nn.ModuleList(
        dgl.nn.GATConv(inputs, width, heads, feat_drop=0.6, attn_drop=0.6)
        for inputs, width, heads in ((words, 8, 8), (64, graph.classes, 1))
    )

    def theirs() -> torch.Tensor:
        return layers[1](their_graph, F.elu(layers[0](their_graph, dense).flatten(1))).mean(1)[train]

    def step(logits: Callable[[], torch.Tensor], parameters: torch.nn.Module) -> Callable[[], None]:
        optimiser = torch.optim.Adam(parameters.parameters(), lr=0.005, weight_decay=5e-4, fused=True)

        def one() -> None:
            loss = F.cross_entropy(logits(), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

        return one

    two, three, heard = (task.model(0, places=places).train() for places in (2, 3, 3))
    steps = {
        "this book, only the nodes that labels hear": step(lambda: heard(task.learning), heard),
        "this book, all nodes": step(lambda: three(everybody)[train], three),
        "this book, all nodes, dropout as in DGL": step(lambda: two(everybody)[train], two),
        "DGL GATConv, dense features": step(theirs, layers),
    }
    entry.compare("GAT, training epoch on Cora", entry.medians(steps), wanted=5)
