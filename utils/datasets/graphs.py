"""Lists of edges brought into one form: what a list may look like, and what it may not."""

from __future__ import annotations

from typing import Any

import numpy as np


def undirected_edges(edges: Any, nodes: int) -> np.ndarray:
    """The distinct edges of an undirected graph: (edges, 2), int64, the smaller node first, no self-loops, sorted.

    Args:
        edges: pairs of node ids, (edges, 2). Repeated pairs, both directions of a pair and self-loops do no harm.
        nodes: how many nodes the graph has; ids run from 0.

    Raises:
        ValueError: another shape (a list of (2, edges), a column of weights), ids that are not whole numbers, or
            that are not from 0 to nodes - 1.
    """
    given = np.asarray(edges)
    if given.size == 0:
        return np.empty((0, 2), dtype=np.int64)
    if given.ndim != 2 or given.shape[1] != 2:
        raise ValueError(f"edges have the shape {given.shape}, expected (edges, 2): one pair of node ids in each row")
    whole = np.issubdtype(given.dtype, np.integer)
    if not whole and not (np.issubdtype(given.dtype, np.floating) and np.array_equal(given, np.round(given))):
        raise ValueError("ids of nodes must be whole numbers")
    if given.min() < 0 or given.max() >= nodes:
        raise ValueError(f"ids of nodes run from {given.min():g} to {given.max():g}, expected 0 to {nodes - 1}")
    ends = given.astype(np.int64)
    low, high = ends.min(axis=1), ends.max(axis=1)
    numbers = np.unique((low * nodes + high)[low < high])  # one number for each pair: much faster than unique rows
    return np.stack(np.divmod(numbers, nodes), axis=1)
