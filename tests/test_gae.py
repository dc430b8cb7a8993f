"""The definitions of the chapter on graph auto-encoders against references, properties and bad input."""

from __future__ import annotations

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.datasets import citation
from utils.tools import definitions, exercises

GAE = definitions.of_chapter("gae")


def random_edges(nodes, count, seed=0):
    return np.sort(np.array(nx.gnm_random_graph(nodes, count, seed=seed).edges), 1)


@given(st.integers(3, 40), st.integers(1, 8), st.integers(1, 50), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_blocks_give_the_gradient_and_the_sum_of_the_dense_formula(nodes, latent, block, seed):
    torch.manual_seed(seed)
    codes = torch.randn(nodes, latent, dtype=torch.double, requires_grad=True)
    dense = F.softplus(codes @ codes.T).sum()
    (expected,) = torch.autograd.grad(dense, codes)
    torch.testing.assert_close(GAE["pair_gradient"](codes.detach(), block), expected)
    torch.testing.assert_close(GAE["pair_sum"](codes, block), dense)


@pytest.mark.parametrize("weighted", [True, False])
def test_the_reconstruction_is_the_weighted_loss_of_torch(weighted):
    torch.manual_seed(0)
    edges, codes = random_edges(30, 60), torch.randn(30, 4, dtype=torch.double, requires_grad=True)
    loss = GAE["Reconstruction"](edges, 30, weighted)
    target = torch.eye(30, dtype=torch.double)
    target[edges[:, 0], edges[:, 1]] = target[edges[:, 1], edges[:, 0]] = 1
    zeros = (1 - target).sum()
    weight = zeros / target.sum() if weighted else torch.tensor(1.0).double()
    dense = F.binary_cross_entropy_with_logits(codes @ codes.T, target, pos_weight=weight)
    dense = dense * (target.numel() / (2 * zeros) if weighted else 1)
    torch.testing.assert_close(loss.value(codes), dense)
    (expected,) = torch.autograd.grad(dense, codes)
    (found,) = torch.autograd.grad(loss.surrogate(codes), codes)
    torch.testing.assert_close(found, expected)


def test_the_divergence_is_that_of_torch_and_zero_at_the_prior():
    mean, log_sigma = torch.randn(7, 3), torch.randn(7, 3)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, log_sigma.exp()), normal(0, 1)).sum(1)
    torch.testing.assert_close(GAE["kl_divergence"](mean, log_sigma), expected)
    assert GAE["kl_divergence"](torch.zeros(2, 3), torch.zeros(2, 3)).tolist() == [0, 0]


@pytest.mark.parametrize("features", [None, sp.random(12, 5, 0.4, format="csr", dtype=np.float32, random_state=0)])
def test_the_encoder_against_dense_algebra_with_an_isolated_node(features):
    edges = np.array([[0, 1], [1, 2], [2, 3], [0, 3], [4, 5], [6, 7], [8, 9], [9, 10]])  # node 11 has none
    encoder = GAE["Encoder"](edges, 12, features, hidden=6, latent=3)
    propagation = encoder.propagation.to_dense()
    inputs = torch.eye(12) if features is None else torch.from_numpy(features.toarray())
    hidden = (propagation @ inputs @ encoder.first).relu()
    for found, weight in zip(encoder(), (encoder.mean, encoder.log_sigma), strict=True):
        torch.testing.assert_close(found, propagation @ hidden @ weight, atol=1e-6, rtol=1e-5)
    gradients = torch.autograd.grad(sum(part.square().sum() for part in encoder()), list(encoder.parameters()))
    dense = torch.autograd.grad(
        sum((propagation @ hidden @ w).square().sum() for w in (encoder.mean, encoder.log_sigma)),
        list(encoder.parameters()),
    )
    for a, b in zip(gradients, dense, strict=True):
        assert torch.isfinite(a).all()
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


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
    assert GAE["scores"](codes, part) == (100.0, 100.0)
    assert GAE["scores"](codes, part[::-1])[0] == 0.0


def test_the_limit_of_walks_against_the_definition():
    edges = random_edges(25, 70)
    both = np.concatenate([edges, edges[:, ::-1]]).T
    adjacency = sp.csr_matrix((np.ones(both.shape[1], np.float32), both), (25, 25))
    dense = adjacency.toarray().astype(float)
    degrees = dense.sum(1)
    step = dense / degrees[:, None]
    mean = sum(np.linalg.matrix_power(step, r) for r in range(1, 11)) / 10
    wanted = np.log(np.maximum(1, dense.sum() * mean / degrees))
    values = np.linalg.svd(wanted)[1][:6]
    codes = GAE["deepwalk_limit"](adjacency, dimensions=6)
    np.testing.assert_allclose(np.sort((codes**2).sum(0))[::-1], values, rtol=1e-4)


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
    np.testing.assert_array_equal(
        *(GAE["propagation_matrix"](listed, 60).toarray() for listed in (edges, careless(edges)))
    )
    with pytest.raises(ValueError, match="twice"):
        GAE["Reconstruction"](careless(edges), 60)


