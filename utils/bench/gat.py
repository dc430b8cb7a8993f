"""A training epoch on Cora: the chapter's network, fast and plain, against DGL's GATConv on dense words."""

from __future__ import annotations

import torch

from utils.bench.common import Entry, dgl_or_stop
from utils.datasets import citation
from utils.tools.definitions import of_chapter


def measure(entry: Entry) -> None:
    """Measure, and put what was found into the entry."""
    chapter, graph = of_chapter("gat"), citation.load("cora")
    chapter["dgl"] = dgl = dgl_or_stop()
    words, edges = chapter["words_of"](graph), chapter["neighbourhoods"](graph.edges, len(graph.labels))
    train, size = torch.from_numpy(graph.train), (words.shape[1], graph.classes)
    chapter |= {"labels": torch.from_numpy(graph.labels), "split": [train]}  # which the chapter's `epoch` reads
    ends = dgl.graph((edges[0], edges[1]), num_nodes=len(graph.labels))
    forms = {
        "this book, fast form": (chapter["FastGAT"](*size), *chapter["heard_part"](edges, words, train, True)),
        "this book, plain form": (chapter["GAT"](*size), edges, words, train),
        "DGL GATConv, dense words": (chapter["LibraryGAT"](*size), ends, words.to_dense(), train),
    }
    steps = {name: chapter["epoch"](*form) for name, form in forms.items()}
    entry.compare("GAT, training epoch on Cora", entry.medians(steps), wanted=5)
