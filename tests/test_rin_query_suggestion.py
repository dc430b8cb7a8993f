"""The definitions of the RIN chapter and its simulated log against references, properties and bad input."""

from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise, product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.datasets import searchlog
from utils.records import claims
from utils.tools import definitions, exercises

NAME = "rin_query_suggestion"
RIN = definitions.of_chapter(NAME)
RIN["DEVICE"] = "cpu"
LOG = list(searchlog.lines(150, seed=3))
SESSIONS = RIN["find_sessions"](LOG)
HOW = {name: (8, 0.01) for name in ("RIN", "HRED", "ACG", "RIN writes")}
HOW |= {"width": 8, "pair_weight": 4, "most_epochs": 2}


@pytest.fixture(scope="module")
def log():
    return RIN["make_log"](400, 0)


@pytest.fixture(scope="module")
def table(log):
    return torch.randn(len(log.number), 8, generator=torch.Generator().manual_seed(0))


def line(user="u", time="2006-03-01 10:00:00", query="japan travel", site="", act=""):
    return f"{user}\t{query}\t{time}\t\t{site}\t{act}"


def cases_of(candidates, answers, contexts=None):
    """Cases by hand; contexts are lists of numbers."""
    contexts = contexts or [[0]] * len(answers)
    filled = [[-1] * (8 - len(c)) + list(c) for c in contexts]
    lengths, offered = [len(c) for c in contexts], [list(c) + [-1] * (20 - len(c)) for c in candidates]
    return RIN["Cases"](*map(np.array, (filled, lengths, answers, offered, ["add"] * len(answers))))


# --- the simulated log


def test_the_same_seed_gives_the_same_log_and_another_seed_another():
    assert list(islice(searchlog.lines(150, seed=3), 200)) == LOG[:200]
    assert list(islice(searchlog.lines(150, seed=4), 200)) != LOG[:200]


def test_all_acts_occur_and_no_query_comes_back_within_a_session():
    assert set(searchlog.ACTS) <= {act for s in SESSIONS for act in s.acts[1:]}
    for session in SESSIONS:
        correct = [q for q, a in zip(session.queries, [*session.acts[1:], ""], strict=True) if a != "spelling"]
        assert len({frozenset(q) for q in correct}) == len(correct)


def test_habits_and_successors_are_as_the_chapter_tells():
    many = RIN["find_sessions"](searchlog.lines(1500, 5))
    after_add = Counter(b for s in many for a, b in pairwise(s.acts) if a == "add")
    assert after_add["add"] > 0.5 * after_add.total()
    following, added = 0, 0
    facets = [words.split() for words in searchlog.FACETS.values()]
    for session in many:
        for (a, b), act in zip(pairwise(session.queries), session.acts[1:], strict=True):
            if act == "add" and len(a) > 1 and b[:-1] == a:
                words = next(words for words in facets if {a[-1], b[-1]} <= set(words))
                following += words[(words.index(a[-1]) + 1) % 12] == b[-1]
                added += 1
    assert 0.65 < following / added < 0.8
    clicked = [bool(site) for s in many for site in s.sites]
    assert 0.5 < np.mean(clicked) < 0.6


# --- cleaning and cases


@pytest.mark.parametrize("text", ["", "\n", "u", "u\tquery", "u\tquery\tyesterday", "\tquery\t2006-03-01 10:00:00"])
def test_a_broken_line_is_left_out(text):
    assert RIN["read_line"](text) is None and RIN["find_sessions"]([text, line()]) == []


@pytest.mark.parametrize("query", ["", "-", " ?! ", "日本"])
def test_an_empty_query_is_left_out(query):
    assert RIN["read_line"](line(query=query)) is None


def test_lines_out_of_order_are_put_in_order():
    (session,) = RIN["find_sessions"]([line(time="2006-03-01 10:05:00", query="tokyo travel"), line()])
    assert session.queries == [("japan", "travel"), ("tokyo", "travel")]
    assert RIN["find_sessions"](np.random.default_rng(0).permutation(LOG).tolist()) == SESSIONS


