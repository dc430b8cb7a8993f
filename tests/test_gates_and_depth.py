"""The definitions of the chapter on gates and depth against references, properties and exact counts."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from utils.tools import definitions, exercises

CHAPTER = definitions.of_chapter("gates_and_depth")
CHAPTER["DEVICE"] = "cpu"
SIZE = st.integers(1, 6)


@given(SIZE, SIZE, SIZE)
@settings(max_examples=20, deadline=None)
def test_one_step_of_each_cell_is_that_of_torch(batch, inputs, width):
    torch.manual_seed(width)
    x, h, c = (torch.randn(batch, size, dtype=torch.double) for size in (inputs, width, width))
    gru, lstm = nn.GRUCell(inputs, width).double(), nn.LSTMCell(inputs, width).double()
    b = torch.stack([gru.bias_ih, gru.bias_hh])
    found = CHAPTER["gru_step"](x, h, gru.weight_ih, gru.weight_hh, b, reset_after=True)
    torch.testing.assert_close(found, gru(x, h), rtol=0, atol=1e-12)
    found = CHAPTER["lstm_step"](x, h, c, lstm.weight_ih, lstm.weight_hh, lstm.bias_ih + lstm.bias_hh)
    torch.testing.assert_close(found, lstm(x, (h, c)), rtol=0, atol=1e-12)


def test_the_two_grus_are_one_where_the_reset_gate_is_open():
    torch.manual_seed(0)
    x, h, W, U = (torch.randn(*s, dtype=torch.double) for s in ((4, 3), (4, 5), (15, 3), (15, 5)))
    b = torch.zeros(2, 15, dtype=torch.double)
    closed = [CHAPTER["gru_step"](x, h, W, U, b, reset_after=after) for after in (True, False)]
    assert not torch.allclose(*closed, atol=1e-6)
    b[0, :5] = 100.0  # sigmoid is 1
    torch.testing.assert_close(*(CHAPTER["gru_step"](x, h, W, U, b, reset_after=after) for after in (True, False)))


@pytest.mark.parametrize("bias", [-1.0, 0.0, 1.0, 5.0])
def test_the_carousel_is_a_power_of_the_gate(bias):
    gate = 1 / (1 + np.exp(-bias))
    np.testing.assert_allclose(CHAPTER["cell_gradient"](bias, steps=30), gate ** np.arange(1, 31), rtol=1e-9)


def test_networks_of_a_batch_do_not_touch_each_other():
    names = list(CHAPTER["VARIANTS"])
    p, s = CHAPTER["family_parameters"](len(names), 1), CHAPTER["switches"](names)
    x = torch.rand(len(names), 3, 7, 2)
    h, *_ = CHAPTER["family_states"](x, p, s)
    for number, name in enumerate(names):
        one = {key: value[number : number + 1] for key, value in p.items()}
        alone, *_ = CHAPTER["family_states"](x[number : number + 1], one, CHAPTER["switches"]([name]))
        torch.testing.assert_close(h[number : number + 1], alone, rtol=0, atol=1e-6)
    assert len({tuple(row.flatten().tolist()) for row in h.detach()}) == len(names)  # every switch does something


@pytest.mark.parametrize("name", list(CHAPTER["VARIANTS"]))
def test_each_variant_is_eq_5_written_out(name):
    """One network, a loop over the steps; a gate that is off is 1, coupled gates add up to 1."""
    p = CHAPTER["family_parameters"](1, 1)
    x = torch.rand(1, 3, 6, 2)
    found, cell, _ = CHAPTER["family_states"](x, p, CHAPTER["switches"]([name]))
    off, width = CHAPTER["VARIANTS"][name], 12
    peep = p["peep"][0] * off.get("peep", 1)
    h = c = torch.zeros(3, width)
    for t in range(6):
        a = (x[0, :, t] @ p["W"][0] + p["b"][0] + h @ p["U"][0]).split(width, 1)
        i = torch.sigmoid(a[0] + peep[0] * c) if off.get("i", 1) else torch.ones(3, width)
        f = torch.sigmoid(a[1] + peep[1] * c) if off.get("f", 1) else torch.ones(3, width)
        f = 1 - i if off.get("coupled") else f
        c = f * c + i * (torch.tanh(a[2]) if off.get("g", 1) else a[2])
        o = torch.sigmoid(a[3] + peep[2] * c) if off.get("o", 1) else torch.ones(3, width)
        h = o * (torch.tanh(c) if off.get("h", 1) else c)
    torch.testing.assert_close(found[0], h, rtol=0, atol=1e-5)
    torch.testing.assert_close(cell[0], c, rtol=0, atol=1e-5)


def test_the_next_number_is_told_from_both_ends_only():
    blind, seeing = (CHAPTER["learn_next_number"](both, 150, 0) for both in (False, True))
    assert blind > 0.07 and seeing < 0.04  # the variance is 1 / 12


def test_seeds_share_parameters_across_variants_and_not_with_each_other():
    p = CHAPTER["family_parameters"](6, 3)
    for value in p.values():
        assert torch.equal(value[:3], value[3:]) and not torch.equal(value[0], value[1])


def test_each_network_is_clipped_on_its_own():
    p = {"a": torch.zeros(2, 3, requires_grad=True), "b": torch.zeros(2, 1, requires_grad=True)}
    p["a"].grad, p["b"].grad = torch.tensor([[3.0, 0, 0], [0.1, 0, 0]]), torch.tensor([[4.0], [0.0]])
    CHAPTER["clip_each"](p)
    torch.testing.assert_close(p["a"].grad, torch.tensor([[0.6, 0, 0], [0.1, 0, 0]]))
    torch.testing.assert_close(p["b"].grad, torch.tensor([[0.8], [0.0]]))


def test_a_variational_mask_is_kept_and_a_mask_per_step_is_not():
    drawn = {}
    for mode in ("none", "per step", "variational"):
        model = CHAPTER["LetterModel"](5, mode, width=4).train()
        calls, real = [], model.mask
        model.mask = lambda rows, calls=calls, real=real: calls.append(rows) or real(rows)
        model(torch.zeros(2, 6, dtype=torch.long))
        drawn[mode] = len(calls)
    assert drawn == {"none": 0, "per step": 7, "variational": 1}


def test_no_mode_drops_outside_of_training():
    for mode in ("none", "per step", "variational"):
        torch.manual_seed(0)
        model = CHAPTER["LetterModel"](5, mode, width=4).eval()
        ids = torch.randint(5, (2, 6))
        assert torch.equal(model(ids), model(ids))


def test_a_byte_order_mark_is_no_letter(tmp_path, monkeypatch):
    play = tmp_path / "input.txt"
    play.write_bytes(b"\xef\xbb\xbfTo be\r\nor not\n")
    monkeypatch.setitem(CHAPTER, "datasets", SimpleNamespace(path=lambda _: play))
    assert CHAPTER["shakespeare"]() == "To be\nor not\n"


def test_a_closed_highway_hands_its_input_on():
    torch.manual_seed(0)
    model = CHAPTER["Deep"]("highway", depth=30)
    for gate in model.gates:
        nn.init.constant_(gate.bias, -100.0)
    x = torch.randn(3, 64)
    torch.testing.assert_close(model(x), model.last(torch.tanh(model.first(x))))


@given(st.integers(1, 6))
@settings(max_examples=10, deadline=None)
def test_values_of_expressions_are_those_of_a_loop(levels):
    leaves, operations, value = CHAPTER["expressions"](20, levels)
    for row in range(20):
        level = leaves[row].tolist()
        for operation in operations:
            pairs = zip(level[::2], level[1::2], operation[row].tolist(), strict=True)
            level = [(a & b, a | b, a ^ b)[o] for a, b, o in pairs]
        assert level == [value[row].item()]


@given(st.integers(1, 6), st.integers(0, 12))
@settings(max_examples=20, deadline=None)
def test_the_graph_block_is_the_loop_over_edges(nodes, edges):
    torch.manual_seed(edges)
    ends = torch.randint(nodes, (2, edges))
    e, v, u = torch.randn(edges, 2), torch.randn(nodes, 3), torch.randn(1, 1)
    edge, node, whole = nn.Linear(9, 4), nn.Linear(8, 5), nn.Linear(10, 2)
    found = CHAPTER["graph_block"](e, v, u, ends, edge, node, whole)
    new = [edge(torch.cat([e[k], v[s], v[t], u[0]])) for k, (s, t) in enumerate(ends.T.tolist())]
    heard = torch.zeros(nodes, 4)
    for value, t in zip(new, ends[1].tolist(), strict=True):
        heard[t] = heard[t] + value
    states = torch.stack([node(torch.cat([v[k], heard[k], u[0]])) for k in range(nodes)])
    torch.testing.assert_close(found[1], states, rtol=1e-4, atol=1e-5)
    total = torch.cat([u, sum(new, torch.zeros(4))[None], states.sum(0, keepdim=True)], 1)
    torch.testing.assert_close(found[2], whole(total), rtol=1e-4, atol=1e-5)


def at_the_end():
    """What the chapter leaves behind after a few steps of training, with small digits."""
    namespace = definitions.of_chapter("gates_and_depth")
    rng = np.random.default_rng(0)
    namespace.update(
        DEVICE="cpu",
        settings={"variant_steps": 3, "tree_steps": 2},
        epochs=1,
        every_seed=range(2),
        names=list(namespace["VARIANTS"]),
        by_variant={name: np.ones(2) for name in namespace["VARIANTS"]},
        DEPTHS=(2, 3),
        by_depth={"highway": [[50.0, 60.0], [70.0, 80.0]]},
        pixels=torch.from_numpy(rng.random((120, 64))).float(),
        digit=torch.arange(120) % 10,
        known=torch.arange(100),
        new=torch.arange(100, 120),
    )
    return namespace


def check_forget_biases(after, printed):
    assert [line.split(":")[0] for line in printed.splitlines()] == ["bias 0", "bias 1", "bias 5"]
    expected = after["learn_adding"](nn.LSTM, steps=110, seed=3)
    assert after["adding_losses"](1, seed=3, steps=110)[-100:].mean() == pytest.approx(expected, rel=1e-6)
    assert len({losses[0] for losses in after["by_bias"].values()}) == 3


def check_no_reset(after, printed):
    names, train = after["names"], after["train_on_end"]
    assert [line.split(":")[0] for line in printed.splitlines()] == names
    expected, *_ = after["train_family"](names, 1, 2)
    np.testing.assert_allclose(train(names, 1, 2)[0].reshape(-1, 2), expected, rtol=1e-5)
    expected, *_ = after["train_family"](names, 2, 2)  # from the second row on, a past
    assert not np.allclose(train(names, 2, 2)[0].reshape(-1, 2), expected, rtol=1e-5)


def check_residual(after, _):
    assert np.shape(after["residual"]) == (2, 2) and after["Deep"] is after["gated"]
    model, x = after["WithResidual"]("residual", 3), torch.randn(5, 64)
    for parameter in model.layers.parameters():
        nn.init.zeros_(parameter)
    torch.testing.assert_close(model(x), model.last(torch.tanh(model.first(x))))
    plain = after["WithResidual"]("plain", 3)
    assert not torch.allclose(plain(x), plain.last(torch.tanh(plain.first(x))))


def check_chains(after, _):
    leaves, operations, values = after["chains"](30, 3)
    for row, steps, value in zip(leaves.tolist(), operations.tolist(), values.tolist(), strict=True):
        result = row[0]
        for leaf, step in zip(row[1:], steps, strict=True):
            result = (result & leaf, result | leaf, result ^ leaf)[step]
        assert result == value
    assert after["expressions"] is not after["chains"] and after["Evaluator"] is not after["ChainEvaluator"]
    by_tree, by_chain = after["Evaluator"](), after["ChainEvaluator"]()
    by_chain.load_state_dict(by_tree.state_dict())
    leaves, (operation,), _ = after["expressions"](9, 1)  # two leaves are a tree and a chain
    torch.testing.assert_close(by_chain(leaves, operation), by_tree(leaves, [operation]))
    assert all(0 <= right <= 100 for right in after["by_chain"])


def check_line(after, _):
    assert after["right_after"] == [*range(1, 11), 10, 10]


CHECKS = (check_forget_biases, check_no_reset, check_residual, check_chains, check_line)


@pytest.mark.parametrize("number", range(5))
def test_the_solutions_of_the_exercises_run(number, capsys):
    after = at_the_end()
    exercises.execute("gates_and_depth", number, after, {"steps=1500": "steps=60"})
    CHECKS[number](after, capsys.readouterr().out)
