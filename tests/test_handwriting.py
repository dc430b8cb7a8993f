"""The definitions of the chapter on handwriting against references, properties and bad input."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from utils.datasets import strokes
from utils.tools import definitions, exercises

CHAPTER = definitions.of_chapter("handwriting")
CHAPTER["DEVICE"] = "cpu"
DATA = strokes.generated()


def outputs(points=20, components=3, seed=0):
    return torch.randn(points, 2 + 6 * components, generator=torch.Generator().manual_seed(seed)).double()


def restored_small(seed=0):
    torch.manual_seed(seed)
    return CHAPTER["Scribe"](4, width=16)


@given(st.integers(1, 20), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_the_density_of_a_move_against_scipy(components, seed):
    out, move = outputs(3, components, seed), outputs(3, 1, seed + 1)[:, :2]
    ours = CHAPTER["log_density"](out, move, torch.zeros(3, 2).double())[:, 0]
    for row, point, value in zip(out[:, 2:].numpy(), move.numpy(), ours, strict=True):
        weight, mx, my, sx, sy, lean = row.reshape(6, components)
        weight, sx, sy, rho = np.exp(weight) / np.exp(weight).sum(), np.exp(sx), np.exp(sy), 0.99 * np.tanh(lean)
        parts = []
        for j in range(components):
            spread = [[sx[j] ** 2, rho[j] * sx[j] * sy[j]], [rho[j] * sx[j] * sy[j], sy[j] ** 2]]
            parts.append(math.log(weight[j]) + multivariate_normal([mx[j], my[j]], spread).logpdf(point))
        assert value.item() == pytest.approx(logsumexp(parts), rel=1e-8, abs=1e-8)


def test_pen_and_end_are_two_coins():
    out = outputs(4)
    for bits in ((0, 0), (1, 0), (1, 1)):
        told = CHAPTER["log_density"](out, out[:, :2], torch.tensor([bits] * 4).double())[:, 1:]
        chance = torch.sigmoid(out[:, :2])
        expected = torch.where(torch.tensor(bits) > 0, chance, 1 - chance).log()
        torch.testing.assert_close(told, expected)


def test_no_width_is_narrower_than_the_bound():
    out = torch.zeros(1, 8)
    out[:, 5:7] = -50
    best = CHAPTER["log_density"](out, torch.zeros(1, 2), torch.zeros(1, 2))[0, 0].item()
    assert best == pytest.approx(-math.log(2 * math.pi * CHAPTER["LEAST"] ** 2), abs=1e-3)
    wider = CHAPTER["log_density"](out, torch.zeros(1, 2), torch.zeros(1, 2), 0.5)[0, 0].item()
    assert wider == pytest.approx(-math.log(2 * math.pi * 0.25), abs=1e-3)


@pytest.mark.parametrize("far", [1e2, 1e4, 1e6])
def test_far_points_have_finite_values_and_gradients(far):
    out = torch.zeros(1, 122, requires_grad=True)
    value = CHAPTER["log_density"](out, torch.tensor([[far, -far]]), torch.zeros(1, 2)).sum()
    value.backward()
    assert value.isfinite() and out.grad.isfinite().all()


def test_a_point_is_predicted_from_those_before_it():
    """Changing a point changes the outputs behind it and no other."""
    drawing = DATA.train[0].copy()
    other = drawing.copy()
    other[6, :2] += 50
    for model in (restored_small(), CHAPTER["Window"](2, 3), CHAPTER["Window"](2, 3, place=True)):
        one, two = (model(*CHAPTER["batch"]([d], 0.0)[:2]) for d in (drawing, other))
        same = (one == two).all(1)
        assert same[:7].all() and not same[7]
    short = CHAPTER["Window"](2, 3)
    one, two = (short(*CHAPTER["batch"]([d], 0.0)[:2]) for d in (drawing, other))
    assert not (one[7:9] == two[7:9]).all(1).any() and torch.equal(one[9:], two[9:])
    nothing = CHAPTER["Window"](0, 3)(*CHAPTER["batch"]([drawing], 0.0)[:2])
    assert torch.equal(nothing, nothing[:1].expand_as(nothing))


def test_a_batch_holds_the_moves_and_marks_the_ends():
    few = DATA.train[:5]
    seen, real, move, bits = CHAPTER["batch"](few, 0.0)
    assert real.sum() == sum(map(len, few)) == len(move) and bits[:, 1].sum() == 5
    np.testing.assert_allclose(move.numpy() * CHAPTER["UNIT"], np.concatenate(few)[:, :2], atol=1e-3)
    assert not seen[:, 0].any()
    np.testing.assert_allclose(seen[0, 1 : len(few[0])].numpy()[:, 2], few[0][:-1, 2])
    noisy = CHAPTER["batch"](few)[2] - move
    assert 0.2 < noisy.abs().max() * CHAPTER["UNIT"] <= 0.5


def test_nats_do_not_depend_on_the_order_and_repeat():
    model, few = restored_small(), DATA.train[:70]
    whole = CHAPTER["nats"](model, few)
    np.testing.assert_array_equal(whole, CHAPTER["nats"](model, few))
    out, target = [], []
    for drawing in few:
        seen, real, *rest = CHAPTER["batch"]([drawing], 0.0)
        out.append(model(seen, real))
        target.append(rest)
    single = -torch.cat([CHAPTER["log_density"](o, *t) for o, t in zip(out, target, strict=True)]).mean(0)
    np.testing.assert_allclose(CHAPTER["nats"](model, few, 0.0), single.detach().numpy(), rtol=1e-4)


def test_training_keeps_the_best_epoch_and_sees_training_drawings_only():
    model = restored_small()
    history = CHAPTER["train"](model, DATA.train[:96], DATA.validation, 4, 0.02)
    assert len(history) == 4 and history[-1] < history[0]
    assert CHAPTER["nats"](model, DATA.validation).sum() == pytest.approx(min(history), abs=1e-5)
    torch.manual_seed(0)
    CHAPTER.update(training=DATA.train[:64], validation=DATA.validation, test=DATA.test)
    found = CHAPTER["learn"]("two moves", 2, 0.01, 1, 0)
    torch.manual_seed(0)
    CHAPTER["test"] = DATA.train[64:96]
    again = CHAPTER["learn"]("two moves", 2, 0.01, 1, 0)
    assert all(np.array_equal(a, b) for a, b in zip(found["weights"].values(), again["weights"].values(), strict=True))


def test_shuffled_drawings_keep_their_moves():
    for before, after in zip(DATA.test, CHAPTER["shuffled"](DATA.test), strict=True):
        assert sorted(map(tuple, before)) == sorted(map(tuple, after))
    assert any(not np.array_equal(a, b) for a, b in zip(DATA.test, CHAPTER["shuffled"](DATA.test), strict=True))


def test_both_rivals_of_the_control_see_shuffled_moves(monkeypatch):
    seen = []
    monkeypatch.setitem(CHAPTER, "train", lambda _, learned, checked, *more: seen.append((learned, checked)) or [0.0])
    monkeypatch.setitem(CHAPTER, "nats", lambda model, drawings: seen.append((drawings,)) or np.zeros(3))
    CHAPTER.update(training=DATA.train[:30], validation=DATA.validation, test=DATA.test)
    for kind in CHAPTER["MODELS"]:
        seen.clear()
        torch.manual_seed(1)
        CHAPTER["learn"](kind, 1, 0.01, 1, 0)
        (learned, checked), (tested,) = seen
        for part, handed in ((CHAPTER["training"], learned), (DATA.validation, checked), (DATA.test, tested)):
            same = all(np.array_equal(a, b) for a, b in zip(part, handed, strict=True))
            assert same != kind.endswith("shuffled moves"), kind


def test_twins_and_their_twins_are_in_one_group_and_in_one_part():
    few = list(DATA.train[:40])
    larger = [drawing * (3, 3, 1) for drawing in few[:5]]
    groups = CHAPTER["groups_of"]([*few, *larger])
    assert (groups[40:] == groups[:5]).all() and len(set(groups)) > 10
    ways = CHAPTER["pictures_of"]([*few, *larger])
    near = ways @ ways.T > 1 - CHAPTER["TWINS"]
    assert all(groups[i] == groups[j] for i, j in zip(*near.nonzero(), strict=True))
    everything = [*DATA.train, *DATA.validation, *DATA.test]
    parts = CHAPTER["split_apart"](everything, np.arange(len(everything)))
    assert [len(part) for part in parts] == [558, 31, 31]
    assert sorted(map(id, sum(parts, []))) == sorted(map(id, everything))
    parts = CHAPTER["split_apart"]([*few, *larger], groups)
    album = CHAPTER["pictures_of"](parts[0])
    for part in parts[1:]:
        assert not part or (CHAPTER["pictures_of"](part) @ album.T).max() <= 1 - CHAPTER["TWINS"] + 1e-6


def test_the_rate_is_chosen_on_validation_drawings(monkeypatch):
    class Each:
        @staticmethod
        def each(function, numbers, kind, components, rate, epochs):
            return [{"history": [abs(rate - 0.04), 1.0], "test": np.array([rate, 0, 0])}]

    monkeypatch.setitem(CHAPTER, "seeds", Each)
    CHAPTER["settings"] = {"rates": (0.01, 0.04, 0.08), "tuning_epochs": 2}
    assert CHAPTER["rate_for"]("LSTM", 20) == 0.04


def test_drawings_follow_the_outputs():
    """With one component far narrower than its distance from zero, samples sit on its mean; bias narrows them."""
    model = CHAPTER["Scribe"](2, width=4)
    with torch.no_grad():
        model.answer.weight.zero_()
        model.answer.bias.copy_(torch.tensor([-50.0, 0.0, 3.0, 0, 1, 9, -2, 9, -1, -1, -1, -1, 0, 0]))
    spread = {}
    for bias in (0.0, 2.0):
        torch.manual_seed(0)
        drawings, ended = CHAPTER["draw"](model, 400, bias, 30)
        assert ended > 0.99 and all(not d[:, 2].any() and len(d) >= 3 for d in drawings)
        moves = np.concatenate(drawings)[:, :2] / CHAPTER["UNIT"]
        share = (moves[:, 0] > 5).mean()
        assert share == pytest.approx(1 / (1 + math.exp(3 * (1 + bias))), abs=0.02)
        near = moves[moves[:, 0] < 5]
        np.testing.assert_allclose(near.mean(0), (1, -2), atol=0.05)
        spread[bias] = near.std(0)
    np.testing.assert_allclose(spread[0.0], math.exp(-1), rtol=0.05)
    np.testing.assert_allclose(spread[2.0], math.exp(-3), rtol=0.05)


def test_samples_cost_what_the_model_says():
    """The mean surprise of a model at its own unbiased samples is near its entropy."""
    model = CHAPTER["Scribe"](1, width=4)
    with torch.no_grad():
        model.answer.weight.zero_()
        model.answer.bias.copy_(torch.tensor([0.0, -2, 0, 0.5, -0.5, -1, 0.3, 0.8]))
    torch.manual_seed(0)
    drawings, _ = CHAPTER["draw"](model, 500)
    rho = 0.99 * math.tanh(0.8)
    entropy = math.log(2 * math.pi * math.e) - 0.7 + math.log(1 - rho**2) / 2
    assert CHAPTER["nats"](model, drawings, 0.0)[0] == pytest.approx(entropy, abs=0.05)


def test_pictures_know_neither_size_nor_place_nor_order():
    drawing = DATA.train[1]
    larger = drawing * (3, 3, 1)
    moved = drawing.copy()
    moved[0, :2] += 70
    like = [float(CHAPTER["picture"](drawing) @ CHAPTER["picture"](d)) for d in (drawing, larger, moved)]
    assert like == pytest.approx([1, 1, 1], abs=0.05)
    album = CHAPTER["pictures_of"](DATA.train)
    assert CHAPTER["nearest"](DATA.train[:20], album) == pytest.approx(0, abs=1e-5)
    assert CHAPTER["nearest"](DATA.test, album) > 0.02
    assert CHAPTER["apart"]([drawing] * 4) == pytest.approx(0, abs=1e-5)
    assert CHAPTER["apart"](DATA.test[:5]) > 0.1


def test_the_cheat_needs_bare_numbers():
    CHAPTER.update(omniglot=DATA, some=64, settings={"cheat_epochs": 2})
    torch.manual_seed(0)
    bare, fractions = CHAPTER["bare"](0.005, 0)
    assert np.isfinite([bare, fractions]).all()


def test_expectations_list_each_point_and_likely_components():
    rows = CHAPTER["expectations"](restored_small(), DATA.test[:2])
    table = np.array(list(rows.values())).T
    reached = table[table[:, 2] == 0]
    assert len(reached) == sum(len(d) + 1 for d in DATA.test[:2])
    np.testing.assert_array_equal(reached[-1, 3:5], DATA.test[1][:, :2].sum(0))


@pytest.mark.parametrize("number", range(3))
def test_the_solutions_of_the_exercises_run(number, capsys):
    plt.switch_backend("Agg")
    namespace = definitions.of_chapter("handwriting")
    torch.manual_seed(0)
    namespace.update(DEVICE="cpu", test=DATA.test[:20], first=namespace["Scribe"](20, width=16))
    exec(exercises.solutions("handwriting")[number].replace("COUNT = 60", "COUNT = 6"), namespace)
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) == (1, 3, 4)[number]
    if number == 0:
        assert all(1 <= float(word.strip(",")) <= 20 for word in printed.split() if word[0].isdigit())
