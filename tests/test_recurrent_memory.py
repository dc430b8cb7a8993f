"""The definitions of the chapter on recurrent networks against references, properties and exact counts."""

from __future__ import annotations

import re
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from utils.tools import definitions, exercises

CHAPTER = definitions.of_chapter("recurrent_memory")
SIZE = st.integers(1, 7)


@given(SIZE, SIZE, SIZE)
@settings(max_examples=25, deadline=None)
def test_states_are_those_of_torch(steps, inputs, width):
    torch.manual_seed(steps)
    layer = nn.RNN(inputs, width).double()
    x = torch.randn(steps, inputs, dtype=torch.double)
    U, W = layer.weight_hh_l0, layer.weight_ih_l0
    found = CHAPTER["srn_states"](x, U, W, layer.bias_hh_l0 + layer.bias_ih_l0)
    torch.testing.assert_close(found, layer(x)[0], rtol=0, atol=1e-12)


@given(SIZE, SIZE, SIZE, SIZE)
@settings(max_examples=25, deadline=None)
def test_gradients_by_hand_are_those_of_autograd(steps, inputs, width, outputs):
    torch.manual_seed(width)
    shapes = ((width, width), (width, inputs), (width,), (outputs, width))
    weights = [torch.randn(shape, dtype=torch.double, requires_grad=True) for shape in shapes]
    x, y = (torch.randn(steps, size, dtype=torch.double) for size in (inputs, outputs))
    loss, found = CHAPTER["by_hand"](x, y, *weights)
    torch.testing.assert_close(found, list(torch.autograd.grad(loss, weights)), rtol=1e-9, atol=1e-10)


def test_the_error_of_a_step_reaches_only_earlier_inputs():
    torch.manual_seed(0)
    U, W, b, V = (torch.randn(s, dtype=torch.double) for s in ((4, 4), (4, 2), (4,), (1, 4)))
    x = torch.randn(9, 2, dtype=torch.double, requires_grad=True)
    (CHAPTER["srn_states"](x, U, W, b)[5] @ V.T).sum().backward()
    assert (x.grad[:6] != 0).all() and (x.grad[6:] == 0).all()


