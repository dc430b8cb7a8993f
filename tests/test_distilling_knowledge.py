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
SMALL = {
    "row_epochs": 1,
    "absent_epochs": 1,
    "recordings": 30,
    "speech_epochs": 1,
}


def logits(seed, cases=20, classes=10):
    return torch.randn(cases, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.double) * 3


def net(seed, width=12):
    torch.manual_seed(seed)
    return KD["network"](width).double()


def fresh(replace=None):
    """The chapter's names with forty images of each digit, of which a tenth serves as test, and two teachers."""
    chapter = definitions.of_chapter(NAME, replace)
    torch.manual_seed(0)
    y = torch.arange(400) % 10
    x = torch.randn(400, 784) + 3 * F.one_hot(y, 784)
    states = [KD["network"](1200).state_dict() for _ in range(2)]
    answers = [5 * F.one_hot(y, 10).float() + torch.randn(400, 10) for _ in range(2)]
    chapter |= {"DEVICE": "cpu", "settings": SMALL, "x": x, "y": y, "x_test": x[::9].clone(), "y_test": y[::9].clone()}
    chapter["teachers"] = [(a, a[::9], s) for a, s in zip(answers, states, strict=True)]
    speech = chapter["stand_in_speech"](recordings=chapter["VALIDATION"] + 700)
    chapter["speech"] = chapter["windows"](*speech)
    chapter["rows"] = {"labels": [7]}
    chapter["how"] = SMALL["recordings"], 3, SMALL["speech_epochs"], 2
    return chapter


@given(st.floats(0.5, 50), st.integers(0, 1000), st.floats(0, 2))
@settings(max_examples=50, deadline=None)
def test_the_loss_is_a_divergence_and_its_gradient_the_formula(T, seed, weight):
    z, v, labels = logits(seed).requires_grad_(), logits(seed + 1), torch.arange(20) % 10
    loss = KD["distillation_loss"](z, v, T, labels, weight)
    p = torch.softmax(v / T, 1)
    divergence = F.kl_div(torch.log_softmax(z / T, 1), p, reduction="batchmean")
    entropy = -(p * p.clamp_min(1e-300).log()).sum(1).mean()
    torch.testing.assert_close(loss, T**2 * (divergence + entropy) + weight * F.cross_entropy(z, labels))
    soft = KD["distillation_loss"](z, v, T)
    (gradient,) = torch.autograd.grad(soft, z)
    torch.testing.assert_close(20 * gradient, T * (torch.softmax(z / T, 1) - p))
    assert soft >= KD["distillation_loss"](v, v, T) - 1e-9  # the teacher itself is best


def test_without_the_square_the_gradient_does_not_keep_its_size():
    broken = definitions.of_chapter(NAME, {"T**2 * F.cross_entropy(student": "F.cross_entropy(student"})
    z, v = logits(0).requires_grad_(), logits(1)
    sizes = {}
    for name, chapter in (("right", KD), ("broken", broken)):
        grads = [torch.autograd.grad(chapter["distillation_loss"](z, v, T), z)[0].norm() for T in (5, 50)]
        sizes[name] = (grads[0] / grads[1]).item()
    assert 0.7 < sizes["right"] < 1.4 and sizes["broken"] > 50


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_images_are_moved_by_two_pixels_at_most_and_nothing_else(seed):
    torch.manual_seed(seed)
    blank = -KD["MEAN"] / KD["DEVIATION"]
    x = torch.randn(6, 784)
    padded = F.pad(x.view(-1, 28, 28), (2, 2, 2, 2), value=blank)
    for moved, whole in zip(KD["jittered"](x).view(-1, 28, 28), padded, strict=True):
        assert any(torch.equal(moved, whole[i : i + 28, j : j + 28]) for i in range(5) for j in range(5))


