"""The definitions of the CTC chapter against enumeration, references, properties and bad input."""

from __future__ import annotations

from functools import cache
from itertools import groupby, pairwise, product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.datasets import spoken_digits
from utils.tools import definitions, exercises

CHAPTER = definitions.of_chapter("ctc_spoken_digits")
STRING = st.lists(st.integers(0, 1), max_size=4)
SMALL = {"first_steps": 40, "strings": 4, "voice_strings": 3, "round": 2, "rounds": 1, "tuning": True, "pairs": 1}


def fresh(**more):
    """The chapter's definitions on made-up voices."""
    chapter = definitions.of_chapter("ctc_spoken_digits")
    chapter |= {"DEVICE": "cpu", "settings": SMALL | more, "sounds": spoken_digits.generated()}
    return chapter


@pytest.fixture(scope="module")
def made_up():
    return fresh()


def small(string, frames, outputs=3, seed=0):
    """Random log y for one string, in double precision, with the arguments of the losses."""
    torch.manual_seed(seed)
    logits = torch.randn(frames, 1, outputs, dtype=torch.double, requires_grad=True)
    labels = torch.tensor([string], dtype=torch.long).reshape(1, -1)
    return logits, labels, torch.tensor([frames]), torch.tensor([len(string)])


def chance(log_y, string, write):
    """The probability of all paths for which `write` gives the string."""
    y, total = log_y.exp().detach().numpy(), 0.0
    for path in product(range(y.shape[1]), repeat=len(y)):
        if write(path) == tuple(string):
            total += float(np.prod(y[np.arange(len(y)), path]))
    return total


def merged(path):
    return tuple(k for k, _ in groupby(path))


def test_a_path_is_merged_before_blanks_are_dropped():
    collapse = CHAPTER["collapse"]
    assert collapse([3, 3, 10, 3, 7, 7, 10]) == (3, 3, 7)
    assert collapse([10, 10]) == collapse([]) == ()
    assert collapse([0, 2, 0, 0], blank=2) == (0, 0)


def test_the_enumeration_is_whole_and_gives_the_numbers_of_the_toy():
    found = CHAPTER["by_enumeration"]([{3: 0.4, 10: 0.6}] * 3)
    assert sum(found.values()) == pytest.approx(1)
    assert (
        found[3,] == pytest.approx(0.688) and found[3, 3] == pytest.approx(0.096) and found[()] == pytest.approx(0.216)
    )


