"""The definitions of the RIN chapter and its simulated log against references, properties and bad input."""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from datetime import datetime, timedelta
from itertools import islice, pairwise
from types import ModuleType, SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.datasets import searchlog
from utils.tools import definitions, exercises

RIN = definitions.of_chapter("rin_query_suggestion")
RIN["DEVICE"] = "cpu"
RIN["settings"] = {"width": 8, "hidden": 8, "epochs": 2, "batch": 16, "rate": 0.01}
LOG = list(searchlog.lines(150, seed=3))
SESSIONS, MET = RIN["find_sessions"](LOG)


@pytest.fixture(scope="module")
def task():
    number = {}
    cases = RIN["make_cases"](SESSIONS, RIN["followers"](SESSIONS), number)
    torch.manual_seed(0)
    return cases, torch.randn(len(number), 8), number


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


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_the_end_of_a_line_is_no_site_and_a_byte_order_mark_no_part_of_a_user(end):
    whole = "7\tjapan travel\t2006-03-01 10:00:00\t\t"
    event = RIN["read_line"](f"\ufeff{whole}{end}")
    assert (event.user, event.site, event.act) == ("7", "", "")
    assert RIN["read_line"](f"{whole}a.com{end}").site == "a.com"
    heading = f"AnonID\tQuery\tQueryTime\tItemRank\tClickURL{end}"
    lines = [heading, f"{whole}{end}", f"7\ttokyo\t2006-03-01 10:00:00\t\t{end}"]  # at one time, in their order
    (session,), met = RIN["find_sessions"](lines)
    assert session.queries == (("japan", "travel"), ("tokyo",)) and session.sites == ((), ())
    assert met["broken line"] == 1 and met["clicked lines"] == 0


# ---- the AOL log, which readers hold themselves


class LogItem(NamedTuple):
    """A result as the package ir_datasets gives it."""

    doc_id: str
    rank: str
    clicked: bool


class AolQlog(NamedTuple):
    """A line of the log as the package ir_datasets gives it: one click at most."""

    user_id: str
    query_id: str
    query: str
    query_orig: str
    time: datetime
    items: tuple


def aol(user, query, minute, *items, day=3):
    moment = None if minute is None else datetime(2006, 3, day, 10) + timedelta(minutes=minute)
    return AolQlog(user, "q0", query.strip(), query, moment, items)


def aol_lines(monkeypatch, records):
    """The lines that the chapter makes of records; the package is played by a module that holds nothing else."""
    package = ModuleType("ir_datasets")
    package.load = {"aol-ia": SimpleNamespace(qlogs_iter=lambda: iter(records))}.__getitem__
    monkeypatch.setitem(sys.modules, "ir_datasets", package)
    return RIN["aol_lines"]()


def test_the_aol_log_has_its_five_columns(monkeypatch):
    records = [aol("7", "japan travel", 0), aol("7", "japan travel", 1, LogItem("d1f0", "3", True))]
    assert list(aol_lines(monkeypatch, records)) == [
        "7\tjapan travel\t2006-03-03 10:00:00\t\t",
        "7\tjapan travel\t2006-03-03 10:01:00\t3\td1f0",
    ]


def test_aol_records_become_sessions_whatever_their_order(monkeypatch):
    click, other = LogItem("d1f0", "1", True), LogItem("ab12", "2", True)
    records = [
        aol("7", "Japan  travel", 0),
        aol("7", "tokyo travel", 4, click),
        aol("7", "tokyo travel", 5, other),
        aol("9", "norway", 1),  # another user, between the lines of the first
        aol("7", "tokyo hotel", 6, LogItem("ffff", "9", False)),  # shown and not clicked
        aol("7", "rome", 0, day=4),
        aol("7", "rome map", 2, day=4),
    ]
    for order in (records, records[::-1]):
        found, met = RIN["find_sessions"](aol_lines(monkeypatch, order))
        first, second = sorted(found)
        assert first.queries == (("japan", "travel"), ("tokyo", "travel"), ("tokyo", "hotel"))
        assert first.sites == ((), ("ab12", "d1f0"), ()) and first.acts == ("", "", "")
        assert second.queries == (("rome",), ("rome", "map"))
        assert first.start == datetime(2006, 3, 3, 10) and second.start == datetime(2006, 3, 4, 10)
        assert met["lines"] == 7 and met["sessions"] == 3 and met["sessions kept"] == 2


