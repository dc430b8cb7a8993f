"""Speed of the book's fast paths against what a reader would otherwise run, and how cost grows with size.

python tests/bench.py [name ...] measures the named chapters, or all, each in a process of its own and on one
thread, and writes what it found into data/results/bench.json, from where a page of the book shows it.
"""

from __future__ import annotations

import functools
import math
import multiprocessing
import os
import random
import resource
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "_ext")]

import bench_record  # noqa: E402
import definitions  # noqa: E402

from utils.notebook import dgl_compat, timing  # noqa: E402
from utils.records import runs  # noqa: E402
from utils.datasets import citation, searchlog, sst2, tu  # noqa: E402

STAMP = ("device", "date", "versions", "commit", "wall_seconds")
Step = Callable[[], object]


def milliseconds_of(steps: Mapping[Any, Step], rounds: int, repeats: int) -> dict[Any, list[float]]:
    """Milliseconds of each step in each round, the steps taking turns; a turn is `repeats` calls, whose mean counts.

    Processor time: with one thread on either side it is the wall's on an idle machine, and no longer on a busy one.
    """

    def turn(step: Step) -> Step:
        def several() -> None:
            for _ in range(repeats):
                step()

        return several

    seconds = timing.in_turns({name: turn(step) for name, step in steps.items()}, rounds)
    return {name: [1e3 * value / repeats for value in values] for name, values in seconds.items()}


def medians(steps: Mapping[Any, Step], rounds: int = 10, repeats: int = 10) -> dict[Any, float]:
    """Median milliseconds of each step: what a comparison rests on."""
    return {name: float(np.median(values)) for name, values in milliseconds_of(steps, rounds, repeats).items()}


def least(steps: Mapping[Any, Step], rounds: int, repeats: int) -> dict[Any, float]:
    """Least milliseconds of each step: what a line of growth rests on, as its steps may be very short."""
    return {name: min(values) for name, values in milliseconds_of(steps, rounds, repeats).items()}


class Entry:
    """What the benchmark of one chapter found; printed as it comes."""

    def __init__(self) -> None:
        self.comparisons: list[dict[str, Any]] = []
        self.growth: list[dict[str, Any]] = []

    def compare(
        self,
        title: str,
        values: Mapping[str, float],
        wanted: float,
        done: tuple[float, str] | None = None,
        unit: str = "ms",
        sense: str = "at least",
    ) -> None:
        """The book's way, which is the first, against the last: is the ratio of the last to it what was wanted?

        done: how many of what are done in the time of a side, to have the rate as well.
        """
        sides = [{"name": name, "value": round(value, 4)} for name, value in values.items()]
        print(f"\n{title}")
        for side in sides:
            if done:
                side["rate"] = float(f"{1e3 * done[0] / side['value']:.4g}")
            rate = f" {side['rate']:9.0f} {done[1]}/s" if done else ""
            print(f"  {side['name']:48s} {side['value']:9.2f} {unit}{rate}")
        ratio = round(sides[-1]["value"] / sides[0]["value"], 3)
        comparison = {"title": title, "sides": sides, "ratio": ratio, "wanted": wanted, "sense": sense, "unit": unit}
        self.comparisons.append({**comparison, "rate_of": done[1]} if done else comparison)
        verdict = "met" if bench_record.met(comparison) else "missed"
        print(f"  {ratio:.1f} times (wanted: {sense} {wanted:g}): {verdict}")

    def grow(
        self,
        title: str,
        along: str,
        makers: Mapping[str, tuple[Callable[[int], Step], Iterable[int]]],
        fills: Mapping[str, Callable[[float], float]] | None = None,
        rounds: int = 5,
        most: float = 1e12,
    ) -> None:
        """Measure steps at growing sizes. makers: name -> (what makes the step of a size, sizes).

        fills: the bytes that the largest arrays of a side fill at a size, where they are the first to fail.
        most: the largest size that there can be.
        """
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in makers}
        for size in sorted({size for _, sizes in makers.values() for size in sizes}):
            steps = {name: make(size) for name, (make, sizes) in makers.items() if size in set(sizes)}
            first = least(steps, 1, 1)
            repeats = max(1, round(20 / max(first.values())))
            for name, value in least(steps, rounds, repeats).items():
                found[name].append((size, value))
        self.grew(title, along, found, fills, most=most)

    def grew(
        self,
        title: str,
        along: str,
        found: Mapping[str, list[tuple[float, float]]],
        fills: Mapping[str, Callable[[float], float]] | None = None,
        limit: float = 60.0,
        most: float = 1e12,
        unit: str = "ms",
    ) -> None:
        """Record milliseconds at sizes, or MB; limit: the seconds after which a size counts as too large."""
        print(f"\n{title}")
        lines = []
        for name, points in found.items():
            slope = bench_record.slope(points)
            bound = (1e3 * limit, "time") if unit == "ms" else (bench_record.MEMORY / 2**20, "memory")
            breaks = breaking_point(points, slope, (fills or {}).get(name), *bound)
            breaks = breaks if breaks and breaks["at"] < most else None
            points = [[size, float(f"{value:.4g}")] for size, value in points]
            lines.append({"name": name, "points": points, "slope": round(slope, 3), "breaks": breaks})
            shown = "  ".join(f"{size:g}: {value:.3g} {unit}" for size, value in points)
            end = f"; breaks at {breaks['at']:,.0f} {along}, by {breaks['by']}" if breaks else ""
            print(f"  {name}: slope {slope:.2f}{end}\n    {shown}")
        self.growth.append(
            {"title": title, "along": along, "series": lines, "limit": limit, "most": most, "unit": unit}
        )


