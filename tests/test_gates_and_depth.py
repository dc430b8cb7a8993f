"""The definitions of the chapter on gates and depth against references, properties and exact counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from utils.tools import definitions, exercises

CHAPTER = definitions.of_chapter("gates_and_depth")
CHAPTER["DEVICE"] = "cpu"
SIZE = st.integers(1, 6)
SMALL = {
    "lag_test": 200,
    "stream_steps": 3,
    "stream_test": 120,
    "depth_epochs": 1,
    "letter_steps": 3,
    "masks": 2,
}


def fresh(**more):
    """The chapter's definitions with small settings and data of its shape."""
    chapter = definitions.of_chapter("gates_and_depth")
    torch.manual_seed(0)
    labels = torch.arange(60) % 10
    digits = torch.randn(60, 784) + 3 * F.one_hot(labels, 784)
    letters = torch.randint(5, (3, 1040))
    chapter |= {"DEVICE": "cpu", "settings": SMALL | more, "letters": list("abcde")}
    chapter |= dict.fromkeys(("learning", "validation", "testing"), (digits, labels))
    chapter["text_part"] = dict(zip(("learn", "validate", "test"), letters[:, :1024], strict=True))
    return chapter


@given(SIZE, SIZE, SIZE)
@settings(max_examples=20, deadline=None)
def test_the_lstm_cell_is_that_of_torch(batch, inputs, width):
    torch.manual_seed(width)
    x, h, c = (torch.randn(batch, size, dtype=torch.double) for size in (inputs, width, width))
    theirs, ours = nn.LSTMCell(inputs, width).double(), CHAPTER["LSTMCell"](inputs, width).double()
    ours.maps.weight.data = torch.cat([theirs.weight_hh, theirs.weight_ih], 1).data
    ours.maps.bias.data = (theirs.bias_hh + theirs.bias_ih).data
    for a, b in zip(ours(x, h, c), theirs(x, (h, c)), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@given(SIZE, SIZE, SIZE)
@settings(max_examples=20, deadline=None)
def test_the_gru_cell_is_its_formula(batch, inputs, width):
    torch.manual_seed(width)
    x, h = torch.randn(batch, inputs), torch.randn(batch, width)
    cell = CHAPTER["GRUCell"](inputs, width)
    W_r, W_z = cell.gates.weight.split(width)
    b_r, b_z = cell.gates.bias.split(width)
    both = torch.cat([h, x], 1)
    r, z = torch.sigmoid(both @ W_r.T + b_r), torch.sigmoid(both @ W_z.T + b_z)
    proposed = torch.tanh(torch.cat([r * h, x], 1) @ cell.propose.weight.T + cell.propose.bias)
    torch.testing.assert_close(cell(x, h), z * h + (1 - z) * proposed)


def test_the_toy_is_a_product_of_forget_gates():
    found = CHAPTER["held"]([8, 1, 1], [1, 0, 0], [0.5, 0.25, 0.5])
    assert found == [8, 2, 1]


@pytest.mark.parametrize("lag", [5, 40])
def test_sequences_of_task_2c_are_as_the_paper_draws_them(lag):
    rng = np.random.default_rng(0)
    lengths = []
    for _ in range(200):
        x, second = CHAPTER["lagged"](6, lag, rng)
        assert (x[0] == lag).all() and (x[-1] == lag + 3).all() and x[2:-1].max() < lag
        assert torch.equal(x[1] - lag - 1, second) and second.max() <= 1
        lengths.append(len(x) - 3)
    assert min(lengths) == lag and abs(np.mean(lengths) - lag - 9) < 2.5  # the paper's q + 14 with its first k


def test_the_fast_reader_is_the_plain_one():
    torch.manual_seed(0)
    plain, fast = CHAPTER["Reader"](9, 2), CHAPTER["FastReader"]("LSTM", (0, 0), 9, 2)
    plain.cell.maps.weight.data = torch.cat([fast.layer.weight_hh_l0, fast.layer.weight_ih_l0], 1).data
    plain.cell.maps.bias.data = (fast.layer.bias_hh_l0 + fast.layer.bias_ih_l0).data
    plain.answer.load_state_dict(fast.answer.state_dict())
    x = torch.randint(9, (12, 4))
    ours, (h, c) = plain(x)
    theirs, (g, d) = fast(x)
    for a, b in ((ours, theirs), (h, g[0]), (c, d[0])):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    again, _ = plain(x[6:], plain(x[:6])[1])  # the state is carried
    torch.testing.assert_close(again, ours[6:], atol=1e-5, rtol=1e-4)


def test_gates_begin_where_they_are_told():
    for forget, inputs in ((5.0, -5.0), (1.0, 0.0)):
        torch.manual_seed(0)
        plain = CHAPTER["LSTMCell"](3, 16)
        before = plain.maps.bias.detach().clone()
        moved = CHAPTER["started"](plain, forget, inputs).maps.bias - before
        expected = torch.tensor([inputs, forget, 0.0, 0.0]).repeat_interleave(16)
        torch.testing.assert_close(moved.detach(), expected)
        torch.manual_seed(0)
        none = CHAPTER["FastReader"]("LSTM", (0, 0), 3, 2)
        torch.manual_seed(0)
        some = CHAPTER["FastReader"]("LSTM", (forget, inputs), 3, 2)
        torch.testing.assert_close((some.layer.bias_ih_l0 - none.layer.bias_ih_l0).detach(), expected)


def test_the_cell_of_1997_never_forgets_and_its_gate_never_learns():
    torch.manual_seed(0)
    model = CHAPTER["FastReader"]("LSTM 1997", (0, 0), 7, 2, width=4)
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    for _ in range(3):
        loss = model(torch.randint(7, (5, 3)))[0].square().sum()
        CHAPTER["update"](optimizer, list(model.parameters()), loss)
    for name, weights in model.layer.named_parameters():
        assert torch.equal(weights[4:8], torch.full_like(weights[4:8], 50.0 if name == "bias_ih_l0" else 0.0))
    model.layer.bias_ih_l0.data[:4] = -100  # nothing is written
    state = torch.randn(1, 3, 4), torch.randn(1, 3, 4)
    _, (_, cell) = model(torch.randint(7, (9, 3)), state)
    torch.testing.assert_close(cell, state[1])


def test_the_start_of_the_simple_network():
    model = CHAPTER["FastReader"]("simple", (1, 0.1), 7, 2)
    U = model.layer.weight_hh_l0
    torch.testing.assert_close(U @ U.T, torch.eye(16), atol=1e-5, rtol=0)
    assert model.layer.weight_ih_l0.abs().max() <= 0.1 / 4
    plain = CHAPTER["FastReader"]("simple", (0, 1), 7, 2).layer.weight_hh_l0
    assert not torch.allclose(plain @ plain.T, torch.eye(16), atol=0.1)


def test_training_stops_when_the_criterion_holds_and_not_before():
    chapter = fresh()

    class Oracle(nn.Module):
        """Knows the answer after `wrong` batches."""

        def __init__(self, wrong):
            super().__init__()
            self.scale, self.calls, self.wrong = nn.Parameter(torch.ones(())), 0, wrong

        def forward(self, x):
            self.calls += 1
            sign = -1.0 if self.calls <= self.wrong else 1.0
            right = F.one_hot(x[1] - 6, 2).float()  # lag 5
            return (20 * sign * self.scale.abs().clamp(min=0.5) * right)[None], None

    errors, met = chapter["train"](Oracle(7), 5, 0.001, 0, 100)
    assert met and len(errors) == 57
    errors, met = chapter["train"](Oracle(60), 5, 0.001, 0, 100)
    assert not met and len(errors) == 100
    chapter["passes"], passes = (lambda *_: False), chapter["passes"]
    assert not chapter["train"](Oracle(0), 5, 0.001, 0, 100)[1]
    assert not passes(Oracle(2), 5, np.random.default_rng(0))
    assert chapter["error"](torch.tensor([[0.0, 0.0]]), torch.tensor([1])) == pytest.approx(0.5)


def test_strings_follow_the_grammar_and_its_outer_rule():
    rng = np.random.default_rng(0)
    bits = iter(rng.integers(2, size=20_000).tolist())
    strings = [CHAPTER["string"](bits) for _ in range(400)]
    walk = {"0T": 1, "0P": 2, "1S": 1, "1X": 3, "2T": 2, "2V": 4, "3X": 2, "3S": 5, "4P": 3, "4V": 5}
    for string in strings:
        assert string[0] == "B" and string[-1] == "E" and string[1] == string[-2] in "TP"
        assert string[2] == "B" and string[-3] == "E"
        node = 0
        for symbol in string[3:-3]:
            node = walk[f"{node}{symbol}"]
        assert node == 5
    assert 0.4 < np.mean([string[1] == "T" for string in strings]) < 0.6
    assert abs(np.mean([len(string) for string in strings]) - 12) < 1.5


def test_streams_mark_the_symbol_that_must_be_remembered():
    x, last = CHAPTER["streams"](3, 90, 0)
    assert x.shape == last.shape == (90, 3)
    for row, marks in zip(x.T.tolist(), last.T.tolist(), strict=True):
        begin = 0
        for place in np.flatnonzero(marks):
            assert row[place] == row[begin + 1] and row[begin] == 0
            begin = place + 2


def test_a_stream_is_read_without_resets_and_judged_at_the_marks():
    chapter = fresh()
    read, learned, late, early, size = chapter["read_stream"]("LSTM", (1, 0), 0.01, 0)
    assert read == 3 and not learned and 0 <= late <= 100 and 0 <= early <= 100 and size > 0
    seen = []
    original = chapter["FastReader"].forward

    def watched(self, x, state=None):
        seen.append(state is None)
        return original(self, x, state)

    chapter["FastReader"].forward = watched
    chapter["read_stream"]("LSTM 1997", (0, 0), 0.01, 0)
    assert seen == [True, False, False, True]  # training carries the state; the test begins anew


def test_the_reading_of_a_stream_stops_when_the_rule_is_known():
    chapter = fresh(stream_steps=80)
    chapter["right_at"] = lambda logits, symbols, last: torch.ones(int(last.sum()), dtype=torch.double)
    assert chapter["read_stream"]("LSTM", (1, 0), 0.01, 0)[:4] == (50, True, 100, 100)


def test_an_answer_at_the_mark_is_right_where_the_likelier_of_the_two_stands():
    logits = torch.zeros(4, 1, 7)
    logits[:2, :, 1], logits[2:, :, 2] = 1, 1  # T, T, P, P
    symbols, last = torch.tensor([[1], [2], [2], [0]]), torch.tensor([[True], [True], [True], [False]])
    assert CHAPTER["right_at"](logits, symbols, last).tolist() == [1, 0, 1]


@pytest.mark.parametrize("depth", [2, 9])
def test_highway_layers_hand_on_or_replace(depth):
    torch.manual_seed(0)
    x = torch.randn(5, 784)
    model = CHAPTER["Deep"]("highway", depth, 100.0)
    torch.testing.assert_close(model(x), model.last(model.first(x).relu()))
    for gate in model.gates:
        nn.init.constant_(gate.bias, -100.0)
    a = model.first(x).relu()
    for layer in model.layers:
        a = layer(a).relu()
    torch.testing.assert_close(model(x), model.last(a))


def test_deep_networks_have_equal_parameters_and_their_starts():
    def count(kind):
        return sum(p.numel() for p in CHAPTER["Deep"](kind, 50).layers.parameters()) + sum(
            p.numel() for p in CHAPTER["Deep"](kind, 50).gates.parameters()
        )

    assert abs(count("highway") / count("tanh") - 1) < 0.01 and count("tanh") == count("ReLU")
    tanh, rectified = (CHAPTER["Deep"](kind, 3).layers[0].weight for kind in ("tanh", "ReLU"))
    torch.testing.assert_close(tanh @ tanh.T, torch.eye(71), atol=1e-5, rtol=0)
    assert rectified.var().item() == pytest.approx(2 / 71, rel=0.1)


def test_digits_are_learned_and_judged_on_the_right_parts():
    chapter = fresh(depth_epochs=40)
    wrong = chapter["testing"][0], (chapter["testing"][1] + 1) % 10
    chapter["testing"] = wrong
    loss, validated, tested = chapter["learn_digits"]("tanh", 3, 0, 0.003, 0)
    assert loss < 0.5 and validated > 90 and tested < 10


def letter_model(mode, p=0.5):
    torch.manual_seed(0)
    return CHAPTER["LetterModel"](5, mode, p, width=6)


def test_letters_without_masks_are_the_layer_of_torch():
    x = torch.randint(5, (9, 4))
    model = letter_model("variational", 0.0)
    torch.testing.assert_close(model.train()(x)[0], model.eval()(x)[0], atol=1e-5, rtol=1e-4)
    for mode in ("none", "in and out", "per step", "variational"):
        model = letter_model(mode).eval()
        states, state = model.layer(model.embed(x))
        found, carried = model(x)
        torch.testing.assert_close(found, model.answer(states))
        torch.testing.assert_close(carried[1], state[1])


def test_masks_are_one_for_all_steps_or_new_at_each_and_keep_the_mean():
    like = torch.ones(300, 40, 6)
    for mode, same in (("variational", True), ("per step", False), ("in and out", False)):
        mask = letter_model(mode, 0.25).mask(like)
        assert torch.equal(mask[0], mask[-1]) == same
        assert mask.unique().tolist() == pytest.approx([0, 4 / 3])
        assert mask.mean().item() == pytest.approx(1, abs=0.15)


def test_only_the_modes_in_time_mask_the_state():
    x = torch.randint(5, (30, 2))
    for mode, in_time in (("none", False), ("in and out", False), ("per step", True), ("variational", True)):
        model, calls = letter_model(mode).train(), []
        original = type(model).masked_steps

        def watched(self, x, state, original=original, calls=calls):
            calls.append(1)
            return original(self, x, state)

        type(model).masked_steps = watched
        try:
            model(x)
        finally:
            type(model).masked_steps = original
        assert bool(calls) == in_time
    assert torch.equal(letter_model("none").train()(x)[0], letter_model("none").eval()(x)[0])


def test_the_loss_is_that_of_the_next_letter_and_of_the_mean_prediction():
    chapter, model = fresh(), letter_model("none").eval()
    part = chapter["text_part"]["test"]
    x = part.view(64, -1).T
    expected = F.cross_entropy(model(x[:-1])[0].flatten(0, 1), x[1:].flatten()).item()
    assert chapter["nats"](model, part) == pytest.approx(expected, rel=1e-5)
    assert chapter["nats"](model, part, 3) == pytest.approx(expected, rel=1e-5)
    dropping = letter_model("variational").eval()
    torch.manual_seed(1)
    with torch.no_grad():
        mean = torch.stack([dropping(x[:-1], drop=True)[0].softmax(-1) for _ in range(4)]).mean(0)
    torch.manual_seed(1)
    expected = F.nll_loss(mean.log().flatten(0, 1), x[1:].flatten()).item()
    assert chapter["nats"](dropping, part, 4) == pytest.approx(expected, rel=1e-4)


def test_letters_stop_where_the_validation_loss_is_least(monkeypatch):
    chapter = fresh(letter_steps=90)
    values = iter([3.0, 30.0, 1.0, 10.0, 2.0])  # validation, test at each new best, validation

    def nats(model, part, masks=0):
        assert not model.training
        return next(values)

    monkeypatch.setitem(chapter, "nats", nats)
    assert chapter["learn_letters"]("none", 0, 0.003, 0)[:2] == (1.0, 10.0)


def test_the_stacked_network_answers():
    x = torch.randn(2, 7, 5)
    model = CHAPTER["StackedLSTM"](5, 3)
    assert model(x).shape == (2, 3)
    assert not torch.allclose(model(x), model(torch.cat([x[:, :-1], -x[:, -1:]], 1)))


def check_biases(after, printed):
    assert printed.count("sequences, met:") == 3 and "forget 5, input -5" in printed


def check_lags(after, printed):
    assert [line.split(":")[0] for line in printed.splitlines()] == ["lag 25", "lag 50", "lag 100", "lag 200"]


def check_stream(after, printed):
    assert printed.count("first quarter") == 1


def check_residual(after, printed):
    assert printed.count("%") == 2
    model, x = after["Residual"]("ReLU", 3), torch.randn(5, 784)
    for parameter in model.layers.parameters():
        nn.init.zeros_(parameter)
    torch.testing.assert_close(model(x), model.last(model.first(x).relu()))


CHECKS = (check_biases, check_lags, check_stream, check_residual)


@pytest.mark.parametrize("number", range(len(CHECKS)))
def test_the_solutions_of_the_exercises_run(number, capsys):
    after = fresh()
    fewer = {
        "STEPS = 600": "STEPS = 2",
        "range(2)": "range(1)",
        "EPOCHS = 5": "EPOCHS = 1",
        "4000": "3",
        "20_000": "120",
    }
    exercises.execute("gates_and_depth", number, after, fewer)
    CHECKS[number](after, capsys.readouterr().out)
