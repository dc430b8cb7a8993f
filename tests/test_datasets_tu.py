"""The loader of small graphs and its stand-in; real files are read from the mirror folder only."""

import os
import zipfile

import numpy as np
import pytest

from utils import datasets
from utils.datasets import tu

pytestmark = pytest.mark.usefixtures("empty_cache")
needs_mirror = pytest.mark.skipif(not os.environ.get("WALKTHROUGHS_MIRROR"), reason="WALKTHROUGHS_MIRROR is not set")


def sound(graphs: tu.TUGraphs) -> None:
    """What holds for a set of graphs, real or not."""
    u, v = graphs.edges.T
    nodes, graph = len(graphs.graph_indicator), graphs.graph_indicator
    assert (u < v).all() and u.min() >= 0 and v.max() < nodes and (graph[u] == graph[v]).all()
    assert len(np.unique(graphs.edges, axis=0)) == len(graphs.edges)
    assert (np.diff(graph) >= 0).all() and len(np.unique(graph)) == len(graphs.graph_labels) == graph[-1] + 1
    for labels in (graphs.graph_labels, graphs.node_labels):
        assert labels is None or set(labels) == set(range(labels.max() + 1))


@needs_mirror
@pytest.mark.parametrize(
    ("name", "graphs", "nodes", "edges", "classes", "tags"),
    [
        ("ENZYMES", 600, 32.63, 62.14, [100] * 6, 3),
        ("PROTEINS", 1113, 39.06, 72.82, [663, 450], 3),
        ("REDDIT-BINARY", 2000, 429.63, 497.75, [1000, 1000], 0),
    ],
)
def test_the_real_graphs_have_the_counts_of_the_card(name, graphs, nodes, edges, classes, tags):
    found = tu.load(name)
    sound(found)
    assert not found.stand_in and datasets.loaded[name] == "real"
    assert len(found.graph_labels) == graphs and np.bincount(found.graph_labels).tolist() == classes
    assert round(len(found.graph_indicator) / graphs, 2) == nodes and round(len(found.edges) / graphs, 2) == edges
    assert (tags or None) == (None if found.node_labels is None else found.node_labels.max() + 1)
    assert found.self_loops == 0
    assert (found.node_attributes is None) == (name != "ENZYMES")


def test_a_graph_list_is_read_with_local_ids_loops_and_repeats(tmp_path, monkeypatch):
    text = "2\n3 1\n4 2 1 2\n4 1 0\n9 2 0 2\n2 7\n9 1 1\n4 2 0 0\n"
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("DD/DD.txt", text)
    monkeypatch.setattr(tu, "path", lambda _: tmp_path / "x.zip")
    found = tu.load("DD")
    sound(found)
    assert found.edges.tolist() == [[0, 1], [0, 2], [3, 4]] and found.self_loops == 1
    assert found.node_labels.tolist() == [0, 0, 1, 1, 0] and found.graph_labels.tolist() == [0, 1]
    monkeypatch.setattr(tu, "TAGGED", {"DD": False})
    assert tu.load("DD").node_labels is None


@pytest.mark.parametrize("name", list(tu.TAGGED))
def test_the_stand_in_is_announced_and_always_the_same(name, offline, capsys):
    one, two = tu.load(name), tu.load(name)
    sound(one)
    assert one.stand_in and name in datasets.stand_ins and (one.edges == two.edges).all()
    assert f"STAND-IN DATA for {name}" in capsys.readouterr().out
    assert "stand-in" in datasets.card(name).facts


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(datasets.DataError, match="ENZYMES"):
        tu.load("ENZYME")


ARCS, GRAPH, LABELS = np.array([[0, 1], [2, 3]]), np.array([0, 0, 1, 1]), np.array([0, 1])


@pytest.mark.parametrize(
    ("arcs", "graph", "tags", "attributes", "labels", "fault"),
    [
        (ARCS, GRAPH, GRAPH[:3], None, LABELS, "3 labels for 4 nodes"),
        (ARCS, GRAPH, GRAPH, np.full((4, 2), np.nan), LABELS, "an attribute is not a number"),
        (ARCS, GRAPH, GRAPH, np.zeros((3, 2)), LABELS, "3 rows of attributes for 4 nodes"),
        (ARCS, GRAPH, GRAPH, None, LABELS[:1], "1 labels of graphs for 2 graphs"),
        (ARCS, GRAPH[::-1], GRAPH, None, LABELS, "do not stand together"),
        (ARCS + 1, GRAPH, GRAPH, None, LABELS, "ends at no node"),
        (ARCS - 1, GRAPH, GRAPH, None, LABELS, "ends at no node"),
        (np.array([[1, 2]]), GRAPH, GRAPH, None, LABELS, "joins two graphs"),
    ],
)
def test_parts_that_do_not_fit_are_refused(arcs, graph, tags, attributes, labels, fault):
    with pytest.raises(datasets.DataError, match=f"do not fit: .*{fault}"):
        tu.checked("ENZYMES", arcs, graph, tags, attributes, labels)