def breaking_point(
    points: list[tuple[float, float]],
    slope: float,
    fills: Callable[[float], float] | None,
    bound: float,
    by: str = "time",
) -> dict[str, Any] | None:
    """The size at which a side passes the bound of what was measured or fills the memory, whichever comes first.

    The measured is carried on along the line through the larger sizes. None where neither comes below a thousand
    billion.
    """
    last, value = max(points)
    found = []
    if slope > 0.05:
        found.append((last * (bound / value) ** (1 / slope), by))
    if fills:
        small, large = 1.0, 1e12
        while large > 1.001 * small:
            middle = (small * large) ** 0.5
            small, large = (middle, large) if fills(middle) < bench_record.MEMORY else (small, middle)
        found.append((small, "memory"))
    at, by = min(found, default=(1e12, ""))
    return {"at": float(f"{at:.2g}"), "by": by} if at < 9e11 else None


def geometric(first: int, last: int, factor: int = 2) -> list[int]:
    """first, first * factor, ... up to last."""
    sizes = [first]
    while sizes[-1] * factor <= last:
        sizes.append(sizes[-1] * factor)
    return sizes


def gcn(entry: Entry) -> None:
    """A training epoch on Cora: the chapter's sparse network against DGL's GraphConv on dense features."""
    chapter, graph = definitions.of_chapter("gcn"), citation.load("cora")
    dgl = dgl_compat.load()
    task = chapter["Task"](graph, networks=1)
    nodes, words = task.features.shape
    train, labels = task.split[0], task.labels
    heard, (part, rows) = chapter["models"](task, "renormalised")(0)
    part_optimiser = torch.optim.Adam(
        [{"params": [heard.first], "weight_decay": 5e-4}, {"params": [heard.second]}], lr=0.01, fused=True
    )
    model = chapter["GCN"](task.features, chapter["build_filter"]("renormalised", graph.edges, nodes), graph.classes)
    optimiser = torch.optim.Adam(
        [{"params": [model.first], "weight_decay": 5e-4}, {"params": [model.second]}], lr=0.01, fused=True
    )

    dense = task.features.tensor.to_dense()
    their_graph = dgl.add_self_loop(dgl.to_bidirected(dgl.graph(tuple(graph.edges.T), num_nodes=nodes)))
    layers = torch.nn.ModuleList(dgl.nn.GraphConv(*w, bias=False) for w in ((words, 16), (16, graph.classes)))
    their_optimiser = torch.optim.Adam(
        [{"params": layers[0].parameters(), "weight_decay": 5e-4}, {"params": layers[1].parameters()}],
        lr=0.01,
    )

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
    entry.compare("GCN, training epoch on Cora", medians(steps), wanted=20)
    grow_gcn(entry, chapter)