@given(st.lists(st.integers(0, 99), min_size=1, max_size=12), st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_windows_hold_the_past_and_never_the_present(values, lags):
    series = np.array([float(v) for v in range(100, 112)] + [float(v) for v in values])
    chapter = definitions.of_chapter("recurrent_memory")
    chapter["rate"] = series
    rows, target = chapter["windows"](lags, driver=series * 10)
    for row, value, t in zip(rows, target, range(9, len(series)), strict=True):
        assert value == series[t]
        assert row[:lags].tolist() == series[t - lags : t][::-1].tolist()
        assert row[lags:].tolist() == (10 * series[t - lags + 1 : t + 1][::-1]).tolist()


@given(st.integers(1, 40))
@settings(max_examples=20, deadline=None)
def test_sums_are_right_up_to_the_last_carry(digits):
    pair, total = CHAPTER["addition"](8, digits)
    place = 2 ** np.arange(digits, dtype=object)
    for numbers, digits_of_sum in zip(pair.long().numpy(), total.long().numpy(), strict=True):
        first, second = (int(numbers[:, k] @ place) for k in (0, 1))
        assert (first + second) % 2**digits == int(digits_of_sum @ place)


@given(st.integers(2, 60))
@settings(max_examples=20, deadline=None)
def test_one_mark_stands_in_each_half(steps):
    x, y = CHAPTER["marked_sums"](16, steps)
    marks = x[:, :, 1]
    assert (marks[:, : steps // 2].sum(1) == 1).all() and (marks[:, steps // 2 :].sum(1) == 1).all()
    torch.testing.assert_close((x[:, :, 0] * marks).sum(1), y)


@pytest.mark.parametrize("rho", [0.5, 0.9, 1.1])
def test_a_linear_network_scales_gradients_by_rho_in_each_step(rho):
    lengths = CHAPTER["gradient_lengths"](rho, steps=60, f=CHAPTER["unchanged_states"])
    np.testing.assert_allclose(lengths, rho ** np.arange(61.0), rtol=1e-9)


@pytest.mark.parametrize("rho", [0.9, 1.1])
def test_tanh_never_beats_the_linear_rate(rho):
    assert (CHAPTER["gradient_lengths"](rho, steps=60) <= rho ** np.arange(61.0) * (1 + 1e-9)).all()


def test_clipping_keeps_the_direction_and_limits_the_length():
    torch.manual_seed(0)
    model, x = nn.Linear(3, 1, bias=False), torch.randn(5, 3)
    raw = torch.autograd.grad(1000 * model(x).sum(), model.weight)[0]
    before = model.weight.detach().clone()
    CHAPTER["step_of"](torch.optim.SGD(model.parameters(), 1.0), model, 1000 * model(x).sum(), limit=0.5)
    torch.testing.assert_close(before - model.weight.detach(), 0.5 * raw / raw.norm(), rtol=1e-4, atol=1e-6)


@given(st.integers(0, 30), st.integers(0, 30))
@settings(max_examples=40, deadline=None)
def test_the_machine_adds_in_m_plus_n_plus_3_steps(m, n):
    situations = CHAPTER["turing_machine"]([1] * m + [0] + [1] * n)
    tape, _, state = situations[-1]
    assert state == "halt" and len(situations) == m + n + 4
    assert [tape.get(cell, 0) for cell in range(m + n)] == [1] * (m + n) and sum(tape.values()) == m + n


@given(st.integers(0, 20), st.integers(0, 20))
@settings(max_examples=15, deadline=None)
def test_the_exact_network_is_the_machine(m, n):
    matrices = CHAPTER["matrices_of"](CHAPTER["layers_of"](CHAPTER["RULES"]))
    trace = CHAPTER["run_network"](matrices, [1] * m + [0] + [1] * n)
    left, right = (CHAPTER["symbols_of"](trace[-1][place]) for place in (4, 5))
    assert len(trace) == m + n + 4 and sum(left) + sum(right) == m + n
    assert all(isinstance(unit, Fraction) or unit in (0, 1) for unit in trace[-1])


@given(st.lists(st.integers(0, 1), max_size=30))
@settings(max_examples=40, deadline=None)
def test_a_stack_gives_back_what_was_pushed(symbols):
    stack = Fraction(0)
    for symbol in reversed(symbols):
        stack = stack / 4 + Fraction(2 * symbol + 1, 4)
    assert 0 <= stack < 1 and CHAPTER["symbols_of"](stack) == symbols


@pytest.mark.parametrize(("number", "bits"), [(np.float16, 11), (np.float32, 24)])
def test_precision_ends_where_the_bits_end(number, bits):
    assert CHAPTER["longest_exact"](number) == bits // 2 - 1


def test_a_machine_that_never_halts_is_stopped_at_the_limit():
    loop = {rule: (1, "R", "q1") for rule in CHAPTER["RULES"]}
    matrices = CHAPTER["matrices_of"](CHAPTER["layers_of"](loop), np.float64)
    assert len(CHAPTER["run_network"](matrices, [1, 1], limit=20)) == 21


@pytest.mark.parametrize("reading", ["last", "mean"])
def test_filling_up_does_not_change_an_answer(reading):
    torch.manual_seed(0)
    model = CHAPTER["ReviewReader"](20, reading, width=6).eval()
    ids = torch.tensor([[5, 7, 9, 0, 0], [3, 4, 5, 6, 7]])
    alone = model(ids[:1, :3], torch.tensor([3]))
    torch.testing.assert_close(model(ids, torch.tensor([3, 5]))[:1], alone)


def at_the_end():
    """What the chapter leaves behind: 40 short reviews of eight words, few steps of training."""
    words = [f"w{n}" for n in range(8)]
    rng = np.random.default_rng(0)
    rows = [SimpleNamespace(words=rng.choice(words, 5).tolist(), label=n % 2) for n in range(40)]
    namespace = definitions.of_chapter("recurrent_memory")
    read, orders = namespace["read_reviews"], []

    def noting_the_order(*given):
        orders.append(namespace["ids_of"](["w0", "w1", "w2"]))
        return read(*given)

    namespace.update(
        DEVICE="cpu",
        settings={"seeds": 2, "review_epochs": 1, "adding": 3},
        LENGTHS=(5,),
        sentences={"train": rows, "validation": rows[:10], "test": rows[10:]},
        vocabulary={word: n for n, word in enumerate(words, 2)},
        known_words=10,
        by_reading={"last": [50.0, 60.0], "mean": [60.0, 70.0]},
        read_reviews=noting_the_order,
        orders=orders,
    )
    return namespace


def test_reviews_are_read_without_the_test_part():
    """The network trains on the training part, and the test part is read after the best epochs alone."""
    chapter, met = at_the_end(), []
    batches = chapter["batches_of"]

    def noting(chosen, size, shuffle):
        met.append((len(chosen), shuffle))
        return batches(chosen, size, shuffle)

    parts = chapter["sentences"]
    chapter.update(
        batches_of=noting, sentences={k: parts[k][:n] for k, n in (("train", 12), ("validation", 8), ("test", 5))}
    )
    assert 0 <= chapter["read_reviews"]("mean", 2, 0) <= 100
    trained = [number for number, shuffle in met if shuffle]
    assert trained == [12, 12] and {number for number, shuffle in met if not shuffle} == {8, 5}


def check_short_sums(after, printed):
    assert [line.split()[0] for line in printed.splitlines()] == ["3", "12"]
    assert after["held"].shape == (40 * 49, 8) and set(after["carry"].tolist()) == {0, 1}
    torch.manual_seed(0)
    model, right = after["adder_of"](1, seed=0, steps=0)
    assert right == 0 and model.rnn.hidden_size == 8


def check_identity(after, printed):
    torch.testing.assert_close(after["identity_rnn"](3).weight_hh_l0, torch.eye(16))
    steps = [line.split()[0] for line in printed.splitlines()]
    assert steps == ["5", "5", "80", "80"]  # both kinds at each length
    assert len(set(re.findall(r"\d\.\d{4}", printed))) == 4 * after["SEEDS"]


def check_backwards(after, _):
    assert after["ids_of"] is after["forwards"]  # given back
    found = after["by_direction"]
    assert found["forwards"] == {"last": [50.0, 60.0], "mean": [60.0, 70.0]}
    assert all(0 <= right <= 100 for runs in found["backwards"].values() for right in runs)
    assert after["orders"] == [[4, 3, 2]] * 4  # both readings, two seeds


def check_noise(after, _):
    upwards = [total for (low, _), total in after["longest"].items() if low == 0]
    assert upwards == sorted(upwards) and upwards[0] < upwards[-1]
    assert len({total for (low, _), total in after["longest"].items() if low < 0}) == 1
    assert after["run_network"] is after["exact_network"]
    matrices = after["matrices_of"](after["layers_of"](after["RULES"]), np.float64)
    silent = after["noisy_network"](0, 0)(matrices, [1, 1, 0, 1])
    np.testing.assert_array_equal(silent, after["exact_network"](matrices, [1, 1, 0, 1]))


def check_doubling(after, printed):
    assert after["marks"] == {n: 2 * n for n in range(1, 8)}
    assert after["STATES"] == ("q1", "q2", "q3")
    for line in printed.splitlines():
        _, steps, by_machine = re.fullmatch(r"(.*) marks, (\d+) steps, the machine (\d+)", line).groups()
        assert steps == by_machine


CHECKS = (check_short_sums, check_identity, check_backwards, check_noise, check_doubling)


@pytest.mark.parametrize("number", range(5))
def test_the_solutions_of_the_exercises_run(number, capsys):
    after = at_the_end()
    exercises.execute("recurrent_memory", number, after, {"steps=400": "steps=3"})
    CHECKS[number](after, capsys.readouterr().out)
