"""A citation network of the size of Pubmed: papers of DBLP with real-valued features and four classes.
Stand-in: the block model of the other citation networks."""

import numpy as np
from scipy import sparse

from .citation import CitationGraph, block_model
from .files import path
from .graphs import undirected_edges
from .provenance import real_or_stand_in
from .safe import load_npz

NAME, CLASSES = "dblp", 4
PER_CLASS, VALIDATION, TEST = 20, 500, 1000  # nodes of each part, as in the split of the other networks


def load(seed: int = 0) -> CitationGraph:
    """Load the network, or a stand-in of 1000 nodes when the file is out of reach.

    No split is published. It is drawn from `seed`: 20 training nodes per class, then 500 for validation and 1000 for
    testing from all others. The stand-in has a fixed split.

    Raises:
        DataError: any but Unreachable.
    """
    return real_or_stand_in(NAME, lambda: _of_file(seed), lambda: block_model(NAME, classes=CLASSES))


def _of_file(seed: int) -> CitationGraph:
    arrays = load_npz(path("dblp/dblp.npz"))
    adjacency, features = arrays["adj_matrix"].item().tocoo(), arrays["node_attr"].item()
    labels = arrays["node_label"].astype(np.int64)
    train, validation, test = split(labels, seed)
    return CitationGraph(
        name=NAME,
        features=sparse.csr_matrix(features, dtype=np.float32),
        edges=undirected_edges(np.stack([adjacency.row, adjacency.col], axis=1), len(labels)),
        labels=labels,
        train=train,
        validation=validation,
        test=test,
        classes=CLASSES,
        listed_links=adjacency.nnz // 2,
        self_loops=int((adjacency.row == adjacency.col).sum()),
        stand_in=False,
    )


def split(labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training, validation and test nodes, each part sorted: PER_CLASS of each class, then VALIDATION, then TEST."""
    order = np.random.default_rng(seed).permutation(len(labels))
    train = np.concatenate([order[labels[order] == label][:PER_CLASS] for label in np.unique(labels)])
    rest = order[~np.isin(order, train)]
    return np.sort(train), np.sort(rest[:VALIDATION]), np.sort(rest[VALIDATION : VALIDATION + TEST])