def grow_gcn(entry: Entry, chapter: dict[str, Any]) -> None:
    """Nodes of a random graph with two edges each; then edges among 4000 nodes."""
    chapter["DEVICE"], sparse, dense = "cpu", "sparse matrix", "dense matrix"
    makers = {
        sparse: (lambda nodes: chapter["random_epoch"](2 * nodes), geometric(500, 512_000, 4)),
        dense: (lambda nodes: chapter["random_epoch"](2 * nodes, dense=True), geometric(500, 8000)),
    }
    # five entries a row, then the weights of X = I with gradient and moments, and the hidden layer, 32 numbers each
    fills = {sparse: lambda n: n * (5 * 8 + 5 * 32 * 4), dense: lambda n: 4 * n**2}
    entry.grow("GCN, training epoch, by nodes", "nodes", makers, fills)

    nodes, generator = 4000, np.random.default_rng(0)

    def propagate(edges: int, dense: bool = False) -> Step:
        matrix = chapter["propagation_matrix"](generator.integers(0, nodes, (edges, 2)), nodes)
        matrix = torch.from_numpy(matrix.toarray()) if dense else chapter["sparse_tensor"](matrix)
        states, direction = torch.randn(nodes, 32, requires_grad=True), torch.randn(nodes, 32)
        return lambda: torch.autograd.grad(chapter["Propagate"].apply(matrix, states), states, direction)

    makers = {
        sparse: (propagate, geometric(4000, 2_048_000)),
        dense: (lambda edges: propagate(edges, dense=True), geometric(4000, 2_048_000)),
    }
    title = "GCN, one propagation and its gradient among 4000 nodes, by edges"
    entry.grow(title, "edges", makers, most=nodes * (nodes - 1) / 2)


