"""The citation loaders, their stand-ins and the pickles they read; the registry and the cards.
Real files are read from the mirror folder only, and the tests that need it are skipped without one."""

import os
import pickle
import re

import numpy as np
import pytest
import yaml

from utils import datasets
from utils.datasets import citation, errors, files, safe
from utils.datasets.registry import GRAPHS, ROOT, registry

pytestmark = pytest.mark.usefixtures("empty_cache")
needs_mirror = pytest.mark.skipif(not os.environ.get("WALKTHROUGHS_MIRROR"), reason="WALKTHROUGHS_MIRROR is not set")
ARRAYS = ("edges", "labels", "train", "validation", "test")


def sound(graph: citation.CitationGraph) -> None:
    """What holds for every citation graph, real or not."""
    nodes = len(graph.labels)
    assert graph.features.format == "csr" and graph.features.dtype == np.float32
    assert graph.features.shape[0] == nodes
    assert all(getattr(graph, name).dtype == np.int64 for name in ARRAYS)
    assert (graph.edges[:, 0] < graph.edges[:, 1]).all() and graph.edges.min() >= 0 and graph.edges.max() < nodes
    assert len(np.unique(graph.edges, axis=0)) == len(graph.edges)
    split = np.concatenate([graph.train, graph.validation, graph.test])
    assert len(np.unique(split)) == len(split) and split.max() < nodes
    assert (np.bincount(graph.labels[graph.train], minlength=graph.classes) == 20).all()
    assert set(graph.labels) - {-1} == set(range(graph.classes))
    assert len(set(graph.labels[graph.test])) == graph.classes and (graph.labels[split] >= 0).all()


@needs_mirror
@pytest.mark.parametrize(
    ("name", "nodes", "edges", "listed", "loops", "words", "classes", "isolated"),
    [("cora", 2708, 5278, 5429, 0, 1433, 7, 0), ("citeseer", 3327, 4552, 4732, 124, 3703, 6, 48)],
)
def test_counts_of_the_real_graphs(name, nodes, edges, listed, loops, words, classes, isolated):
    graph = citation.load(name)
    sound(graph)
    assert (len(graph.labels), len(graph.edges), graph.listed_links, graph.self_loops) == (
        nodes,
        edges,
        listed,
        loops,
    )
    assert graph.features.shape == (nodes, words) and graph.classes == classes and not graph.stand_in
    assert (len(graph.train), len(graph.validation), len(graph.test)) == (20 * classes, 500, 1000)
    assert nodes - len(np.unique(graph.edges)) == isolated
    assert set(graph.features.data) == {1.0}
    assert datasets.loaded[name] == "real" and name not in datasets.stand_ins
    assert not any((files.cache_folder()).rglob("*"))


@needs_mirror
def test_rows_of_tx_are_put_where_test_index_says():
    """Linked papers share the label far more often than others only if labels are placed rightly too."""
    graph = citation.load("cora")
    labels, in_test = graph.labels[graph.edges], np.isin(graph.edges, graph.test).any(axis=1)
    assert (labels[:, 0] == labels[:, 1])[in_test].mean() > 0.75
    index = np.array([int(line) for line in files.path("planetoid/ind.cora.test.index").read_text().split()])
    assert (np.diff(index) < 0).any(), "the index is sorted: the next line would show nothing"
    rows = safe.load_pickle(files.path("planetoid/ind.cora.tx"))
    assert (graph.features[index] != rows).nnz == 0


@needs_mirror
def test_citeseer_gaps_have_neither_features_nor_label():
    graph = citation.load("citeseer")
    gaps = np.flatnonzero(graph.labels < 0)
    assert len(gaps) == 15 and graph.features[gaps].nnz == 0
    assert np.isin(gaps, graph.edges).all(), "the gaps have links; the 48 isolated nodes are others"


@needs_mirror
def test_karate_club_is_that_of_networkx():
    import networkx

    club = citation.karate_club()
    assert club.edges.shape == (78, 2) and not club.stand_in
    assert {tuple(edge) for edge in club.edges} == {tuple(sorted(edge)) for edge in networkx.karate_club_graph().edges}
    assert club.clusters.shape == (34,) and set(club.clusters) == {0, 1, 2, 3}
    assert club.clusters[[6, 4, 0, 2, 8]].tolist() == [0, 0, 1, 2, 3]  # members 7, 5, 1, 3, 9 of the file


