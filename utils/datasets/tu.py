"""Many small graphs of the TU Dortmund collection: proteins (ENZYMES, PROTEINS, DD), COLLAB, REDDIT.
Stand-in: 60 rings with chords; labels run along the ring in stretches, attributes follow them with noise."""

import zipfile
from dataclasses import dataclass

import numpy as np

from .errors import BadFile
from .files import path
from .graphs import undirected_edges
from .provenance import real_or_stand_in
from .registry import unknown

Parts = tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None, np.ndarray]  # as `checked` takes them
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
    return real_or_stand_in(name, lambda: checked(name, *read(name)), lambda: checked(name, *rings(name), made=True))


def _tu_text(name: str) -> Parts:
    names = (f"{name}/{name}_{part}.txt" for part in ("A", "graph_indicator", "node_labels", "graph_labels"))
    arcs, graph, tags, labels = (np.loadtxt(path(file), np.int64, delimiter=",") for file in names)
    attributes = np.loadtxt(path(f"{name}/{name}_node_attributes.txt"), np.float32, delimiter=",")
    return arcs - 1, graph - 1, tags, attributes, labels


def _graph_list(name: str) -> Parts:
    """The number of graphs; per graph `nodes label` and per node `tag count neighbour ...`."""
    with zipfile.ZipFile(path(f"{name}/{name}.zip")) as archive:
        numbers = np.fromstring(archive.read(f"{name}/{name}.txt"), np.int64, sep=" ")
    sizes: list[int] = []
    labels: list[int] = []
    tags: list[int] = []
    neighbours: list[np.ndarray] = []
    at = 1  # the place in `numbers`
    for _ in range(numbers[0]):
        size, label = numbers[at : at + 2]
        at += 2
        sizes.append(size)
        labels.append(label)
        first = len(tags)  # the id of the graph's first node: the file counts from 0 in each graph
        for _ in range(size):
            tag, count = numbers[at : at + 2]
            at += 2
            tags.append(tag)
            neighbours.append(first + numbers[at : at + count])
            at += count
    sources = np.repeat(np.arange(len(tags)), [len(ends) for ends in neighbours])
    arcs = np.stack([sources, np.concatenate(neighbours)], axis=1)
    graph = np.repeat(np.arange(len(sizes)), sizes)
    return arcs, graph, np.array(tags) if TAGGED[name] else None, None, np.array(labels)


def checked(name: str, arcs: np.ndarray, graph: np.ndarray, tags, attributes, labels, made: bool = False) -> TUGraphs:
    """The set, edges distinct and numbers ranked.

    Args:
        name: the name of the set.
        arcs: (arcs, 2), one or both directions of each edge.
        graph: (nodes,), the graph of each node.
        tags: (nodes,), the labels of the nodes as the file numbers them, or None.
        attributes: (nodes, attributes) or None.
        labels: (graphs,), the labels of the graphs as the file numbers them.
        made: whether the set is a stand-in.

    Raises:
        BadFile: nodes, edges, graphs and labels do not fit each other.
    """
    if fault := _misfit(arcs, graph, tags, attributes, labels):
        raise BadFile(name, f"nodes, edges, graphs and labels do not fit: {fault}", name, "fetch the files again")
    edges = undirected_edges(arcs, len(graph))
    self_loops = int((arcs[:, 0] == arcs[:, 1]).sum())
    node_labels = None if tags is None else _ranks(tags)
    return TUGraphs(name, edges, graph, node_labels, attributes, _ranks(labels), self_loops, made)


def _misfit(arcs: np.ndarray, graph: np.ndarray, tags, attributes, labels) -> str:
    """What does not fit, or an empty text."""
    nodes = len(graph)
    if (np.diff(graph) < 0).any():
        return "the nodes of a graph do not stand together"
    if not np.array_equal(np.unique(graph), np.arange(len(labels))):
        return f"{len(labels)} labels of graphs for {len(np.unique(graph))} graphs"
    for part, what in ((tags, "labels"), (attributes, "rows of attributes")):
        if part is not None and len(part) != nodes:
            return f"{len(part)} {what} for {nodes} nodes"
    if attributes is not None and not np.isfinite(attributes).all():
        return "an attribute is not a number"
    if arcs.size and (arcs.min() < 0 or arcs.max() >= nodes):
        return "an edge ends at no node"
    if (graph[arcs[:, 0]] != graph[arcs[:, 1]]).any():
        return "an edge joins two graphs"
    return ""


def _ranks(numbers: np.ndarray) -> np.ndarray:
    """Numbers replaced by 0, 1, ... in their order."""
    return np.unique(numbers, return_inverse=True)[1]


def rings(name: str) -> Parts:
    """The stand-in, as arguments of `checked`: rings of 20 to 40 nodes with 10 chords.
    Labels in stretches of 5; 18 attributes, the label's and noise."""
    rng, size = np.random.default_rng(9), np.random.default_rng(8).integers(20, 41, 60)
    graph, first = np.repeat(np.arange(60), size), np.cumsum(size) - size
    place = np.arange(len(graph)) - first[graph]
    chords = rng.integers(1 << 30, size=(60, 10, 2)) % size[:, None, None] + first[:, None, None]
    ring = np.stack([np.arange(len(graph)), first[graph] + (place + 1) % size[graph]], 1)
    tags = (place // 5 + graph) % 3
    attributes = (rng.normal(size=(3, 18))[tags] + 2 * rng.normal(size=(len(graph), 18))).astype(np.float32)
    arcs = np.concatenate([ring, chords.reshape(-1, 2)])
    return arcs, graph, tags if TAGGED[name] else None, attributes if name == "ENZYMES" else None, np.arange(60) % 6
