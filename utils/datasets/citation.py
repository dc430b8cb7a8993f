"""Graphs for node classification: the citation networks Cora, Citeseer and Pubmed, and the karate club.
Stand-ins: a stochastic block model with class-bound words; the club's graph as networkx ships it."""

from dataclasses import dataclass

import networkx as nx
import numpy as np
from scipy import sparse

from .files import path
from .graphs import undirected_edges
from .provenance import real_or_stand_in
from .registry import unknown
from .safe import load_pickle

CLASSES = {"cora": 7, "citeseer": 6, "pubmed": 3}
PARTS = ("x", "y", "tx", "ty", "allx", "ally", "graph")


@dataclass(frozen=True, eq=False)
class CitationGraph:
    """A citation network with the Planetoid split; listed_links counts duplicates and self-loops too."""

    name: str
    features: sparse.csr_matrix  # (nodes, words), float32, raw
    edges: np.ndarray  # (edges, 2), int64, distinct, u < v, no self-loops
    labels: np.ndarray  # (nodes,), int64, -1 for a node without a label
    train: np.ndarray  # node ids, int64, as are the next two
    validation: np.ndarray
    test: np.ndarray
    classes: int
    listed_links: int
    self_loops: int
    stand_in: bool


@dataclass(frozen=True, eq=False)
class KarateClub:
    """Zachary's club of 34 members."""

    edges: np.ndarray  # (78, 2), int64, 0-based, distinct, u < v
    clusters: np.ndarray  # (34,), int64
    stand_in: bool


def load(name: str) -> CitationGraph:
    """Load `cora`, `citeseer` or `pubmed`, or a stand-in of 1000 nodes when the files are out of reach.
    The split is that of Yang et al. (2016): 20 labelled nodes per class, the next 500 for validation,
    1000 test nodes. Raises UnknownName and any DataError but Unreachable."""
    if name not in CLASSES:
        raise unknown(name, CLASSES, "citation graph", "utils.datasets.citation")
    return real_or_stand_in(name, lambda: _planetoid(name), lambda: block_model(name))


def karate_club() -> KarateClub:
    """Load the karate club with its four modularity clusters. Raises any DataError but Unreachable.
    The file lists the edge 9-33 (1-based) twice and lacks 9-31 of Zachary (1977): it is put back here."""
    return real_or_stand_in("karate-club", _club_of_files, club_of_networkx)


def _planetoid(name: str) -> CitationGraph:
    x, y, tx, ty, allx, ally, graph = (load_pickle(path(f"planetoid/ind.{name}.{part}")) for part in PARTS)
    test = np.loadtxt(path(f"planetoid/ind.{name}.test.index"), dtype=np.int64)
    rows = np.concatenate([np.arange(allx.shape[0]), test])  # the node of each row of allx, tx: not in order
    ones, order = np.ones(len(rows), dtype=np.float32), np.arange(len(rows))
    place = sparse.csr_matrix((ones, (rows, order)), (len(graph), len(rows)))
    features = place @ sparse.vstack([allx, tx]).astype(np.float32)  # a node without a row stays zero
    one_hot = np.concatenate([ally, ty])
    labels = np.full(len(graph), -1)
    labels[rows] = np.where(one_hot.any(axis=1), one_hot.argmax(axis=1), -1)
    links = np.array([(u, v) for u, neighbours in graph.items() for v in neighbours], dtype=np.int64)
    loops = len(np.unique(links[links[:, 0] == links[:, 1]], axis=0))
    train, validation = np.arange(len(y)), np.arange(len(y), len(y) + 500)
    split, counts = (train, validation, np.sort(test)), (one_hot.shape[1], len(links) // 2, loops)
    edges = undirected_edges(links, len(graph))
    return CitationGraph(name, features, edges, labels, *split, *counts, stand_in=False)


def block_model(name: str, nodes: int = 1000, words: int = 500, classes: int | None = None) -> CitationGraph:
    """The stand-in for a citation network: about 4 links a node, 8 of 10 inside a class; 5 of 20 words of a node
    are bound to its class. As many classes as the network `name` has, if `classes` is not given."""
    classes, rng = classes or CLASSES[name], np.random.default_rng(20)
    labels = np.arange(nodes) % classes
    chances = np.full((classes, classes), 0.8 / nodes) + np.eye(classes) * 3.2 * classes / nodes
    graph = nx.stochastic_block_model(np.bincount(labels).tolist(), chances.tolist(), seed=20)
    links = np.argsort(labels, kind="stable")[np.array(graph.edges)]
    bound = classes * rng.integers(words // classes, size=(nodes, 5)) + labels[:, None]
    column = np.hstack([bound, rng.integers(words, size=(nodes, 15))]).ravel()
    ones = np.ones(len(column), dtype=np.float32)
    features = sparse.csr_matrix((ones, (np.repeat(np.arange(nodes), 20), column)), (nodes, words))
    features.data[:] = 1  # a word drawn twice counts once
    train, validation, test, _ = np.split(np.arange(nodes), [20 * classes, 20 * classes + 200, 20 * classes + 600])
    split, edges = (train, validation, test), undirected_edges(links, nodes)
    return CitationGraph(name, features, edges, labels, *split, classes, len(links), 0, stand_in=True)


def _club_of_files() -> KarateClub:
    links = np.loadtxt(path("karate-club/edges.txt"), dtype=np.int64)
    member, cluster = np.loadtxt(path("karate-club/mod-based-clusters.txt"), dtype=np.int64).T
    edges = undirected_edges(np.vstack([links, [9, 31]]) - 1, 34)
    return KarateClub(edges, cluster[np.argsort(member)], stand_in=False)


def club_of_networkx() -> KarateClub:
    """The karate club as networkx ships it, the stand-in for the files."""
    graph, clusters = nx.karate_club_graph(), np.empty(34, dtype=np.int64)
    for number, members in enumerate(nx.community.greedy_modularity_communities(graph)):
        clusters[list(members)] = number
    return KarateClub(undirected_edges(np.array(graph.edges), 34), clusters, stand_in=True)
