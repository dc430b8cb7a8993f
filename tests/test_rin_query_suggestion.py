"""The definitions of the RIN chapter and its simulated log against references, properties and bad input."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import islice, pairwise

import definitions
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.datasets import searchlog

RIN = definitions.of_chapter("rin_query_suggestion")
RIN["DEVICE"] = "cpu"
RIN["settings"] = {"width": 8, "hidden": 8, "epochs": 2, "batch": 16, "rate": 0.01}
LOG = list(searchlog.lines(150, seed=3))
SESSIONS, MET = RIN["find_sessions"](LOG)


def line(user="u", time="2006-03-01 10:00:00", query="japan travel", site="", act=""):
    return f"{user}\t{query}\t{time}\t\t{site}\t{act}"


# ---- the simulated log


def test_the_same_seed_gives_the_same_log_and_another_seed_another():
    again = list(islice(searchlog.lines(150, seed=3), 200))
    assert again == LOG[:200]
    assert list(islice(searchlog.lines(150, seed=4), 200)) != again


def test_all_acts_occur_and_no_query_comes_back_within_a_session():
    assert set(searchlog.ACTS) <= {act for s in SESSIONS for act in s.acts[1:]}
    for session in SESSIONS:
        correct = [q for q, a in zip(session.queries, [*session.acts[1:], ""], strict=True) if a != "spelling"]
        assert len({frozenset(q) for q in correct}) == len(correct)


def test_names_are_unique_and_families_have_children():
    names = [name for _, families in searchlog.world() for family in families for name in family]
    assert len(set(names)) == len(names)
    assert all(len(family) >= 4 for _, families in searchlog.world() for family in families)


def test_habits_hold_an_addition_is_mostly_followed_by_an_addition():
    after_add = Counter(b for s in SESSIONS for a, b in pairwise(s.acts) if a == "add")
    assert after_add["add"] > 0.5 * after_add.total()


# ---- cleaning


@pytest.mark.parametrize("text", ["", "\n", "u", "u\tquery", "u\tquery\tyesterday", "\tquery\t2006-03-01 10:00:00"])
def test_a_broken_line_is_counted_and_left_out(text):
    assert RIN["read_line"](text) == "broken line"
    found, met = RIN["find_sessions"]([text, line()])
    assert met["broken line"] == 1 and met["lines"] == 2 and found == []


@pytest.mark.parametrize("query", ["", "-", " ?! ", "日本"])
def test_an_empty_query_is_counted_and_left_out(query):
    assert RIN["read_line"](line(query=query)) == "empty query"
    assert RIN["find_sessions"]([line(query=query)])[1]["empty query"] == 1


def test_lines_out_of_order_are_put_in_order():
    late, early = line(time="2006-03-01 10:05:00", query="tokyo travel"), line()
    (session,), _ = RIN["find_sessions"]([late, early])
    assert session.queries == (("japan", "travel"), ("tokyo", "travel"))
    shuffled = np.random.default_rng(0).permutation(LOG).tolist()
    assert sorted(RIN["find_sessions"](shuffled)[0]) == sorted(SESSIONS)


def test_a_session_of_one_query_is_left_out_and_a_repeated_query_is_one():
    lines = [line(site="a"), line(time="2006-03-01 10:01:00", query="Japan  TRAVEL!", site="b")]
    found, met = RIN["find_sessions"](lines)
    assert found == [] and met["sessions"] == 1 and met["queries"] == 1
    lines.append(line(time="2006-03-01 10:02:00", query="tokyo"))
    (session,), _ = RIN["find_sessions"](lines)
    assert session.queries == (("japan", "travel"), ("tokyo",)) and session.sites == (("a", "b"), ())


@pytest.mark.parametrize(("minutes", "sessions"), [(30, 1), (31, 0)])
def test_a_pause_of_more_than_thirty_minutes_ends_a_session(minutes, sessions):
    lines = [line(), line(time=f"2006-03-01 10:{minutes}:00", query="tokyo")]
    assert len(RIN["find_sessions"](lines)[0]) == sessions
    assert RIN["GAP"] == timedelta(minutes=30)


# ---- candidates and measures


def test_candidates_are_the_commonest_followers_and_none_for_an_unseen_query():
    counts = RIN["followers"](SESSIONS)
    query = max(counts, key=lambda q: counts[q].total())
    top = RIN["top_candidates"](counts, query)
    assert [counts[query][q] for q in top] == sorted(counts[query].values(), reverse=True)[: len(top)]
    assert RIN["top_candidates"](counts, ("never", "asked")) == []


def test_no_session_of_two_queries_is_an_error():
    with pytest.raises(ValueError, match="nothing to predict"):
        RIN["make_cases"]([], {}, {})


def test_a_list_without_the_answer_is_an_error_and_not_a_rank():
    scores = np.zeros((2, 20))
    with pytest.raises(ValueError, match="leave the case out"):
        RIN["rank_of"](scores, np.array([3, 20]))


@given(st.lists(st.lists(st.integers(0, 5), min_size=20, max_size=20), min_size=1, max_size=5), st.integers(0, 19))
def test_ranks_against_a_plain_count(rows, place):
    found = RIN["rank_of"](np.array(rows, float), np.full(len(rows), place))
    for row, rank in zip(rows, found, strict=True):
        better, equal = sum(x > row[place] for x in row), sum(x == row[place] for x in row)
        assert rank == np.mean(range(better + 1, better + equal + 1))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.lists(st.integers(0, 4), max_size=6))
def test_position_independent_error_is_invariant_and_zero_for_the_same_words(true, written):
    error = RIN["position_independent_error"]
    assert error(true, true[::-1]) == 0
    assert error(true, written) == error(true[::-1], sorted(written))
    left, extra = Counter(true) - Counter(written), Counter(written) - Counter(true)
    assert error(true, written) == max(left.total(), extra.total()) / len(true)
    with pytest.raises(ValueError, match="empty query"):
        error([], written)


# ---- graph, walks, vectors


def test_the_graph_counts_what_the_article_draws():
    session = RIN["Session"](None, (("a", "b"), ("c",)), (("s",), ()), ("", "add"))
    assert RIN["count_edges"]([session]) == {
        (("query", "a b"), ("term", "a")): 1,
        (("term", "a"), ("term", "b")): 1,
        (("query", "a b"), ("site", "s")): 1,
        (("query", "c"), ("term", "c")): 1,
        (("query", "a b"), ("query", "c")): 1,
    }


def test_parts_in_process_without_dask_and_on_two_workers_give_the_same_graph(monkeypatch):
    distributed = pytest.importorskip("distributed")
    parts, whole = [(k, 20) for k in range(6)], Counter()
    for part in parts:
        whole.update(RIN["count_part"](part))
    assert RIN["over_parts"](RIN["count_part"], parts, RIN["merged"]) == whole
    with monkeypatch.context() as patch:
        patch.setattr(RIN["importlib"].util, "find_spec", lambda name: None)
        assert RIN["over_parts"](RIN["count_part"], parts, RIN["merged"]) == whole
    quiet = {"processes": False, "dashboard_address": None, "silence_logs": 50}
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, **quiet) as cluster:
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", cluster.scheduler_address)
        assert RIN["over_parts"](RIN["count_part"], parts, RIN["merged"]) == whole
        walked = RIN["over_parts"](lambda k: np.full((2, 3), k), range(5), RIN["stacked"])
    assert walked[:, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    with pytest.raises(ValueError, match="no part"):
        RIN["over_parts"](RIN["count_part"], [], RIN["merged"])


@given(st.sampled_from([(1.0, 1.0), (0.25, 4.0), (4.0, 0.25)]), st.integers(0, 5))
@settings(max_examples=10, deadline=None)
def test_walks_only_use_edges(factors, seed):
    graph = RIN["Graph"](RIN["count_edges"](SESSIONS[:30]))
    trails = RIN["walks"](graph, np.arange(len(graph.names)), 6, seed, *factors)
    assert all(graph.linked(a, b).all() for a, b in pairwise(trails.T))


def test_walked_steps_have_the_probabilities_of_the_equation():
    edges = Counter({("a", "b"): 3, ("b", "c"): 1, ("a", "c"): 2, ("c", "d"): 4})
    graph = RIN["Graph"](edges)
    trails = RIN["walks"](graph, np.full(60_000, 0), 3, 1, 0.5, 2.0)
    after = trails[trails[:, 1] == 2, 2]  # a, then c: back to a 2/p, on to b (next to a) 1, on to d 4/q
    exact = np.array([2 / 0.5, 1, 0, 4 / 2.0]) / (2 / 0.5 + 1 + 4 / 2.0)
    np.testing.assert_allclose(np.bincount(after, minlength=4) / len(after), exact, atol=0.015)


def test_rewiring_keeps_kinds_and_first_ends():
    edges = RIN["count_edges"](SESSIONS)
    mixed = RIN["rewired"](edges, 0)
    assert mixed.total() <= edges.total() and mixed.total() > 0.9 * edges.total()
    assert {(a[0], b[0]) for a, b in mixed} == {(a[0], b[0]) for a, b in edges}
    assert len(set(mixed) & set(edges)) < 0.3 * len(edges)


def test_a_query_is_the_sum_of_its_terms_and_unknown_terms_add_nothing():
    terms = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([0.5, 0.0])}
    table = RIN["query_vectors"]({("a", "b"): 0, ("b", "a", "x"): 1, ("x",): 2}, terms, 2)
    assert table.tolist() == [[1.5, 2.0], [1.5, 2.0], [0.0, 0.0]]


# ---- networks


@pytest.fixture(scope="module")
def task():
    number = {}
    cases = RIN["make_cases"](SESSIONS, RIN["followers"](SESSIONS), number)
    torch.manual_seed(0)
    return cases, torch.randn(len(number), 8), number


def test_batches_hold_every_case_once_and_contexts_of_one_length(task):
    cases, *_ = task
    for draw in (None, np.random.default_rng(0)):
        found = RIN["batches"](cases, 7, draw)
        assert sorted(np.concatenate(found).tolist()) == list(range(len(cases.answers)))
        assert all(len({len(cases.contexts[k]) for k in part}) == 1 for part in found)


@pytest.mark.parametrize(("slots", "unread"), [("q", slice(8, 16)), ("r", slice(0, 8))])
def test_a_masked_slot_is_not_read(task, slots, unread):
    model = RIN["RIN"](8, 4, slots=slots)
    steps = torch.randn(3, 4, 16)
    other = steps.clone()
    other[..., unread] += 1
    torch.testing.assert_close(model.encoder(steps * model.mask)[1], model.encoder(other * model.mask)[1])


def test_gradients_against_finite_differences():
    torch.manual_seed(0)
    model = RIN["RIN"](3, 2).double()
    context = torch.randn(2, 3, 3, dtype=torch.double, requires_grad=True)
    some = torch.randn(2, 4, 3, dtype=torch.double)

    def judged(x):
        summary = model.encode(x)[1]
        return model.judge(summary, x[:, -1], some), model.infer(summary)

    assert torch.autograd.gradcheck(judged, context)


def test_the_leak_shows_one_number_of_the_answer_and_nothing_else():
    context, answers = torch.randn(2, 3, 4), torch.randn(2, 4)
    leaked = RIN["leaking"](context, answers)
    assert leaked.shape == (2, 3, 8)
    assert torch.equal(leaked[:, -1, -1], answers[:, 0])
    changed = answers.clone()
    changed[:, 1:] += 1
    assert torch.equal(RIN["leaking"](context, changed), leaked)
    assert torch.equal(leaked[:, 0, :4], context[:, 0]) and leaked[:, 0, 4:7].abs().sum() == 0
    assert torch.equal(leaked[:, 0, 7], context[:, 1, 0])  # the next step has moved up by one


def test_the_best_epoch_is_kept_and_the_answer_is_learned_by_heart(task):
    cases, vectors, _ = task
    held = cases.take(np.flatnonzero((cases.place < 20) & ((cases.candidates >= 0).sum(1) > 1)))
    held = held.take(range(min(120, len(held.answers))))
    RIN["settings"] |= {"epochs": 12, "rate": 0.02}
    _, curve, gained = RIN["trained"]({"train": held, "validation": held, "test": held}, vectors, 0)
    assert len(curve) == 12
    assert gained.mean() == pytest.approx(max(curve))
    assert gained.mean() > RIN["reciprocal"](RIN["mpc_scores"](held), held).mean()


def test_writers_read_only_the_context(task):
    cases, vectors, number = task
    words = sorted({t for q in number for t in q})
    table = RIN["term_table"](number, words)
    other = cases._replace(answers=np.roll(cases.answers, 1))
    for model in (RIN["Hred"](table, len(words) + 4, 6, 5), RIN["RinGenerator"](table, len(words) + 4, vectors, 5)):
        chosen = RIN["batches"](cases, 9)[0]
        for one, two in zip(model.read(cases, chosen)[:2], model.read(other, chosen)[:2], strict=True):
            torch.testing.assert_close(one, two)
        assert RIN["writing_loss"](model, cases, chosen).isfinite()


def test_beam_search_writes_no_special_words_and_ends_with_padding():
    torch.manual_seed(0)
    decoder = RIN["Decoder"](9, 4, 5, 6, attends=True)
    found, value = RIN["beam_search"](decoder, torch.randn(3, 5), torch.randn(3, 2, 6), beam=4, longest=5)
    assert found.shape == (3, 4, 5) and (value.diff(dim=1) <= 0).all()
    for row in found.flatten(0, 1).tolist():
        ended = row.index(1) if 1 in row else 5
        assert all(word >= 4 for word in row[:ended]) and set(row[ended + 1 :]) <= {0}


@pytest.mark.parametrize("typed", [[], ["", " ?"]])
def test_a_typed_session_without_a_query_is_an_error(typed, task):
    with pytest.raises(ValueError, match="at least one query"):
        RIN["suggest"](typed, None, {}, {})


def test_a_typed_query_that_was_never_seen_has_no_suggestions():
    assert RIN["suggest"](["never asked"], None, {}, {"a": torch.zeros(2)}) == []


@pytest.mark.parametrize(
    ("before", "after", "form"),
    [
        ("a b", "a b c", "add"),
        ("a b", "a", "drop"),
        ("a b", "a c", "exchange"),
        ("a b", "b a", "order"),
        ("a", "b", "all new"),
    ],
)
def test_forms_of_change(before, after, form):
    assert RIN["form_of"](before.split(), after.split()) == form