def transformers_are_gnns(entry: Entry) -> None:
    """A window of 32 words on either side against the fused kernel on the complete graph; how far an edge list is."""
    chapter, dgl = definitions.of_chapter("transformers_are_gnns"), dgl_compat.load()
    torch.manual_seed(0)

    def step(attention: Callable, words: int) -> Callable[[], None]:
        return chapter["forward_and_backward"](attention)(words)

    for words, wanted in ((4096, 3), (8192, 5)):
        steps = {
            "this book, window as a band": step(chapter["banded"], words),
            "torch, fused, complete graph": step(chapter["fused"], words),
        }
        entry.compare(f"Attention, {words} words, forward and backward", medians(steps, rounds=3, repeats=1), wanted)
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
        milliseconds = medians(steps, rounds=3, repeats=512 // words)
        entry.compare(f"Message passing against a fused kernel, {words} words", milliseconds, wanted=1)

    listed, whole, near = "edge list, complete graph", "fused kernel, complete graph", "band, 32 words on either side"
    makers = {
        listed: (lambda words: step(chapter["on_edges"](chapter["complete"]), words), geometric(64, 512)),
        whole: (lambda words: step(chapter["fused"], words), geometric(64, 4096)),
        near: (lambda words: step(chapter["banded"], words), geometric(64, 16_384)),
    }
    # 4 heads of 16 numbers: five arrays of them for an edge and its ends; for a word of the band 96 weights a head,
    # and the key and the value in three blocks
    fills = {listed: lambda n: n**2 * (5 * 4 * 16 * 4 + 16), near: lambda n: n * 4 * (4 * 96 + 2 * 3 * 4 * 16)}
    entry.grow("Attention, forward and backward, by length", "words", makers, fills, rounds=3)


def gae(entry: Entry) -> None:
    """A training epoch of the plain auto-encoder on Cora with the loss over all pairs, against DGL and a dense loss."""
    chapter, graph = definitions.of_chapter("gae"), citation.load("cora")
    dgl, nodes = dgl_compat.load(), len(graph.labels)
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
    entry.compare("GAE, training epoch on Cora", medians(steps, 5, 5), wanted=3)

    def gradient(name: str) -> Callable[[int], Step]:
        def at(nodes: int) -> Step:
            codes = torch.randn(nodes, 16)
            return lambda: chapter[name](codes)

        return at

    blocks, full = "in blocks of rows", "whole matrix of pairs"
    makers = {
        blocks: (gradient("pair_gradient"), geometric(500, 16_000)),
        full: (gradient("dense_gradient"), geometric(500, 8000)),
    }
    fills = {blocks: lambda n: 256 * 4 * n, full: lambda n: 4 * n**2}
    entry.grow("GAE, gradient of the loss over all pairs, by nodes", "nodes", makers, fills)


def gat(entry: Entry) -> None:
    """A training epoch on Cora: the chapter's heads against DGL's GATConv on dense features, dropout alike."""
    chapter, graph = definitions.of_chapter("gat"), citation.load("cora")
    dgl = dgl_compat.load()
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
    entry.compare("GAT, training epoch on Cora", medians(steps), wanted=5)


def graphsage(entry: Entry) -> None:
    """A sampled step, 50 k nodes and 1 M edges: draws and layers against DGL, fan-outs and batch alike."""
    chapter, dgl = definitions.of_chapter("graphsage"), dgl_compat.load()
    torch.manual_seed(0)
    nodes, batch, classes = 50_000, 512, 41
    graph = chapter["random_graph"](1e6)
    features, labels = torch.randn(nodes, 50), torch.randint(classes, (nodes,))
    ours = chapter["Classifier"](chapter["Sage"]("mean", [50, 128, 128], (10, 25), style="bare"), 128, classes)
    their_graph = dgl.graph((graph.ids, torch.arange(nodes).repeat_interleave(20)), num_nodes=nodes)
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
    milliseconds = medians(steps, rounds=8, repeats=5)
    title = "GraphSAGE, sampling and training step on 512 seeds"
    entry.compare(title, milliseconds, wanted=1.5, done=(batch, "seeds"))

    def sampled(nodes: int) -> Step:
        graph, features = chapter["random_graph"](20 * nodes), torch.randn(nodes, 50)

        def one() -> None:
            seeds = torch.randint(nodes, (batch,))
            F.cross_entropy(ours(graph, features, seeds), seeds % classes).backward()

        return one

    # twenty neighbours of 8 bytes, their number and where they begin, fifty features of 4 bytes
    fills = {"sampled neighbours": lambda n: n * (20 * 8 + 2 * 8 + 50 * 4)}
    makers = {"sampled neighbours": (sampled, geometric(1000, 1_024_000, 4))}
    entry.grow("GraphSAGE, sampling and gradient on 512 seeds, by nodes", "nodes", makers, fills)


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
    def convolve(layers: torch.nn.ModuleList, states: torch.Tensor, adjacency: torch.Tensor) -> torch.Tensor:
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


def diffpool(entry: Entry) -> None:
    """A training epoch on ENZYMES, 540 graphs: blocks, ten folds at once, against dense batches of 100 nodes.

    The released network has narrower layers than the chapter's; the first side has the same layers, clusters and
    link loss, and the entropy on top of them.
    """
    chapter, data = definitions.of_chapter("diffpool"), tu.load("ENZYMES")
    chapter["DEVICE"], width, few = "cpu", 100, 540
    graphs = chapter["Graphs"](data, limit=width)
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
            features[row, np.arange(size), data.node_labels[start : start + size]] = 1
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
    milliseconds = medians(steps, rounds=3, repeats=1)
    for name in list(steps)[:2]:
        milliseconds[name] /= folds
    entry.compare("DiffPool, training epoch on ENZYMES", milliseconds, wanted=5)


def distilling_knowledge(entry: Entry) -> None:
    """A training step of the MNIST teacher, with jitter and dropout, against a plain loop; and one of a student."""
    chapter, labels = definitions.of_chapter("distilling_knowledge"), torch.arange(60_000) % 10
    chapter["DEVICE"], chapter["settings"] = "cpu", {"bfloat16": False}
    padded, rows = torch.randint(256, (60_000, 32, 32), dtype=torch.uint8), torch.randperm(60_000)[:200]
    ours = chapter["TeacherTraining"](padded, labels, 0, "halves", 1)
    examples = chapter["TeacherTraining"](padded, labels, 0, "examples", 1)
    plain = chapter["network"](1200, 0)
    optimiser = torch.optim.Adam(plain.parameters())
    steps = {
        "this book, a mask per batch, half of the units": lambda: ours.train_batch(rows),
        "the same, a mask per case": lambda: examples.train_batch(rows),
        "plain loop: torch dropout, jitter one by one": lambda: chapter["plain_step"](
            plain, optimiser, padded, labels, rows
        ),
    }
    epochs = {name: 300 * step for name, step in medians(steps, rounds=4, repeats=12).items()}
    entry.compare("MNIST teacher, an epoch of 300 steps", epochs, wanted=2, done=(60_000, "images"))

    images, logits, few = torch.rand(60_000, 784), torch.randn(60_000, 10), torch.arange(5000)
    student, loss = chapter["network"](800, 0), chapter["on_teacher"](logits)
    plain_steps = [torch.randperm(60_000)[:200] for _ in range(len(few) // 200)]

    def plain_teacher() -> None:
        for rows in plain_steps:
            chapter["plain_step"](plain, optimiser, padded, labels, rows)

    def train_student(short: bool) -> None:
        chapter["settings"]["bfloat16"] = short
        chapter["fit"](student, images, loss, few, 1, 0)

    steps = {
        "student, from stored logits": lambda: train_student(False),
        "the same, bfloat16 where the processor has it": lambda: train_student(True),
        "teacher, plain loop": plain_teacher,
    }
    title = "MNIST student against teacher, training on 5000 images"
    entry.compare(title, medians(steps, rounds=4, repeats=1), wanted=2, done=(len(few), "images"))


def lattice_lstm_ner(entry: Entry) -> None:
    """Training on sentences of Resume of middle length: the batched lattice against its definition at batch 1."""
    chapter = definitions.of_chapter("lattice_lstm_ner")
    chapter["DEVICE"] = "cpu"
    task = chapter["build_task"](chapter["read_resume"](), chapter["read_lexicon"]())
    order = np.argsort([len(characters) for characters in task.train.characters], kind="stable")
    middle = order[len(order) // 2 - 128 : len(order) // 2 + 128]
    model = chapter["LatticeTagger"](task.characters, task.words, len(task.labels))
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-4)

    def step(loss: Callable[[], torch.Tensor]) -> None:
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()

    def batched(size: int) -> Callable[[], None]:
        chosen = middle[None, 128 - size // 2 : 128 - size // 2 + size]
        return lambda: step(lambda: model.loss(chapter["make_batch"](task.train, chosen, model.letters)).sum())

    def one_by_one() -> None:
        for k in middle[120:136]:
            step(lambda k=k: chapter["definition_loss"](model, task.train, k))

    steps = {size: batched(size) for size in (64, 10, 1, 256)}
    milliseconds = medians({**steps, "definition": one_by_one}, rounds=4, repeats=1)
    per_sentence = {f"this book, batch {size}": milliseconds[size] / size for size in steps}
    per_sentence["one sentence at a time, by definition"] = milliseconds["definition"] / 16
    entry.compare("Lattice LSTM, training, per sentence", per_sentence, wanted=15, done=(1, "sentences"))

    def definition(size: int) -> Step:
        return lambda: [step(lambda k=k: chapter["definition_loss"](model, task.train, k)) for k in middle[:size]]

    one, many = "one sentence at a time, by definition", "batched lattice"
    makers = {one: (definition, (1, 2, 4, 8)), many: (batched, geometric(1, 256))}
    kept = chapter["kept_bytes"](task, 64) / 64
    entry.grow("Lattice LSTM, training step, by batch", "sentences", makers, {many: lambda n: n * kept}, rounds=3)


def char_rnn_lyrics(entry: Entry) -> None:
    """A training step, 50 rows of 50 characters, 2 layers of 128: the chapter's against torch.nn.LSTM used plainly."""
    chapter = definitions.of_chapter("char_rnn_lyrics")
    torch.manual_seed(0)
    symbols, batch = 65, 50
    ids = torch.randint(symbols, (batch * 50 + 1,))
    chapter["DEVICE"] = "cpu"
    model = chapter["CharModel"](symbols, width=128, layers=2)
    ours = chapter["Step"](model, steps=1_000_000)
    inputs, targets = chapter["streams"](ids, batch)

    layers = torch.nn.ModuleList([torch.nn.LSTM(symbols, 128, 2), torch.nn.Linear(128, symbols)])
    optimiser = torch.optim.Adam(layers.parameters(), 0.01)
    state = None

    def theirs() -> None:
        nonlocal state
        hidden, state = layers[0](F.one_hot(inputs, symbols).float(), state)
        state = tuple(s.detach() for s in state)
        loss = F.cross_entropy(layers[1](hidden).flatten(0, 1), targets.flatten())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(layers.parameters(), 1.0)
        optimiser.step()

    steps = {"this book": lambda: ours(inputs, targets), "torch.nn.LSTM, one-hot input, plain Adam": theirs}
    milliseconds = medians(steps, rounds=10, repeats=5)
    title = "Character RNN, training step at batch 50, length 50"
    entry.compare(title, milliseconds, wanted=1, done=(inputs.numel(), "characters"))


def gnn_fixed_point(entry: Entry) -> None:
    """A training step on sub_15_7_200: the article's TensorFlow 1 program against the chapter's model.

    At the weights of several steps of a training run, on processor time: at the same number of forward
    iterations; then from the last fixed point at the same threshold, each program at the same steps of its own
    training, ours without a penalty and with one in every sixteenth step.
    """
    chapter = definitions.of_chapter("gnn_fixed_point")
    for kind in ("intra", "inter"):
        getattr(chapter["tf"].config.threading, f"set_{kind}_op_parallelism_threads")(1)
    parts = chapter["load_graphs"]("sub_15_7_200")[0]
    chapter["graphs"] = {name: chapter["as_graph"](part) for name, part in parts.items()}
    ways = ("through_the_loop", "from_the_last", "penalised_lazily")
    moments = [chapter["article_run"](chapter[way], 3000, 0)[1][::2] for way in ways]
    speed = chapter["speeds"](zip(*moments, strict=True), parts["train"], chapter["graphs"]["train"])
    milliseconds = {name: 1e3 * sum(row[name] for row in speed) / len(speed) for name in speed[0]}
    counts = ", ".join(str(row["iterations"]) for row in speed)
    for name, wanted in (("same iterations", 2.5), ("from the last", 6.0)):
        pair = {f"this book, {name}": milliseconds[name], "TensorFlow 1, from zero": milliseconds["TensorFlow 1"]}
        entry.compare(f"Fixed-point GNN, a training step, {name} ({counts} iterations from zero)", pair, wanted)
    sides = {
        "this book, lazy penalty, from the last": milliseconds["lazy"],
        "TensorFlow 1 at the weights of that training": milliseconds["TensorFlow 1, lazy"],
        "TensorFlow 1 at the weights of its own": milliseconds["TensorFlow 1"],
    }
    counts = ", ".join(str(row["lazy iterations"]) for row in speed)
    entry.compare(f"Fixed-point GNN, a training step, lazy penalty ({counts} iterations from zero)", sides, 6.0)


def bert_to_bilstm(entry: Entry) -> None:
    """Answers of the teacher, training of the student, by length and as they come; the rates of both models."""
    chapter, reviews = definitions.of_chapter("bert_to_bilstm"), sst2.load()
    chapter["DEVICE"] = "cpu"
    pretrained, few = chapter["packaged"](), 512
    texts = [sentence.words for sentence in reviews.train[:few]]
    labels = torch.tensor([sentence.label for sentence in reviews.train[:few]])
    pieces = [np.array(ids) for ids in pretrained.pieces([" ".join(words) for words in texts])]
    rows = chapter["vocabulary"]([texts])
    ids = chapter["ids_of"](texts, rows)
    teacher = chapter["Teacher"](pretrained).eval()
    student = chapter["Student"](torch.randn(len(rows) + 2, 300))
    optimiser = torch.optim.Adam([p for p in student.parameters() if p.requires_grad], fused=True)
    loss = chapter["on_hard"](labels)

    def filled_up(inputs: list, chosen: torch.Tensor) -> torch.Tensor:
        return torch.nn.utils.rnn.pad_sequence([torch.from_numpy(inputs[k]) for k in chosen], batch_first=True)

    def plain_labels() -> None:
        with torch.inference_mode():
            for chosen in torch.arange(few).split(64):
                teacher(filled_up(pieces, chosen))

    def plain_epoch() -> None:
        student.train()
        for chosen in torch.randperm(few).split(50):
            value = loss(student(filled_up(ids, chosen)), chosen)
            optimiser.zero_grad()
            value.backward()
            optimiser.step()

    labelling = {
        "this book, one length a batch": lambda: chapter["logits_of"](teacher, pieces),
        "batches of 64 as they come, filled up": plain_labels,
    }
    training = {
        "this book, one length a batch": lambda: chapter["fit"](student, ids, loss, 1, 50, optimiser, 0),
        "batches of 50 as they come, packed": plain_epoch,
    }
    milliseconds = medians(labelling, rounds=3, repeats=1)
    entry.compare("SST-2, answers of the teacher", milliseconds, wanted=1.2, done=(few, "sentences"))
    milliseconds = medians(training, rounds=4, repeats=1)
    entry.compare(f"SST-2, an epoch of the student on {few} sentences", milliseconds, wanted=1, done=(few, "sentences"))
    student.eval()
    for batch, rounds, wanted in ((1, 20, 3), (512, 2, 5)):
        words, parts = torch.randint(2, len(rows), (batch, 20)), torch.randint(1999, 2999, (batch, 22))
        with torch.inference_mode():
            milliseconds = medians(
                {"student": lambda w=words: student(w), "teacher": lambda p=parts: teacher(p)}, rounds, repeats=1
            )
        title = f"SST-2, student against teacher, sentences of 20 words, batch {batch}"
        entry.compare(title, milliseconds, wanted, done=(batch, "sentences"))


def rin_query_suggestion(entry: Entry) -> None:
    """Walks of all nodes at once against a walk at a time; then five million simulated lines through the counting."""
    chapter = definitions.of_chapter("rin_query_suggestion")
    graph = chapter["Graph"](chapter["count_edges"](chapter["find_sessions"](searchlog.lines(3000))[0]))
    rows = [slice(*ends) for ends in pairwise(graph.ends.tolist())]
    neighbours = [(graph.targets[row].tolist(), graph.weights[row].tolist()) for row in rows]
    some, length = np.random.default_rng(0).permutation(len(rows))[:2000], 10

    def one_at_a_time() -> None:
        for node in some.tolist():
            for _ in range(length - 1):
                node = random.choices(*neighbours[node])[0]

    steps = {
        "this book, all walks a step at a time": lambda: chapter["walks"](graph, some, length, 0),
        "one walk after the other, random.choices": one_at_a_time,
    }
    title, done = "Random walks by weight, 2000 of 10 nodes", (len(some) * (length - 1), "steps")
    entry.compare(title, medians(steps, rounds=5, repeats=3), wanted=10, done=done)

    alone = multiprocessing.get_context("spawn")
    seen = {}
    for name, (marks, limit) in LOGS.items():
        with alone.Pool(1) as fresh:
            seen[name] = fresh.apply(count_a_log, (marks, limit))
        for lines, entries, seconds, memory in seen[name]:
            rate = f"{lines / seconds:7,.0f} lines/s, {entries:9,} entries, {memory:6,.0f} MB"
            print(f"  {name}: {lines:9,} lines cleaned and counted: {rate}")
    held = seen["at most 200,000 entries"]
    peaks = {f"{lines / 1e6:.0f} million lines": memory for lines, *_, memory in (held[1], held[-1])}
    title = "RIN, memory of counting a log of five times the lines, table of at most 200,000 entries"
    entry.compare(title, peaks, wanted=3, unit="MB", sense="at most")
    title = "RIN, cleaning and counting a log, by lines"
    entry.grew(title, "lines", {n: [(p[0], 1e3 * p[2]) for p in points] for n, points in seen.items()}, limit=3600)
    title = "RIN, memory of counting a log, by lines"
    entry.grew(title, "lines", {n: [(p[0], p[3]) for p in points] for n, points in seen.items()}, unit="MB")


LOGS = {  # lines after which the memory is read, and the entries that the table may have
    "every edge": ((250_000, 500_000, 1_000_000), None),
    "at most 200,000 entries": ((500_000, 1_000_000, 2_500_000, 5_000_000), 200_000),
}


def count_a_log(marks: tuple[int, ...], limit: int | None) -> list[tuple[int, int, float, float]]:
    """Count a simulated log as the chapter does, in one pass; for a process of its own.

    Returns:
        After each mark the lines, the entries of the table, the processor seconds without those of the simulator,
        and the largest memory so far (MB) above what the process had before the first line.
    """
    chapter, simulating, found = definitions.of_chapter("rin_query_suggestion"), 0.0, []
    combine = functools.partial(chapter["merged_within"], limit) if limit else chapter["merged"]
    before, began = resident(), time.process_time()

    def simulated(users: int, seed: int) -> list[str]:
        nonlocal simulating
        since = time.process_time()
        lines = list(searchlog.lines(users, seed))
        simulating += time.process_time() - since
        return lines

    def watched(first: Counter, second: Counter) -> Counter:
        total = combine(first, second)
        if total["lines"] >= [*marks, math.inf][len(found)]:
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
            found.append((total["lines"], len(total), time.process_time() - began - simulating, memory))
        return total

    chapter["searchlog"] = SimpleNamespace(lines=simulated)
    chapter["over_parts"](chapter["count_part"], chapter["parts_of_stream"](1.1 * marks[-1]), watched)
    if len(found) < len(marks):
        raise ValueError(f"the log ended before {marks[-1]:,} lines")
    return found


def resident() -> float:
    """The memory (MB) that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


BENCHMARKS = {
    "gcn": gcn,
    "gae": gae,
    "transformers_are_gnns": transformers_are_gnns,
    "gat": gat,
    "graphsage": graphsage,
    "diffpool": diffpool,
    "distilling_knowledge": distilling_knowledge,
    "lattice_lstm_ner": lattice_lstm_ner,
    "char_rnn_lyrics": char_rnn_lyrics,
    "gnn_fixed_point": gnn_fixed_point,
    "bert_to_bilstm": bert_to_bilstm,
    "rin_query_suggestion": rin_query_suggestion,
}


def measure(name: str) -> bool:
    """Measure one chapter in this process and write it into the record; whether all aims were met."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="Sparse")
    began, entry = time.perf_counter(), Entry()
    BENCHMARKS[name](entry)
    made = results.provenance(name, "cpu", time.perf_counter() - began)
    stamp = {key: made[key] for key in STAMP} | {"threads": torch.get_num_threads()}
    stamp["code"] = {path: code for path, code in made["code"].items() if path.startswith("chapters/")}
    found = {"stamp": stamp, "comparisons": entry.comparisons, "growth": entry.growth}
    record(name, found)
    return all(map(bench_record.met, entry.comparisons))


def record(name: str, found: dict[str, Any], path: Path = bench_record.PATH) -> None:
    """Write one entry into the record; the others stay as they are, those of benchmarks that are gone go."""
    entries = {**bench_record.load(path), name: found}
    bench_record.save({key: entries[key] for key in BENCHMARKS if key in entries}, path)


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--in-this-process"]:
        return 0 if measure(arguments[1]) else 1
    chosen = arguments or list(BENCHMARKS)
    unknown = [name for name in chosen if name not in BENCHMARKS]
    if unknown:
        sys.exit(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    bench_record.load()  # a broken record is named before anything is measured
    alone = [sys.executable, __file__, "--in-this-process"]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}
    codes = [subprocess.run([*alone, name], env=one_thread).returncode for name in chosen]
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