@given(STRING, st.integers(1, 6), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_the_loss_is_that_of_all_paths_and_of_torch(string, frames, seed):
    logits, *batch = small(string, frames, seed=seed)
    log_y = logits.log_softmax(2)
    ours = CHAPTER["ctc_loss"](log_y, *batch, blank=2)
    total = chance(log_y[:, 0], string, lambda path: CHAPTER["collapse"](path, 2))
    assert ours.item() == pytest.approx(-np.log(total) if total else np.inf)
    theirs = F.ctc_loss(log_y, *batch, blank=2, reduction="none")
    assert ours.item() == pytest.approx(theirs.item())
    if total:
        a, b = (torch.autograd.grad(x.sum(), logits, retain_graph=True)[0] for x in (ours, theirs))
        torch.testing.assert_close(a, b)


def test_a_string_that_does_not_fit_spoils_no_gradient_and_no_number_stays_one():
    logits, labels, frames, lengths = small([1, 1], 3)
    batch = torch.cat([logits, logits], 1), labels.expand(2, 2), torch.tensor([3, 2]), lengths.expand(2)
    loss = CHAPTER["ctc_loss"](batch[0].log_softmax(2), *batch[1:], blank=2)
    assert loss[0].isfinite() and loss[1].isinf()
    assert torch.autograd.grad(loss[0], logits)[0].isfinite().all()
    broken = torch.full((3, 1, 3), torch.nan)
    assert CHAPTER["ctc_loss"](broken, labels, frames, lengths, blank=2).isnan().all()


@given(st.lists(st.integers(0, 1), min_size=1, max_size=3), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_the_shares_are_those_of_all_paths(string, seed):
    logits, labels, _, _ = small(string, 6, seed=seed)
    log_y = logits.log_softmax(2)
    share, states = CHAPTER["shares"](log_y, labels, blank=2)
    torch.testing.assert_close(share.sum(2), torch.ones_like(share[..., 0]))
    y = log_y[:, 0].exp().detach().numpy()
    expected = np.zeros((6, 3))
    for path in product(range(3), repeat=6):
        if CHAPTER["collapse"](path, 2) == tuple(string):
            expected[np.arange(6), path] += np.prod(y[np.arange(6), path])
    expected /= expected.sum(1, keepdims=True)
    found = torch.zeros(6, 3, dtype=torch.double).scatter_add(1, states.expand(6, -1), share[:, 0])
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-9)


@given(st.integers(1, 5), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_an_unlimited_search_finds_all_strings(frames, seed):
    log_y = small([0], frames, seed=seed)[0].log_softmax(2)[:, 0].detach()
    listed = CHAPTER["by_enumeration"]([dict(enumerate(row)) for row in log_y.exp().tolist()], 2)
    found = CHAPTER["prefix_search"](log_y, 10**6, blank=2)
    assert {s: p for s, p in found if p} == pytest.approx(dict(listed))
    assert found[0][0] == max(listed, key=listed.get)
    assert len(CHAPTER["prefix_search"](log_y, 2, blank=2)) <= 2


def test_the_search_finds_what_best_path_misses():
    toy = torch.tensor([[0.4, 0.6], [0.4, 0.6]]).log()
    assert CHAPTER["collapse"](toy.argmax(1).tolist(), 1) == ()
    assert CHAPTER["prefix_search"](toy, blank=1)[0] == ((0,), pytest.approx(0.64))


@given(st.lists(st.integers(0, 2), max_size=5), st.lists(st.integers(0, 2), max_size=5))
def test_edits_are_the_recursion_of_the_textbook(a, b):
    @cache
    def distance(i, j):
        if not i or not j:
            return i + j
        kept = distance(i - 1, j - 1) + (a[i - 1] != b[j - 1])
        return min(kept, distance(i - 1, j) + 1, distance(i, j - 1) + 1)

    assert CHAPTER["edits"](a, b) == distance(len(a), len(b))


def test_the_error_counts_labels_and_not_strings():
    assert CHAPTER["error"]([(1, 2), ()], [(1, 2, 3), (4,)]) == 50


# ---- data


def test_the_parts_share_no_recording_and_a_voice_left_out_is_only_tested(made_up):
    voice = made_up["sounds"].speakers
    train, validation, test = made_up["parts"]()
    assert [len(part) for part in (train, validation, test)] == [2400, 300, 300]
    assert not {*train} & {*validation} and not {*train, *validation} & {*test}
    train, validation, test = made_up["parts"](("theo",))
    assert [len(part) for part in (train, validation, test)] == [2000, 250, 500]
    assert set(voice[test]) == {"theo"} and "theo" not in {*voice[train], *voice[validation]}


def test_scaling_knows_the_training_part_only(made_up):
    train, _, _ = made_up["parts"](("theo",))
    recordings = made_up["scaled"](train)
    known = torch.cat([recordings[n] for n in train])
    torch.testing.assert_close(known.mean(0), torch.zeros(13), atol=1e-3, rtol=0)
    everything = torch.cat(recordings)
    assert everything.mean(0).abs().max() > 0.01


def test_a_value_that_is_no_number_is_refused():
    chapter = fresh()
    chapter["sounds"].frames[7][0, 0] = np.nan
    with pytest.raises(ValueError, match="no number"):
        chapter["scaled"](np.arange(20))
    recordings = [torch.from_numpy(x) for x in chapter["sounds"].frames]
    with pytest.raises(ValueError, match="no number"):
        chapter["glue"]([np.array([7, 8])], recordings)


def test_strings_are_of_one_voice_and_without_a_recording_twice(made_up):
    train, _, _ = made_up["parts"]()
    drawn = made_up["draw"](train, 50, np.random.default_rng(0))
    assert {len(s) for s in drawn} == {3, 4, 5, 6}
    assert all(len(set(made_up["sounds"].speakers[s])) == 1 and len(set(s)) == len(s) for s in drawn)


def test_a_string_that_its_frames_cannot_carry_is_refused(made_up):
    assert made_up["frames_needed"]([3, 3, 7]) == 4 and made_up["frames_needed"]([]) == 0
    twice = np.flatnonzero(made_up["sounds"].digits == 3)[:2]
    short = {n: torch.zeros(1, 13) for n in twice}
    with pytest.raises(ValueError, match=r"2 frames cannot carry the string \[3, 3\]"):
        made_up["glue"]([twice], short)
    short[twice[0]] = torch.zeros(2, 13)
    assert made_up["glue"]([twice], short).frames.tolist() == [3]


def test_own_scale_is_of_the_string_alone(made_up):
    recordings = [torch.from_numpy(x) for x in made_up["sounds"].frames]
    batch = made_up["glue"]([np.array([0, 1, 2]), np.array([3, 4])], recordings, own_scale=True)
    for n, count in enumerate(batch.frames):
        x = batch.x[:count, n]
        torch.testing.assert_close(x.mean(0), torch.zeros(13), atol=1e-4, rtol=0)
        torch.testing.assert_close(x.std(0), torch.ones(13), atol=1e-4, rtol=0)


def test_marks_divide_each_recording_into_its_parts(made_up):
    count = len(made_up["sounds"].frames[0])
    row = made_up["marks"]([np.array([0, 2999]), np.array([0])], 3)
    assert row[:count, 0].tolist() == [3 * made_up["sounds"].digits[0] + k * 3 // count for k in range(count)]
    assert (row[count:, 1] == -1).all() and (row[:, 0] >= 0).all()
    assert set(row[count:, 0].tolist()) == {27, 28, 29}


# ---- network and losses


def test_padding_changes_nothing():
    torch.manual_seed(0)
    model, x = CHAPTER["Recogniser"](11), torch.randn(9, 2, 13)
    frames = torch.tensor([9, 5])
    together, alone = model(x, frames), model(x[:5, 1:], frames[1:])
    torch.testing.assert_close(together[:5, 1:], alone)
    torch.testing.assert_close(CHAPTER["turned"](CHAPTER["turned"](x, frames), frames), x)
    reference = torch.nn.LSTM(13, 64, bidirectional=True)
    for ours, suffix in ((model.ahead, ""), (model.back, "_reverse")):
        for name, weight in ours.named_parameters():
            getattr(reference, name + suffix).data = weight.data
    expected = model.out(reference(x[:, :1])[0]).log_softmax(2)
    torch.testing.assert_close(model(x[:, :1], frames[:1]), expected)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=3), st.integers(0, 50))
@settings(max_examples=15, deadline=None)
def test_without_blank_the_paths_write_merged_strings(string, seed):
    logits, *_ = small(string, 5, outputs=10, seed=seed)
    log_y = torch.cat([logits[..., :3], torch.full_like(logits[..., 3:], -1e3)], 2).log_softmax(2)
    batch = SimpleNamespace(spoken=[tuple(string)], frames=torch.tensor([5]))
    found = CHAPTER["no_blank_loss"](log_y, batch)
    wanted = merged(string)
    total = chance(log_y[:, 0, :3], wanted, merged)
    assert found.item() == pytest.approx(-np.log(total) / len(wanted), rel=1e-5)


def test_states_without_borders_sum_over_all_ways_through_the_states():
    logits, *_ = small([0, 0], 7, outputs=30, seed=3)
    log_y = torch.cat([logits[..., :3], torch.full_like(logits[..., 3:], -1e3)], 2).log_softmax(2)
    batch = SimpleNamespace(labels=torch.tensor([[0, 0]]), frames=torch.tensor([7]), lengths=torch.tensor([2]))
    total = chance(log_y[:, 0, :3], (0, 1, 2, 0, 1, 2), merged)
    assert CHAPTER["states_loss"](log_y, batch).item() == pytest.approx(-np.log(total) / 6, rel=1e-5)


def test_shuffled_strings_are_those_of_the_neighbour():
    log_y = torch.randn(12, 3, 11).log_softmax(2)
    batch = SimpleNamespace(
        labels=torch.tensor([[1, 2], [3, 0], [5, 6]]), lengths=torch.tensor([2, 1, 2]), frames=torch.full((3,), 12)
    )
    moved = SimpleNamespace(labels=batch.labels[[2, 0, 1]], lengths=batch.lengths[[2, 0, 1]], frames=batch.frames)
    torch.testing.assert_close(CHAPTER["shuffled_loss"](log_y, batch), CHAPTER["fast_loss"](log_y, moved))
    assert CHAPTER["shuffled_loss"](log_y, batch) != CHAPTER["fast_loss"](log_y, batch)


@given(st.integers(3, 7), st.sampled_from([0.0, 1.0, 3.0]), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_viterbi_is_the_best_of_all_allowed_paths(frames, penalty, seed):
    """Two digits of two states each."""
    scores = np.random.default_rng(seed).normal(0, 2, (frames, 4))
    best = (-np.inf, None)
    for path in product(range(4), repeat=frames):
        starts = [a != b and b % 2 == 0 for a, b in pairwise(path)]
        # a digit may follow itself: from its last state to its first
        allowed = all(a == b or (b == a + 1 and b % 2) or (a % 2 and b % 2 == 0) for a, b in pairwise(path))
        if allowed and path[0] % 2 == 0 and path[-1] % 2:
            score = sum(scores[t, s] for t, s in enumerate(path)) - penalty * sum(starts)
            digits = (path[0] // 2, *(b // 2 for (_, b), new in zip(pairwise(path), starts, strict=True) if new))
            best = max(best, (score, digits))
    assert CHAPTER["viterbi"](scores, 2, penalty) == best[1]


def test_the_decoder_is_chosen_on_the_strings_that_it_is_given(made_up, monkeypatch):
    asked = []

    def viterbi(scores, states, penalty):
        asked.append((states, penalty, scores.shape[1]))
        return (int(penalty) + states,)

    for count, states in ((30, {3}), (10, {1, 3, 6})):
        asked.clear()
        made = torch.zeros(4, count).log_softmax(1)
        monkeypatch.setitem(made_up, "outputs", lambda model, batch, made=made: [made] * 2)
        monkeypatch.setitem(made_up, "viterbi", viterbi)
        decode = made_up["tuned_decoder"](None, SimpleNamespace(spoken=[(15,), (15,)]))
        assert {n for n, _, _ in asked} == states and {p for _, p, _ in asked} == {0, 3, 6, 12, 24}
        assert all(width == 10 * n for n, _, width in asked)
        assert decode(made) == (15,)


def test_a_network_with_a_blank_is_read_out_by_best_path(made_up, monkeypatch):
    monkeypatch.setitem(made_up, "outputs", lambda model, batch: [torch.zeros(4, 11)])
    assert made_up["tuned_decoder"](None, None) is made_up["best_path"]


def test_a_digit_lasts_and_a_new_one_costs():
    """Frame by frame 3 3 7 3 3 5 5 5: a short seven is passed over, and without penalty and duration it is written."""
    log_y = torch.full((8, 10), -4.0)
    log_y[range(8), [3, 3, 7, 3, 3, 5, 5, 5]] = -0.1
    ways = CHAPTER["decoders"](10, torch.zeros(10))
    written = [decode(log_y) for decode in ways]  # least duration, share of the frequency, penalty
    assert written[0] == CHAPTER["best_path"](log_y) == (3, 7, 3, 5)
    assert written[2] == (3, 5) and written[10] in {(3, 5), (3, 3, 5)} and len(ways) == 30
    assert len(CHAPTER["decoders"](30, torch.zeros(30))) == 10


def test_training_goes_on_until_a_round_does_not_lower_the_validation_loss(monkeypatch):
    chapter, losses = fresh(), iter((3.0, 2.0, 2.5, 1.0))
    states = []

    def train(model, next_batch, loss_of, steps, noise):
        model.out.bias.data[:] = len(states)
        states.append((steps, noise))

    monkeypatch.setitem(chapter, "train", train)
    model, heard = chapter["Recogniser"](11), SimpleNamespace(x=torch.zeros(2, 1, 13), frames=torch.tensor([2]))
    found = chapter["train_out"](model, None, lambda y, batch: torch.tensor(next(losses)), heard, 0.6, 9)
    assert found == [3.0, 2.0, 2.5] and states == [(2, 0.6)] * 3
    assert model.out.bias.data.tolist() == [1] * 11  # that of the second round


def test_spikes_are_counted_between_their_borders(made_up):
    a, b = len(made_up["sounds"].frames[0]), len(made_up["sounds"].frames[2999])
    for late, expected in ((0, True), (1, False)):
        log_y = torch.zeros(a + b, 11)
        log_y[:, 10] = 1
        log_y[a - 1 + late, 0] = log_y[a + b - 1, 9] = 2  # digits 0 and 9
        found = made_up["spikes"](log_y, np.array([0, 2999]))
        assert [row[0] for row in found] == [expected, True]
    assert made_up["spikes"](torch.zeros(9, 11), np.array([0, 2999])) == []


def test_every_kind_runs_and_finds_what_the_tables_need():
    chapter = fresh()
    for kind in chapter["KINDS"]:
        found = chapter["run"](kind, 0.6, 1, ("theo", "lucas"), True, 0)
        assert {"validation", "known", "theo", "lucas", "noise"} <= set(found) and len(found["losses"]) == 1
        assert {"error", "written", "repeats", "no repeats"} <= set(found["theo"])
        assert ("prefix" in found["theo"]) == (kind == "CTC") and "prefix" not in found["known"]
    assert "prefix" in chapter["run"]("CTC", 0.6, 1, (), True, 0)["known"]


def test_the_noise_is_chosen_by_validation_error(monkeypatch):
    chapter = fresh()
    errors = {0.0: 3.0, 0.6: 1.0, 1.2: 2.0}

    def each(function, numbers, kind, noise, *more):
        return [{"validation": {"error": errors[noise]}, "known": {"error": -errors[noise]}}]

    chapter["seeds"] = SimpleNamespace(each=each)
    assert chapter["noise_of"]("CTC") == 0.6


def test_the_noise_for_a_voice_is_chosen_by_the_error_on_its_partner():
    chapter = fresh()
    chapter["rounds"] = 1
    errors = {0.0: (30.0, 50.0), 0.6: (10.0, 40.0), 1.2: (20.0, 5.0)}  # of the first voice and its partner

    def each(function, numbers, kind, noise, rounds, pair, own_scale, label):
        return [{voice: {"error": e} for voice, e in zip(pair, errors[noise], strict=True)} | {"noise": noise}]

    chapter["seeds"] = SimpleNamespace(each=each)
    found, grid = chapter["of_voices"]("CTC")
    assert [one["noise"] for one in found] == [1.2, 0.6]  # not that of its own least error
    assert [one["left out"]["error"] for one in found] == [20.0, 40.0]
    assert grid == {noise: list(pair) for noise, pair in errors.items()}
    assert {voice for pair in chapter["PAIRS"] for voice in pair} == set(spoken_digits.SPEAKERS)


def test_strings_of_a_fold_are_unheard_and_of_their_voices(made_up):
    training, _, evaluated = made_up["prepared"](("theo", "lucas"), False)
    assert len(evaluated["known"].spoken) == 4 and len(evaluated["theo"].spoken) == 3
    assert {"theo", "lucas"}.isdisjoint(made_up["sounds"].speakers[training])
    for name, batch in evaluated.items():
        for string in batch.strings:
            assert not {*string} & {*training}
            spoken_by = set(made_up["sounds"].speakers[string])
            assert spoken_by == {name} if name in ("theo", "lucas") else {"theo", "lucas"}.isdisjoint(spoken_by)
    again = made_up["prepared"](("theo", "lucas"), False)[2]
    assert again["theo"].spoken == evaluated["theo"].spoken


# ---- exercises


def check_toy(after, printed):
    assert printed.count("\n") == 4 and "'3': 0.64" in printed


def check_frames(after, printed):
    assert "3 frames: inf" in printed and "4 frames: inf" not in printed


def check_bias(after, printed):
    assert printed.count("bias") == 2
    assert after["other"].out.bias[10].item() == pytest.approx(-3, abs=0.5)


def check_widths(after, printed):
    assert [line.split()[0] for line in printed.splitlines()] == ["1", "2", "10"]


CHECKS = (check_toy, check_frames, check_bias, check_widths)


@pytest.mark.parametrize("number", range(len(CHECKS)))
def test_the_solutions_of_the_exercises_run(number, capsys):
    after = fresh()
    rng, (train, validation, test) = np.random.default_rng(0), after["parts"]()
    recordings = after["scaled"](train)
    after["heard"] = after["glue"](after["draw"](validation, 3, rng), recordings)
    after["unheard"] = after["glue"](after["draw"](test, 3, rng), recordings)
    after["model"] = after["Recogniser"](11)
    after |= {"rng": rng, "training": train, "recordings": recordings}
    exercises.execute("ctc_spoken_digits", number, after)
    CHECKS[number](after, capsys.readouterr().out)