@pytest.mark.parametrize("edges", [[[0] * 30, [1] * 30], [[0, 1, 3]] * 30, [[0, 60]] * 30, [[-1, 0]] * 30])
def test_other_lists_of_edges_are_refused(edges):
    for call in (
        lambda: GAE["split_edges"](np.array(edges), 60, 0),
        lambda: GAE["draw_non_edges"](1, np.array(edges), 60, np.random.default_rng(0)),
        lambda: GAE["propagation_matrix"](np.array(edges), 60),
        lambda: GAE["Reconstruction"](np.array(edges), 60),
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
    with pytest.raises(ValueError, match="nothing to tell apart"):
        GAE["Reconstruction"](complete, 8)
    with pytest.raises(ValueError, match="more than the graph has"):
        GAE["split_edges"](complete, 8, 0)


def test_the_propagation_matrix_is_the_formula():
    edges = random_edges(12, 20)
    adjacency = np.eye(12)
    adjacency[tuple(edges.T)] = adjacency[tuple(edges.T[::-1])] = 1
    root = np.diag(adjacency.sum(0) ** -0.5)
    np.testing.assert_allclose(GAE["propagation_matrix"](edges, 12).toarray(), root @ adjacency @ root, atol=1e-6)


@pytest.mark.parametrize("variational", [False, True])
def test_tested_codes_are_the_means_without_noise_and_training_learns(variational):
    edges, words = random_edges(40, 90), sp.random(40, 30, 0.3, format="csr", dtype=np.float32, random_state=0)
    torch.manual_seed(0)
    encoder, loss = GAE["Encoder"](edges, 40, words), GAE["Reconstruction"](edges, 40)
    before = loss.value(encoder()[0]).item()
    codes = GAE["train"](encoder, loss, 60, variational)
    np.testing.assert_array_equal(codes, encoder()[0].detach().numpy())
    assert loss.value(torch.from_numpy(codes)).item() < 0.98 * before
    assert all(weight.grad is None or torch.isfinite(weight.grad).all() for weight in encoder.parameters())
    assert list(encoder.state_dict()) == ["first", "mean", "log_sigma"]
    assert not encoder.log_sigma.grad.any() if not variational else encoder.log_sigma.grad.any()


@pytest.fixture(scope="module")
def at_the_end():
    """What the chapter leaves behind, on a small stand-in and after 40 epochs."""
    plt.switch_backend("Agg")
    namespace = definitions.of_chapter("gae")
    cora = citation.block_model("cora")
    nodes = len(cora.labels)
    edges, (validation, _), (hidden_links, _) = namespace["split_edges"](cora.edges, nodes, 0)
    torch.manual_seed(0)
    encoder = namespace["Encoder"](edges, nodes, cora.features)
    latent = namespace["train"](encoder, namespace["Reconstruction"](edges, nodes), 40)
    wanted, sizes = np.concatenate([validation, hidden_links]), (10, 100, 10_000)
    precisions = {"auto-encoder": namespace["ranked_precision"](latent, edges, wanted, sizes)}
    namespace.update(settings={"epochs": 40}, cora=cora, nodes=nodes, latent=latent)
    namespace.update(wanted=wanted, precisions=precisions)
    return namespace


def check_two_dimensions(after):
    assert after["plane"].shape == (after["nodes"], 2)
    (area, _), axis = after["scores"](after["plane"], after["test"]), after["axis"]
    assert area > 55
    np.testing.assert_array_equal(axis.collections[0].get_offsets(), after["plane"])


def check_distances(after):
    codes = torch.randn(600, 3, dtype=torch.double, requires_grad=True)
    dense = F.softplus(-(codes[:, None] - codes).square().sum(2)).sum()
    (expected,) = torch.autograd.grad(dense, codes)
    torch.testing.assert_close(after["distance_gradient"](codes.detach()), expected)
    loss = after["Distances"](random_edges(30, 60), 30)
    few = torch.randn(30, 3, dtype=torch.double, requires_grad=True)
    target = torch.eye(30, dtype=torch.double)
    target[loss.rows, loss.columns] = 1
    logits = -(few[:, None] - few).square().sum(2)
    dense = F.binary_cross_entropy_with_logits(logits, target, pos_weight=torch.tensor(loss.weight), reduction="sum")
    (expected,), (found,) = (torch.autograd.grad(x, few) for x in (loss.scale * dense, loss.surrogate(few)))
    torch.testing.assert_close(found, expected)
    assert np.mean(after["gaps"][0]) < np.mean(after["gaps"][1])


def check_sampled(after):
    loss = after["Sampled"](random_edges(30, 60), 30)
    codes = torch.randn(30, 4)
    assert loss.surrogate(codes) != loss.surrogate(codes)  # new pairs in each epoch
    seconds, areas = np.array(after["curve"]).T
    assert (np.diff(seconds) > 0).all()
    assert seconds[-1] >= after["SECONDS"] > seconds[-2]
    assert areas[-1] > 55


def check_followed(after):
    assert [areas.shape for areas in after["curves"]] == [(8, 2)] * after["SEEDS"]
    for areas, chosen in zip(after["curves"], after["chosen"], strict=True):
        assert chosen in areas[areas[:, 0] == areas[:, 0].max(), 1]
    assert after["gain"] == np.mean(after["chosen"] - after["last"])


def check_distance_two(after):
    graph = nx.Graph(after["edges"].tolist())
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