def test_a_repeated_query_is_one_query_and_its_sites_are_joined():
    lines = [line(site="a"), line(time="2006-03-01 10:01:00", query="Japan  TRAVEL!", site="b")]
    assert RIN["find_sessions"](lines) == []
    (session,) = RIN["find_sessions"]([*lines, line(time="2006-03-01 10:02:00", query="tokyo")])
    assert session.queries == [("japan", "travel"), ("tokyo",)] and session.sites == [{"a", "b"}, set()]


@pytest.mark.parametrize(("minutes", "sessions"), [(30, 1), (31, 0)])
def test_a_pause_of_more_than_thirty_minutes_ends_a_session(minutes, sessions):
    lines = [line(), line(time=f"2006-03-01 10:{minutes}:00", query="tokyo")]
    assert len(RIN["find_sessions"](lines)) == sessions


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_the_end_of_a_line_is_no_site_and_a_byte_order_mark_no_part_of_a_user(end):
    whole = "7\tjapan travel\t2006-03-01 10:00:00\t\t"
    assert RIN["read_line"](f"\ufeff{whole}{end}")[::3] == ("7", "")
    assert RIN["read_line"](f"{whole}a.com{end}")[3] == "a.com"


def test_no_session_of_two_queries_is_an_error():
    with pytest.raises(ValueError, match="nothing to predict"):
        RIN["make_cases"]([], {}, {})


def test_candidates_are_the_commonest_followers_of_the_last_query_each_once(log):
    number, counts = {}, RIN["followers"](SESSIONS)
    cases = RIN["make_cases"](SESSIONS, counts, number)
    query = {row: terms for terms, row in number.items()}
    for k in range(len(cases.answer)):
        context = [q for q in cases.context[k].tolist() if q >= 0]
        offered = [query[c] for c in cases.candidates[k].tolist() if c >= 0]
        after = counts[query[context[-1]]]
        times = [after[q] for q in offered]
        assert times == sorted(after.values(), reverse=True)[: len(times)] and len(set(offered)) == len(offered)
        assert len(context) == cases.length[k] <= 8 and cases.answer[k] not in context
    assert [query[a] for a in cases.answer.tolist()] == [q for s in SESSIONS for q in s.queries[1:]]
    for cases in log.kept.values():
        assert (cases.place() >= 0).all() and ((cases.candidates >= 0).sum(1) > 1).all()


def test_counts_graph_and_networks_learn_from_nothing_that_is_tested(log):
    ends = RIN["CUTS"]
    assert all(session.start < ends["train"] for session in log.seen)
    assert any(session.start >= ends["background"] for session in log.seen)
    total = sum(len(session.queries) - 1 for session in log.seen)
    assert RIN["count_transitions"](log.seen, log.number)[0].total() == total


# --- ranks


@given(st.lists(st.lists(st.integers(0, 5), min_size=6, max_size=6), min_size=1, max_size=5), st.integers(0, 5))
def test_ranks_against_a_plain_count(rows, place):
    cases = cases_of([range(6)] * len(rows), [place] * len(rows))
    scores = np.full((len(rows), 20), 9.0)  # what stands in gaps does not count
    scores[:, :6] = rows
    for row, rank in zip(rows, RIN["ranks"](scores, cases), strict=True):
        better, equal = sum(x > row[place] for x in row), sum(x == row[place] for x in row)
        assert rank == np.mean(range(better + 1, better + equal + 1))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [0, 2])
def test_a_score_that_is_not_finite_never_wins(wrong, where):
    scores = np.zeros((1, 20))
    scores[0, where] = wrong
    with pytest.raises(ValueError, match="diverged"):
        RIN["mrr"](scores, cases_of([range(3)], [0]))


def test_an_answer_that_is_no_candidate_is_an_error_and_so_is_an_mrr_above_one(monkeypatch):
    with pytest.raises(ValueError, match="leave the case out"):
        RIN["mrr"](np.zeros((1, 20)), cases_of([range(3)], [7]))
    for ranks in (np.array([0.5]), np.array([np.nan]), np.array([-1.0])):
        monkeypatch.setitem(RIN, "ranks", lambda *_, found=ranks: found)
        with pytest.raises(ValueError, match="mean reciprocal rank"):
            RIN["mrr"](np.zeros((1, 20)), cases_of([range(3)], [0]))