def test_broken_aol_records_are_counted_and_leave_the_others_as_they_were(monkeypatch):
    good = [aol("7", "japan", 0), aol("7", "japan travel", 1)]
    broken = [aol("", "norway", 0), aol("7", "italy", None), aol("7", "-", 2), aol("7", "", 2), aol("8", "日本", 0)]
    found, met = RIN["find_sessions"](aol_lines(monkeypatch, [*broken, *good, *broken]))
    assert [s.queries for s in found] == [(("japan",), ("japan", "travel"))]
    assert (met["broken line"], met["empty query"], met["lines"]) == (4, 6, 12)


@pytest.mark.parametrize("query", ["japan\ttravel", "japan\ntravel", " japan travel\r"])
def test_an_aol_query_with_a_tab_or_an_end_of_line_does_not_shift_the_columns(query, monkeypatch):
    (text,) = aol_lines(monkeypatch, [aol("7", query, 0, LogItem("d1f0", "1", True))])
    event = RIN["read_line"](text)
    assert (event.terms, event.site) == (("japan", "travel"), "d1f0")


def test_without_the_package_the_aol_log_is_an_error_that_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with pytest.raises(ImportError, match="ir_datasets"):
        next(RIN["aol_lines"]())


# ---- candidates and measures


def test_the_recall_stands_beside_each_row_of_mrr():
    columns = RIN["with_recall"]({"a": [1.0, 2.0], "b": [3.0, 4.0]}, 42.0)
    assert columns["test MRR (%)"] == {"a": [1.0, 2.0], "b": [3.0, 4.0]}
    assert columns["candidate recall (%)"] == {"a": [42.0, 42.0], "b": [42.0, 42.0]}


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


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_an_error_and_not_a_rank(wrong, task):
    cases = task[0].take(np.flatnonzero(task[0].place < 20)[:5])
    for scores in (np.full(cases.candidates.shape, wrong), np.zeros(cases.candidates.shape)):
        scores[2, cases.place[2]] = wrong
        with pytest.raises(ValueError, match="diverged"):
            RIN["reciprocal"](scores, cases)
    with pytest.raises(ValueError, match="diverged"):
        RIN["rank_of"](np.array([[0.0, np.nan]]), np.array([0]))


def test_no_mrr_is_above_100(task):
    cases, draw = task[0].take(np.flatnonzero(task[0].place < 20)), np.random.default_rng(0)
    for scores in (draw.normal(size=cases.candidates.shape), np.zeros(cases.candidates.shape)):
        gained = RIN["reciprocal"](scores, cases)
        assert (gained > 0).all() and gained.max() <= 100


def test_a_training_that_diverges_is_an_error_and_no_best_epoch(task, monkeypatch):
    cases, vectors, _ = task
    held = cases.take(np.flatnonzero(cases.place < 20)[:40])
    parts = dict.fromkeys(("train", "validation", "test"), held)
    monkeypatch.setitem(RIN["settings"], "rate", 1e19)
    with pytest.raises(ValueError, match="diverged"):
        RIN["trained"](parts, vectors, 0)
    model = RIN["RIN"](8, 4)
    loss = lambda cases, chosen: RIN["batch_loss"](model, cases, vectors, chosen)  # noqa: E731
    with pytest.raises(ValueError, match="epoch 1 is nan"):
        RIN["train"](model, loss, parts, 0, 2, lambda cases: float("nan"), 0.01)


