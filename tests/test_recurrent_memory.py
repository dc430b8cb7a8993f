"""The definitions of the chapter on recurrent networks against references, properties and exact counts."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import nn

from utils.tools import definitions, exercises

SIZE = st.integers(1, 7)


def chapter_with(**names):
    """The chapter's definitions, with names that its cells would have set."""
    chapter = definitions.of_chapter("recurrent_memory")
    chapter.update(DEVICE="cpu", **names)
    return chapter


CHAPTER = chapter_with(settings={})


@given(SIZE, SIZE, SIZE, SIZE)
@settings(max_examples=25, deadline=None)
def test_states_are_those_of_torch(steps, batch, inputs, width):
    torch.manual_seed(steps)
    ours, theirs = CHAPTER["SRN"](inputs, width), nn.RNN(inputs, width)
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(ours.W.weight)
        theirs.weight_hh_l0.copy_(ours.U.weight)
        theirs.bias_ih_l0.copy_(ours.W.bias)
        theirs.bias_hh_l0.zero_()
    x = torch.randn(steps, batch, inputs)
    torch.testing.assert_close(ours(x), theirs(x)[0], rtol=0, atol=1e-6)


def test_copied_states_change_no_value_and_stop_the_error():
    torch.manual_seed(0)
    srn, x = CHAPTER["SRN"](2, 4), torch.randn(6, 3, 2, requires_grad=True)
    torch.testing.assert_close(srn(x, copied=True), srn(x))
    srn(x, copied=True)[-1].sum().backward()
    assert (x.grad[-1] != 0).all() and (x.grad[:-1] == 0).all()
    x.grad = None
    srn(x)[-1].sum().backward()
    assert (x.grad != 0).all()


@pytest.mark.parametrize("memory", [True, False])
def test_only_a_network_with_memory_hears_the_past(memory):
    torch.manual_seed(0)
    model, x = CHAPTER["Predictor"](2, 4, 3, memory), torch.randn(5, 2, 2)
    changed = x.clone()
    changed[0] += 1
    assert model(x).shape == (5, 2, 3)
    assert bool((model(x)[1:] != model(changed)[1:]).any()) is memory
    torch.testing.assert_close(model(x)[:1], CHAPTER["Predictor"].forward(model, x[:1]))


def test_pieces_hold_the_sequence_and_what_comes_next():
    sequence = torch.arange(103.0).view(-1, 1)
    x, y = CHAPTER["pieces"](sequence, steps=25)
    assert x.shape == y.shape == (25, 4, 1)
    assert torch.equal(y, x + 1) and torch.equal(x[:, 1, 0], torch.arange(25.0, 50.0))


@given(st.integers(1, 50))
@settings(max_examples=20, deadline=None)
def test_every_third_bit_is_the_exclusive_or(triples):
    bits = CHAPTER["xor_bits"](3 * triples).view(-1, 3)
    assert torch.equal(bits[:, 2].bool(), bits[:, 0].bool() ^ bits[:, 1].bool())


def test_the_errors_belong_to_the_predicted_bits():
    model = nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.fill_(100.0)
        model.bias.fill_(-50.0)  # says the bit that it reads
    bits = torch.tensor([0.0, 1, 1, 0, 0, 1])[:, None]
    found = CHAPTER["squared_errors"](model, bits)[:, 0]
    torch.testing.assert_close(found, torch.tensor([1.0, 0, 1, 0, 1]))


def test_a_perfect_rule_is_seen_at_the_third_bits_only():
    """A model that always says the exclusive or of the last two bits, in the place of a trained one."""

    class Rule(nn.Module):
        def __init__(self, *_):
            super().__init__()

        def forward(self, x, copied=False):
            before = torch.cat([torch.zeros_like(x[:1]), x[:-1]])
            return 100 * ((x != before).float() - 0.5)

    chapter = chapter_with(settings={"xor_passes": 0}, Predictor=Rule, train=lambda *_, **__: None)
    _, error, followed = chapter["xor_run"](True, True, 0.05, 0)
    assert followed == 100
    assert np.allclose(error[2::3], 0, atol=1e-6) and min(np.delete(error, [2, 5, 8, 11])) > 0.6
    assert chapter["gap"]((0.0, error, followed)) > 0.6