@pytest.mark.parametrize("name", sorted(citation.CLASSES))
def test_stand_ins_are_sound_announced_and_the_same_each_time(name, offline, capsys):
    first = citation.load(name)
    banner = capsys.readouterr().out
    second = citation.load(name)
    sound(first)
    assert first.stand_in and first.classes == citation.CLASSES[name]
    assert all(np.array_equal(getattr(first, part), getattr(second, part)) for part in ARRAYS)
    assert (first.features != second.features).nnz == 0 and set(first.features.data) == {1.0}
    assert banner.startswith(f"STAND-IN DATA for {name}: ") and banner == capsys.readouterr().out
    assert str(files.cache_folder()) not in banner and str(ROOT) not in banner
    assert datasets.loaded[name] == "stand-in" and name in datasets.stand_ins
    assert "stand-in" in str(datasets.card(name)) and "generated data" in datasets.card(name)._repr_html_()
    same = first.labels[first.edges]
    assert (same[:, 0] == same[:, 1]).mean() > 0.7


def test_karate_club_stand_in(offline):
    club = citation.karate_club()
    assert club.stand_in and club.edges.shape == (78, 2) and club.clusters.shape == (34,)
    assert datasets.loaded["karate-club"] == "stand-in" and not datasets.within_reach("karate-club")


def test_only_unreachable_leads_to_a_stand_in(monkeypatch):
    for error in (errors.BadFile, errors.NotFound, errors.UnsafePickle, errors.CacheNotWritable):

        def fail(name, error=error):
            raise error(name, "what", "where", "advice")

        monkeypatch.setattr(citation, "path", fail)
        with pytest.raises(error):
            citation.load("cora")
    assert datasets.stand_ins == set() and datasets.loaded == {}


def test_unknown_graph():
    with pytest.raises(errors.UnknownName, match="did you mean pubmed"):
        citation.load("pubmad")


class Payload:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_names_a_forbidden_function_does_not_run(tmp_path, protocol):
    mark = tmp_path / "mark"
    for payload, named in [(Payload(os.system, f"touch {mark}"), "system"), (Payload(eval, "1"), "eval")]:
        (tmp_path / "bad.pkl").write_bytes(pickle.dumps([payload], protocol))
        with pytest.raises(errors.UnsafePickle, match=named):
            safe.load_pickle(tmp_path / "bad.pkl")
    assert not mark.exists()
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps([1, 2, 3], protocol)[:-1])
    with pytest.raises(errors.BadFile, match="not a complete pickle"):
        safe.load_pickle(tmp_path / "bad.pkl")


def test_errors_cross_process_borders():
    error = pickle.loads(pickle.dumps(errors.NotFound("name", "what", "where", "advice")))
    assert str(error) == "name: what\n  where: where\n  what to do: advice" and error.name == "name"


def test_registry_is_consistent():
    lines = (ROOT / "data" / "registry.csv").read_text().splitlines()
    assert len(lines) - 1 == len(registry()), "names are not unique"
    for row in registry().values():
        assert row.name.startswith(f"{row.dataset}/") and ".." not in row.name, row
        assert re.fullmatch(r"https?://[^\s]+", row.address) and row.licence and row.content in ("plain", "gzip"), row
        assert re.fullmatch(r"([0-9a-f]{64})?", row.sha256) and re.fullmatch(r"([0-9a-f]{40})?", row.git_blob), row
        assert not row.sha256 or row.bytes, row
        assert row.content == "plain" or row.sha256, row
    assert all(len(files.files(name)) == 8 for name in GRAPHS)
    assert {"aol-query-log", "wangfeng-lyrics"}.isdisjoint(row.dataset for row in registry().values())


def test_every_card_of_a_set_says_that_it_was_loaded_as_a_stand_in(monkeypatch):
    cards = yaml.safe_load((ROOT / "data" / "cards.yml").read_text(encoding="utf-8"))
    for name, facts in cards.items():
        for loaded in {name, facts["dataset"]} - {"none"}:
            monkeypatch.setattr("utils.datasets.cards.stand_ins", {loaded})
            assert list(datasets.card(name).facts)[0] == "stand-in", (name, loaded)
        monkeypatch.setattr("utils.datasets.cards.stand_ins", {"another", "none"} - {name})
        assert "stand-in" not in datasets.card(name).facts, name


def test_cards_are_complete_and_shown_the_same_each_time():
    cards = yaml.safe_load((ROOT / "data" / "cards.yml").read_text(encoding="utf-8"))
    sets = {row.dataset for row in registry().values()}
    for name, facts in cards.items():
        assert list(facts) == ["title", "dataset", "origin", "licence", "splits", "counts", "caveats"], name
        if facts["dataset"] == "none":  # no file to fetch, and the card says why
            assert "simulated by design" in facts["origin"], name
        else:
            assert facts["dataset"] in sets and files.files(facts["dataset"]), name
        assert str(datasets.card(name)).startswith(facts["title"] + "\n  origin: ")
    shown = datasets.card("DD")._repr_html_()
    assert shown == datasets.card("DD")._repr_html_()
    assert 'class="dataset-card"' in shown and "D&amp;D" in shown
