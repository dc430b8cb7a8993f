"""Many small graphs of the TU Dortmund collection: proteins (ENZYMES, PROTEINS, DD), COLLAB, REDDIT.
Stand-in: 60 rings with chords; labels run along the ring in stretches, attributes follow them with noise."""

import zipfile
from dataclasses import dataclass

import numpy as np

from .errors import BadFile
from .files import path
from .provenance import real_or_stand_in
from .registry import unknown

TAGGED = {"ENZYMES": True, "PROTEINS": True, "DD": True}  # whether nodes carry labels
TAGGED |= dict.fromkeys(("COLLAB", "REDDIT-BINARY", "REDDIT-MULTI-12K"), False)


@dataclass(frozen=True, eq=False)
class TUGraphs:
    """All graphs of a set as one graph in separate parts; ids and labels count from 0."""

    name: str
    edges: np.ndarray  # (edges, 2), int64, distinct, u < v, no self-loops
    graph_indicator: np.ndarray  # (nodes,), int64: the graph of each node, ascending
    node_labels: np.ndarray | None  # (nodes,), int64, in the order of the file's numbers
    node_attributes: np.ndarray | None  # (nodes, attributes), float32
    graph_labels: np.ndarray  # (graphs,), int64, likewise
    self_loops: int  # as listed, dropped from the edges
    stand_in: bool


def load(name: str) -> TUGraphs:
    """Load a set named in TAGGED, or 60 generated graphs when its files are out of reach.
    Raises UnknownName, BadFile for files that do not fit each other, and any DataError but Unreachable."""
    if name not in TAGGED:
        raise unknown(name, TAGGED, "set of graphs", "utils.datasets.tu")
    read = _tu_text if name == "ENZYMES" else _graph_list
    return real_or_stand_in(name, lambda: checked(name, *read(name)), lambda: checked(name, *_rings(name), True))


def _tu_text(name: str) -> tuple:
    names = (f"{name}/{name}_{part}.txt" for part in ("A", "graph_indicator", "node_labels", "graph_labels"))
    arcs, graph, tags, labels = (np.loadtxt(path(file), np.int64, delimiter=",") for file in names)
    attributes = np.loadtxt(path(f"{name}/{name}_node_attributes.txt"), np.float32, delimiter=",")
    return arcs - 1, graph - 1, tags, attributes, labels


def _graph_list(name: str) -> tuple:
    """The number of graphs; per graph `nodes label` and per node `tag count neighbour ...`."""
    with zipfile.ZipFile(path(f"{name}/{name}.zip")) as archive:
        numbers = np.fromstring(archive.read(f"{name}/{name}.txt"), np.int64, sep=" ")
    sizes, labels, tags, near, at = [], [], [], [], 1
    for _ in range(numbers[0]):
        (size, label), first, at = numbers[at : at + 2], len(tags), at + 2
        sizes.append(size)
        labels.append(label)
        for _ in range(size):
            tags.append(numbers[at])
            near.append(first + numbers[at + 2 : at + 2 + numbers[at + 1]])
            at += 2 + len(near[-1])
    arcs = np.stack([np.repeat(np.arange(len(tags)), [len(n) for n in near]), np.concatenate(near)], 1)
    graph, labels = np.repeat(np.arange(len(sizes)), sizes), np.array(labels)
    return arcs, graph, np.array(tags) if TAGGED[name] else None, None, labels


def checked(name: str, arcs: np.ndarray, graph: np.ndarray, tags, attributes, labels, made: bool = False) -> TUGraphs:
    """The set, edges distinct and numbers ranked; BadFile where nodes, edges, graphs and labels do not fit."""
    sound = (np.diff(graph) >= 0).all() and np.array_equal(np.unique(graph), np.arange(len(labels)))
    sound = sound and (not arcs.size or (arcs.min() >= 0 and arcs.max() < len(graph)))
    sound = sound and all(part is None or len(part) == len(graph) for part in (tags, attributes))
    sound = sound and (attributes is None or np.isfinite(attributes).all())
    if not sound or (graph[arcs[:, 0]] != graph[arcs[:, 1]]).any():
        what = "nodes, edges, graphs and labels do not fit each other, or an edge joins two graphs"
        raise BadFile(name, what, name, "fetch the files again")
    low, high, nodes = arcs.min(1), arcs.max(1), len(graph)
    edges = np.stack(np.divmod(np.unique((low * nodes + high)[low < high]), nodes), 1)
    tags, labels = (n if n is None else np.unique(n, return_inverse=True)[1] for n in (tags, labels))
    return TUGraphs(name, edges, graph, tags, attributes, labels, int((low == high).sum()), made)


def _rings(name: str) -> tuple:
    """Rings of 20 to 40 nodes with 10 chords; labels in stretches of 5; 18 attributes, the label's and noise."""
    rng, size = np.random.default_rng(9), np.random.default_rng(8).integers(20, 41, 60)
    graph, first = np.repeat(np.arange(60), size), np.cumsum(size) - size
    place = np.arange(len(graph)) - first[graph]
    chords = rng.integers(1 << 30, size=(60, 10, 2)) % size[:, None, None] + first[:, None, None]
    ring = np.stack([np.arange(len(graph)), first[graph] + (place + 1) % size[graph]], 1)
    tags = (place // 5 + graph) % 3
    attributes = (rng.normal(size=(3, 18))[tags] + 2 * rng.normal(size=(len(graph), 18))).astype(np.float32)
    arcs = np.concatenate([ring, chords.reshape(-1, 2)])
    return arcs, graph, tags if TAGGED[name] else None, attributes if name == "ENZYMES" else None, np.arange(60) % 6