def test_random_order_is_what_random_scores_get():
    cases = cases_of([range(k) for k in (2, 5, 20)] * 2000, [0, 1, 2] * 2000)
    drawn = RIN["mrr"](np.random.default_rng(0).random((6000, 20)), cases)
    assert abs(drawn - RIN["random_order"](cases)) < 1
    assert RIN["random_order"](cases_of([range(2)], [1])) == 75


def test_ngrams_count_the_last_two_with_their_weight():
    session = RIN["Session"](None, [("a",), ("b",), ("c",)], [], [])
    other = RIN["Session"](None, [("b",), ("d",)], [], [])
    number = {("a",): 0, ("b",): 1, ("c",): 2, ("d",): 3}
    counts = RIN["count_transitions"]([session, other, other], number)
    cases = cases_of([[2, 3], [2, 3]], [2, 3], [[0, 1], [1]])
    scores = RIN["ngram_scores"](cases, *counts, 4)
    assert scores[:, :2].tolist() == [[5, 2], [1, 2]]


# --- graph and vectors


def test_the_graph_counts_what_the_article_draws_and_kinds_leave_out():
    session = RIN["Session"](None, [("a", "b"), ("c",)], [{"s"}, set()], [])
    whole = {
        (("query", "a b"), ("term", "a")): 1,
        (("term", "a"), ("term", "b")): 1,
        (("query", "a b"), ("site", "s")): 1,
        (("query", "c"), ("term", "c")): 1,
        (("query", "a b"), ("query", "c")): 1,
    }
    assert RIN["count_edges"]([session]) == whole
    kinds = {"no clicks": "site", "no steps": "query"}
    for graph, kind in kinds.items():
        left = {pair: n for pair, n in whole.items() if pair[1][0] != kind}
        assert RIN["count_edges"]([session], RIN["GRAPHS"][graph]) == left
    assert RIN["count_edges"]([session], RIN["GRAPHS"]["terms only"]) == {(("term", "a"), ("term", "b")): 1}


def test_walks_go_along_edges_both_ways_by_their_counts():
    edges = Counter({("a", "b"): 3, ("c", "b"): 1})
    names, walks = RIN["random_walks"](edges, 4000, 3, np.random.default_rng(0))
    assert names == ["a", "b", "c"] and walks.shape == (12_000, 3)
    steps = Counter(map(tuple, np.concatenate([walks[:, :2], walks[:, 1:]]).tolist()))
    assert set(steps) == {(0, 1), (1, 0), (2, 1), (1, 2)}
    assert abs(steps[1, 0] / (steps[1, 0] + steps[1, 2]) - 0.75) < 0.02


def test_skip_gram_puts_together_what_meets_on_walks():
    rng = np.random.default_rng(0)
    walks = np.concatenate([rng.integers(0, 5, (600, 10)), rng.integers(5, 10, (600, 10))])
    vectors = F.normalize(RIN["skip_gram"](walks, 10, 8, rng, batch=200, noise=32), dim=1)
    products = (vectors @ vectors.T).numpy()
    inside = np.r_[products[:5, :5][~np.eye(5, dtype=bool)], products[5:, 5:][~np.eye(5, dtype=bool)]]
    assert inside.mean() > products[:5, 5:].mean() + 0.5


def test_a_query_is_the_sum_of_its_terms_and_unknown_terms_add_nothing():
    terms = {"a": torch.tensor([1.0, 0]), "b": torch.tensor([0, 2.0])}
    number = {("a",): 0, ("a", "b"): 1, ("b", "new"): 2}
    assert RIN["query_table"](number, terms, 2).tolist() == [[1, 0], [1, 2], [0, 2]]
    found = RIN["term_vectors"](RIN["count_edges"](SESSIONS), 6, np.random.default_rng(0))
    vectors = torch.stack(list(found.values()))
    assert abs(vectors.norm(dim=1).mean() - 4) < 1e-4 and vectors.mean(0).norm() < 1e-3


def test_rewiring_keeps_first_ends_and_kinds():
    edges = RIN["count_edges"](SESSIONS)
    other = RIN["rewired"](edges, np.random.default_rng(0))
    kinds = [Counter((a[0], b[0]) for a, b in graph) for graph in (edges, other)]
    assert set(kinds[0]) == set(kinds[1]) and other.total() > 0.9 * edges.total()
    assert len(set(edges) & set(other)) < 0.3 * len(edges)