def test_the_rate_is_that_of_the_least_validation_error_of_the_tuning_seeds():
    met = []

    def run(how, rate, seed):
        met.append(seed)
        return abs(rate - 0.02) if seed >= 1000 else -rate, how

    run.__qualname__ = "run"  # results are kept under a name
    rate, runs = chapter_with(settings={"tuning_networks": 2})["at_best_rate"](run, (0.01, 0.02, 0.05), 3, "copied")
    assert rate == 0.02 and runs == [(-0.02, "copied")] * 3
    assert met == [1000, 1001] * 3 + [0, 1, 2]


def test_consonants_carry_their_vowels_and_differ_in_two_features():
    torch.manual_seed(0)
    text = CHAPTER["syllables"](300)
    assert text.replace("guuu", "").replace("dii", "").replace("ba", "") == ""
    codes = {letter: CHAPTER["ALPHABET"][letter] for letter in "bdg"}
    different = {n for n in range(6) if len({code[n] for code in codes.values()}) > 1}
    assert {CHAPTER["FEATURES"][n] for n in different} == {"high", "back"}


@given(st.lists(st.integers(0, 5), min_size=4, max_size=40), st.data())
@settings(max_examples=40, deadline=None)
def test_the_area_is_that_of_scikit_learn(scores, data):
    positive = np.array(data.draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores))))
    if 0 < positive.sum() < len(scores):
        assert CHAPTER["area"](np.array(scores), positive) == pytest.approx(roc_auc_score(positive, scores))


def test_sentences_are_words_and_their_beginnings():
    torch.manual_seed(0)
    text, begins = CHAPTER["sentences"](30)
    assert len(text) == len(begins) and begins[0]
    words = np.split(np.array(list(text)), np.flatnonzero(begins)[1:])
    assert 120 <= len(words) <= 270 and {"".join(word) for word in words} == set(CHAPTER["WORDS"])


def test_tables_count_what_follows():
    pairs = CHAPTER["table_surprise"]("abababac", "abaz", 2)
    counts, after_a = {"b": 3, "c": 1, "z": 0}, 4
    alone = {letter: (count + 13 / 26) / (8 + 13) for letter, count in counts.items()}
    for place, letter in ((0, "b"), (2, "z")):
        assert pairs[place] == pytest.approx(-np.log2((counts[letter] + 13 * alone[letter]) / (after_a + 13)))
    single = CHAPTER["table_surprise"]("aab", "ab", 1, weight=4)
    assert single.tolist() == pytest.approx([-np.log2((1 + 4 / 26) / (3 + 4))])


@given(st.integers(1, 4), st.sampled_from([0.5, 4, 30]))
@settings(max_examples=12, deadline=None)
def test_the_shares_of_a_table_sum_to_one(order, weight):
    letters = "abcdefghijklmnopqrstuvwxyz"
    shares = [2 ** -CHAPTER["table_surprise"]("abcabdabce" * 3, "bca" + z, order, weight)[-1] for z in letters]
    assert sum(shares) == pytest.approx(1)


def test_letters_of_reviews_keep_their_word_starts():
    part = [SimpleNamespace(words=("it", "'s", "good", "!"), label=1)]
    text, numbers, begins = CHAPTER["letters_of"](part, 100)
    assert text == "itsgood" and begins.tolist() == [True, False, True, True, False, False, False]
    assert numbers.tolist() == [ord(letter) - 97 for letter in text]


