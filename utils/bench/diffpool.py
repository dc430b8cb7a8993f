"""A training epoch on ENZYMES, 540 graphs: blocks, ten folds at once, against dense batches of 100 nodes.

The released network has narrower layers than the chapter's; the first side has the same layers, clusters and
link loss, and the entropy on top of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from utils.bench.common import Entry
from utils.datasets import tu
from utils.tools.definitions import of_chapter


class ReleasedDiffPool(torch.nn.Module):
    """The network of the released code on dense batches: (graphs, nodes, 3) features, (graphs, nodes, nodes) edges."""

    def __init__(self, hidden: int = 30, clusters: int = 10) -> None:
        super().__init__()
        widths = [[(i, hidden), (hidden, hidden), (hidden, o)] for i, o in ((3, hidden), (3, clusters), (90, hidden))]
        self.networks = torch.nn.ModuleList(
            torch.nn.ModuleList(torch.nn.Linear(*pair) for pair in pairs) for pairs in widths
        )
        self.choose = torch.nn.Linear(2 * hidden + clusters, clusters)
        self.classify = torch.nn.Sequential(torch.nn.Linear(180, 50), torch.nn.ReLU(), torch.nn.Linear(50, 6))

    @staticmethod
    def convolve(layers: Any, states: torch.Tensor, adjacency: torch.Tensor) -> torch.Tensor:
        outputs = []
        for layer in layers:
            states = F.normalize(layer(adjacency @ states), dim=2)
            if layer is not layers[-1]:  # a new normalisation at each call, as released
                states = torch.nn.BatchNorm1d(states.shape[1])(states.relu())
            outputs.append(states)
        return torch.cat(outputs, 2)

    def forward(self, states: torch.Tensor, adjacency: torch.Tensor, mask: torch.Tensor) -> tuple:
        """Logits, and the cross-entropy of the links that the released code computes when asked to."""
        embedded = self.convolve(self.networks[0], states, adjacency) * mask
        soft = self.choose(self.convolve(self.networks[1], states, adjacency) * mask).softmax(2) * mask
        turned = soft.transpose(1, 2)
        pooled = self.convolve(self.networks[2], turned @ embedded, turned @ adjacency @ soft)
        guess = (soft @ turned).clamp(max=1)
        link = -adjacency * (guess + 1e-7).log() - (1 - adjacency) * (1 - guess + 1e-7).log()
        link = (link * mask * mask.transpose(1, 2)).sum() / mask.sum(1).square().sum()
        return self.classify(torch.cat([embedded.max(1).values, pooled.max(1).values], 1)), link


def measure(entry: Entry) -> None:
    """Measure, and put what was found into the entry."""
    chapter, data = of_chapter("diffpool"), tu.load("ENZYMES")
    chapter["DEVICE"], width, few = "cpu", 100, 540
    if data.node_labels is None:
        raise ValueError("ENZYMES has labels of nodes")
    kinds, graphs = data.node_labels, chapter["Graphs"](data, limit=width)
    first, cut = (
        np.searchsorted(x, np.arange(601)) for x in (data.graph_indicator, data.graph_indicator[data.edges[:, 0]])
    )
    labels = torch.from_numpy(data.graph_labels)

    def filled_up(ids: torch.Tensor) -> list[torch.Tensor]:
        features, adjacency = np.zeros((20, width, 3), np.float32), np.zeros((20, width, width), np.float32)
        mask = np.zeros((20, width, 1), np.float32)
        for row, graph in enumerate(ids.tolist()):
            start, size = first[graph], first[graph + 1] - first[graph]
            u, v = data.edges[cut[graph] : cut[graph + 1]].T - start
            adjacency[row, u, v] = adjacency[row, v, u] = mask[row, :size] = 1
            features[row, np.arange(size), kinds[start : start + size]] = 1
        return [torch.from_numpy(part) for part in (features, adjacency, mask)]

    def order(folds: int) -> torch.Tensor:
        return torch.stack([graphs.kept[torch.randperm(len(graphs.kept))[:few]] for _ in range(folds)])

    def ours(folds: int, filled: bool, **layers: Any) -> Callable[[], None]:
        model = chapter["DiffPool"](folds, 3, 6, **layers).train()
        optimiser = torch.optim.Adam(model.parameters(), lr=0.003, fused=True)

        def epoch() -> None:
            for ids in chapter["batches_of"](order(folds), graphs.sizes, 20):
                batch = chapter["draw"](graphs, ids)
                logits = model(batch, chapter["dense_level"](batch, width) if filled else None)
                errors = F.cross_entropy(logits.flatten(0, 1), batch.labels.flatten())
                optimiser.zero_grad()
                (folds * errors + model.link.sum() + model.entropy.sum()).backward()
                optimiser.step()

        return epoch

    released = ReleasedDiffPool()
    optimiser = torch.optim.Adam(released.parameters(), lr=0.001)

    def theirs() -> None:
        for ids in order(1)[0].split(20):
            logits, link = released(*filled_up(ids))
            optimiser.zero_grad()
            (F.cross_entropy(logits, labels[ids]) + link).backward()
            torch.nn.utils.clip_grad_norm_(released.parameters(), 2.0)
            optimiser.step()

    folds, like = 10, {"own": False, "clusters": (10,)}
    held = chapter["draw"](graphs, order(folds)[:, :120])
    chapter["score"](chapter["DiffPool"](folds, 3, 6), held)  # as between epochs: memory is at hand from then on
    steps = {
        "layers as released, in blocks, a fold of ten at once": ours(folds, False, **like),
        "this book's layers, a fold of ten at once": ours(folds, False),
        "layers as released, in blocks, one fold": ours(1, False, **like),
        "this book's layers, one fold": ours(1, False),
        "the same, filled up to 100 nodes": ours(1, True),
        "the released network, filled up to 100 nodes": theirs,
    }
    milliseconds = entry.medians(steps, rounds=3, repeats=1)
    for name in list(steps)[:2]:
        milliseconds[name] /= folds
    entry.compare("DiffPool, training epoch on ENZYMES", milliseconds, wanted=5)
