"""The definitions of the distillation chapter against references, properties and bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.records import claims
from utils.tools import definitions, exercises

NAME = "distilling_knowledge"
KD = definitions.of_chapter(NAME)
KD["DEVICE"] = "cpu"
KD["settings"] = {"bfloat16": False}


def logits(seed, cases=20, classes=10):
    return torch.randn(cases, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.double) * 3


@given(st.floats(0.3, 100), st.integers(0, 1000), st.floats(-50, 50))
@settings(max_examples=50, deadline=None)
def test_soft_targets_are_probabilities_keep_the_order_and_ignore_a_constant(temperature, seed, constant):
    z = logits(seed)
    q = KD["soft_targets"](z, temperature)
    torch.testing.assert_close(q.sum(1), torch.ones(20, dtype=torch.double))
    assert (q.argmax(1) == z.argmax(1)).all()
    torch.testing.assert_close(KD["soft_targets"](z + constant, temperature), q)
    hotter = KD["soft_targets"](z, 2 * temperature)
    assert (hotter.amax(1) <= q.amax(1) + 1e-12).all()


@given(st.floats(0.5, 50), st.integers(0, 1000), st.floats(0, 2))
@settings(max_examples=50, deadline=None)
def test_the_loss_is_a_divergence_and_its_gradient_the_formula(temperature, seed, weight):
    z, v, labels = logits(seed).requires_grad_(), logits(seed + 1), torch.arange(20) % 10
    loss = KD["distillation_loss"](z, v, temperature, labels, weight)
    p = torch.softmax(v / temperature, 1)
    divergence = F.kl_div(torch.log_softmax(z / temperature, 1), p, reduction="batchmean")
    entropy = -(p * p.clamp_min(1e-300).log()).sum(1).mean()
    torch.testing.assert_close(loss, temperature**2 * (divergence + entropy) + weight * F.cross_entropy(z, labels))
    soft = KD["distillation_loss"](z, v, temperature)
    (gradient,) = torch.autograd.grad(soft, z)
    torch.testing.assert_close(20 * gradient, temperature**2 * KD["soft_gradient"](z.detach(), v, temperature))
    assert soft >= KD["distillation_loss"](v, v, temperature) - 1e-9  # the teacher itself is best


def test_without_the_square_the_gradient_does_not_keep_its_size():
    """The check of eq. (3) in the chapter fails when the factor is forgotten."""
    broken = definitions.of_chapter(NAME, {"temperature**2 * F.cross": "F.cross"})
    z, v = logits(0).requires_grad_(), logits(1)
    sizes = {}
    for name, chapter in (("right", KD), ("broken", broken)):
        grads = [torch.autograd.grad(chapter["distillation_loss"](z, v, t), z)[0].norm() for t in (5, 50)]
        sizes[name] = (grads[0] / grads[1]).item()
    assert 0.7 < sizes["right"] < 1.4
    assert sizes["broken"] > 50


@pytest.mark.parametrize("temperature", [0, -1, math.nan, math.inf, -math.inf])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature must be positive"):
        KD["soft_targets"](logits(0), temperature)
    with pytest.raises(ValueError, match="temperature must be positive"):
        KD["distillation_loss"](logits(0), logits(1), temperature)


@pytest.mark.parametrize("temperature", [1e-6, 1e6])
def test_the_loss_is_finite_at_extreme_temperatures_and_for_one_case(temperature):
    z = logits(0, cases=1).requires_grad_()
    loss = KD["distillation_loss"](z, logits(1, cases=1), temperature)
    loss.backward()
    assert loss.isfinite() and z.grad.isfinite().all()


def test_a_class_that_the_teacher_rules_out_has_no_soft_target():
    z = logits(0)
    z[:, 4] = -torch.inf
    assert (KD["soft_targets"](z, 20)[:, 4] == 0).all()
    assert KD["distillation_loss"](logits(1), z, 20).isfinite()


def test_a_teacher_with_other_classes_is_refused():
    with pytest.raises(ValueError, match=r"\(20, 10\) and \(20, 12\)"):
        KD["distillation_loss"](logits(0), logits(1, classes=12), 2)


@pytest.mark.parametrize("labels", [[0, 10], [-1, 3], [255]])
def test_labels_out_of_range_are_refused(labels):
    with pytest.raises(ValueError, match=r"0 \.\. 9, found"):
        KD["on_labels"](torch.tensor(labels))
    padded = torch.zeros(len(labels), 32, 32, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"0 \.\. 9, found"):
        KD["TeacherTraining"](padded, torch.tensor(labels), 0, "halves", 1)


def test_a_table_with_labels_out_of_range_is_refused_by_the_mixed_loss():
    with pytest.raises(ValueError, match=r"0 \.\. 9, found"):
        KD["on_teacher"](logits(0), 2, torch.full((20,), 10), 0.5)


@given(st.integers(0, 10_000), st.sampled_from([0.2, 0.5, 0.9]))
@settings(max_examples=20, deadline=None)
def test_masks_keep_the_mean(seed, drop):
    coins = np.random.Generator(np.random.SFC64(seed))
    mask = KD["keep"]((200, 300), drop, coins)
    assert set(np.round(mask.unique().numpy(), 4)) == {0, round(np.float32(1 / (1 - drop)), 4)}
    assert abs(mask.mean().item() - 1) < 6 * math.sqrt(drop / (1 - drop) / 60_000)


@pytest.mark.parametrize("short", [True, False])
def test_the_teachers_dropout_takes_short_numbers_where_they_are_used_and_the_same_masks(short, monkeypatch):
    model, rng = KD["network"](200, 1), np.random.default_rng(0)
    batch, target = torch.randn(50, 784), torch.from_numpy(rng.integers(10, size=50))
    found = []
    for used in (False, short):
        monkeypatch.setitem(KD, "uses_bfloat16", lambda used=used: used)
        KD["examples_gradients"](model, batch, target, np.random.Generator(np.random.SFC64(3)))
        found.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    off = ((found[1] - found[0]).norm() / found[0].norm()).item()
    assert 1e-4 < off < 0.05 if short else off == 0
    assert found[1].dtype == torch.float32


def test_images_are_moved_and_nothing_else():
    images = torch.randint(1, 255, (40, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    padded, rows = F.pad(images, (2, 2, 2, 2)), torch.randperm(40, generator=torch.Generator().manual_seed(1))
    moved = KD["shifted"](padded, rows, torch.Generator().manual_seed(7))
    corners = torch.randint(5, (2, 40), generator=torch.Generator().manual_seed(7)).T.tolist()
    for image, row, (down, right) in zip(moved, rows, corners, strict=True):
        expected = (padded[row, down : down + 28, right : right + 28].float() / 255 - 0.13066) / 0.30811
        assert torch.equal(image.reshape(28, 28), expected)
    assert len(set(map(tuple, corners))) > 10


def test_the_first_digits_are_taken_of_each_part():
    digits = KD["stand_in_digits"]()
    few = digits.first(7, 5)
    assert [len(part) for part in few] == [7, 7, 5, 5]
    assert np.array_equal(few.test_labels, digits.test_labels[:5]) and np.array_equal(few.train, digits.train[:7])


def step_pair():
    model = KD["network"](1200, 0)
    batch = torch.rand(16, 784, generator=torch.Generator().manual_seed(2))
    return model, batch, torch.arange(16) % 10


@pytest.mark.parametrize("first", [slice(0, 600), slice(600, None)])
@pytest.mark.parametrize("second", [slice(0, 600), slice(600, None)])
def test_halves_are_dropout_with_one_mask_for_the_batch(first, second):
    model, batch, target = step_pair()
    loss = KD["halves_gradients"](model, batch, target, first, second)
    found = [p.grad.clone() for p in model.parameters()]
    masks = torch.zeros(2, 1200)
    masks[0, first] = masks[1, second] = 2
    hidden = model[3](model[2](model[1](model[0](batch)) * masks[0])) * masks[1]
    expected = F.cross_entropy(model[4](hidden), target)
    torch.testing.assert_close(loss, expected.detach())
    for mine, theirs in zip(found, torch.autograd.grad(expected, list(model.parameters())), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-4)


def test_a_new_order_of_the_units_changes_neither_the_function_nor_the_next_step():
    model, batch, target = step_pair()
    twin = KD["network"](1200, 0)
    whole = slice(None)
    results = []
    for network, mixed in ((model, True), (twin, False)):
        optimiser = torch.optim.Adam(network.parameters(), 1e-3)
        for step in range(3):
            if mixed and step:
                KD["reorder"](network, optimiser, torch.Generator().manual_seed(step))
            KD["halves_gradients"](network, batch, target, whole, whole)
            optimiser.step()
        results.append(network(batch))
    torch.testing.assert_close(*results, atol=2e-4, rtol=1e-3)


def test_norms_are_bounded_and_short_ones_left_alone():
    model = KD["network"](1200, 0)
    with torch.no_grad():
        model[2].weight[5] *= 100
    before = model[2].weight.detach().clone()
    KD["limit_norms"](model)
    assert all(layer.weight.square().sum(1).max() <= 15.001 for layer in model[::2])
    assert torch.equal(model[2].weight[:5], before[:5])
    torch.testing.assert_close(F.normalize(model[2].weight[5], dim=0), F.normalize(before[5], dim=0))


@given(st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_a_shuffled_teacher_keeps_winner_and_numbers(seed):
    v = logits(seed, cases=50)
    dealt = KD["shuffled"](v, seed)
    assert torch.equal(dealt.argmax(1), v.argmax(1))
    torch.testing.assert_close(dealt.sort(1).values, v.sort(1).values)
    assert (dealt != v).any(1).float().mean() > 0.9
    one_hot = torch.softmax(KD["one_hot"](v), 1)
    torch.testing.assert_close(one_hot, F.one_hot(v.argmax(1), 10).double(), atol=1e-12, rtol=0)


@given(st.integers(0, 1000), st.floats(0.02, 0.9), st.sampled_from([[3], [7, 8]]))
@settings(max_examples=30, deadline=None)
def test_the_rule_gives_a_class_its_prior(seed, prior, classes):
    z = logits(seed, cases=200)
    shift = KD["shift_to_prior"](z, classes, prior)
    moved = z.clone()
    moved[:, classes] += shift
    assert abs(torch.softmax(moved, 1)[:, classes].sum(1).mean().item() - prior) < 1e-6
    count = KD["errors_by_shift"](z, torch.zeros(200, dtype=torch.long), classes, [0.0, shift])
    assert count[0] == KD["errors"](z, torch.zeros(200, dtype=torch.long))


def test_an_ensemble_of_equals_is_its_member():
    z = logits(0)
    mean = KD["mean_logits"]([z, z + 1.0, z], 2)
    torch.testing.assert_close(torch.softmax(mean / 2, 1), torch.softmax(z / 2, 1))


def test_an_ensemble_answers_with_the_mean_of_probabilities():
    runs = [logits(0), logits(1), 3 * logits(2)]
    wanted = sum(torch.softmax(z / 2, 1) for z in runs) / 3
    torch.testing.assert_close(torch.softmax(KD["mean_logits"](runs, 2) / 2, 1), wanted)


def test_the_shift_is_solved_on_training_images_and_then_used_on_test_images(monkeypatch):
    train, test = logits(0, cases=300), logits(1, cases=100) + 2
    labels = {"labels": torch.arange(300) % 10, "test_labels": torch.arange(100) % 10}
    names = {"student": lambda *_: None, "images": train, "test_images": test, "everything": torch.arange(300)} | labels
    names["logits_of"] = lambda model, images: images
    for name, value in names.items():
        monkeypatch.setitem(KD, name, value)
    found = KD["omitted"](None, 0, [3], KD["without"]([3]), 1, np.array([0.0, 1.0]))
    assert found["rule"] == pytest.approx(KD["shift_to_prior"](train, [3], 0.1), abs=1e-6)
    moved = test.clone()
    moved[:, 3] += found["rule"]
    assert found["rule all"] == KD["errors"](moved, labels["test_labels"])
    assert found["all"][0] == KD["errors"](test, labels["test_labels"])
    assert set(labels["labels"][KD["without"]([3, 5])].tolist()) == set(range(10)) - {3, 5}


def test_the_dustbin_gets_the_logarithm_of_the_oversampling(monkeypatch):
    general, special = logits(0), logits(1, classes=3)
    monkeypatch.setitem(KD, "on_test", lambda model: {"generalist": general, "specialist": special}[model].clone())
    monkeypatch.setitem(KD, "specialist", lambda *_: ("specialist", 5.0))
    joined = KD["with_specialists"]("generalist", [[2, 7]], 0, 1)
    p, asked = torch.softmax(general, 1), torch.isin(general.argmax(1), torch.tensor([2, 7]))
    assert 0 < asked.sum() < 20
    torch.testing.assert_close(joined[~asked], p[~asked].log())
    corrected = torch.softmax(special + torch.tensor([0, 0, math.log(5)]), 1)
    torch.testing.assert_close(joined[asked], KD["combine"](p[asked], corrected[asked], [2, 7]))


def test_specialists_that_agree_change_nothing():
    p = torch.softmax(logits(3), 1)
    classes = [1, 4, 9]
    rest = [c for c in range(10) if c not in classes]
    special = torch.cat([p[:, classes], p[:, rest].sum(1, keepdim=True)], 1)
    q = torch.softmax(KD["combine"](p, special, classes), 1)
    torch.testing.assert_close(q, p, atol=1e-9, rtol=0)


def test_a_sure_specialist_decides_among_its_classes():
    p = torch.full((1, 10), 0.02, dtype=torch.double)
    p[0, [4, 9]] = torch.tensor([0.44, 0.4], dtype=torch.double)
    special = torch.tensor([[0.01, 0.98, 0.01]], dtype=torch.double)
    assert KD["combine"](p, special, [4, 9]).argmax().item() == 9


def test_classes_that_are_confused_are_grouped():
    p = torch.full((300, 10), 0.01)
    for case in range(300):
        p[case, [(3, 5), (4, 9), (0, 6)][case % 3]] = 0.4 + 0.1 * ((case // 3) % 2)
    groups = KD["confusable"](p, 4)
    assert sorted(sum(groups, [])) == list(range(10))
    assert all(any(set(pair) <= set(group) for group in groups) for pair in ((3, 5), (4, 9), (0, 6)))


def test_a_student_learns_its_teacher():
    images = torch.rand(400, 784, generator=torch.Generator().manual_seed(0))
    teacher = 8 * KD["network"](40, 1)(images).detach()
    model = KD["network"](30, 2)
    rows = torch.arange(400)
    before = KD["distillation_loss"](model(images), teacher, 5).item()
    watched = []
    KD["fit"](model, images, KD["on_teacher"](teacher, 5), rows, 30, 0, batch=50, watch=watched.append)
    floor = KD["distillation_loss"](teacher, teacher, 5).item()
    after = KD["distillation_loss"](model(images), teacher, 5).item()
    assert len(watched) == 30
    assert after - floor < 0.3 * (before - floor)


def test_networks_trained_together_learn_what_each_learns_alone():
    """Own start, own order, own temperature; in double precision nothing but rounding is left."""
    images = torch.rand(300, 784, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    teacher, rows, temperatures, seeds = logits(4, cases=300), torch.arange(300), (2.5, 20.0), [5, 6]
    together = [KD["network"](12, n).double() for n in (1, 2)]
    loss = KD["at_temperatures"](teacher, temperatures)
    KD["fit_together"](together, images, loss, rows, 3, seeds, batch=50)
    for model, n, t, s in zip(together, (1, 2), temperatures, seeds, strict=True):
        alone = KD["network"](12, n).double()
        KD["fit"](alone, images, KD["on_teacher"](teacher, t), rows, 3, s, batch=50)
        for mine, theirs in zip(model.parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-7, rtol=1e-6)


def test_networks_with_one_loss_do_not_meet_each_others_gradient():
    images = torch.rand(200, 784, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    labels, rows = torch.arange(200) % 10, torch.arange(200)
    together = [KD["network"](12, n).double() for n in (1, 2, 3)]
    loss = KD["on_labels"](labels)
    KD["fit_together"](together, images, KD["alike"](loss), rows, 2, [7, 7, 7], batch=50)
    alone = KD["fit"](KD["network"](12, 2).double(), images, loss, rows, 2, 7, batch=50)
    for mine, theirs in zip(together[1].parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-7, rtol=1e-6)


def test_temperatures_of_networks_trained_together_are_checked():
    with pytest.raises(ValueError, match="temperature must be positive"):
        KD["at_temperatures"](logits(0), (2.5, 0.0))


def test_claims_say_what_is_a_stand_in_and_what_was_chosen_on_the_test_set():
    file = claims.load(NAME)
    for name in ("ensemble-transferred", "few-soft-beats-hard", "specialists-help"):
        assert "stand-in" in file[name].source and file[name].evidence == "relocated"
    for name in ("no3-corrected", "two-digits-corrected"):
        assert "fewest test errors" in file[name].protocol["selection"]


# --- the solutions of the exercises


def after_the_chapter():
    """What the cells leave behind that the solutions use, in small: six hundred digits, an untrained teacher."""
    space = definitions.of_chapter(NAME)
    digits = space["stand_in_digits"]()
    digits = space["Digits"](*(part[:600] for part in digits[:2]), *(part[:200] for part in digits[2:]))
    space |= {
        "DEVICE": "cpu",
        "digits": digits,
        "settings": {"epochs": 1, "bfloat16": False, "student": {"batch": 250, "rate": 3e-3}},
        "everything": torch.arange(600),
    }
    space["images"], space["test_images"] = (space["standardised"](torch.tensor(p)) for p in digits[::2])
    space["labels"], space["test_labels"] = (torch.tensor(p).long() for p in digits[1::2])
    space["teachers"] = [space["network"](1200, 0)]
    space["teacher_logits"] = [space["logits_of"](space["teachers"][0], space["images"])]
    space["counts"] = {"labels": [90], "soft targets": [40]}
    space["count_threes"] = int((space["test_labels"] == 3).sum())
    falling = np.arange(len(space["SHIFTS"]))[::-1]
    space["no_three"] = [{"all": falling, "threes": falling // 10, "rule": 1.0, "rule all": 50, "rule threes": 9}]
    return space


def solved(number, monkeypatch):
    """The names after a solution, those before, and the arguments of the functions that it called."""
    space, calls = after_the_chapter(), {"shifted": [], "student": [], "omitted": []}
    for name, called in calls.items():

        def spy(*given, call=space[name], called=called):
            called.append(given)
            return call(*given)

        monkeypatch.setitem(space, name, spy)
    before = dict(space)
    exec(exercises.solutions(NAME)[number - 1], space)
    return space, before, calls


def labels_and_jitter(after, before, calls):
    seen = torch.cat([rows for _, rows, _ in calls["shifted"]])
    assert torch.equal(seen.sort()[0], torch.arange(600))
    assert after["left"] == before["errors"](before["on_test"](after["moved"]), before["test_labels"])
    assert KD["parameters"](after["moved"]) == 784 * 800 + 800 * 800 + 800 * 10 + 1610


def targets_of_moved_images(after, before, calls):
    assert set(after["left"]) == {"table", "asked anew"}
    rows, moved = torch.arange(5), before["images"][5:10]
    torch.testing.assert_close(after["ways"]["table"](rows, moved), before["teacher_logits"][0][:5])
    torch.testing.assert_close(after["ways"]["asked anew"](rows, moved), before["teacher_logits"][0][5:10])
    assert len(calls["shifted"]) == 2 * 3  # both students, three batches each


def without_the_square(after, before, calls):
    shares = after["shares"]
    for temperature in (2, 20):
        assert shares[temperature, True] == pytest.approx(temperature**2 * shares[temperature, False], rel=1e-3)
    assert set(after["left"]) == set(shares) and len(calls["student"]) == 4


def other_sources(after, before, calls):
    probabilities = torch.softmax(before["teacher_logits"][0] / 4, 1)[:, 7]
    means = {d: probabilities[before["labels"] == d].mean().item() for d in range(10) if d != 7}
    assert after["sources"](7) == sorted(means, key=means.get, reverse=True)
    for absent, (_, _, rows, _) in zip(after["right"], calls["student"], strict=True):
        kept = set(before["labels"][rows].tolist())
        assert 7 in absent and kept == set(range(10)) - set(absent)
    assert all(0 <= value <= 100 for value in after["right"].values())


def shuffled_answers(after, before, calls):
    ((loss, _, classes, rows, _, shifts),) = calls["omitted"]
    assert classes == [3] and not (before["labels"][rows] == 3).any()
    teacher = before["shuffled"](before["teacher_logits"][0])
    z = torch.zeros(4, 10)
    torch.testing.assert_close(loss(z, rows[:4]), before["distillation_loss"](z, teacher[rows[:4]], 20))
    assert len(after["found"]["all"]) == len(shifts) == len(before["SHIFTS"])


SOLVED = [labels_and_jitter, targets_of_moved_images, without_the_square, other_sources, shuffled_answers]


@pytest.mark.parametrize("number", range(1, len(SOLVED) + 1))
def test_the_solutions_of_the_exercises_run(number, monkeypatch):
    SOLVED[number - 1](*solved(number, monkeypatch))
    assert len(exercises.solutions(NAME)) == len(SOLVED)
