"""The definitions of the chapter on graph auto-encoders against references, properties and bad input."""

from __future__ import annotations

import dataclasses
import math
import pickle
import warnings

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from utils.datasets import citation
from utils.records import sources
from utils.tools import definitions, exercises

GAE = definitions.of_chapter("gae")


def random_edges(nodes, count, seed=0):
    return np.sort(np.array(nx.gnm_random_graph(nodes, count, seed=seed).edges), 1)


@given(st.integers(3, 40), st.integers(1, 8), st.integers(1, 50), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_blocks_give_the_gradient_of_the_dense_formula(nodes, latent, block, seed):
    torch.manual_seed(seed)
    codes = torch.randn(nodes, latent, dtype=torch.double, requires_grad=True)
    (expected,) = torch.autograd.grad(F.softplus(codes @ codes.T).sum(), codes)
    torch.testing.assert_close(GAE["pair_gradient"](codes.detach(), block), expected)


@pytest.mark.parametrize("weighted", [True, False])
def test_both_losses_are_the_formula(weighted):
    torch.manual_seed(0)
    edges, codes = random_edges(30, 60), torch.randn(30, 4, dtype=torch.double, requires_grad=True)
    target = torch.eye(30, dtype=torch.double)
    target[edges[:, 0], edges[:, 1]] = target[edges[:, 1], edges[:, 0]] = 1
    logits, ones = codes @ codes.T, target.sum()
    weight, scale = ((900 - ones) / ones, 900 / (2 * (900 - ones))) if weighted else (1, 1)
    formula = scale / 900 * (weight * target * F.softplus(-logits) + (1 - target) * F.softplus(logits)).sum()
    dense = GAE["DenseLoss"](edges, 30, weighted)(codes)
    torch.testing.assert_close(dense.double(), formula, rtol=1e-6, atol=1e-6)
    (expected,) = torch.autograd.grad(formula, codes)
    for kind in ("DenseLoss", "BlockedLoss"):
        (found,) = torch.autograd.grad(GAE[kind](edges, 30, weighted)(codes), codes)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_the_divergence_is_that_of_torch_and_zero_at_the_prior():
    mean, log_sigma = torch.randn(7, 3), torch.randn(7, 3)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, log_sigma.exp()), normal(0, 1)).sum(1)
    torch.testing.assert_close(GAE["kl_divergence"](mean, log_sigma), expected)
    assert GAE["kl_divergence"](torch.zeros(2, 3), torch.zeros(2, 3)).tolist() == [0, 0]