@given(SIZE, SIZE, SIZE, SIZE)
@settings(max_examples=25, deadline=None)
def test_gradients_by_hand_are_those_of_autograd(steps, inputs, width, outputs):
    torch.manual_seed(width)
    srn, V = CHAPTER["SRN"](inputs, width).double(), torch.randn(outputs, width).double()
    x, y = (torch.randn(steps, size).double() for size in (inputs, outputs))
    loss = (srn(x[:, None])[:, 0] @ V.T - y).square().sum() / 2
    expected = torch.autograd.grad(loss, [srn.U.weight, srn.W.weight], materialize_grads=True, allow_unused=True)
    with torch.no_grad():
        found = CHAPTER["through_time"](x, y, srn.U.weight, srn.W.weight, srn.W.bias, V)
    torch.testing.assert_close(list(found), list(expected), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("rho", [0.5, 0.9, 1.1])
def test_linear_units_scale_gradients_by_rho_and_tanh_never_beats_them(rho):
    linear = CHAPTER["gradient_lengths"](rho, CHAPTER["unchanged"], steps=40, networks=2)
    np.testing.assert_allclose(linear, rho ** np.arange(41.0), rtol=1e-9)
    assert (CHAPTER["gradient_lengths"](rho, torch.tanh, steps=40, networks=2) <= linear * (1 + 1e-9)).all()


@pytest.mark.parametrize("kind", ["tanh", "rectifier", "GRU", "LSTM"])
def test_many_networks_are_those_of_torch(kind):
    torch.manual_seed(0)
    many, x = CHAPTER["Many"](kind, 3, width=5), torch.randn(3, 7, 2, 2)
    states = torch.stack(many(x), 1)
    for number in range(3):
        theirs = CHAPTER["library_layer"](many, number)(x[number])[0]
        torch.testing.assert_close(states[number], theirs, rtol=0, atol=1e-5)


def test_the_lectures_recurrences_are_their_formulas():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 2)
    for kind in ("h + g(x)", "h + g(x, h)"):
        many, h = CHAPTER["Many"](kind, 2), torch.zeros(2, 4, 16)
        for t, state in enumerate(many(x)):
            inside = x[:, t] @ many.W + many.b + (h @ many.U if kind == "h + g(x, h)" else 0)
            h = h + inside.tanh()
            torch.testing.assert_close(state, h)