def test_weights_are_bounded_in_hidden_layers_and_short_ones_left_alone():
    model = net(0, 40)
    before = [layer.weight.detach().clone() for layer in model[::2]]
    model[2].weight.data[5] *= 100
    model[4].weight.data[3] *= 100
    KD["bound_weights"](model)
    assert model[2].weight.square().sum(1).max() <= 15.001
    torch.testing.assert_close(F.normalize(model[2].weight[5], dim=0), F.normalize(before[1][5], dim=0))
    assert torch.equal(model[2].weight[:5], before[1][:5]) and torch.equal(model[0].weight, before[0])
    torch.testing.assert_close(model[4].weight[3], 100 * before[2][3])


@pytest.mark.parametrize("regularised", [False, True])
def test_the_fast_loop_learns_what_the_plain_loops_learn(regularised):
    x, y, teacher = torch.rand(60, 784, dtype=torch.double), torch.arange(60) % 10, net(9)
    soft = torch.softmax(KD["logits_of"](teacher, x) / 20, 1)
    how = {"rate": 1e-3, "batch": 25, "short": False}
    plain, fast = net(1), net(1)
    torch.manual_seed(2)
    if regularised:
        KD["train"](plain, x, y, 2, regularised=True, batch=25)
    else:
        KD["distil"](plain, teacher, x, y, 2, batch=25)
    torch.manual_seed(2)
    if regularised:
        KD["learn"](fast, x, F.one_hot(y, 10).double(), 2, moved=True, bounded=True, **how)
    else:
        KD["learn"](fast, x, soft, 2, 20, y, **how)
    for a, b in zip(plain.parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-7, rtol=1e-6)


