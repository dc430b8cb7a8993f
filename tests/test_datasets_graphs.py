"""Lists of edges in all the forms they come in; NELL and DBLP, real and as stand-ins."""

import io
import os
import pickle
import zipfile

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils import datasets
from utils.datasets import citation, dblp, errors, nell, safe
from utils.datasets.graphs import undirected_edges

pytestmark = pytest.mark.usefixtures("empty_cache")
needs_mirror = pytest.mark.skipif(not os.environ.get("WALKTHROUGHS_MIRROR"), reason="WALKTHROUGHS_MIRROR is not set")


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=40))
def test_edges_are_those_of_the_set_of_pairs(pairs):
    edges = undirected_edges(pairs, 10)
    assert edges.dtype == np.int64 and edges.shape == (len(edges), 2)
    assert list(map(tuple, edges.tolist())) == sorted({(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]})


def test_both_directions_repeats_loops_and_whole_floats_do_no_harm():
    listed = np.array([[0, 1], [1, 0], [2, 1], [2, 2], [1, 2]])
    for form in (listed, listed.tolist(), listed.astype(np.int32), listed.astype(np.uint8), listed.astype(float)):
        assert undirected_edges(form, 3).tolist() == [[0, 1], [1, 2]]
    assert undirected_edges([], 3).shape == undirected_edges(np.empty((2, 0)), 3).shape == (0, 2)
    assert undirected_edges([[2, 2]], 3).shape == (0, 2)


def test_ids_near_the_largest_number_of_nodes_are_kept():
    nodes = 3_000_000_000
    assert undirected_edges([[nodes - 1, nodes - 2]], nodes).tolist() == [[nodes - 2, nodes - 1]]


@pytest.mark.parametrize(
    ("edges", "words"),
    [
        (np.zeros((2, 5), dtype=int), r"\(2, 5\)"),  # the other way round
        ([[0, 1, 1]], r"\(1, 3\)"),  # with a weight
        ([0, 1], r"\(2,\)"),
        ([[0, 3]], "from 0 to 3, expected 0 to 2"),
        ([[-1, 2]], "from -1 to 2"),
        ([[0.5, 1]], "whole numbers"),
        ([[np.nan, 1]], "whole numbers"),
        ([["a", "b"]], "whole numbers"),
        ([[True, False]], "whole numbers"),
    ],
)
def test_what_is_no_list_of_edges_is_refused(edges, words):
    with pytest.raises(ValueError, match=words):
        undirected_edges(edges, 3)


def sound(graph: citation.CitationGraph) -> None:
    """What holds for both graphs, real or not."""
    nodes = len(graph.labels)
    assert graph.features.format == "csr" and graph.features.dtype == np.float32 and graph.features.shape[0] == nodes
    assert np.array_equal(graph.edges, undirected_edges(graph.edges, nodes)) and graph.edges.dtype == np.int64
    split = np.concatenate([graph.train, graph.validation, graph.test])
    assert split.dtype == graph.labels.dtype == np.int64
    assert len(np.unique(split)) == len(split) and (graph.labels[split] >= 0).all() and split.max() < nodes
    assert set(graph.labels[graph.test]) <= set(graph.labels[graph.train])


def is_of_nell(graph: citation.CitationGraph, entities: int, words: int, hubs: int) -> None:
    """One node per class, own features after the words, and hubs at one end of every edge."""
    sound(graph)
    assert len(set(graph.labels[graph.train])) == len(graph.train) and len(graph.validation) == 0
    own = graph.features[:, words:]
    bearers = np.flatnonzero(own.getnnz(axis=1))
    assert own.shape[1] == len(bearers) == len(graph.labels) - entities and set(own.data) == {1.0}
    assert (own.getnnz(axis=0) == 1).all() and (graph.features[bearers, :words].nnz, own.nnz) == (0, len(bearers))
    assert not np.isin(bearers, np.concatenate([graph.train, graph.test])).any()
    network = nx.Graph(graph.edges.tolist())
    parts = [network.subgraph(part) for part in nx.connected_components(network)]
    assert sum(min(map(len, nx.bipartite.sets(part))) for part in parts) == hubs