def test_analogies_are_right_where_differences_carry_over():
    draw, terms = torch.Generator().manual_seed(0), {}
    for _, families in searchlog.world():
        capital = torch.randn(16, generator=draw)
        for family in families:
            place = torch.randn(16, generator=draw)
            terms[family[0]] = place
            terms |= {child: place + capital + 0.01 * k for k, child in enumerate(family[1:])}
    assert RIN["analogies"](terms) > 95
    shuffled = dict(
        zip(terms, [list(terms.values())[k] for k in torch.randperm(len(terms), generator=draw)], strict=True)
    )
    assert RIN["analogies"](shuffled) < 10


# --- RIN


def written_out(model, v, candidates):
    """Logits and inferred steps of one case by equations (2) to (5)."""
    steps = torch.cat([torch.zeros(1, v.shape[1]), v[1:] - v[:-1]])
    h = model.gru(torch.cat([v, steps], 1)[None])[0][0]
    energy = torch.stack([model.look[2].weight[0] @ (model.look[0].weight @ x + model.look[0].bias).tanh() for x in h])
    c = (energy.exp() / energy.exp().sum()) @ h
    judged = [model.judge(torch.cat([x, x - v[-1], c]))[0] for x in candidates]
    return torch.stack(judged), model.infer(c)


def test_the_network_is_its_equations_and_the_fast_form_the_same():
    torch.manual_seed(0)
    plain, fast = RIN["RIN"](6, 4), RIN["SplitRIN"](6, 4)
    fast.load_state_dict(plain.state_dict() | {"kept": torch.ones(12)})
    v, candidates = torch.randn(3, 5, 6), torch.randn(3, 7, 6)
    for model in (plain, fast):
        logits, steps = model(v, candidates)
        for k in range(3):
            expected = written_out(plain, v[k], candidates[k])
            torch.testing.assert_close(logits[k], expected[0], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(steps[k], expected[1], atol=1e-5, rtol=1e-4)


def test_what_is_left_out_is_not_seen():
    torch.manual_seed(0)
    v, moved, candidates = torch.randn(2, 3, 6), torch.randn(2, 1, 6), torch.randn(2, 4, 6)
    steps_alone = RIN["SplitRIN"](6, 4, reads="r", candidate="q")
    torch.testing.assert_close(steps_alone(v, candidates)[0], steps_alone(v + moved, candidates)[0])
    with_step = RIN["SplitRIN"](6, 4, reads="r")  # the released candidate gives the last query away
    assert not torch.allclose(with_step(v, candidates)[0], with_step(v + moved, candidates)[0])
    queries_alone = RIN["SplitRIN"](6, 4, reads="q", candidate="q")
    assert (queries_alone.inputs(v)[..., 6:] == 0).all() and (queries_alone.inputs(v)[..., :6] == v).all()
    last = RIN["SplitRIN"](6, 4, attention=False)
    torch.testing.assert_close(last.encode(v)[2], last.gru(last.inputs(v))[0][:, -1])


def test_the_loss_is_equation_6(log, table):
    torch.manual_seed(0)
    model, cases = RIN["RIN"](8, 4), log.kept["train"]
    rows, total = RIN["batches"](cases, 6, np.random.default_rng(0))[0], 0
    for k in rows:
        context = table[torch.tensor([q for q in cases.context[k].tolist() if q >= 0])]
        offered = [c for c in cases.candidates[k].tolist() if c >= 0]
        logits, step = written_out(model, context, table[torch.tensor(offered)])
        y = torch.tensor([float(c == cases.answer[k]) for c in offered])
        p = logits.sigmoid()
        total = total - (y * p.log() + (1 - y) * (1 - p).log()).sum()
        total = total + 0.3 / 2 * (table[cases.answer[k]] - context[-1] - step).square().sum()
    found = RIN["rin_loss"](model, cases, rows, table, 0.3)
    torch.testing.assert_close(found, total / len(rows), rtol=1e-4, atol=1e-4)


def test_the_released_loss_weighs_positives_and_takes_a_norm(log, table):
    torch.manual_seed(0)
    model, cases = RIN["SplitRIN"](8, 4), log.kept["train"]
    rows = RIN["batches"](cases, 6, np.random.default_rng(0))[0]
    context, candidates, answer = RIN["gather"](cases, rows)
    logits, inferred = model(table[context], table[candidates])
    real, right = candidates >= 0, candidates == answer[:, None]
    each = torch.where(right, -10 * F.logsigmoid(logits), -F.logsigmoid(-logits))[real]
    wrong = table[answer] - table[context[:, -1]] - inferred
    expected = each.sum() / real.sum() + 0.05 * wrong.square().sum().sqrt()
    torch.testing.assert_close(RIN["released_loss"](model, cases, rows, table, 0.05), expected)


def test_the_leaking_input_is_laid_out_as_in_the_released_code():
    torch.manual_seed(0)
    model, v = RIN["LeakyRIN"](2, 3), torch.tensor([[[1.0, 2], [3, 5], [70, 80]]])
    seen = {}
    model.encode = lambda x: seen.update(x=x, inputs=model.inputs(x)) or (None, None, torch.zeros(1, 6))
    model(v, torch.zeros(1, 4, 2))
    assert seen["x"].tolist() == [[[1, 2], [3, 5]]]
    assert seen["inputs"].tolist() == [[[1, 2, 0, 3], [5, 2, 3, 70]]]


def test_batches_are_equally_long_and_hold_each_case_once(log):
    cases = log.kept["train"]
    found = RIN["batches"](cases, 16, np.random.default_rng(0))
    assert all(len(set(cases.length[rows])) == 1 and len(rows) <= 16 for rows in found)
    assert sorted(np.concatenate(found)) == list(range(len(cases.answer)))
    context, candidates, answer = RIN["gather"](cases, found[0])
    assert (context >= 0).all() and candidates.shape[1] == (candidates >= 0).sum(1).max()
    assert (candidates == answer[:, None]).any(1).all()


def test_training_keeps_the_best_epoch_and_stops_when_nothing_rises(log):
    model, scores = torch.nn.Linear(1, 1), iter([3.0, 5.0, 4.0, 5.0, 1.0, 9.0, 9.0])
    weights = []

    def score(model):
        weights.append(model.weight.detach().clone())
        return next(scores)

    def loss(model, cases, rows):
        return model(torch.ones(1, 1)).sum()

    curve = RIN["train"](model, loss, score, log.kept["train"], 0.01, 40, 0, size=1000)
    assert curve == [3, 5, 4, 5, 1]  # the equal score of epoch 4 is no rise
    assert torch.equal(model.weight, weights[3])
    short = RIN["train"](model, loss, lambda model: len(weights), log.kept["train"], 0.01, 2, 0, size=1000)
    assert len(short) == 2


def test_a_training_that_diverges_is_an_error_and_no_best_epoch(log, table):
    with pytest.raises(ValueError, match="diverged"):
        RIN["fit_rin"](log, table, HOW | {"RIN": (8, 1e19)}, 0)


@pytest.mark.parametrize("name", RIN["VARIANTS"])
def test_every_variant_trains_and_judges(name, log, table):
    _, curve, scores = RIN["fit_rin"](log, table, HOW, 0, name)
    assert len(curve) == 2 and 0 < RIN["mrr"](scores, log.kept["test"]) <= 100


def test_the_control_is_given_sessions_of_others_as_long(log):
    cases = log.kept["test"]
    others = RIN["strangers"](cases)
    assert ((others.context >= 0).sum(1) == cases.length).all()
    moved = (others.context != cases.context).any(1)
    assert moved.mean() > 0.8 and (others.candidates == cases.candidates).all()
    short = RIN["altered"](cases, "last query")
    assert (short.length == 1).all() and (short.context == cases.context).all()


# --- writers


def mixture(model, read, before, size):
    """P(w) of eq. (9) after the last word of `before`, over numbers below `size`."""
    vocabulary, g, a = RIN["predict"](model, *read, before)
    p = F.pad(vocabulary[:, -1].exp(), (0, size - vocabulary.shape[-1]))
    if model.copies:
        g = g[:, -1:].sigmoid()
        p = (g * p).scatter_add(1, read[2], (1 - g) * a[:, -1])
    return p


@pytest.mark.parametrize("copies", [False, True])
def test_a_query_has_the_probability_of_its_words(copies):
    torch.manual_seed(0)
    model = RIN["Writer"](7, 5, 4, attends=copies, copies=copies)
    read = model.read(torch.tensor([[[4, 5, 1, 0], [6, 9, 1, 0]]]), None)  # word 9 has no vector
    target, total = torch.tensor([[5, 9, 1, 0]]), 0.0
    before = torch.tensor([[2]])
    for word in (5, 9, 1):
        p = mixture(model, read, before, 10)
        assert abs(p.sum().item() - 1) < 1e-5
        known = 3 if word == 9 else word  # written from the vocabulary, or copied
        value = mixture(model, read, before, 10)[0, word]
        if word == 9:
            vocabulary, g, _ = RIN["predict"](model, *read, before)
            share = g[0, -1].sigmoid() if copies else 1
            value = value + share * vocabulary[0, -1, known].exp()
        total += value.log().item()
        before = torch.cat([before, torch.tensor([[word]])], 1)
    assert abs(RIN["likelihood"](model, read, target).item() - total) < 1e-4


def test_hred_reads_up_to_the_end_of_a_query_and_padding_changes_nothing():
    torch.manual_seed(0)
    ids, target = torch.tensor([[[4, 5, 1], [6, 1, 0]]]), torch.tensor([[5, 1]])
    for copies in (False, True):
        model = RIN["Writer"](7, 5, 4, attends=copies, copies=copies)
        long = F.pad(ids, (0, 3)), F.pad(target, (0, 3))
        found = [RIN["likelihood"](model, model.read(i, None), t) for i, t in ((ids, target), long)]
        torch.testing.assert_close(*found)


def test_what_is_written_is_the_likeliest_word_after_each():
    for seed, copies in product(range(5), (False, True)):
        torch.manual_seed(seed)
        model = RIN["Writer"](7, 5, 4, attends=copies, copies=copies)
        read = model.read(torch.tensor([[[4, 5, 1, 0], [6, 9, 1, 0]]]), None)
        before = torch.tensor([[2]])
        for word in RIN["write"](model, read)[0].tolist():
            if before[0, -1] in (0, 1):
                assert word == 0
            else:
                p = mixture(model, read, before, 10)
                p[:, [0, 2, 3]] = 0
                assert word == p.argmax()
            before = torch.cat([before, torch.tensor([[word]])], 1)


def test_acg_learns_to_copy_a_word_that_has_no_vector():
    torch.manual_seed(0)
    model = RIN["Writer"](6, 8, 16, attends=True, copies=True)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for step in range(150):
        new = 10 + torch.arange(8) + 8 * (step % 5)
        ids = torch.stack([torch.full((8,), 4), new, torch.ones(8, dtype=torch.long)], 1)[:, None]
        target = torch.stack([new, torch.ones(8, dtype=torch.long)], 1)
        optimizer.zero_grad()
        (-RIN["likelihood"](model, model.read(ids, None), target).mean()).backward()
        optimizer.step()
    asked = torch.tensor([[[4, 77, 1]], [[4, 88, 1]]])
    assert RIN["write"](model, model.read(asked, None))[:, :2].tolist() == [[77, 1], [88, 1]]


@pytest.mark.parametrize("name", ["HRED", "ACG", "RIN writes"])
def test_every_writer_trains_judges_and_writes(name, log, table):
    terms = {term: torch.ones(8) for query in log.number for term in query}
    model, curve, words = RIN["fit_writer"](log, table, terms, HOW, 0, name)
    scores = RIN["writer_scores"](model, log.kept["test"], words, table)
    assert len(curve) == 2 and (scores[log.kept["test"].candidates >= 0] < 0).all()
    few = log.every["test"].take(slice(40))
    assert RIN["error_rates"](model, few, words, table) > 0
    queries = {row: query for query, row in log.number.items()}
    pairs = [(queries[a], queries[c]) for a, c in zip(few.answer.tolist(), few.context[:, -1].tolist(), strict=True)]
    again = np.mean([RIN["word_error"](list(a), list(b)) for a, b in pairs])
    assert abs(RIN["error_rates"](None, few, words, table) - again) < 1e-9


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.lists(st.integers(0, 4), max_size=6))
@settings(deadline=None)
def test_word_error_is_invariant_and_zero_for_the_same_words(true, written):
    error = RIN["word_error"]
    assert error(true, true[::-1]) == 0 and error(true, written) == error(true[::-1], sorted(written))
    left, extra = Counter(true) - Counter(written), Counter(written) - Counter(true)
    assert error(true, written) == pytest.approx(100 * max(left.total(), extra.total()) / len(true))
    with pytest.raises(ValueError, match="empty query"):
        error([], written)


