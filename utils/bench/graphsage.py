"""A sampled step, 50 k nodes and 1 M edges: draws and layers against DGL, fan-outs and batch alike."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from utils.bench.common import Entry, Step, dgl_or_stop
from utils.tools.definitions import of_chapter


def measure(entry: Entry) -> None:
    """Measure, and put what was found into the entry."""
    chapter, dgl = of_chapter("graphsage"), dgl_or_stop()
    torch.manual_seed(0)
    nodes, batch, classes = entry.few(50_000, 2000), 512, 41
    graph, _ = chapter["random_graph"](20 * nodes)
    features, labels = torch.randn(nodes, 50), torch.randint(classes, (nodes,))
    ours = chapter["GraphSAGE"](50, classes, hidden=128, sizes=(10, 25), unit=False)
    their_graph = dgl.graph((graph.ids, torch.arange(nodes).repeat_interleave(graph.degree)), num_nodes=nodes)
    sampler = dgl.dataloading.NeighborSampler([25, 10])
    layers = torch.nn.ModuleList(dgl.nn.SAGEConv(i, 128, "mean") for i in (50, 128))
    theirs = torch.nn.ModuleList([layers, torch.nn.Linear(128, classes)])

    def their_logits(seeds: torch.Tensor) -> torch.Tensor:
        inputs, _, blocks = sampler.sample_blocks(their_graph, seeds)
        hidden = layers[0](blocks[0], features[inputs]).relu()
        return theirs[1](layers[1](blocks[1], hidden).relu())

    def step(model: torch.nn.Module, logits: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[], None]:
        optimiser = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)

        def one() -> None:
            seeds = torch.randperm(nodes)[:batch]
            loss = F.cross_entropy(logits(seeds), labels[seeds])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

        return one

    steps = {
        "this book, 10 then 25 neighbours": step(ours, lambda seeds: ours(graph, features, seeds)),
        "DGL NeighborSampler and SAGEConv": step(theirs, their_logits),
    }
    milliseconds = entry.medians(steps, rounds=8, repeats=5)
    title = "GraphSAGE, sampling and training step on 512 seeds"
    entry.compare(title, milliseconds, wanted=1, done=(batch, "seeds"))

    def sampled(nodes: int) -> Step:
        (graph, _), features = chapter["random_graph"](20 * nodes), torch.randn(nodes, 50)

        def one() -> None:
            seeds = torch.randint(nodes, (batch,))
            F.cross_entropy(ours(graph, features, seeds), seeds % classes).backward()

        return one

    # twenty neighbours of 8 bytes, their number and where they begin, fifty features of 4 bytes
    fills = {"sampled neighbours": lambda n: n * (20 * 8 + 2 * 8 + 50 * 4)}
    makers = {"sampled neighbours": (sampled, entry.sizes(1000, 1_024_000, 4))}
    entry.grow("GraphSAGE, sampling and gradient on 512 seeds, by nodes", "nodes", makers, fills)