@needs_mirror
def test_the_real_knowledge_graph_has_the_counts_of_the_card():
    graph = nell.load()
    is_of_nell(graph, entities=9891, words=5414, hubs=830)
    assert datasets.loaded["nell"] == "real" and not graph.stand_in
    assert (len(graph.labels), len(graph.edges), graph.listed_links, graph.self_loops) == (65755, 125775, 266144, 0)
    assert graph.features.shape == (65755, 61278) and graph.classes == 210
    assert (len(graph.train), len(graph.test), len(set(graph.labels[graph.test]))) == (105, 969, 94)
    rows = safe.load_pickle(datasets.path("nell/ind.nell.0.001.tx"))
    index = np.array(datasets.read_text(datasets.path("nell/ind.nell.0.001.test.index")).split(), dtype=int)
    assert (graph.features[index, :5414] != rows).nnz == 0


@needs_mirror
def test_the_real_network_of_dblp_has_the_counts_of_the_card():
    graph = dblp.load()
    sound(graph)
    assert datasets.loaded["dblp"] == "real" and not graph.stand_in
    assert (len(graph.labels), len(graph.edges), graph.listed_links, graph.self_loops) == (17716, 52867, 52867, 0)
    assert graph.features.shape == (17716, 1639) and graph.features.nnz == 92192
    assert (graph.features.getnnz(axis=1) == 0).sum() == 64
    assert np.bincount(graph.labels).tolist() == [7920, 5645, 1982, 2169] and graph.classes == 4
    assert (graph.labels[graph.edges[:, 0]] == graph.labels[graph.edges[:, 1]]).mean() == pytest.approx(0.828, abs=5e-4)
    assert not np.array_equal(dblp.load(seed=1).train, graph.train)


def test_a_split_is_that_of_its_seed_and_balanced():
    labels = np.arange(3000) ** 2 % 7 % 4
    one, same, other = (dblp.split(labels, seed) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not np.array_equal(one[0], other[0])
    assert [len(part) for part in one] == [20 * len(set(labels)), 500, 1000]
    assert set(np.bincount(labels[one[0]])) <= {0, 20} and len(np.unique(np.concatenate(one))) == sum(map(len, one))


@pytest.mark.parametrize("module", [nell, dblp])
def test_the_stand_ins_are_announced_and_always_the_same(module, offline, capsys):
    one, two = module.load(), module.load()
    sound(one)
    assert one.stand_in and one.name == module.NAME and module.NAME in datasets.stand_ins
    assert (one.features != two.features).nnz == 0 and np.array_equal(one.edges, two.edges)
    assert f"STAND-IN DATA for {module.NAME}" in capsys.readouterr().out
    assert "stand-in" in datasets.card(module.NAME).facts


def test_the_stand_in_of_the_knowledge_graph_has_hubs():
    graph = nell.hubs_and_entities()
    is_of_nell(graph, entities=300, words=500, hubs=60)
    assert (graph.edges[:, 0] < 840).all() and (graph.edges[:, 1] >= 840).all()


def npz(path, **arrays) -> None:
    """Write arrays as .npz, arrays of objects as pickles."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array)
            archive.writestr(f"{name}.npy", content.getvalue())


class Payload:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def test_an_npz_is_read_and_its_pickles_do_not_run(tmp_path):
    strokes = np.empty(2, dtype=object)
    strokes[:] = [np.array([[1, 2, 0]], dtype=np.int16), np.array([[3, 4, 1], [5, 6, 1]], dtype=np.int16)]
    npz(tmp_path / "good.npz", numbers=np.arange(6.0).reshape(2, 3), strokes=strokes)
    found = safe.load_npz(tmp_path / "good.npz")
    assert found["numbers"].tolist() == [[0, 1, 2], [3, 4, 5]] and list(found) == ["numbers", "strokes"]
    assert [stroke.tolist() for stroke in found["strokes"]] == [[[1, 2, 0]], [[3, 4, 1], [5, 6, 1]]]
    npz(tmp_path / "bad.npz", bad=np.array([Payload(tmp_path / "mark")], dtype=object))
    with pytest.raises(errors.UnsafePickle, match="system"):
        safe.load_npz(tmp_path / "bad.npz")
    assert not (tmp_path / "mark").exists()
    for content in (b"no archive", (tmp_path / "good.npz").read_bytes()[:-30]):
        (tmp_path / "cut.npz").write_bytes(content)
        with pytest.raises(errors.BadFile, match="not a complete .npz"):
            safe.load_npz(tmp_path / "cut.npz")
    with zipfile.ZipFile(tmp_path / "odd.npz", "w") as archive:
        archive.writestr("a.npy", b"no array")
        archive.writestr("b.npy", pickle.dumps([1]))
    with pytest.raises(errors.BadFile, match="not a complete .npz"):
        safe.load_npz(tmp_path / "odd.npz")