def test_the_variational_objective_adds_noise_and_a_divergence():
    torch.manual_seed(0)
    mean, log_sigma, seen = torch.randn(2000, 3), torch.full((2000, 3), math.log(0.5)), []
    values = [
        GAE["variational"](lambda codes: seen.append(codes) or torch.ones(()), mean, log_sigma, divergence)
        for divergence in (0.0, 1.0, 3.0)
    ]
    assert values[0] == 1
    expected = GAE["kl_divergence"](mean, log_sigma).sum() / 2000**2
    torch.testing.assert_close(values[1] - 1, expected, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(values[2] - 1, 3 * expected, rtol=1e-3, atol=1e-6)
    noise = torch.stack(seen) - mean
    assert abs(noise.std().item() - 0.5) < 0.02 and abs(noise.mean().item()) < 0.02


@pytest.mark.parametrize("form", ["Encoder", "FastEncoder"])
def test_the_encoder_against_dense_algebra_with_an_isolated_node(form):
    torch.manual_seed(0)
    edges = np.array([[0, 1], [1, 2], [2, 3], [0, 3], [4, 5], [6, 7], [8, 9], [9, 10]])  # node 11 has none
    words = sp.random(12, 5, 0.4, format="csr", dtype=np.float32, random_state=0)
    a_hat, x, encoder = GAE["normalised_adjacency"](edges, 12), GAE["sparse_tensor"](words), GAE[form](5, 3)
    dense, inputs = a_hat.to_dense(), torch.from_numpy(words.toarray())
    if form == "FastEncoder":
        a_hat, x = GAE["Constant"](a_hat), GAE["Constant"](x)
    hidden = (dense @ inputs @ encoder.first.weight).relu()
    expected = [dense @ hidden @ layer.weight for layer in (encoder.mean, encoder.log_sigma)]
    found = encoder(a_hat, x)
    gradients = [
        torch.autograd.grad(sum(part.square().sum() for part in parts), list(encoder.parameters()))
        for parts in (found, expected)
    ]
    for ours, theirs in zip([*found, *gradients[0]], [*expected, *gradients[1]], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_a_constant_matrix_need_not_be_symmetric():
    matrix, states = torch.randn(5, 7).relu(), torch.randn(7, 2, requires_grad=True)
    product = GAE["Constant"](matrix.to_sparse()) @ states
    torch.testing.assert_close(product, matrix @ states)
    (found,) = torch.autograd.grad((product * torch.arange(10.0).view(5, 2)).sum(), states)
    torch.testing.assert_close(found, matrix.T @ torch.arange(10.0).view(5, 2))


@given(st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_a_split_is_disjoint_and_its_non_edges_are_none(seed):
    edges = random_edges(60, 200)
    train, validation, test = GAE["split_edges"](edges, 60, seed)
    parts = [set(map(tuple, part.tolist())) for part in (train, *validation, *test)]
    assert [len(part) for part in parts] == [170, 10, 10, 20, 20]
    every = set(map(tuple, edges.tolist()))
    assert parts[0] | parts[1] | parts[3] == every
    assert not (parts[2] | parts[4]) & every
    assert all(u < v for u, v in parts[2] | parts[4])


def test_the_released_split_can_leak_and_the_mended_one_cannot():
    edges = random_edges(20, 120)  # 190 pairs: most non-edges of the released code are test edges
    leaks = {released: 0 for released in (True, False)}
    for released in leaks:
        for seed in range(20):
            _, (_, non_edges), (hidden, _) = GAE["split_edges"](edges, 20, seed, released)
            leaks[released] += len(set(map(tuple, non_edges.tolist())) & set(map(tuple, hidden.tolist())))
    assert leaks[True] > 0 and leaks[False] == 0


def test_too_few_pairs_without_an_edge_are_an_error_and_no_endless_search():
    complete = np.array([(u, v) for u in range(5) for v in range(u + 1, 5)])
    with pytest.raises(ValueError, match="more than the graph has"):
        GAE["draw_non_edges"](1, complete, 5, np.random.default_rng(0))


def test_scores_are_percentages_of_a_ranking():
    codes = np.array([[1.0, 0], [1, 0], [0, 1], [0, -1]])
    part = np.array([[0, 1]]), np.array([[2, 3]])
    assert GAE["scores"](codes, part) == [100.0, 100.0]
    assert GAE["scores"](codes, part[::-1])[0] == 0.0


def test_walks_follow_edges_and_start_everywhere():
    edges = np.array([[0, 1], [1, 2], [2, 3], [0, 3], [5, 6]])  # node 4 has none
    walks = GAE["random_walks"](edges, 7, np.random.default_rng(0), 50, 8)
    assert walks.shape == (300, 8)
    np.testing.assert_array_equal(np.bincount(walks[:, 0], minlength=7), [50, 50, 50, 50, 0, 50, 50])
    steps = np.unique(np.stack([walks[:, :-1].ravel(), walks[:, 1:].ravel()], 1), axis=0)
    np.testing.assert_array_equal(steps, np.unique(np.concatenate([edges, edges[:, ::-1]]), axis=0))
    after_zero = walks[:, 1:][walks[:, :-1] == 0]
    assert 0.4 < np.mean(after_zero == 1) < 0.6


def test_walks_embed_two_cliques_apart_and_leave_a_lonely_node_near_zero():
    cliques = [(a + s, b + s) for s in (0, 6) for a in range(6) for b in range(a + 1, 6)]
    codes = GAE["deepwalk"](np.array(cliques), 13, 0, 3, 8, count=300, length=10)
    products = codes @ codes.T
    assert products[:6, :6].mean() > products[:6, 6:12].mean() + 0.1
    assert np.linalg.norm(codes[12]) < 0.3
    np.testing.assert_array_equal(codes, GAE["deepwalk"](np.array(cliques), 13, 0, 3, 8, count=300, length=10))


def test_drawn_graphs_have_the_expected_edges():
    torch.manual_seed(0)
    codes = torch.randn(400, 3)
    shift = GAE["shift_for"](codes, 800)
    matrix = GAE["draw_graph"](codes, shift)
    assert (matrix == matrix.T).all() and not matrix.diagonal().any() and set(matrix.unique().tolist()) == {0, 1}
    assert abs(GAE["shape_of"](matrix)[0] - 0.8) < 0.15
    assert abs(GAE["shape_of"](GAE["draw_graph"](torch.zeros(400, 1)))[0] - 39.9) < 0.6  # half of all pairs


def test_the_shape_of_a_graph_is_that_of_networkx():
    graph = nx.gnm_random_graph(40, 150, seed=1)
    edges, triangles, largest = GAE["shape_of"](torch.from_numpy(nx.to_numpy_array(graph)).float())
    assert round(1000 * edges) == 150
    assert round(1000 * triangles) == sum(nx.triangles(graph).values()) / 3
    assert largest == max(degree for _, degree in graph.degree)


@pytest.mark.parametrize("words", ["raw", "scaled", "none", "dealt", "scaled dealt", "rare"])
def test_features_are_those_asked_for(words):
    graph = citation.block_model("cora", nodes=200)
    found, given = GAE["features"](graph, words).to_dense().numpy(), graph.features.toarray()
    if "scaled" in words:
        np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    if words == "none":
        np.testing.assert_array_equal(found, np.eye(200))
    elif words == "raw":
        np.testing.assert_array_equal(found, given)
    elif words == "rare":
        np.testing.assert_allclose(found, given * np.log(200 / given.sum(0).clip(1)), rtol=1e-5)
    elif words == "dealt":
        assert (found != given).any()
        np.testing.assert_array_equal(*(np.sort(rows, 0) for rows in (found, given)))


ASKED = []


def trial(name, setting, seed):
    ASKED.append((setting, seed))
    return {"a": (60.0, 90.0, 90.0), "b": (70.0, 50.0, 40.0)}[setting]


def test_rivals_are_chosen_on_validation_links_of_other_splits():
    ASKED.clear()
    best, found = GAE["tuned"](trial, "cora", choices=["a", "b"], count=3)
    assert best == "b"
    np.testing.assert_array_equal(found, [[50, 40]] * 3)
    assert ASKED[-3:] == [("b", seed) for seed in range(3)]
    assert {seed for _, seed in ASKED[:-3]} == {1000, 1001}


def test_a_tuned_run_stops_by_validation_links_and_mixing_uses_training_edges_only():
    chapter, graph = definitions.of_chapter("gae"), citation.block_model("cora", nodes=300)
    words, told, modes = graph.features.toarray(), [], []

    class Told(torch.nn.Module):
        """Gives useless codes, then good ones, where it is judged, and noise in training."""

        def __init__(self, *sizes):
            super().__init__()
            self.left = [np.eye(300, dtype=np.float32), words]
            told.append(sizes)

        def forward(self, a_hat, x):
            return (torch.randn(300, 4) if self.training else torch.from_numpy(self.left.pop(0)),)

    def stub(encoder, a_hat, x, loss, epochs, objective, watch):
        told.append((epochs, objective))
        for _ in range(2):
            watch(None)
            modes.append(encoder.training)

    chapter.update(graphs={"cora": graph}, settings={"tuned_epochs": 31}, DEVICE="cpu", train=stub)
    train, validation, test = chapter["split_edges"](graph.edges, 300, 5)
    found = chapter["tuned_run"]("cora", Told, "raw", chapter["plain"], ("raw", 0.5), 5)
    assert told == [(words.shape[1], 32, 0.5), (31, chapter["plain"])] and modes == [True, True]
    forms = [
        chapter["scores"](codes, validation) + chapter["scores"](codes, test)
        for codes in (words, chapter["unit"](words))
    ]
    best = max(forms, key=lambda form: form[0])
    assert found == (best[0], *best[2:]) and best[0] > 55
    dense = chapter["normalised_adjacency"](train, 300).to_dense().numpy()
    found = chapter["mixed_run"]("cora", (2, False, False, None), 5)
    np.testing.assert_allclose(found[1:], chapter["scores"](dense @ dense @ words, test), atol=0.5)


def test_dropout_is_on_the_hidden_layer_and_in_training_only():
    torch.manual_seed(0)
    edges, words = random_edges(40, 90), sp.random(40, 30, 0.3, format="csr", dtype=np.float32, random_state=0)
    inputs = [GAE["Constant"](m) for m in (GAE["normalised_adjacency"](edges, 40), GAE["sparse_tensor"](words))]
    encoder = GAE["DropoutEncoder"](30, 4, 0.5)
    whole = GAE["FastEncoder"].forward(encoder, *inputs)
    noisy = [encoder(*inputs)[0] for _ in range(800)]
    assert (noisy[0] - noisy[1]).abs().max() > 0.01
    torch.testing.assert_close(torch.stack(noisy).mean(0), whole[0], atol=0.12, rtol=0)
    for ours, theirs in zip(encoder.eval()(*inputs), whole, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("damping", [None, "rare", 0.4])
def test_paths_between_two_papers_are_counted_as_networkx_does(damping):
    chapter, made = definitions.of_chapter("gae"), citation.block_model("cora", nodes=200)
    chapter.update(graphs={"cora": made}, DEVICE="cpu")
    train, *parts = chapter["split_edges"](made.edges, 200, 4)
    graph = nx.Graph(train.tolist())
    graph.add_nodes_from(range(200))
    if damping == 0.4:
        adjacency = nx.to_numpy_array(graph, nodelist=range(200))
        step = 0.4 / max(np.linalg.eigvalsh(adjacency)) * adjacency
        table = sum(np.linalg.matrix_power(step, n) for n in range(40))
        found = [[table[u, v] for u, v in pairs] for part in parts for pairs in part]
    elif damping:
        found = [[p for *_, p in nx.adamic_adar_index(graph, pairs.tolist())] for part in parts for pairs in part]
    else:
        shared = [[nx.common_neighbors(graph, u, v) for u, v in pairs] for part in parts for pairs in part]
        found = [[len(list(nodes)) for nodes in pairs] for pairs in shared]
    expected = []
    for ones, zeros in (found[:2], found[2:]):
        wanted = [1] * len(ones) + [0] * len(zeros)
        expected += [
            100 * score(wanted, np.round(ones + zeros, 9)) for score in (roc_auc_score, average_precision_score)
        ]
    np.testing.assert_allclose(chapter["by_paths"]("cora", damping, 4), [expected[0], *expected[2:]], atol=0.3)


def test_the_bound_counts_each_pair_and_the_divergence_alike():
    mean, log_sigma = torch.randn(50, 3), torch.randn(50, 3) / 4
    value = GAE["bound"](lambda codes: torch.zeros(()), mean, log_sigma)
    torch.testing.assert_close(value, 2 * GAE["kl_divergence"](mean, log_sigma).sum() / 50**2)


def test_squeezed_words_keep_what_fits_into_the_dimensions():
    """Six words have six dimensions: as many keep all products of the unit rows, one keeps only their best part."""
    chapter, graph = definitions.of_chapter("gae"), citation.block_model("cora", nodes=300)
    counts = np.random.default_rng(0).random((300, 6), dtype=np.float32)
    graph = dataclasses.replace(graph, features=sp.csr_matrix(counts))
    chapter.update(graphs={"cora": graph}, DEVICE="cpu")
    train, _, test = chapter["split_edges"](graph.edges, 300, 5)
    mixed = chapter["normalised_adjacency"](train, 300).to_dense().numpy() @ graph.features.toarray()
    left, size, _ = np.linalg.svd(chapter["unit"](mixed), full_matrices=False)
    for latent in (6, 1):
        found = chapter["mixed_run"]("cora", (1, False, False, latent), 5)
        expected = chapter["scores"](left[:, :latent] * size[:latent], test)
        np.testing.assert_allclose(found[1:], expected, atol=0.5)


def test_deepwalk_and_eigenvectors_are_judged_on_the_links_of_their_split():
    chapter, graph, seen = definitions.of_chapter("gae"), citation.block_model("cora", nodes=300), {}
    chapter.update(graphs={"cora": graph}, settings={"dimensions": 8, "walks": 7}, DEVICE="cpu")

    def stub(edges, nodes, seed, **how):
        seen.update(how, edges=edges, nodes=nodes, seed=seed)
        return graph.features.toarray()

    chapter["deepwalk"], words = stub, graph.features.toarray()
    train, validation, test = chapter["split_edges"](graph.edges, 300, 3)
    found = chapter["walked"]("cora", 0.03, 3)
    assert found == (chapter["scores"](words, validation)[0], *chapter["scores"](words, test))
    np.testing.assert_array_equal(seen.pop("edges"), train)
    assert seen == {"nodes": 300, "seed": 3, "dimensions": 8, "count": 7, "rate": 0.03}
    assert chapter["spectral"]("cora", 3)[0] > 60  # blocks are what eigenvectors see


PUBMED_NODES, PUBMED_TEST = 240, 40


@pytest.fixture
def small_pubmed(tmp_path, monkeypatch, empty_cache):
    """Files in the format of Pubmed's, for every name: real-valued words, both directions of a link, test ids mixed."""
    graph, order = citation.block_model("pubmed", nodes=PUBMED_NODES, words=60), np.random.default_rng(0)
    values = graph.features.copy()
    values.data = order.random(len(values.data)).astype(np.float32)
    one_hot, first = np.eye(3, dtype=np.int64)[graph.labels], PUBMED_NODES - PUBMED_TEST
    index = order.permutation(np.arange(first, PUBMED_NODES))
    links = {node: [] for node in range(PUBMED_NODES)}
    for u, v in graph.edges.tolist():
        links[u].append(v)
        links[v].append(u)
    links[0].append(0)  # a paper that cites itself, and a citation that is listed twice
    links[int(graph.edges[0, 0])].append(int(graph.edges[0, 1]))
    parts = {"x": values[:60], "y": one_hot[:60], "allx": values[:first], "ally": one_hot[:first]}
    parts |= {"tx": values[index], "ty": one_hot[index], "graph": links}
    for part, content in parts.items():
        (tmp_path / part).write_bytes(pickle.dumps(content, protocol=4))
    np.savetxt(tmp_path / "index", index, fmt="%d")
    monkeypatch.setattr(citation, "path", lambda name: tmp_path / name.rpartition(".")[2])
    return graph, values


def test_a_full_run_that_reaches_pubmed_judges_its_column(small_pubmed, monkeypatch):
    """The chapter's own cells with the full settings, but for epochs and seeds, on small files of the same format."""
    monkeypatch.setenv("WALKTHROUGHS_PROFILE", "full")
    made, values = small_pubmed
    after = definitions.of_chapter("gae")
    texts = [cell["source"] for cell in sources.cells(sources.path_of("gae"))]

    def execute(start):
        (text,) = [text for text in texts if text.startswith(start)]
        exec(text, after)

    with warnings.catch_warnings():
        execute('chapter = notebook.start("gae")')
        assert after["settings"]["seeds"]["pubmed"] == 10
        after["settings"] |= {"epochs": 3, "seeds": dict.fromkeys(after["settings"]["seeds"], 2)}
        execute("graphs = {name: citation.load(name)")
        graph = after["graphs"]["pubmed"]
        assert not graph.stand_in and graph.self_loops == 1
        np.testing.assert_array_equal(graph.edges, made.edges)
        assert (graph.features != values).nnz == 0
        execute("def noise_alone")
        execute("areas = {}")
    asked = [claim for claim in after["chapter"].claims.claims if claim.data == "pubmed"]
    assert len(asked) == 11 and set(after["areas"]) == {"cora", "citeseer"}
    for claim in asked:
        assert len(after["chapter"].records[claim.id]) == 2
    gae, vgae = (after["results"]["pubmed", model][:, 0] for model in ("gae", "vgae"))
    np.testing.assert_allclose(after["chapter"].records["pubmed-plain-helps"], gae - vgae)


def test_precision_counts_wanted_pairs_among_the_best_unknown_ones():
    codes = np.array([[3.0], [2], [1], [0.5]])  # products: 01 6, 02 3, 12 2, 03 1.5, 13 1, 23 .5
    found = GAE["ranked_precision"](codes, np.array([[0, 1]]), np.array([[0, 2], [0, 3]]), (1, 2, 3))
    assert found == {1: 100.0, 2: 50.0, 3: pytest.approx(200 / 3)}


def careless(edges):
    """The same pairs as a careless file would list them."""
    return np.concatenate([edges, edges[:, ::-1], edges[:3], [[0, 0]]])


def test_pairs_listed_both_ways_do_not_leak_and_change_nothing():
    edges = random_edges(60, 200)
    ours, theirs = (GAE["split_edges"](listed, 60, 3) for listed in (edges, careless(edges)))
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_array_equal(ours[2], theirs[2])
    train, (_, non_edges), (test, _) = GAE["split_edges"](edges[:, ::-1], 60, 0)  # the larger number first
    assert not set(map(tuple, train.tolist())) & set(map(tuple, test.tolist()))
    assert not set(map(tuple, non_edges.tolist())) & set(map(tuple, edges.tolist()))
    for matrix in (
        lambda listed: GAE["normalised_adjacency"](listed, 60).to_dense(),
        lambda listed: GAE["DenseLoss"](listed, 60).target,
        lambda listed: GAE["BlockedLoss"](listed, 60).rows.sort()[0],
    ):
        torch.testing.assert_close(*(matrix(listed) for listed in (edges, careless(edges))))


@pytest.mark.parametrize("edges", [[[0] * 30, [1] * 30], [[0, 1, 3]] * 30, [[0, 60]] * 30, [[-1, 0]] * 30])
def test_other_lists_of_edges_are_refused(edges):
    for call in (
        lambda: GAE["split_edges"](np.array(edges), 60, 0),
        lambda: GAE["draw_non_edges"](1, np.array(edges), 60, np.random.default_rng(0)),
        lambda: GAE["normalised_adjacency"](np.array(edges), 60),
        lambda: GAE["DenseLoss"](np.array(edges), 60),
        lambda: GAE["BlockedLoss"](np.array(edges), 60),
    ):
        with pytest.raises(ValueError, match="shape|ids of nodes"):
            call()


def test_small_and_full_graphs_end_in_errors_that_say_why():
    assert GAE["draw_non_edges"](0, random_edges(10, 8), 10, np.random.default_rng(0)).shape == (0, 2)
    with pytest.raises(ValueError, match="19 edges are too few"):
        GAE["split_edges"](random_edges(30, 19), 30, 0)
    train, *parts = GAE["split_edges"](random_edges(30, 20), 30, 0)
    assert [len(train), *(len(pairs) for part in parts for pairs in part)] == [17, 1, 1, 2, 2]
    complete = random_edges(8, 28)
    for kind in ("DenseLoss", "BlockedLoss"):
        for weighted in (True, False):
            with pytest.raises(ValueError, match="nothing to tell apart"):
                GAE[kind](complete, 8, weighted)
            assert math.isfinite(GAE[kind](complete[1:], 8, weighted)(torch.randn(8, 2)))
    with pytest.raises(ValueError, match="more than the graph has"):
        GAE["split_edges"](complete, 8, 0)


def test_the_normalised_adjacency_is_the_formula():
    edges = random_edges(12, 20)
    adjacency = np.eye(12)
    adjacency[tuple(edges.T)] = adjacency[tuple(edges.T[::-1])] = 1
    root = np.diag(adjacency.sum(0) ** -0.5)
    found = GAE["normalised_adjacency"](edges, 12).to_dense().numpy()
    np.testing.assert_allclose(found, root @ adjacency @ root, atol=1e-6)


@pytest.mark.parametrize("objective", ["plain", "variational"])
@pytest.mark.parametrize("fast", [False, True])
def test_tested_codes_are_the_means_without_noise_and_training_learns(objective, fast):
    edges, words = random_edges(40, 90), sp.random(40, 30, 0.3, format="csr", dtype=np.float32, random_state=0)
    inputs = GAE["normalised_adjacency"](edges, 40), GAE["sparse_tensor"](words)
    inputs = [GAE["Constant"](matrix) for matrix in inputs] if fast else inputs
    torch.manual_seed(0)
    encoder = GAE["FastEncoder" if fast else "Encoder"](30)
    dense, loss, seen = GAE["DenseLoss"](edges, 40), GAE["BlockedLoss" if fast else "DenseLoss"](edges, 40), []
    before = dense(encoder(*inputs)[0]).item()
    codes = GAE["train"](encoder, *inputs, loss, 60, GAE[objective], watch=seen.append)
    np.testing.assert_array_equal(codes, encoder(*inputs)[0].detach().numpy())
    assert dense(torch.from_numpy(codes)).item() < 0.98 * before
    assert len(seen) == 6 and all(found.shape == codes.shape for found in seen)
    if objective == "variational":
        assert encoder.log_sigma.weight.grad.any()


@pytest.fixture(scope="module")
def at_the_end():
    """What the chapter leaves behind, on a small stand-in and after 40 epochs."""
    plt.switch_backend("Agg")
    after = definitions.of_chapter("gae")
    cora = citation.block_model("cora")
    nodes = len(cora.labels)
    known, validation, hidden = after["split_edges"](cora.edges, nodes, 0)
    after.update(DEVICE="cpu", settings={"epochs": 40}, cora=cora, nodes=nodes, known=known, hidden=hidden)
    a_hat, x = after["normalised_adjacency"](known, nodes), after["sparse_tensor"](cora.features)
    torch.manual_seed(0)
    latent = after["train"](after["Encoder"](x.shape[1]), a_hat, x, after["DenseLoss"](known, nodes), 40)
    wanted, sizes = np.concatenate([validation[0], hidden[0]]), (10, 100, 10_000)
    precisions = {"product of codes": after["ranked_precision"](latent, known, wanted, sizes)}
    after.update(a_hat=a_hat, x=x, latent=latent, wanted=wanted, precisions=precisions)
    return after


def check_two_dimensions(after):
    assert after["flat"].shape == (after["nodes"], 2)
    (area, _), axis = after["scores"](after["flat"], after["hidden"]), after["axis"]
    assert area > 55
    np.testing.assert_array_equal(axis.collections[0].get_offsets(), after["flat"])


def check_distances(after):
    few, edges = torch.randn(30, 3), random_edges(30, 60)
    loss = after["DistanceLoss"](edges, 30, 2)
    logits = 2 - (few[:, None] - few).square().sum(2)
    expected = F.binary_cross_entropy_with_logits(logits, loss.target, pos_weight=loss.bce.pos_weight)
    torch.testing.assert_close(loss(few), loss.scale * expected)
    assert list(after["gaps"]) == [0, 2]
    assert np.mean(after["gaps"][2][0]) < np.mean(after["gaps"][2][1])


def check_sampled(after):
    loss = after["SampledLoss"](random_edges(30, 60), 30)
    codes = torch.randn(30, 4)
    assert loss(codes) != loss(codes)  # new pairs in each epoch
    assert list(after["followed"]) == ["all pairs", "sampled pairs"]
    for curve in after["followed"].values():
        seconds, areas = np.array(curve).T
        assert (np.diff(seconds) > 0).all()
        assert seconds[-1] >= after["SECONDS"] > (seconds[-2] if len(seconds) > 1 else 0)
        assert areas[-1] > 50


def check_followed(after):
    assert [areas.shape for areas in after["curves"]] == [(4, 2)] * after["SEEDS"]
    for areas, chosen in zip(after["curves"], after["chosen"], strict=True):
        assert chosen in areas[areas[:, 0] == areas[:, 0].max(), 1]
    assert after["gain"] == np.mean(after["chosen"] - after["last"])


def check_distance_two(after):
    graph = nx.Graph(after["known"].tolist())
    found = set(zip(after["u"].tolist(), after["v"].tolist(), strict=True))
    paths = dict(nx.all_pairs_shortest_path_length(graph, 2))
    assert found == {(a, b) for a, reached in paths.items() for b, steps in reached.items() if a < b and steps == 2}
    assert after["hits"][-1] == len(found & set(map(tuple, after["wanted"].tolist())))
    assert (np.diff((after["latent"][after["u"]] * after["latent"][after["v"]]).sum(1)[after["best"]]) <= 0).all()


CHECKS = (check_two_dimensions, check_distances, check_sampled, check_followed, check_distance_two)


@pytest.mark.parametrize("number", range(5))
def test_the_solutions_of_the_exercises_run(number, at_the_end):
    code = exercises.solutions("gae")[number].replace("SEEDS = 3", "SEEDS = 2").replace("SECONDS = 5", "SECONDS = 0.4")
    exec(code, at_the_end)
    CHECKS[number](at_the_end)
    plt.close("all")