def test_candidates_of_a_case_are_the_followers_of_its_last_query_each_once(task):
    cases, _, number = task
    counts, query = RIN["followers"](SESSIONS), {row: terms for terms, row in number.items()}
    for context, ranked in zip(cases.contexts, cases.candidates.tolist(), strict=True):
        kept = [query[row] for row in ranked if row >= 0]
        assert kept == RIN["top_candidates"](counts, query[context[-1]]) and len(set(kept)) == len(kept)
    answers = [s.queries[at] for s in SESSIONS for at in range(1, len(s.queries))]
    assert [query[row] for row in cases.answers.tolist()] == answers
    assert all(answer not in context for context, answer in zip(cases.contexts, cases.answers.tolist(), strict=True))


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
        assert RIN["over_parts"](RIN["count_part"], parts[:1], RIN["merged"]) == RIN["count_part"](parts[0])
    assert walked[:, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    with pytest.raises(ValueError, match="no part"):
        RIN["over_parts"](RIN["count_part"], [], RIN["merged"])


@pytest.mark.parametrize("dask", [True, False])
def test_a_part_is_added_and_forgotten_before_the_next_is_read(dask, monkeypatch):
    if not dask:
        monkeypatch.setattr(RIN["importlib"].util, "find_spec", lambda name: None)
    else:
        pytest.importorskip("dask.bag")
    alive = []

    class Counts(list):
        def __init__(self, numbers):
            super().__init__(numbers)
            alive.append(weakref.ref(self))

    most = []

    def count(part):
        found = Counts([part])
        most.append(sum(counts() is not None for counts in alive))
        return found

    def add(first, second):
        first.extend(second)
        return first

    assert RIN["over_parts"](count, range(40), add) == list(range(40))
    assert len(most) == 40 and max(most) <= 3  # the sum, the part that was just added, the part that is read


counted_edges = st.dictionaries(st.tuples(st.integers(0, 20), st.integers(0, 5)), st.integers(1, 9), max_size=40)


@given(counted_edges, st.integers(1, 50))
def test_only_the_rarest_entries_are_let_go_and_their_sum_is_kept(edges, limit):
    counts = RIN["without_rare"](Counter(edges), limit)
    kept = {edge: times for edge, times in counts.items() if edge != "dropped"}
    assert kept.items() <= edges.items() and counts.total() == sum(edges.values())
    gone = [times for edge, times in edges.items() if edge not in kept]
    if len(edges) <= limit:
        assert not gone and "dropped" not in counts
    else:
        assert gone and len(kept) <= limit and max(gone) < min(kept.values(), default=10)


def test_notes_of_a_table_are_never_let_go():
    counts = Counter({("a", "b"): 5, ("b", "c"): 7, ("c", "d"): 7, "lines": 1, "dropped": 2})
    assert RIN["without_rare"](counts, 2) == {("b", "c"): 7, ("c", "d"): 7, "lines": 1, "dropped": 7}


def test_a_table_of_limited_length_counts_every_line_and_never_more_than_there_is():
    parts = RIN["parts_of_stream"](900, users=20, lines_per_user=10)
    assert len(parts) == 5 and len(set(parts)) == 5
    whole = RIN["over_parts"](RIN["count_part"], parts, RIN["merged"])
    seen = []

    def within(first, second):
        seen.append(len(RIN["merged_within"](300, first, second)))
        return first

    held = RIN["over_parts"](RIN["count_part"], parts, within)
    assert max(seen) <= 302 and held["lines"] == whole["lines"] and held.total() == whole.total()
    assert all(times <= whole[edge] for edge, times in held.items() if edge != "dropped")
    assert held["dropped"] > 0


def test_a_stream_is_counted_as_a_whole_or_within_its_limit(monkeypatch):
    monkeypatch.setitem(RIN, "parts_of_stream", lambda lines, users: [(k, users) for k in range(lines)])
    monkeypatch.setitem(RIN["settings"], "stream_users", 20)
    whole, seconds = RIN["stream"](3)
    held, _ = RIN["stream"](3, 100)
    assert seconds > 0 and whole["lines"] == held["lines"] > 300
    assert len(whole) > 200 and len(held) <= 102 and "dropped" not in whole


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


def test_the_session_is_summed_by_the_weights_of_the_equation():
    torch.manual_seed(0)
    encoder, steps = RIN["SessionEncoder"](6, 4), torch.randn(2, 5, 6)
    states, summary, weights = encoder(steps)
    for session in range(2):
        each = states[session]
        energy = torch.stack(
            [encoder.query.weight[0] @ (encoder.dense.weight @ h + encoder.dense.bias).tanh() for h in each]
        )
        expected = energy.exp() / energy.exp().sum()
        torch.testing.assert_close(weights[session], expected)
        torch.testing.assert_close(summary[session], expected @ each)


def test_the_loss_of_a_batch_is_that_of_its_cases(task):
    cases, vectors, _ = task
    torch.manual_seed(1)
    model = RIN["RIN"](8, 6)
    chosen = RIN["batches"](cases.take(np.flatnonzero(cases.place < 20)), 6)[0]
    held = cases.take(np.flatnonzero(cases.place < 20))
    by_hand = torch.stack([RIN["loss_by_hand"](model, held, vectors, k) for k in chosen]).mean()
    torch.testing.assert_close(RIN["batch_loss"](model, held, vectors, chosen), by_hand, rtol=1e-4, atol=1e-4)


def test_a_query_is_read_up_to_its_end_and_not_on_over_padding():
    torch.manual_seed(0)
    number = {("a", "b"): 0, ("c",): 1}
    table, cases = RIN["term_table"](number, ["a", "b", "c"]), SimpleNamespace(contexts=[[1, 0], [1, 1]])
    longer = torch.nn.functional.pad(table, (0, 3))
    model = RIN["Hred"](table, 7, 6, 5)
    state = model.read(cases, [0, 1])[0]
    model.queries = longer
    torch.testing.assert_close(model.read(cases, [0, 1])[0], state)


def test_batches_hold_every_case_once_and_contexts_of_one_length(task):
    cases, *_ = task
    for draw in (None, np.random.default_rng(0)):
        found = RIN["batches"](cases, 7, draw)
        assert sorted(np.concatenate(found).tolist()) == list(range(len(cases.answers)))
        assert all(len({len(cases.contexts[k]) for k in part}) == 1 for part in found)


def test_others_lend_contexts_of_equal_length_and_nothing_else(task):
    cases, *_ = task
    others = RIN["of_others"](cases)
    assert [len(c) for c in others.contexts] == [len(c) for c in cases.contexts]
    assert sorted(others.contexts) == sorted(cases.contexts)
    assert others.answers is cases.answers and others.candidates is cases.candidates
    assert np.mean([a == b for a, b in zip(others.contexts, cases.contexts, strict=True)]) < 0.1


def test_another_session_is_read_by_the_encoder_alone(task):
    cases, vectors, _ = task
    model, others = RIN["RIN"](8, 8), RIN["of_others"](cases)
    own, astray = (RIN["judged"](model, cases, vectors, heard=heard) for heard in (None, others))
    np.testing.assert_array_equal(own, RIN["judged"](model, cases, vectors, heard=cases))
    k = int(np.flatnonzero((cases.candidates >= 0).any(1))[0])
    heard, last = vectors[others.contexts[k]][None], vectors[cases.contexts[k][-1]][None]
    filled = cases.candidates[k] >= 0
    with torch.no_grad():
        logits = model.judge(model.encode(heard)[1], last, vectors[cases.candidates[k][filled]][None])[0]
    np.testing.assert_allclose(astray[k][filled], logits.numpy(), atol=1e-5)
    assert not np.allclose(astray[k][filled], own[k][filled])


def test_the_rate_falls_to_zero_evenly(task):
    cases, vectors, _ = task
    model, seen = RIN["RIN"](8, 4), []

    class Watched(torch.optim.SGD):
        def step(self):
            seen.append(self.param_groups[0]["lr"])

    watched = definitions.of_chapter(
        "rin_query_suggestion",
        {"torch.optim.Adam(model.parameters(), lr=rate, fused=True)": "WATCHED(model)"},
    )
    watched |= {"settings": RIN["settings"] | {"batch": 16, "rate": 0.01}, "DEVICE": "cpu"}
    watched["WATCHED"] = lambda model: Watched(model.parameters(), lr=1.0)
    loss = lambda cases, chosen: watched["batch_loss"](model, cases, vectors, chosen)  # noqa: E731
    few = cases.take(range(60))
    watched["train"](model, loss, {"train": few, "validation": few}, 0, 2, lambda cases: 0.0, 0.01)
    steps = 2 * len(watched["batches"](few, 16))
    np.testing.assert_allclose(seen, 0.01 * (1 - np.arange(steps) / steps))


def test_the_likelihood_against_one_word_at_a_time():
    torch.manual_seed(0)
    decoder, target = RIN["Decoder"](9, 4, 5, 6, attends=True), torch.tensor([[4, 5, 1, 0], [6, 1, 0, 0], [1, 0, 0, 0]])
    state, memory = torch.randn(3, 5), torch.randn(3, 2, 6)
    found = decoder.likelihood(state, memory, target)
    for row in range(3):
        last, now, total = torch.tensor([RIN["START"]]), state[row : row + 1], 0.0
        for word in target[row][target[row] != RIN["PAD"]]:
            now = decoder.step(last, now, memory[row : row + 1])
            total, last = total + decoder.project(now).log_softmax(1)[0, word], word[None]
        torch.testing.assert_close(found[row], total)


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


def test_a_writer_reads_and_writes_with_one_table_of_words(task):
    cases, vectors, number = task
    words = sorted({t for q in number for t in q})
    table, known = RIN["term_table"](number, words), {k: torch.full((8,), float(k)) for k in range(4, len(words) + 4)}
    hred = RIN["Hred"](table, len(words) + 4, 6, 5)
    assert hred.embedding is hred.decoder.embedding
    writer = RIN["RinGenerator"](table, len(words) + 4, vectors, 5, known)
    assert torch.equal(writer.decoder.embedding.weight[4:, 0], torch.arange(4.0, len(words) + 4))
    states, decoder = torch.randn(3, 5), hred.decoder
    by_hand = torch.stack([(decoder.turn(states) * row).sum(1) for row in decoder.embedding.weight], 1) + decoder.bias
    torch.testing.assert_close(decoder.project(states), by_hand)


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


# ---- the solutions of the exercises


def after_the_chapter():
    """What the cells leave behind that the solutions use: a log of 300 users, vectors of eight numbers, one epoch."""
    space = definitions.of_chapter("rin_query_suggestion")
    space |= {
        "DEVICE": "cpu",
        "settings": {"users": 900, "width": 8, "hidden": 8, "epochs": 1, "batch": 64, "walks": 1},
    }
    space["settings"] |= {"rate": 0.01, "seeds": (0,)}
    sessions, number = space["find_sessions"](searchlog.lines(300, 5))[0], {}
    parts = space["split_by_time"](sessions)
    counts = space["followers"](parts["background"])
    every = {p: space["make_cases"](parts[p], counts, number) for p in ("train", "validation", "test")}
    held = {p: c.take(np.flatnonzero(c.place < 20)) for p, c in every.items()}
    names = [name for _, families in searchlog.world() for family in families for name in family]
    space["edges"] = space["count_edges"](sessions) + Counter({(("query", n), ("term", n)): 1 for n in names})
    draw = torch.Generator().manual_seed(0)
    words = sorted({term for query in number for term in query})
    space["terms"] = {term: torch.randn(8, generator=draw) for term in words}
    space |= {"number": number, "parts_of": held, "test": held["test"], "every": every, "words": words}
    space["vectors"] = space["query_vectors"](number, space["terms"], 8)
    space["baselines"] = {"MPC": space["reciprocal"](space["mpc_scores"](held["test"]), held["test"])}
    space["means"] = dict.fromkeys(space["VARIANTS"], [50.0])
    torch.manual_seed(0)
    table = space["term_table"](number, words)
    space["models"] = {"RIN (Q+R)": space["RIN"](8, 8)}
    space["writers"] = {("RIN", 0): space["RinGenerator"](table, len(words) + 4, space["vectors"], 8)}
    space["to_write"] = every["test"].take(range(12))
    return space


def solved(number, monkeypatch):
    """The names after a solution and those before; `trained` and `walks` note what they were called with."""
    space, calls = after_the_chapter(), []
    trained, walks = space["trained"], space["walks"]

    def spy(*given, **options):
        calls.append((space["RIN"], space["STEP_WEIGHT"], options))
        return trained(*given, **options)

    def spy_walks(*given, p=1.0, q=1.0):
        calls.append((p, q))
        return walks(*given, p=p, q=q)

    monkeypatch.setitem(space, "trained", spy)
    monkeypatch.setitem(space, "walks", spy_walks)
    before = dict(space)
    exec(exercises.solutions("rin_query_suggestion")[number - 1], space)
    return space, before, calls


def no_habits(after, before, calls):
    assert searchlog.HABIT["add"] != searchlog.HABIT[""]  # put back
    assert set(after["with_habits"]) == set(after["without_habits"]) == {"MPC", "n-gram", "Q", "R", "RIN (Q+R)"}
    assert after["with_habits"]["MPC"] != after["without_habits"]["MPC"]
    assert [options for *_, options in calls] == [{"slots": "q"}, {"slots": "r"}, {}] * 2


def no_step(after, before, calls):
    assert after["RIN"] is before["RIN"] and {model for model, *_ in calls} == {after["Stepless"]}
    model, summary, last, some = after["Stepless"](8, 8), torch.randn(2, 16), torch.randn(2, 8), torch.randn(2, 5, 8)
    assert torch.equal(model.judge(summary, last, some), model.judge(summary, last + 1, some))
    x = torch.cat([some, some], 2) @ model.judge_candidate.weight.T + model.judge_candidate.bias
    expected = model.judge_out((x + model.judge_session(summary)[:, None]).relu())[..., 0]
    torch.testing.assert_close(model.judge(summary, last, some), expected)


def step_weights(after, before, calls):
    assert after["STEP_WEIGHT"] == before["STEP_WEIGHT"] == 0.05
    assert [weight for _, weight, _ in calls] == [0, 0.5, 5]
    without = before["trained"](before["parts_of"], before["vectors"], 0, inferencer=False)[2]
    assert after["weighed"][0][0] == pytest.approx(without.mean(), abs=1e-3)
    assert all(-1 <= likeness <= 1 for _, likeness in after["weighed"].values())


def other_walks(after, before, calls):
    assert after["walks"] is before["walks"]
    assert sorted(set(calls)) == sorted(after["analogous"]) == [(0.25, 4), (1, 1), (4, 0.25)]
    assert all(0 <= share <= 100 for shares in after["analogous"].values() for share in shares)


def written_candidates(after, before, calls):
    grown, beams = {row: query for query, row in after["grown"].items()}, after["beams"]
    assert before["number"].items() <= after["grown"].items() and len(after["grown_vectors"]) == len(grown)
    for row in beams.candidates:
        queries = [grown[k] for k in row.tolist() if k >= 0]
        assert len(set(queries)) == len(queries) >= 19  # all but the empty one
        assert all(1 <= len(query) <= 5 and set(query) <= set(before["words"]) for query in queries)
    assert (beams.answers == before["to_write"].answers).all()


SOLVED = [no_habits, no_step, step_weights, other_walks, written_candidates]


@pytest.mark.parametrize("number", range(1, len(SOLVED) + 1))
def test_the_solutions_of_the_exercises_run(number, monkeypatch):
    SOLVED[number - 1](*solved(number, monkeypatch))
    assert len(exercises.solutions("rin_query_suggestion")) == len(SOLVED)
