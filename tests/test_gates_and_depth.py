"""The definitions of the chapter on gates and depth against references, properties and exact counts."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from utils.tools import definitions, exercises

CHAPTER = definitions.of_chapter("gates_and_depth")
CHAPTER |= {"DEVICE": "cpu", "letters": list("abcde")}
SIZE = st.integers(1, 6)
SMALL = {
    "lag_test": 200,
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


def test_windows_are_one_stream_and_mark_the_symbol_that_must_be_remembered():
    drawn = CHAPTER["windows"](3, 30, 0)
    parts = [next(drawn) for _ in range(4)]
    for (x, last), (y, more) in zip(parts, parts[1:], strict=False):
        assert x.shape == last.shape == (31, 3)
        assert torch.equal(x[-1], y[0]) and torch.equal(last[-1], more[0])
    x, last = (torch.cat([part[0][:1] * 1, *[p[1:] for p in part]]) for part in zip(*parts, strict=True))
    assert last.any(0).all()
    for row, marks in zip(x.T.tolist(), last.T.tolist(), strict=True):
        begin = 0
        for place in np.flatnonzero(marks):
            assert row[place] == row[begin + 1] and row[begin] == 0
            begin = place + 2


def test_a_gated_network_is_the_layer_of_torch_and_its_neighbours_do_not_matter():
    torch.manual_seed(0)
    model, layer = CHAPTER["Networks"]("LSTM", (0, 0), 2, width=4).double(), nn.LSTM(7, 4).double()
    layer.weight_ih_l0.data, layer.weight_hh_l0.data = model.W.data[1].T, model.U.data[1].T
    layer.bias_ih_l0.data, layer.bias_hh_l0.data = model.b.data[1, 0], torch.zeros(16, dtype=torch.double)
    x = torch.randint(7, (9, 2, 3))
    found, (h, c, _) = model(x)
    states, (g, d) = layer(F.one_hot(x[:, 1], 7).double())
    torch.testing.assert_close(found[:, 1], states @ model.V[1] + model.d[1])
    torch.testing.assert_close(h[1], g[0])
    torch.testing.assert_close(c[1], d[0])
    first, state = model(x[:4])
    again, _ = model(x[4:], state)
    torch.testing.assert_close(torch.cat([first, again]), found)


@pytest.mark.parametrize("kind", ["simple", "rectifier"])
def test_a_simple_network_is_the_layer_of_torch(kind):
    torch.manual_seed(0)
    model = CHAPTER["Networks"](kind, (0.5, 1), 2, width=4)
    layer = nn.RNN(7, 4, nonlinearity="tanh" if kind == "simple" else "relu", bias=False)
    layer.weight_ih_l0.data, layer.weight_hh_l0.data = model.W.data[0].T, model.U.data[0].T
    x = torch.randint(7, (6, 2, 3))
    torch.testing.assert_close(model(x)[0][:, 0], layer(F.one_hot(x[:, 0], 7).float())[0] @ model.V[0] + model.d[0])
    U = model.U[1]
    torch.testing.assert_close(U @ U.T, 0.25 * torch.eye(4), atol=1e-6, rtol=0)
    assert kind == "simple" or torch.equal(U, 0.5 * torch.eye(4))


def variant(kind, maps, c, gates, peep, R):
    """The variants of Greff et al. from their table, written down once more."""
    z = maps.split(maps.shape[-1] // 4, -1)
    more = torch.einsum("nbg,ngm->nbm", gates, R).split(c.shape[-1], -1)
    more = more if kind == "FGR" else [0, 0, 0]
    i = 1 if kind == "NIG" else torch.sigmoid(z[0] + more[0] + peep[:, 0] * c)
    f = torch.sigmoid(z[1] + more[1] + peep[:, 1] * c)
    f = {"NFG": 1, "CIFG": 1 - i}.get(kind, f)
    new = f * c + i * (z[2] if kind == "NIAF" else torch.tanh(z[2]))
    o = 1 if kind == "NOG" else torch.sigmoid(z[3] + more[2] + peep[:, 2] * new)
    return o * (new if kind == "NOAF" else torch.tanh(new)), new


@pytest.mark.parametrize("kind", ["V", "NIG", "NFG", "NOG", "NIAF", "NOAF", "CIFG", "FGR"])
def test_the_variants_differ_in_what_their_names_say(kind):
    torch.manual_seed(0)
    maps, c, gates = torch.randn(2, 5, 12), torch.randn(2, 5, 3), torch.rand(2, 5, 9)
    peep, R = torch.randn(2, 3, 1, 3), torch.randn(2, 9, 9)
    h, new, carried = CHAPTER["gated_step"](kind, maps, c, gates, peep, R)
    expected = variant(kind, maps, c, gates, peep, R)
    torch.testing.assert_close(h, expected[0])
    torch.testing.assert_close(new, expected[1])
    assert torch.equal(carried, gates) == (kind != "FGR")


def test_the_network_of_1997_never_forgets():
    maps, c = torch.randn(1, 5, 12), torch.randn(1, 5, 3)
    maps[..., :3] = -100  # nothing is written
    torch.testing.assert_close(CHAPTER["gated_step"]("LSTM 1997", maps, c, None, None, None)[1], c)


def test_each_network_is_clipped_alone():
    p, q = nn.Parameter(torch.zeros(2, 3)), nn.Parameter(torch.zeros(2, 1, 1))
    p.grad, q.grad = torch.tensor([[3.0, 0, 0], [0.3, 0, 0]]), torch.tensor([[[4.0]], [[0.4]]])
    CHAPTER["clip_each"]([p, q])
    torch.testing.assert_close(p.grad[:, 0], torch.tensor([0.6, 0.3]))
    torch.testing.assert_close(q.grad[:, 0, 0], torch.tensor([0.8, 0.4]))


def test_a_network_learns_as_if_it_were_alone():
    """The same weights and stream give the same numbers, whatever the neighbour reads."""
    chapter, found = fresh(), []
    original, networks = chapter["windows"], chapter["Networks"]
    for other in (5, 6):

        def windows(rows, length, seed, other=other):
            pairs = zip(original(16, length, seed), original(16, length, seed + other), strict=True)
            return (tuple(torch.cat(part, 1) for part in zip(*pair, strict=True)) for pair in pairs)

        chapter["windows"] = windows
        torch.manual_seed(0)
        found.append(chapter["read_streams"]("LSTM", (1, 0), 0.03, 2, 5, 0))
    assert networks is chapter["Networks"]
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5)
    assert not np.allclose(found[0][1], found[1][1])


def test_a_stream_is_read_without_resets_and_judged_at_the_marks():
    chapter, seen = fresh(), []
    original = chapter["Networks"].forward

    def watched(self, x, state=None):
        seen.append((state is None, x.shape[0]))
        return original(self, x, state)

    chapter["Networks"].forward = watched
    runs = chapter["read_streams"]("LSTM 1997", (0, 0), 0.01, 2, 3, 0)
    assert seen == [(True, 40), (False, 40), (False, 40), (True, 120)]  # the test begins anew
    assert runs.shape == (2, 5) and (runs[:, 0] == 3).all() and not runs[:, 1].any()
    assert ((runs[:, 2:4] >= 0) & (runs[:, 2:4] <= 100)).all() and (runs[:, 4] > 0).all()


def test_the_reading_of_a_stream_stops_when_the_rule_is_known():
    chapter, calls = fresh(), []

    def right_at(logits, symbols, last):
        calls.append(1)  # the second network knows the rule ten windows later
        return torch.tensor([[50, 50 if len(calls) > 10 else 0], [50, 50]])

    chapter["right_at"] = right_at
    runs = chapter["read_streams"]("LSTM", (1, 0), 0.01, 2, 90, 0)
    assert runs[:, 0].tolist() == [50, 60] and runs[:, 1].all() and (runs[:, 2] == 100).all()


def test_the_weights_of_the_moment_of_learning_are_judged():
    chapter, kept = fresh(), {}

    def right_at(logits, symbols, last):
        return torch.tensor([[50, 0], [50, 50]])  # the second never learns

    def judged(model, count, seed):
        kept["model"] = model
        return (torch.zeros(count),) * 3

    chapter |= {"right_at": right_at, "judged": judged}
    weights = []
    for most in (50, 60):
        torch.manual_seed(0)
        chapter["read_streams"]("simple", (1, 1), 0.01, 2, most, 0)
        weights.append(kept["model"].W.detach().clone())
    torch.testing.assert_close(weights[0][0], weights[1][0])
    assert not torch.allclose(weights[0][1], weights[1][1])


def test_an_answer_at_the_mark_is_right_where_the_likelier_of_the_two_stands():
    logits = torch.zeros(4, 2, 1, 7)
    logits[:2, 0, :, 1], logits[2:, 0, :, 2] = 1, 1  # T, T, P, P
    symbols = torch.tensor([1, 2, 2, 0]).view(4, 1, 1).expand(4, 2, 1)
    last = torch.tensor([True, True, True, False]).view(4, 1, 1).expand(4, 2, 1)
    assert CHAPTER["right_at"](logits, symbols, last).tolist() == [[2, 2], [3, 3]]


def test_a_search_ends_where_both_neighbours_are_worse():
    looked = []

    def look(value):
        looked.append(value)
        return -abs(value - 1)

    assert CHAPTER["climbed"](look, (0, 1, 2, 3, 4, 5), 4) == (1, 0)
    assert sorted(looked) == [0, 1, 2, 3, 4, 5] and len(set(looked)) == len(looked)
    assert CHAPTER["climbed"](look, (7, 8, 9), 2)[0] == 7


@pytest.mark.parametrize("depth", [2, 9])
def test_highway_layers_hand_on_or_replace(depth):
    torch.manual_seed(0)
    x = torch.randn(5, 784)
    model = CHAPTER["Deep"]("highway", depth, 100.0)
    torch.testing.assert_close(model(x), model.last(model.first(x).relu()))
    nn.init.constant_(model.gate_b, -100.0)
    a = model.first(x).relu()
    for W, b in zip(model.W, model.b, strict=True):
        a = (a @ W.T + b).relu()
    torch.testing.assert_close(model(x), model.last(a))


def test_residual_layers_add_a_share_each():
    torch.manual_seed(0)
    x, model = torch.randn(5, 784), CHAPTER["Deep"]("residual", 5, 2.0)
    a = model.first(x).relu()
    for W in model.W:
        a = a + (a @ W.T).relu() * 2 / 4
    torch.testing.assert_close(model(x), model.last(a))


def test_deep_networks_have_equal_parameters_and_their_starts():
    def count(kind):
        model = CHAPTER["Deep"](kind, 50, 1.0)
        return sum(p.numel() for name, p in model.named_parameters() if not name.startswith(("first", "last")))

    assert abs(count("highway") / count("tanh") - 1) < 0.01
    assert count("tanh") == count("ReLU") == count("residual")
    torch.manual_seed(0)
    for kind, start in (("tanh", 1.05), ("ReLU", 2**0.5)):
        W = CHAPTER["Deep"](kind, 3, start).W[1]
        torch.testing.assert_close(W @ W.T, start**2 * torch.eye(71), atol=1e-5, rtol=0)
    for kind, start in (("ReLU", 0), ("residual", 1), ("highway", 3)):
        model = CHAPTER["Deep"](kind, 9, start)
        assert model.W.var().item() == pytest.approx(2 / model.W.shape[1], rel=0.1)
    assert model.gate_b.unique().item() == 3 and model.gate_W.abs().max() <= 50**-0.5


def test_digits_are_learned_and_judged_on_the_right_parts():
    chapter = fresh(depth_epochs=60)
    wrong = chapter["testing"][0], (chapter["testing"][1] + 1) % 10
    chapter["testing"] = wrong
    validated, tested, early, loss = chapter["learn_digits"]("tanh", 3, 1, 0.003, 0)
    assert loss < early < 2.5 and loss < 0.5 and validated > 90 and tested < 10


def test_the_epoch_is_chosen_by_validation(monkeypatch):
    chapter, answers = fresh(depth_epochs=3), iter([3, 1, 9, 5, 6, 7])  # of ten, validation and test by turns

    class Judge(nn.Module):
        def __init__(self, *_):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(()))

        def forward(self, x):
            right = F.one_hot(torch.arange(60) % 10, 10).float()
            if torch.is_grad_enabled():
                return right[: len(x)] * self.w
            cut = 6 * next(answers)
            return torch.cat([right[:cut], right[cut:].roll(1, 1)])

    chapter["Deep"] = Judge
    assert chapter["learn_digits"]("tanh", 3, 1, 0.1, 0)[:2] == pytest.approx((90, 50))


def letter_model(way, p=0.5, q=0.5, cell="LSTM"):
    torch.manual_seed(0)
    return CHAPTER["LetterModel"](cell, way, p, q, width=6)


@pytest.mark.parametrize("cell", ["LSTM", "SRN"])
def test_letters_without_masks_are_the_layer_of_torch(cell):
    x = torch.randint(5, (9, 4))
    model = letter_model("variational", 0.0, 0.0, cell)
    found, state = model.train()(x)
    torch.testing.assert_close(found, model.eval()(x)[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(model.train()(x, state)[0], model.eval()(x, state)[0], atol=1e-5, rtol=1e-4)
    for way in ("none", "in and out", "window", "per step", "variational"):
        model = letter_model(way, cell=cell).eval()
        states, state = model.layer(model.embed(x))
        found, carried = model(x)
        torch.testing.assert_close(found, model.answer(states))
        torch.testing.assert_close(carried[-1], state[-1])


@pytest.mark.parametrize("cell", ["LSTM", "SRN"])
def test_the_state_is_dropped_and_the_cell_is_not(cell):
    """With everything dropped from the state only the cell knows what was read before."""
    model = letter_model("per step", 0.0, 0.999999, cell).train()
    x = torch.randint(5, (9, 4))
    y = torch.cat([(x[:1] + 1) % 5, x[1:]])
    assert torch.equal(model(x)[0][-1], model(y)[0][-1]) == (cell == "SRN")


def test_masks_are_one_for_all_steps_or_new_at_each_and_keep_the_mean():
    for way, same in (("variational", True), ("window", True), ("per step", False), ("in and out", False)):
        mask = letter_model(way).mask(0.25, 300, 40, 6)
        assert torch.equal(mask[0], mask[-1]) == same
        assert mask.unique().tolist() == pytest.approx([0, 4 / 3])
        assert mask.mean().item() == pytest.approx(1, abs=0.15)


def test_only_two_ways_mask_the_state():
    x = torch.randint(5, (30, 2))
    ways = {"none": False, "in and out": False, "window": False, "per step": True, "variational": True}
    for way, in_time in ways.items():
        model, calls = letter_model(way).train(), []
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
    assert chapter["nats"](model, part, 3) == pytest.approx(expected, rel=1e-5)  # windows carry the state
    dropping = letter_model("variational").eval()
    torch.manual_seed(1)
    with torch.no_grad():
        mean = torch.stack([dropping(x[:-1], drop=True)[0].softmax(-1) for _ in range(4)]).mean(0)
    torch.manual_seed(1)
    expected = F.nll_loss(mean.log().flatten(0, 1), x[1:].flatten()).item()
    assert chapter["nats"](dropping, part, 4) == pytest.approx(expected, rel=1e-4)


def test_masks_are_drawn_anew_after_every_window():
    chapter, calls = fresh(), []
    model = letter_model("variational").eval()
    original = model.mask
    model.mask = lambda *size: calls.append(size[1]) or original(*size)
    chapter["nats"](model, torch.randint(5, (64 * 81,)), 1)
    assert calls == [32] * 6 + [16] * 3


def test_letters_stop_where_the_validation_loss_is_least(monkeypatch):
    chapter = fresh(letter_steps=240)
    values = iter([3.0, 30.0, 1.0, 10.0, 2.0])  # validation, test at each new best, validation

    def nats(model, part, masks=0):
        assert not model.training
        return next(values)

    monkeypatch.setitem(chapter, "nats", nats)
    assert chapter["learn_letters"]("LSTM", "none", 0, 0, 0.003, 0)[:3] == (1.0, 10.0, 160)


IN_TURN = SimpleNamespace(each=lambda function, seeds, *rest, label="": [function(*rest, seed) for seed in seeds])


def part_setting(kind, cost):
    """What the search finds where five networks need cost(start, rate) windows, and what it looked at."""
    chapter, seen = fresh(tuning=True, stream_steps=700), []

    def read_streams(asked, start, rate, count, most, seed):
        assert (asked, count, most, seed) == (kind, 5, 700, 1000)
        seen.append((start, rate))
        windows, right = cost(start, rate)
        return np.array([[windows, 1.0, right]] * 5)

    chapter |= {"read_streams": read_streams, "seeds": IN_TURN}
    return chapter["part_setting"](kind), seen


@pytest.mark.parametrize("second", [0.01, 0.1, 0.3])
def test_each_part_is_tuned_by_five_other_networks_and_two_starts(second):
    best = {(1, 0): 0.1, (2, -2): second}
    gain = {(1, 0): 0, (2, -2): 99}

    def cost(start, rate):
        return 500 + 20 * abs(np.log(rate / best[start])) - gain[start], 100

    assert part_setting("NIG", cost)[0] == ((2, -2), second)
    gain[2, -2] = -99
    found, seen = part_setting("NIG", cost)
    assert found == ((1, 0), 0.1) and {rate for start, rate in seen if start == (1, 0)} == {0.01, 0.03, 0.1, 0.3}


def test_where_no_network_learns_the_share_of_right_answers_decides():
    found, _ = part_setting("NFG", lambda start, rate: (700, 50 + 10 * (rate == 0.1) + (start == (2, -2))))
    assert found == ((2, -2), 0.1)


def test_a_cost_is_counted_in_doublings_of_the_plain_lstm():
    runs = {"V": np.array([[100.0, 1], [200.0, 1]]), "NFG": np.array([[400.0, 1], [100.0, 1]])}
    found = CHAPTER["costs"](runs)
    assert list(found) == ["NFG"] and found["NFG"].tolist() == [2, -1]


def test_the_two_parts_are_chosen_on_one_half_and_measured_on_the_other():
    cost = {"NFG": [1, 1, 5, 5], "NOAF": [2, 2, 0, 0], "NIG": [0, 0, 9, 9], "NOG": [0.5, 0.5, 3, 4]}
    cost = {kind: np.array(values, float) for kind, values in cost.items()}
    assert CHAPTER["lead"](cost, ("NFG", "NOAF")).tolist() == [2, 1]
    assert CHAPTER["lead"](cost, ("NIG", "NOG")).tolist() == [9, 9]


def blocks(kind, depth=3):
    torch.manual_seed(0)
    return CHAPTER["Blocks"](kind, depth)


def test_grid_and_stacks_have_equal_parameters_and_the_same_start(monkeypatch):
    monkeypatch.setitem(CHAPTER, "letters", ["?"] * 65)
    counts = []
    for kind in ("grid", "usual grid", "stack", "path"):
        model = blocks(kind)
        counts.append(sum(p.numel() for p in model.parameters()))
        for layer in model.layers:
            gates = layer.bias.view(-1, 4, model.width)
            assert (gates[:, 1] == 1).all() and gates[:, [0, 2, 3]].abs().max() == 0
            assert 0.9 < layer.weight.abs().max().item() * model.width**0.5 <= 1 + 1e-6
    assert max(counts) / min(counts) < 1.005


def test_a_stack_is_that_of_torch_and_carries_its_state():
    model = blocks("stack")
    width = model.width
    theirs = nn.LSTM(width, width, 3)
    for n, layer in enumerate(model.layers):
        i, f, o, g = layer.weight.split(width)
        U, W = torch.cat([i, f, g, o]).split(width, 1)
        getattr(theirs, f"weight_hh_l{n}").data, getattr(theirs, f"weight_ih_l{n}").data = U, W
        getattr(theirs, f"bias_ih_l{n}").data = layer.bias.data  # o and g are both 0
        getattr(theirs, f"bias_hh_l{n}").data.zero_()
    x = torch.randint(5, (9, 4))
    found, _ = model(x)
    torch.testing.assert_close(found, model.answer(theirs(model.embed(x))[0]), atol=1e-5, rtol=1e-4)
    for kind in ("grid", "usual grid", "stack", "path"):
        model = blocks(kind)
        first, state = model(x[:4])
        torch.testing.assert_close(torch.cat([first, model(x[4:], state)[0]]), model(x)[0])


def grid_step(model, letter, state):
    """One letter through the grid of the slide, or of usual blocks, written down once more."""
    h, m = letter.chunk(2)
    new = []
    for layer, (old, memory) in zip(model.layers, state, strict=True):
        z = (layer.weight @ torch.cat([old, h]) + layer.bias).view(2, 4, -1)
        both = []
        for (i, f, o, g), before in zip(z, (memory, m), strict=True):
            after = torch.sigmoid(f) * before + torch.sigmoid(i) * torch.tanh(g)
            o = torch.sigmoid(o)
            both.append((torch.tanh(o * after) if model.kind == "grid" else o * torch.tanh(after), after))
        new.append(both[0])
        h, m = both[1]
    return model.answer(h), new


@pytest.mark.parametrize("kind", ["grid", "usual grid"])
def test_a_grid_has_one_memory_along_time_and_one_along_depth(kind):
    model, x = blocks(kind), torch.randint(5, (6, 1))
    found, _ = model(x)
    state = [(torch.zeros(33), torch.zeros(33))] * 3
    for letter, logits in zip(model.embed(x[:, 0]), found[:, 0], strict=True):
        expected, state = grid_step(model, letter, state)
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-4)


def test_a_path_hands_on_what_came_from_below():
    model, x = blocks("path"), torch.randint(5, (3, 2))
    for layer in model.layers:
        layer.weight.data.zero_()
        layer.bias.data.zero_()  # g = 0: the blocks give nothing
    torch.testing.assert_close(model(x)[0], model.answer(model.embed(x)))
    plain = blocks("stack")
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(plain(x)[0], plain.answer.bias.expand(3, 2, 5))


def test_blocks_are_learned_and_stop_where_the_validation_loss_is_least(monkeypatch):
    chapter = fresh(letter_steps=120)
    asked, values = [], iter([3.0, 30.0, 1.0, 10.0, 2.0])  # validation, test at each new best, validation

    def nats(model, part):
        asked.append(next(name for name, kept in chapter["text_part"].items() if kept is part))
        return next(values)

    real = chapter["nats"]
    monkeypatch.setitem(chapter, "nats", nats)
    assert chapter["learn_blocks"]("grid", 0.003, 0) == (1.0, 10.0, 80)
    assert asked == ["validate", "test", "validate", "test", "validate"]
    monkeypatch.setitem(chapter, "nats", real)
    cycle = torch.arange(1024) % 5
    chapter["text_part"] = dict.fromkeys(("learn", "validate", "test"), cycle)
    assert chapter["learn_blocks"]("path", 0.01, 0)[1] < 0.5  # a cycle of five is learned


def test_the_rate_of_the_blocks_is_that_of_the_least_validation_loss():
    chapter = fresh(tuning=True)

    def learn_blocks(kind, rate, seed):
        assert seed == 1000 and kind == "path"
        return 1 + abs(np.log(rate / 0.03)), -rate, 40  # the test loss would choose another

    chapter |= {"learn_blocks": learn_blocks, "seeds": IN_TURN}
    assert chapter["block_rate"]("path") == 0.03


def check_biases(after, printed):
    assert printed.count("sequences, met:") == 3 and "forget 5, input -5" in printed


def check_lags(after, printed):
    assert [line.split(":")[0] for line in printed.splitlines()] == ["lag 25", "lag 50", "lag 100", "lag 200"]


def check_forget_biases(after, printed):
    assert [line.split(":")[0] for line in printed.splitlines()] == [f"forget bias {bias}" for bias in (0, 1, 2, 4)]


def check_deeper(after, printed):
    assert [line.split(":")[0] for line in printed.splitlines()] == ["usual grid", "stack", "path"]
    assert len(after["network"].layers) == 6


CHECKS = (check_biases, check_lags, check_forget_biases, check_deeper)


@pytest.mark.parametrize("number", range(len(CHECKS)))
def test_the_solutions_of_the_exercises_run(number, capsys):
    after = fresh()
    fewer = {"STEPS = 600": "STEPS = 2", "STEPS = 200": "STEPS = 2", "MOST = 5, 600": "MOST = 2, 2"}
    exercises.execute("gates_and_depth", number, after, fewer)
    CHECKS[number](after, capsys.readouterr().out)