def test_a_student_learns_its_teacher():
    x = torch.rand(400, 784, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    teacher = 8 * KD["logits_of"](net(1, 40), x)
    model = net(2, 30)
    loss = [KD["distillation_loss"](z, teacher, 5).item() for z in (model(x), teacher)]
    KD["learn"](model, x, torch.softmax(teacher / 5, 1), 30, 5, batch=50)
    after = KD["distillation_loss"](model(x), teacher, 5).item()
    assert after - loss[1] < 0.3 * (loss[0] - loss[1])


@given(st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_a_shuffled_teacher_keeps_winner_and_numbers(seed):
    torch.manual_seed(seed)
    v = logits(seed, cases=50)
    dealt = KD["shuffled"](v)
    assert torch.equal(dealt.argmax(1), v.argmax(1))
    torch.testing.assert_close(dealt.sort(1).values, v.sort(1).values)
    assert (dealt != v).any(1).double().mean() > 0.9


@given(st.floats(0, 0.9), st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_smoothed_labels_and_digit_means_are_probabilities(share, seed):
    y = torch.arange(40) % 10
    smooth = KD["smoothed"](y, share)
    torch.testing.assert_close(smooth.sum(1), torch.ones(40))
    torch.testing.assert_close(smooth, (1 - share) * F.one_hot(y, 10) + share / 10)
    q = torch.softmax(logits(seed, 40), 1)
    means = KD["digit_means"](q, y)
    torch.testing.assert_close(means[3], q[3::10].mean(0))
    assert torch.equal(means[3], means[13])


@pytest.mark.parametrize("row", KD["ROWS"])
def test_each_row_learns_from_its_own_targets(row):
    chapter, seen = fresh(), []

    def spy(model, x, targets, epochs, T=1, labels=None, moved=False):
        seen.append((targets, T, labels, moved))
        return model

    chapter["learn"] = spy
    torch.manual_seed(3)
    chapter["row_run"](row, 1, 1)
    ((targets, T, labels, moved),) = seen
    assert moved == ("jittered" in row) and (labels is None) == row.startswith("labels")
    torch.testing.assert_close(targets.sum(1), torch.ones(400))
    soft = torch.softmax(chapter["teachers"][1][0] / T, 1)
    if row.startswith("soft targets"):
        torch.testing.assert_close(targets, soft)
    if row == "digit means":
        torch.testing.assert_close(targets[4], soft[4::10].mean(0))
    if row == "labels":
        assert torch.equal(targets, F.one_hot(chapter["y"], 10).float())


@given(st.integers(0, 1000), st.floats(0.02, 0.9), st.sampled_from([[3], [7, 8]]))
@settings(max_examples=30, deadline=None)
def test_the_rule_gives_a_class_its_frequency(seed, frequency, classes):
    z = logits(seed, cases=200)
    moved = z.clone()
    moved[:, classes] += KD["shift_to_frequency"](z, classes, frequency)
    assert abs(torch.softmax(moved, 1)[:, classes].sum(1).mean().item() - frequency) < 1e-6


def test_the_rule_for_one_case_and_two_classes_is_solved_by_hand():
    pair = torch.tensor([[0.3, 1.1]], dtype=torch.double)
    assert KD["shift_to_frequency"](pair, [1], 0.2) == pytest.approx(math.log(0.2 / 0.8) - 0.8, abs=1e-9)


def test_the_shift_is_solved_on_training_images_and_then_used_on_test_images():
    chapter, seen = fresh(), []
    train, test = logits(0, 400), logits(1, 45) + 2 * F.one_hot(torch.full((45,), 3), 10)
    chapter["logits_of"] = lambda model, x: train if len(x) == 400 else test
    chapter["learn"] = lambda model, x, targets, *_: seen.append((x, targets))
    found = chapter["absent_run"]("teacher", [0, 1, 2, 4, 5, 6, 7, 8, 9], [3], 1, 0)
    present = chapter["y"] != 3
    assert torch.equal(seen[0][0], chapter["x"][present])
    torch.testing.assert_close(seen[0][1], torch.softmax(chapter["teachers"][0][0][present] / 20, 1))
    wrong, wrong_threes, rule = found["rule"]
    assert rule == pytest.approx(KD["shift_to_frequency"](train, [3], 0.1), abs=1e-6)
    moved = test.clone()
    moved[:, 3] += rule
    assert wrong == KD["errors"](moved, chapter["y_test"])
    threes = chapter["y_test"] == 3
    assert wrong_threes == KD["errors"](moved[threes], chapter["y_test"][threes])
    assert found["curve"][0].tolist() == list(chapter["shifted_errors"](test, [3], 0))
    assert found["curve"][-1].tolist() == list(chapter["shifted_errors"](test, [3], KD["SHIFTS"][-1]))
    lowered = chapter["absent_run"]("labels", [7, 8], [7, 8], 1, 0)
    assert lowered["curve"][-1].tolist() == list(chapter["shifted_errors"](test, [7, 8], -KD["SHIFTS"][-1]))
    assert set(seen[1][1].argmax(1).tolist()) == {7, 8}


def test_networks_trained_together_learn_what_each_learns_alone():
    """Own start, own temperature, the same order of images; in double precision nothing but rounding is left."""
    x, teacher, temperatures = torch.rand(300, 784, dtype=torch.double), logits(4, cases=300), (2.5, 20.0)
    chapter = definitions.of_chapter(NAME)
    chapter |= {"DEVICE": "cpu", "x_test": x[:50]}
    models = [net(1), net(2)]
    torch.manual_seed(6)
    together = chapter["learn_together"](models, x, teacher, temperatures, 2, batch=50)
    for seed, T, z in zip((1, 2), temperatures, together, strict=True):
        alone = net(seed)
        torch.manual_seed(6)
        KD["learn"](alone, x, torch.softmax(teacher / T, 1), 2, T, batch=50, short=False)
        torch.testing.assert_close(KD["logits_of"](alone, x[:50]), z, atol=1e-6, rtol=1e-5)


def test_windows_hold_the_neighbours_and_the_third_of_the_word():
    frames = np.arange(10, dtype=np.float32)[:, None].repeat(13, 1)
    found, states, recording = KD["windows"](frames, np.array([4, 6]), np.array([2, 7]))
    assert found.shape == (10, 65) and recording.tolist() == [0] * 4 + [1] * 6
    assert states.tolist() == [6, 6, 7, 8, 21, 21, 22, 22, 23, 23]
    view = found.reshape(10, 13, 5)[:, 0]
    assert view[0].tolist() == [0, 0, 0, 1, 2] and view[3].tolist() == [1, 2, 3, 3, 3]  # no word leaks into the next
    assert view[6].tolist() == [4, 5, 6, 7, 8]


def test_recordings_are_in_one_part_only_and_scaled_by_the_training_part():
    chapter = fresh()
    sound, states, test_sound, test_states = chapter["speech_split"](0, 60)
    assert len(sound) == len(states) and len(test_sound) == len(test_states)
    torch.testing.assert_close(sound.mean(0), torch.zeros(65), atol=1e-4, rtol=0)
    assert not {tuple(row) for row in sound.tolist()} & {tuple(row) for row in test_sound.tolist()}
    frames, _, recording = chapter["speech"]
    chapter["speech"] = frames, recording, recording  # each window tells which recording it is from
    _, learned, _, tested = chapter["speech_split"](0, 60)
    assert len(set(learned.tolist())) == 60 and len(set(tested.tolist())) == 600
    assert not set(learned.tolist()) & set(tested.tolist())
    assert min(learned.min(), tested.min()) >= chapter["VALIDATION"]  # on these epochs were chosen


def test_speech_is_distilled_from_all_members_and_the_control_from_labels():
    chapter, calls = fresh(), []

    def spy(model, x, targets, epochs, T=1, labels=None, **how):
        calls.append((targets, epochs, T, labels))
        return model

    chapter["learn"] = spy
    found = chapter["speech_run"](50, 3, 2, 5, 2, 0)
    assert set(found) == {
        *("alone, training", "alone", "together", "labels"),
        *("distilled", "distilled from one", "distilled, fewer epochs"),
    }
    assert [epochs for _, epochs, _, _ in calls] == [2, 2, 2, 5, 5, 2, 2]
    soft, one, short, hard = (targets for targets, *_ in calls[3:])
    assert not torch.allclose(soft, one) and torch.equal(soft, short) and torch.equal(hard, calls[0][0])
    assert [T for _, _, T, _ in calls] == [1, 1, 1, 2, 2, 2, 1] and calls[3][3] is not None
    torch.testing.assert_close(soft.sum(1), torch.ones(len(soft)))


def test_classes_that_are_confused_are_grouped_whatever_their_variance():
    """The teacher is nearly sure; a digit takes a little of the other two of its trio. Of 1 there are most images."""
    trios = [(3, 5, 8), (4, 7, 9), (0, 2, 6), (1,)]
    p = torch.zeros(1500, 10)
    for case in range(1500):
        digit = 1 if case % 3 == 0 else case % 10
        trio = next(trio for trio in trios if digit in trio)
        p[case, list(trio)] = 0.05 if case % 2 else 0.0
        p[case, digit] = 1 - p[case].sum() + p[case, digit]
    groups = [set(group) for group in KD["confusable"](p, 4)]
    assert sorted(sum(map(list, groups), [])) == list(range(10))
    assert all(any(set(trio) <= group for group in groups) for trio in trios[:3])
    kept = [set(group) for group in KD["confusable"](p, 4, diagonal=True)]
    assert not all(any(set(trio) <= group for group in kept) for trio in trios[:3])


def test_a_specialist_starts_with_the_generalists_weights_and_sees_as_many_others():
    chapter, seen = fresh(), []
    chapter["learn"] = lambda model, x, targets, *_, **__: seen.append((x, targets)) or model
    generalist = chapter["network"](30)
    model, oversampled = chapter["specialist"](generalist, [2, 7], 1)
    assert oversampled == 320 / 80 and len(seen[0][0]) == 160
    assert seen[0][1].sum(0).tolist() == [40, 40, 80]
    assert torch.equal(model[2].weight, generalist[2].weight)
    assert torch.equal(model[4].weight[:-1], generalist[4].weight[[2, 7]])
    model[0].weight.data += 1
    assert not torch.equal(model[0].weight, generalist[0].weight)


def test_the_dustbin_gets_the_logarithm_of_the_oversampling():
    chapter, asked = fresh(), []
    special = logits(1, cases=45, classes=3).float()
    chapter["specialist"] = lambda generalist, classes, epochs: ("specialist", 5.0)
    chapter["confusable"] = lambda p, diagonal=False: [list(range(10))[:2]] if not diagonal else []
    real = chapter["logits_of"]
    chapter["logits_of"] = lambda model, x: special.clone() if model == "specialist" else real(model, x)
    chapter["combined"] = lambda general, p, classes: asked.append(p) or general
    chapter["learn"] = lambda model, *_, **__: model
    torch.manual_seed(1)
    chapter["specialists_run"](1, 0)
    whole = torch.softmax(special + torch.tensor([0, 0, math.log(5)]), 1)
    (p,) = asked
    assert 0 < len(p) < 45
    assert all(any(torch.allclose(row, wanted, atol=1e-6) for wanted in whole) for row in p)


def test_specialists_that_agree_change_nothing_and_sure_ones_decide():
    p = torch.softmax(logits(3), 1)
    rest = [c for c in range(10) if c not in [1, 4, 9]]
    special = torch.cat([p[:, [1, 4, 9]], p[:, rest].sum(1, keepdim=True)], 1)
    torch.testing.assert_close(torch.softmax(KD["combined"](p, special, [1, 4, 9]), 1), p, atol=1e-9, rtol=0)
    p = torch.full((1, 10), 0.02, dtype=torch.double)
    p[0, [4, 9]] = torch.tensor([0.44, 0.4], dtype=torch.double)
    special = torch.tensor([[0.01, 0.98, 0.01]], dtype=torch.double)
    assert KD["combined"](p, special, [4, 9]).argmax().item() == 9


def test_a_hint_brings_the_features_nearer_and_leaves_the_teacher_alone(monkeypatch):
    torch.manual_seed(0)
    x, teacher, student = torch.rand(200, 784), net(3, 40).float(), net(4, 30).float()
    before = [p.detach().clone() for p in (*teacher.parameters(), *student[2:].parameters())]
    first, losses, wanted, real = student[0].weight.detach().clone(), [], [], F.mse_loss

    def spy(guess, features):
        wanted.append(features)
        losses.append(real(guess, features))
        return losses[-1]

    monkeypatch.setattr(F, "mse_loss", spy)
    KD["hinted"](student, teacher, x, 10, batch=50)
    assert len(losses) == 40 and losses[-1] < 0.5 * losses[0]
    assert wanted[0].shape == (50, 40) and not wanted[0].requires_grad
    assert not torch.equal(student[0].weight, first)
    for a, b in zip((*teacher.parameters(), *student[2:].parameters()), before, strict=True):
        assert torch.equal(a, b)


def test_claims_say_what_is_a_stand_in_and_what_was_chosen_on_the_test_set():
    file = claims.load(NAME)
    for name in ("ensemble-transferred", "specialists-help"):
        assert "stand-in" in file[name].source and file[name].evidence == "relocated"
    for name in ("no3-corrected", "two-digits-corrected"):
        assert "fewest test errors" in file[name].protocol["selection"]


# --- the solutions of the exercises


def solved(number):
    """The names after a solution, and those before."""
    space = fresh()
    before = dict(space)
    exec(exercises.solutions(NAME)[number - 1], space)
    return space, before


def test_exercise_weights():
    after, before = solved(1)
    assert set(after["found"]) == {0, 0.5, 400}
    assert all(0 <= wrong <= len(before["y_test"]) for wrong in after["found"].values())
    z, v, y = logits(0), logits(1), torch.arange(20) % 10
    article = F.cross_entropy(z, y) + F.cross_entropy(z / 20, torch.softmax(v / 20, 1))
    torch.testing.assert_close(KD["distillation_loss"](z, v, 20, y, 400) / 400, article)


def test_exercise_sevens():
    after, _ = solved(2)
    assert 7 not in after["kept"] and 0 <= after["wrong_after"] <= 45


def test_exercise_groups(capsys):
    solved(3)
    assert len(capsys.readouterr().out.splitlines()) == 6


def test_exercise_pair():
    after, _ = solved(4)
    assert after["how"][2:4] == tuple(after["epochs"]) == (SMALL["speech_epochs"], 2)
    assert after["gain"] == after["pair"]["together"] - after["pair"]["alone"]
