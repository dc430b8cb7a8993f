"""A knowledge graph for node classification with one label per class: NELL in the split of Yang et al. (2016).
Stand-in: entities of ten classes that share hubs, no two of them joined directly."""

import numpy as np
from scipy import sparse

from .citation import CitationGraph
from .files import path
from .graphs import undirected_edges
from .provenance import real_or_stand_in
from .safe import load_pickle

NAME = "nell"


def load() -> CitationGraph:
    """Load the graph, or a stand-in of 900 nodes when the files are out of reach.

    105 nodes are for training, one for each class that has a label, and 969 for testing; `validation` is empty,
    because the file with the other labels is not among those read. `classes` counts the columns of the labels, 210.
    An entity has counts of words as features. Every other node has one feature of its own, as in Kipf and Welling
    (2017): these columns come after the words.

    Raises:
        DataError: any but Unreachable.
    """
    return real_or_stand_in(NAME, _of_files, hubs_and_entities)


def _of_files() -> CitationGraph:
    parts = ("y", "tx", "ty", "allx", "graph")
    y, tx, ty, allx, graph = (load_pickle(path(f"nell/ind.nell.0.001.{part}")) for part in parts)
    test = np.loadtxt(path("nell/ind.nell.0.001.test.index"), dtype=np.int64)
    nodes, train = len(graph), np.arange(len(y))
    entities = np.concatenate([np.arange(allx.shape[0]), test])  # the node of each row of allx, then of tx
    features = with_own_features(sparse.vstack([allx, tx]), entities, nodes)
    labels = np.full(nodes, -1)
    labels[train], labels[test] = y.argmax(axis=1), ty.argmax(axis=1)
    links = np.array([(u, v) for u, neighbours in graph.items() for v in neighbours], dtype=np.int64)
    return CitationGraph(
        name=NAME,
        features=features,
        edges=undirected_edges(links, nodes),
        labels=labels,
        train=train,
        validation=np.empty(0, dtype=np.int64),
        test=np.sort(test),
        classes=y.shape[1],
        listed_links=len(links) // 2,
        self_loops=int((links[:, 0] == links[:, 1]).sum()) // 2,
        stand_in=False,
    )


def with_own_features(words: sparse.spmatrix, entities: np.ndarray, nodes: int) -> sparse.csr_matrix:
    """Features of all nodes: the rows of `words` for the `entities`, one column of its own for every other node."""
    others = np.setdiff1d(np.arange(nodes), entities)
    rows = sparse.block_diag([words, sparse.identity(len(others))], format="csr", dtype=np.float32)
    place = np.argsort(np.concatenate([entities, others]))  # the row of each node
    return rows[place]


def hubs_and_entities(entities: int = 300, others: int = 540, hubs: int = 60, classes: int = 10) -> CitationGraph:
    """The stand-in: entities, then nodes without features, then hubs; every edge has a hub at one end.
    8 of 10 links lead to a hub of the node's own class; 5 of 20 words of an entity are bound to its class."""
    rng, members, words = np.random.default_rng(21), entities + others, 50 * classes
    hidden = np.arange(members) % classes
    own = hidden[:, None] + classes * rng.integers(hubs // classes, size=(members, 3))  # hub h is of class h % classes
    ends = np.where(rng.random((members, 3)) < 0.8, own, rng.integers(hubs, size=(members, 3)))
    links = np.stack([np.repeat(np.arange(members), 3), members + ends.ravel()], axis=1)
    bound = classes * rng.integers(words // classes, size=(entities, 5)) + hidden[:entities, None]
    columns = np.hstack([bound, rng.integers(words, size=(entities, 15))]).ravel()
    counts = np.ones(len(columns), dtype=np.float32)
    bags = sparse.csr_matrix((counts, (np.repeat(np.arange(entities), 20), columns)), (entities, words))
    train, test = np.arange(classes), np.arange(entities - 100, entities)
    labels = np.full(members + hubs, -1)
    labels[train], labels[test] = hidden[train], hidden[test]
    return CitationGraph(
        name=NAME,
        features=with_own_features(bags, np.arange(entities), members + hubs),
        edges=undirected_edges(links, members + hubs),
        labels=labels,
        train=train,
        validation=np.empty(0, dtype=np.int64),
        test=test,
        classes=classes,
        listed_links=len(links),
        self_loops=0,
        stand_in=True,
    )