# --- inside, real sessions


def test_the_inside_of_a_network_that_knows_the_step(log, table):
    test = log.kept["test"]
    asked = test.take(np.flatnonzero(test.length > 1))
    last, answer = (table[torch.from_numpy(x)] for x in (asked.context[:, -1], asked.answer))
    known = {tuple(v.tolist()): a - v for v, a in zip(last, answer, strict=True)}

    class Oracle(torch.nn.Module):
        def encode(self, v):
            weights = torch.full((*v.shape[:2], 1), 1 / v.shape[1])
            return None, weights, v[:, -1]

        def infer(self, c):
            return torch.stack([known[tuple(v.tolist())] for v in c])

    found = RIN["look_inside"](Oracle(), log, table)
    assert found["explained"] > 80 and 0 < found["attention"] <= 0.5  # queries that come twice have one step here
    assert 0 <= found["act of another"] <= 100 and 0 < found["commonest act"] <= 100


def test_forms_habits_and_recurrence_of_sessions_by_hand():
    sessions = [[["a"], ["a", "b"], ["a", "b", "c"]], [["x"], ["x", "b"], ["y"]], [["x"], ["x", "b"]]]
    facts = RIN["facts_of"](sessions, np.random.default_rng(0), shuffles=200)
    assert facts["add"] == 80 and facts["all new"] == 20 and facts["same form twice"] == 50
    assert facts["by chance"] == 50 and facts["p of same form"] == 100
    assert facts["queries met elsewhere"] == 50 and facts["steps met elsewhere"] == 60
    assert facts["words said before"] == 50
    forms = {
        ("ab", "ab"): "order",
        ("a", "ab"): "add",
        ("ab", "a"): "drop",
        ("ab", "ac"): "exchange",
        ("a", "b"): "all new",
    }
    assert all(RIN["form_of"](set(a), set(b)) == form for (a, b), form in forms.items())