def test_each_network_is_clipped_on_its_own_and_keeps_the_direction():
    torch.manual_seed(0)
    many, x = CHAPTER["Many"]("tanh", 2), torch.randn(2, 5, 3, 2)
    losses = torch.tensor([1000.0, 0.001]) * many.answer(many(x)[-1]).square().mean(1)
    raw = torch.autograd.grad(losses.sum(), list(many.parameters()), retain_graph=True)
    clipped, length = CHAPTER["ManyAdam"](many, torch.ones(2), theta=0.5).clipped(losses)
    assert length[0] > 0.5 > length[1]
    for before, after in zip(raw, clipped, strict=True):
        torch.testing.assert_close(after[0], before[0] * 0.5 / length[0], rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(after[1], before[1])


@given(st.integers(2, 60))
@settings(max_examples=20, deadline=None)
def test_one_mark_stands_in_each_half(steps):
    x, y = CHAPTER["marked_rows"](2, steps, 8)
    marks = x[..., 1]
    assert x.shape == (2, steps, 8, 2)
    assert (marks[:, : steps // 2].sum(1) == 1).all() and (marks[:, steps // 2 :].sum(1) == 1).all()
    torch.testing.assert_close((x[..., 0] * marks).sum(1), y)


def test_the_fastest_rate_is_that_of_the_slowest_network_and_by_error_where_none_learned():
    inf, errors = np.inf, np.array([[0.1, 0.3], [0.1, 0.1], [0.2, 0.3]])
    assert CHAPTER["fastest_rate"](np.array([[900, 800], [300, inf], [500, 600]]), errors) == 2
    assert CHAPTER["fastest_rate"](np.array([[900, inf], [300, inf], [inf, inf]]), errors) == 1
    assert CHAPTER["fastest_rate"](np.full((3, 2), inf), errors) == 1


def test_training_stops_when_a_rate_has_learned_and_rates_share_their_beginning():
    torch.manual_seed(0)
    needed, errors = CHAPTER["adding_run"]("GRU", 4, (1e-6, 0.02), 2, 600, 0)
    assert needed.shape == errors.shape == (2, 2)
    assert np.isinf(needed[0]).all() and np.isfinite(needed[1]).all()
    assert errors[0].min() > 1 / 60
    values = torch.arange(6.0).view(3, 2)
    assert torch.equal(CHAPTER["at_every_rate"](2, (1, 2), values), torch.tensor([[0.0, 1], [2, 3], [0, 1], [2, 3]]))


def test_reported_networks_train_at_the_rate_of_the_tuning_ones():
    met = []

    def run(kind, length, rates, networks, most, seed):
        met.append((rates, networks, seed))
        needed = np.array([[50.0 if rate == 0.01 else np.inf] * networks for rate in rates])
        return np.stack([needed, needed])

    run.__qualname__ = "run"
    how = {"adding_rates": (0.003, 0.01, 0.03), "tuning_networks": 2, "adding_steps": 100}
    needed, rate = chapter_with(settings=how, adding_run=run)["steps_needed"]("GRU", 4, 5)
    assert rate == 0.01 and needed.tolist() == [50] * 5
    assert met == [((0.003, 0.01, 0.03), 2, 1000), ((0.01,), 5, 0)]


def test_plain_descent_from_a_large_U_leaves_the_numbers_unless_it_is_clipped():
    rates = CHAPTER["CLIP_RATES"]
    free = CHAPTER["exploding_run"](np.inf, 0.0, 2, 30, 0)
    torch.manual_seed(0)
    clipped = CHAPTER["exploding_run"](1.0, 0.0, 2, 30, 0)
    assert free.shape == clipped.shape == (10, len(rates), 2)
    assert free[-1, -2:].max() == 1 and clipped[-1, -2:].mean() < free[-1, -2:].mean()


@pytest.mark.parametrize("recurrent", [True, False])
def test_filling_up_does_not_change_an_answer(recurrent):
    torch.manual_seed(0)
    model = CHAPTER["ReviewReader"](20, recurrent, width=6).eval()
    numbers = torch.tensor([[5, 7, 9, 0, 0], [3, 4, 5, 6, 7]]).T
    torch.testing.assert_close(model(numbers)[:1], model(numbers[:3, :1]))
    assert torch.equal(model(numbers), model(numbers))  # no dropout in evaluation


def toy_reviews():
    rng = np.random.default_rng(0)
    rows = [SimpleNamespace(words=rng.choice(["a", "b", "c", "d"], 5).tolist(), label=n % 2) for n in range(30)]
    return SimpleNamespace(train=rows[:14], validation=rows[14:22], test=rows[22:])


def test_reviews_are_read_without_the_test_part():
    met = []
    chapter = chapter_with(settings={"reviews": None, "review_epochs": 2, "review_patience": 2}, reviews=toy_reviews())
    batches = chapter["batches"]

    def noting(part, size, training):
        met.append((len(part), training))
        return batches(part, size, training)

    chapter["batches"] = noting
    assert all(0 <= right <= 100 for right in chapter["review_run"](True, False, 0.01, 0))
    assert [number for number, training in met if training] == [14, 14]
    assert {number for number, training in met if not training} == {8}


def test_reading_stops_without_a_better_validation_score_and_reports_the_best():
    scores = iter([60, 10, 70, 20, 65, 66, 90, 30])  # validation, and test where it was the best
    how = {"reviews": None, "review_epochs": 9, "review_patience": 2}
    chapter = chapter_with(settings=how, reviews=toy_reviews(), accuracy=lambda *_: next(scores))
    assert chapter["review_run"](False, False, 0.01, 0) == (70, 20)
    assert list(scores) == [90, 30]


def test_shuffled_reviews_keep_their_words():
    chapter = chapter_with(settings={"reviews": None}, reviews=toy_reviews())
    torch.manual_seed(0)
    straight, mixed = (chapter["numbered"](shuffled)[0][2] for shuffled in (False, True))
    assert any(not torch.equal(a[0], b[0]) for a, b in zip(straight, mixed, strict=True))
    for (a, label), (b, same) in zip(straight, mixed, strict=True):
        assert label == same and torch.equal(a.sort()[0], b.sort()[0])


def test_the_pendulum_follows_its_equation_and_rests_without_a_push():
    torch.manual_seed(0)
    pushes, angles = CHAPTER["pendulum"](3, 50)
    angle = speed = np.zeros(3)
    for u, expected in zip(pushes.T.numpy(), angles.T.numpy(), strict=True):
        speed = speed + 0.2 * (-np.sin(angle) - 0.5 * speed + u)
        angle = angle + 0.2 * speed
        np.testing.assert_allclose(angle, expected, rtol=1e-4, atol=1e-5)
    assert (pushes[:, :8] == pushes[:, :1]).all()


@pytest.mark.parametrize("K", [1, 5])
def test_a_window_sees_its_last_inputs_and_nothing_later(K):
    torch.manual_seed(0)
    model, pushes = CHAPTER["Window"](K), torch.randn(1, 20)
    changed = pushes.clone()
    changed[0, 9] += 1
    moved = (model(pushes) != model(changed))[0]
    assert moved.nonzero().flatten().tolist() == list(range(9, 9 + K))


@given(st.integers(0, 12), st.integers(0, 12), st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_network_adds_in_m_plus_n_plus_3_steps(m, n, steep):
    if m + n <= 20:
        assert CHAPTER["add_in_unary"](m, n, steep=steep) == m + n + 3


@given(st.lists(st.integers(0, 1), max_size=20))
@settings(max_examples=40, deadline=None)
def test_a_stack_counts_its_marks(symbols):
    stack = 0.0
    for symbol in reversed(symbols):
        stack = stack / 4 + (2 * symbol + 1) / 4
    assert 0 <= stack < 1 and CHAPTER["marks_on"](stack) == sum(symbols)


def test_other_rules_are_another_machine():
    q, left, right = CHAPTER["machine_step"]([1.0, 0, 0, 0], 0.0, 0.75)
    assert q == [1, 0, 0, 0] and (left, right) == (0.75, 0.0)  # a mark is passed to the left
    changed = CHAPTER["RULES"] | {(0, 1): (0, "R", 1)}
    q, left, right = CHAPTER["machine_step"]([1.0, 0, 0, 0], 0.0, 0.75, rules=changed)
    assert q == [0, 1, 0, 0] and (left, right) == (0.25, 0.0)


def test_steep_units_survive_noise_that_the_others_do_not():
    assert CHAPTER["longest_sum"](1e-6, True, 6, 0) == 6
    assert CHAPTER["longest_sum"](1e-6, False, 6, 0) < 6


def check_differing(after, printed):
    right = {line.rsplit(": ", 1)[0]: float(line.rsplit(": ", 1)[1].split()[0]) for line in printed.splitlines()}
    assert set(right) == {"tanh", "h + g(x)", "h + g(x, h)"}
    assert right["h + g(x)"] < 65


def check_same_sentence(after, printed):
    assert [line.split(":")[0] for line in printed.splitlines()] == ["random order", "always the same"]
    assert all(0 <= auc <= 1 for auc, _ in after["outcome"].values())


def check_recall(after, _):
    share = after["share"]
    assert share[5, 0.0] == 1 and share[5, 0.2] > 0.95
    assert share[40, 0.0] < 0.95


def check_upwards(after, _):
    assert after["np"].random.default_rng is after["both_ways"]
    assert all(total >= 3 for total in after["upwards"].values())


CHECKS = (check_differing, check_same_sentence, check_recall, check_upwards)


@pytest.mark.parametrize("number", range(4))
def test_the_solutions_of_the_exercises_run(number, capsys):
    after = chapter_with(settings={})
    exercises.execute("recurrent_memory", number, after, {"updates=300": "updates=40", "updates=200": "updates=5"})
    CHECKS[number](after, capsys.readouterr().out)