def test_claims_on_simulated_logs_are_relocated_or_the_books_own():
    file = claims.load(NAME)
    assert {claim.evidence for claim in file.claims} == {"relocated", "own"}
    assert all(claim.paper is None for claim in file.claims)
    for rival in ("mpc", "ngram", "acg", "hred"):
        assert file[f"rin-{rival}"].evidence == "relocated"


# --- the solutions of the exercises


def solved(number, log, table):
    """The names after a solution."""
    space = dict(RIN) | {"log": log, "table": table, "how": HOW, "held": log.kept["validation"]}
    space |= {"test": log.kept["test"], "settings": HOW | {"users": 400}}
    exec(exercises.solutions(NAME)[number - 1], space)
    return space


def test_exercise_habits(log, table):
    before = dict(searchlog.HABIT)
    after = solved(1, log, table)
    assert dict(searchlog.HABIT) == before
    assert set(after["found"]) == {"random order", "MPC", "n-gram", "RIN"}


def test_exercise_weights(log, table):
    after = solved(2, log, table)
    assert set(after["found"]) == {0, 0.5, 5} and all(m <= 100 for m, _ in after["found"].values())


def test_exercise_copies(log, table):
    after = solved(3, log, table)
    assert 0 < after["mrr_attending"] <= 100


def test_exercise_nan(log, table):
    after = solved(4, log, table)
    assert after["careless"] == 100 and "diverged" in after["complaint"]


def test_every_exercise_is_run():
    assert len(exercises.solutions(NAME)) == 4
