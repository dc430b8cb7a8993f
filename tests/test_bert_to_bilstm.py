"""The definitions of the chapter on distilling BERT into a BiLSTM against references, properties and bad input."""

from __future__ import annotations

import importlib.util
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.datasets import sst2
from utils.datasets.errors import BadFile, Unreachable
from utils.datasets.registry import registry
from utils.records import claims, verdicts
from utils.tools import definitions, exercises

NAME = "bert_to_bilstm"
BB = definitions.of_chapter(NAME)
BB["DEVICE"] = "cpu"
SENTENCES = [tuple(s.words) for s in sst2.generated().train[:200]]
WORDS = st.lists(st.sampled_from(sorted({w for s in SENTENCES for w in s})), min_size=1, max_size=30)


def student(seed=0, words=40, width=12, **options):
    torch.manual_seed(seed)
    vectors = torch.randn(words, width)
    vectors[0] = 0
    return BB["Student"](vectors, hidden=9, inner=6, **options).eval()


CLASSES = BB["word_classes"](SENTENCES, count=5)


def augmenter(**options):
    return BB["Augmenter"](SENTENCES, CLASSES, **options)


# --- the student


def test_the_student_of_the_paper_has_963002_parameters_and_its_vectors_are_counted_apart():
    model = BB["Student"](torch.zeros(17, 300))
    assert BB["sizes"](model) == (963_002, 17 * 300, 2 * 17 * 300)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 963_002 + 17 * 300


def test_bert_large_and_base_have_their_known_sizes():
    assert BB["bert_parameters"](24, 1024) == 335_141_888
    assert BB["bert_parameters"](12, 768) == 109_482_240


@given(st.lists(st.integers(1, 39), min_size=1, max_size=20), st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_a_sentence_gets_the_same_logits_alone_and_filled_up(words, more):
    model, ids = student(), torch.tensor([words])
    batch = torch.cat([F.pad(ids, (0, more)), torch.full((1, len(words) + more), 7)])
    with torch.no_grad():
        torch.testing.assert_close(model(batch)[:1], model(ids), atol=1e-5, rtol=1e-5)


def test_the_states_are_those_of_two_lstms_run_one_after_the_other():
    model = student()
    ids = torch.randint(1, 40, (3, 8))
    forwards, backwards = (torch.nn.LSTM(24, 9, batch_first=True) for _ in range(2))
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    for lstm, ending in ((forwards, ""), (backwards, "_reverse")):
        lstm.load_state_dict({n: getattr(model.lstm, n + ending) for n in names})
    inputs = torch.cat([model.fixed(ids), model.trained(ids)], -1)
    expected = torch.cat([forwards(inputs)[0][:, -1], backwards(inputs.flip(1))[0][:, -1]], 1)
    torch.testing.assert_close(model.encode(ids), expected, atol=1e-5, rtol=1e-5)


def test_pair_features_are_both_their_product_and_their_distance():
    model = student(pairs=True)
    first, second = torch.randint(1, 40, (2, 5, 6))
    a, b = model.encode(first), model.encode(second)
    features = torch.cat([a, b, a * b, (a - b).abs()], 1)
    expected = model.output(model.inner(features).relu())
    torch.testing.assert_close(model(torch.stack([first, second], 1)), expected, atol=1e-5, rtol=1e-5)
    model.inner.weight.data[:, :36] = 0  # without the sentences themselves, their order cannot matter
    torch.testing.assert_close(
        model(torch.stack([first, second], 1)), model(torch.stack([second, first], 1)), atol=1e-5, rtol=1e-5
    )


def test_only_one_channel_is_trained():
    model = student()
    model(torch.randint(1, 40, (4, 5))).sum().backward()
    assert model.fixed.weight.grad is None
    assert model.trained.weight.grad.abs().sum() > 0


def test_sparse_steps_move_the_words_of_the_batch_as_adam_does_and_no_others():
    ids = torch.tensor([[3, 4, 5], [5, 6, 3]])
    dense, sparse = student(), student(sparse=True)
    before = dense.trained.weight.detach().clone()
    for model, optimiser in (
        (dense, torch.optim.Adam([p for p in dense.parameters() if p.requires_grad], 1e-2)),
        (sparse, BB["SplitAdam"](sparse, 1e-2)),
    ):
        for _ in range(3):
            optimiser.zero_grad()
            model(ids).square().sum().backward()
            optimiser.step()
    for ours, theirs in zip(sparse.parameters(), dense.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)  # they use epsilon differently
    moved = (sparse.trained.weight.detach() - before).abs().sum(1) > 0
    assert moved.nonzero()[:, 0].tolist() == [3, 4, 5, 6]


def test_a_network_that_forgets_one_direction_is_found_out():
    broken = definitions.of_chapter(NAME, {"torch.cat([last[0], last[1]], 1)": "torch.cat([last[0], last[0]], 1)"})
    model, wrong = student(), broken["Student"](torch.zeros(40, 12), hidden=9, inner=6).eval()
    wrong.load_state_dict(model.state_dict())
    ids = torch.randint(1, 40, (3, 8))
    assert (model(ids) - wrong(ids)).abs().max() > 1e-3


def test_logits_are_those_of_a_model_without_dropout_whatever_its_mode():
    pretrained = BB["random_pretrained"]()
    teacher = BB["Teacher"](pretrained)
    inputs = [np.array(ids) for ids in pretrained.pieces([" ".join(words) for words in SENTENCES[:20]])]
    found = [BB["logits_of"](teacher.train(), inputs) for _ in range(2)]
    assert torch.equal(*found)
    with torch.no_grad():
        alone = torch.cat([teacher.eval()(torch.from_numpy(x)[None]) for x in inputs])
    torch.testing.assert_close(found[0], alone, atol=1e-5, rtol=1e-5)


def test_a_batch_gets_the_targets_of_its_rows():
    draw = torch.Generator().manual_seed(0)
    targets, z = torch.randn(9, 2, generator=draw), torch.randn(3, 2, generator=draw)
    labels, rows = torch.arange(9) % 2, np.array([7, 2, 4])
    expected = BB["distillation_loss"](z, targets[[7, 2, 4]], labels[[7, 2, 4]], 0.5)
    torch.testing.assert_close(BB["on_soft"](targets, 0.5, labels)(z, rows), expected)
    torch.testing.assert_close(BB["on_hard"](labels)(z, rows), F.cross_entropy(z, labels[[7, 2, 4]]))


def test_the_epoch_is_chosen_by_development_sentences_alone(monkeypatch):
    space, asked = after_the_chapter(), []
    for part in ("development", "test"):  # lists of their own, told apart by what they are
        space[part] = list(space[part])
    space["development_labels"] = 1 - space["test_labels"]
    logits_of, accuracy = space["logits_of"], space["accuracy"]
    monkeypatch.setitem(space, "passes", lambda text: 2)

    def spy(model, inputs, half=False):
        asked.append("development" if inputs is space["development"] else "test")
        return logits_of(model, inputs, half)

    def judged(logits, labels):
        asked.append("its labels" if labels is space["development_labels"] else "other labels")
        return accuracy(logits, labels)

    monkeypatch.setitem(space, "logits_of", spy)
    monkeypatch.setitem(space, "accuracy", judged)
    _, curve, found = space["student_run"](*space["lessons"]["hard, plain"], 0)
    assert asked == ["development", "its labels"] * 2 + ["test"]
    assert len(curve) == 2 and found.shape == (16, 2)


# --- words and batches


def test_unknown_words_share_a_row_long_sentences_are_cut_and_empty_ones_refused():
    rows = BB["vocabulary"]([[("good", "film")], [("bad",)]])
    assert rows == {"bad": 2, "film": 3, "good": 4}
    unknown, long = BB["ids_of"]([("zxqv", "film", "[MASK]"), ("bad",) * 1000], rows)
    assert unknown.tolist() == [1, 3, 1]
    assert len(long) == BB["LONGEST"]
    with pytest.raises(ValueError, match="sentence 1 has no words"):
        BB["ids_of"]([("bad",), ()], rows)
    with pytest.raises(ValueError, match="no words"):
        student().encode(torch.tensor([[3, 4], [0, 0]]))


@given(st.lists(st.integers(1, 12), min_size=1, max_size=80), st.integers(1, 9), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_buckets_hold_every_row_once_and_one_length_each(lengths, size, seed):
    inputs = [np.zeros(n, int) for n in lengths]
    for draw in (None, np.random.default_rng(seed)):
        batches = BB["buckets"](inputs, size, draw)
        assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
        assert all(len(b) <= size and len({lengths[k] for k in b}) == 1 for b in batches)


def test_a_text_without_ids_is_refused_by_name():
    with pytest.raises(ValueError, match="text 1 has no words"):
        BB["buckets"]([np.ones(3, int), np.ones(0, int)], 4)


def test_logits_in_buckets_are_those_of_one_sentence_at_a_time():
    draw = np.random.default_rng(0)
    inputs = [draw.integers(1, 40, n) for n in draw.integers(1, 9, 50)]
    model = student()
    together = BB["logits_of"](model, inputs)
    with torch.no_grad():
        alone = torch.cat([model(torch.from_numpy(x)[None]) for x in inputs])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_training_keeps_the_best_epoch_and_repeats_exactly():
    inputs, labels = [np.array([2, k % 40]) for k in range(60)], torch.arange(60) % 2
    readings = iter([1.0, 3.0, 2.0])
    kept = []

    def watch(model):
        kept.append({k: v.clone() for k, v in model.state_dict().items()})
        return next(readings)

    def trained(watch=None, epochs=3):
        model = student()
        optimiser = torch.optim.Adam(model.parameters(), 1e-2)
        loss = BB["on_hard"](labels)
        return model, BB["fit"](model, inputs, loss, epochs, 16, optimiser, 5, watch=watch)

    model, curve = trained(watch)
    assert curve == [1.0, 3.0, 2.0]
    assert all(torch.equal(v, kept[1][k]) for k, v in model.state_dict().items())
    again = trained(epochs=2)[0]
    assert all(torch.equal(v, kept[1][k]) for k, v in again.state_dict().items())


# --- the loss


@given(st.floats(0, 1), st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_the_loss_mixes_squared_error_and_cross_entropy(alpha, seed):
    draw = torch.Generator().manual_seed(seed)
    z, v = torch.randn(2, 7, 2, generator=draw, dtype=torch.double)
    t = torch.randint(2, (7,), generator=draw)
    expected = alpha * F.cross_entropy(z, t) + (1 - alpha) * 2 * F.mse_loss(z, v)
    torch.testing.assert_close(BB["distillation_loss"](z, v, t, alpha), expected)
    decided = BB["distillation_loss"](z, v, None, alpha)
    torch.testing.assert_close(decided, BB["distillation_loss"](z, v, v.argmax(1), alpha))
    assert BB["distillation_loss"](v, v) == 0


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_a_weight_outside_0_to_1_is_refused(alpha):
    with pytest.raises(ValueError, match="alpha must lie between"):
        BB["distillation_loss"](torch.zeros(1, 2), torch.zeros(1, 2), None, alpha)


def test_a_teacher_with_other_classes_is_refused():
    with pytest.raises(ValueError, match=r"\(3, 2\) and \(3, 5\)"):
        BB["distillation_loss"](torch.zeros(3, 2), torch.zeros(3, 5))


# --- augmentation


@given(WORDS, st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_a_copy_is_never_empty_nor_longer_and_changes_words_only_within_their_class(words, seed):
    rules = augmenter(ngram=0)
    copy = rules(words, np.random.default_rng(seed))
    assert len(copy) == len(words)
    for old, new in zip(words, copy, strict=True):
        assert new == "[MASK]" or rules.classes[new] == rules.classes[old]
    shorter = augmenter(mask=0, same_class=0, ngram=1)(words, np.random.default_rng(seed))
    assert 1 <= len(shorter) <= min(5, len(words))
    starts = [k for k in range(len(words)) if tuple(words[k : k + len(shorter)]) == shorter]
    assert starts


def test_the_rules_happen_as_often_as_they_should():
    draw, words = np.random.default_rng(0), SENTENCES[0] * 3
    rules, nothing = augmenter(), augmenter(mask=0, same_class=0, ngram=0)
    copies = [rules(words, draw) for _ in range(4000)]
    whole = [c for c in copies if len(c) == len(words)]
    assert abs(len(whole) / 4000 - 0.75) < 0.03
    masked = np.mean([w == "[MASK]" for c in whole for w in c])
    changed = np.mean([w not in ("[MASK]", o) for c in whole for w, o in zip(c, words, strict=True)])
    assert abs(masked - 0.1) < 0.005
    assert 0.06 < changed < 0.105  # a word may be drawn in its own place
    assert nothing(words, draw) == words
    assert augmenter(mask=1, same_class=0, ngram=0)(words, draw) == ("[MASK]",) * len(words)


def test_replacements_follow_the_frequencies_of_the_class():
    rules = BB["Augmenter"]([("a",) * 3 + ("b",), ("c",)], {"a": 0, "b": 0, "c": 1})
    draw = np.random.default_rng(0)
    drawn = [rules.replacement("b", draw) for _ in range(4000)]
    assert set(drawn) == {"a", "b"}
    assert abs(drawn.count("a") / 4000 - 0.75) < 0.03
    assert rules.replacement("a word never seen", draw) == "a word never seen"


def test_copies_hold_no_repeats_and_no_originals():
    made = BB["copies"](augmenter(), SENTENCES[:50], 5)
    assert len(made) == len(set(made))
    assert not set(made) & set(SENTENCES[:50])
    assert made == BB["copies"](augmenter(), SENTENCES[:50], 5)


@pytest.mark.parametrize("wrong", [{"mask": -0.1}, {"mask": 0.6, "same_class": 0.6}, {"ngram": 1.1}])
def test_probabilities_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="must be probabilities"):
        augmenter(**wrong)


def test_a_sentence_without_words_is_not_altered():
    with pytest.raises(ValueError, match="a sentence has no words"):
        augmenter()((), np.random.default_rng(0))


def test_a_sentence_of_a_thousand_words_is_altered_as_any_other():
    long = SENTENCES[0] * 200
    assert len(augmenter(ngram=0)(long, np.random.default_rng(0))) == len(long)
    assert 1 <= len(augmenter(ngram=1)(long, np.random.default_rng(0))) <= 5


def test_pairs_are_altered_first_second_both():
    pair = BB["Pair"](SENTENCES[0], SENTENCES[1], 1)
    first, second, both = BB["pair_copies"]([pair], augmenter(mask=1, same_class=0, ngram=0), 3)
    assert first.second == pair.second
    assert set(first.first) == {"[MASK]"} == set(second.second)
    assert second.first == pair.first
    assert set(both.first) == set(both.second) == {"[MASK]"}


def test_induced_classes_tell_words_of_different_places_apart():
    draw = np.random.default_rng(0)
    made = [("the", f"noun{draw.integers(6)}", f"verb{draw.integers(6)}", "it") for _ in range(300)]
    classes = BB["word_classes"](made, count=4)
    assert len({classes[f"noun{k}"] for k in range(6)}) == 1
    assert len({classes[f"verb{k}"] for k in range(6)}) == 1
    assert classes["noun0"] != classes["verb0"]


@pytest.mark.parametrize("idioms", [[], ["物美价廉"], ["物美价廉", "一塌糊涂"]])
def test_words_of_at_most_three_letters_get_classes_without_their_endings(idioms):
    reviews = [("房间", "很", "干净"), ("服务", "不", "好"), ("服务员", "态度", "好"), *([idiom] for idiom in idioms)]
    classes = BB["word_classes"](reviews, count=4)
    assert set(classes) == {word for words in reviews for word in words}
    assert len(set(classes.values())) == 4


# --- files


def test_a_byte_order_mark_and_other_ends_of_lines_are_no_part_of_the_text(tmp_path, monkeypatch):
    reviews = SimpleNamespace(train=[], stand_in=False)
    rows = ["sentence\tlabel", "a warm film\t1", "a dull one\t0"]
    pairs = ["Quality\t#1 ID\t#2 ID\t#1 String\t#2 String", "1\t7\t8\tHe said it.\tIt was said."]
    monkeypatch.setattr(BB["files"], "path", lambda name: tmp_path / name.replace("/", "-"))
    for name, lines in (("sst2/phrase-train.tsv", rows), ("sst2/phrase-dev.tsv", rows)):
        BB["files"].path(name).write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*lines, ""]).encode())
    for part in ("train", "test"):
        name = f"mrpc/msr_paraphrase_{part}.txt"
        BB["files"].path(name).write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*pairs, ""]).encode())
    found = BB["training_part"](reviews, "phrases", 9)
    assert (
        sorted((p.words, p.label) for p in found) == [(("a", "dull", "one"), 0)] * 2 + [(("a", "warm", "film"), 1)] * 2
    )
    assert BB["read_pairs"]() == [[BB["Pair"](("he", "said", "it."), ("it", "was", "said."), 1)]] * 2
    packed = tmp_path / BB["QUESTIONS"].replace("/", "-")
    with zipfile.ZipFile(packed, "w") as archive:
        for part in ("train", "dev"):
            archive.writestr(f"QQP/{part}.tsv", f"\ufeff{HEADING}\r\n1\t2\t3\tWho?\tWhat?\t0\r\n")
    assert BB["read_questions"]()[0] == [BB["Pair"](("who?",), ("what?",), 0)]


def test_phrases_lose_hyphens_and_full_stops():
    found = BB["parse_phrases"]("sentence\tlabel\na re-imagining of it . \t1\n.\t0\n")
    assert [(p.words, p.label) for p in found] == [(("a", "re", "imagining", "of", "it"), 1)]


@pytest.mark.parametrize("text", ["", "a film\t1\n", "sentence\tlabel\na film\t2\n", "sentence\tlabel\n\t1\n"])
def test_other_phrase_files_are_refused(text):
    with pytest.raises(BadFile):
        BB["parse_phrases"](text)


def test_pairs_are_read_in_lower_case_with_their_quotes():
    text = '\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\tHe "said" it.\tIt was said.\n'
    assert BB["parse_pairs"](text) == [BB["Pair"](("he", '"said"', "it."), ("it", "was", "said."), 1)]


@pytest.mark.parametrize("line", ["2\t7\t8\ta\tb", "1\t7\t8\ta", "1\t7\t8\t\tb", ""])
def test_a_broken_pair_file_is_refused_with_its_line(line):
    with pytest.raises(BadFile, match="line 2"):
        BB["parse_pairs"](f"heading\n{line}\n")


HEADING = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate"


def packed_questions(folder, train, dev, file="QQP-clean.zip"):
    with zipfile.ZipFile(folder / file, "w") as packed:
        for part, lines in (("train", train), ("dev", dev)):
            packed.writestr(f"QQP/{part}.tsv", "\n".join([HEADING, *lines]) + "\n")
    return folder / file


def test_questions_are_read_from_their_archive_and_rows_that_are_not_whole_left_out(tmp_path, monkeypatch):
    rows = [f"{k}\t{k}\t9{k}\tHow is {k}?\tIs {k}  how?\t{k % 2}\r" for k in range(3000)]
    rows[1:1] = ["7\t8\t9\tA question", "7\t8\t9\t \tWhat?\t1"]
    file = packed_questions(tmp_path, rows, rows[:1])
    monkeypatch.setattr(BB["files"], "path", {BB["QUESTIONS"]: file}.__getitem__)
    training, development = BB["read_questions"]()
    assert len(training) == 3000 and development == training[:1]
    assert training[1] == BB["Pair"](("how", "is", "1?"), ("is", "1", "how?"), 1)
    assert BB["parse_questions"]("\n".join([HEADING, *rows[3:]]), size=5) == training[1:6]


@pytest.mark.parametrize("lines", [[], ["a film\t1"], [HEADING, "1\t2\t3\ta\tb\t2"], [HEADING, "1\t2\t3\ta\tb"]])
def test_other_files_of_questions_are_refused(lines):
    with pytest.raises(BadFile, match="QQP-clean.zip"):
        BB["parse_questions"]("\n".join(lines))


def test_questions_are_pinned_and_known_to_be_out_of_reach(tmp_path, monkeypatch):
    entry = registry()[BB["QUESTIONS"]]
    assert len(entry.sha256) == 64 and entry.bytes
    monkeypatch.setenv("WALKTHROUGHS_CACHE", str(tmp_path))
    monkeypatch.delenv("WALKTHROUGHS_MIRROR", raising=False)
    monkeypatch.setattr(BB["files"], "_answers", lambda server: False)
    assert not BB["datasets"].within_reach("glue-qqp")


def test_students_of_pairs_are_trained_on_labels_and_on_logits(monkeypatch):
    pairs = BB["generated_pairs"]()[0]
    monkeypatch.setitem(BB, "pretrained", BB["random_pretrained"]())
    task = BB["pair_task"](pairs[:12], pairs[12:20], epochs=1, count=3)
    assert task.logits.shape == (12 + 36, 2) and [len(text) for text in task.texts] == [12, 48, 8]
    positive = np.mean([pair.label for pair in pairs[12:20]])
    assert task.commoner == pytest.approx(100 * max(positive, 1 - positive))
    seen, fit = [], BB["fit"]
    monkeypatch.setitem(BB, "fit", lambda *a: (seen.append((len(a[1]), a[3])), fit(*a)))
    monkeypatch.setitem(BB, "tasks", {"pairs": task})
    found = np.array([BB["pair_students"]("pairs", 1, 8, seed) for seed in range(2)])
    assert seen == [(12, 4), (48, 1)] * 2  # as many pairs are seen by both
    assert found.shape == (2, 2) and (found % 12.5 == 0).all()


# --- the teacher


def test_bfloat16_gives_nearly_the_logits_of_float32_and_both_are_timed():
    pretrained = BB["random_pretrained"]()
    teacher = BB["Teacher"](pretrained)
    inputs = [np.array(ids) for ids in pretrained.pieces([" ".join(words) for words in SENTENCES[:40]])]
    faster, exact, rounded = BB["in_both_precisions"](teacher, inputs, rounds=1)
    assert faster > 0 and exact.dtype == rounded.dtype == torch.float32
    assert torch.equal(exact, BB["logits_of"](teacher, inputs))
    assert 0 < (exact - rounded).abs().max() < 0.05


def test_other_weights_than_the_expected_ones_are_refused(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"something else")
    with pytest.raises(BadFile, match="model.safetensors: the weights have the SHA-256"):
        BB["checked_folder"](tmp_path)


def test_a_missing_package_is_unreachable_and_a_stand_in_is_announced(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Unreachable, match="transformers"):
        BB["packaged"]()
    found = BB["load_teacher"]("bert-base-uncased")
    assert found.stand_in
    assert "STAND-IN DATA" in capsys.readouterr().out
    texts = found.pieces(["a good film", ""], ["so bad", ""])
    assert [len(ids) for ids in texts] == [7, 1]


def test_a_hub_out_of_reach_leads_to_the_package(monkeypatch, capsys):
    def fail(*_, **__):
        raise OSError("no connection")

    monkeypatch.setitem(BB, "from_transformers", fail)
    monkeypatch.setitem(BB, "packaged", BB["random_pretrained"])
    assert BB["load_teacher"]("bert-base-uncased").stand_in
    assert "cannot be fetched from the hub" in capsys.readouterr().out


def test_the_teacher_sees_no_padding_and_marks_the_second_text():
    pretrained = BB["random_pretrained"]()
    teacher = BB["Teacher"](pretrained).eval()
    seen = {}
    teacher.encoder.register_forward_pre_hook(lambda m, args, named: seen.update(named), with_kwargs=True)
    one, two = map(torch.tensor, pretrained.pieces(["a good film", "a"], ["so bad", "b c"]))
    with torch.no_grad():
        alone = teacher(two[None])
        together = teacher(torch.stack([one, F.pad(two, (0, len(one) - len(two)))]))
    torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=1e-5)
    assert seen["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 0, 0]]


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="needs transformers")
def test_minilm_takes_empty_and_very_long_texts():
    pretrained = BB["packaged"]()
    empty, long = pretrained.pieces(["", "film " * 1000])
    assert (len(empty), len(long)) == (2, BB["LONGEST"])
    teacher = BB["Teacher"](pretrained).eval()
    with torch.no_grad():
        assert teacher(torch.tensor([empty])).isfinite().all()


def test_word_vectors_are_centred_of_the_wanted_width_and_zero_for_unknown_words():
    pretrained = BB["random_pretrained"]()
    rows = BB["vocabulary"]([SENTENCES])
    vectors = BB["word_vectors"](rows, pretrained, width=30)
    assert vectors.shape == (len(rows) + 2, 30)
    assert (vectors[:2] == 0).all()
    torch.testing.assert_close(vectors[2:].mean(0), torch.zeros(30), atol=1e-4, rtol=0)
    variances = vectors[2:].var(0)
    assert (variances.diff() >= -1e-5).all()  # the directions of largest variance come last


# --- the claims


def test_the_bands_of_the_headline_claims():
    file = claims.load(NAME)
    assert verdicts.judge(file["distilled-beats-hard"], [1.6, 1.61, 1.62]) == "reproduced"
    assert verdicts.judge(file["distilled-beats-hard"], [1.2, 1.3, 1.25]) == "close"
    assert verdicts.judge(file["distilled-beats-hard"], [0.5, 2.0, 1.6]) == "undecided"
    assert verdicts.judge(file["student-size"], [963_001]) == "not reproduced"


# --- the solutions of the exercises


def after_the_chapter():
    """What the cells leave behind that the solutions use, in small, with a teacher that knows nothing."""
    space, reviews = definitions.of_chapter(NAME), sst2.generated()
    words, held_out = ([s.words for s in part[:16]] for part in (reviews.train, reviews.test))
    pretrained = space["random_pretrained"]()
    rows = space["vocabulary"]([words, held_out])
    space |= {"DEVICE": "cpu", "pretrained": pretrained, "words": words, "rows": rows, "every_seed": range(2)}
    space |= {"settings": {"copies": 2, "passes": 1}}
    space["labels"] = torch.tensor([s.label for s in reviews.train[:16]])
    space["test_labels"] = space["development_labels"] = torch.tensor([s.label for s in reviews.test[:16]])
    space["test"] = space["development"] = space["ids_of"](held_out, rows)
    space["classes"] = space["word_classes"](words, count=5)
    space["augmenter"] = space["Augmenter"](words, space["classes"])
    both = words + space["copies"](space["augmenter"], words, 2)
    space["teacher"] = space["Teacher"](pretrained).eval()
    space["teacher_both"] = space["logits_of"](space["teacher"], space["pieces_of"](both))
    space["teacher_real"] = space["teacher_both"][:16]
    space["vectors"] = space["word_vectors"](rows, pretrained, width=12)
    plain, space["augmented"] = (space["ids_of"](text, rows) for text in (words, both))
    space["lessons"] = {
        "hard, plain": (plain, space["on_hard"](space["labels"])),
        "soft, augmented": (space["augmented"], space["on_soft"](space["teacher_both"])),
    }
    space["reached"] = {cell: np.full(2, 50.0) for cell in space["lessons"]}
    return space


def solved(number, monkeypatch):
    """The names after a solution, and what each student was made of: its vectors and its states."""
    space, seen = after_the_chapter(), []
    run_before = space["student_run"]

    def student_run(*given):
        seen.append((space["vectors"], space["Student"](space["vectors"]).lstm.hidden_size))
        return run_before(*given)

    monkeypatch.setitem(space, "student_run", student_run)
    before = dict(space)
    exec(exercises.solutions(NAME)[number - 1], space)
    return space, before, seen


def without_rules(after, before, seen, printed):
    assert [line.split(":")[0] for line in printed] == [
        f"without {r}" for r in ("nothing", "ngram", "mask", "same_class")
    ]
    _, usual, _ = after["distilled_without"]()
    assert after["distilled_without"](ngram=0)[1] > usual + 0.5  # nothing is cut any more


def inherited_labels(after, before, seen, printed):
    sources = [words for words in before["words"] for _ in range(2)]
    assert [len(a) < len(b) for a, b in zip(after["torn"], sources, strict=True)] == after["shorter"].tolist()
    assert after["inherited"].tolist() == [int(label) for label in before["labels"] for _ in range(2)]
    decided = before["logits_of"](before["teacher"], before["pieces_of"](after["torn"])).argmax(1)
    assert ((decided != after["inherited"]).numpy() == after["contradicted"]).all()
    assert len(seen) == 2 and len(after["text"]) == 3 * 16


def random_vectors(after, before, seen, printed):
    assert after["vectors"] is before["vectors"]
    assert after["drawn"].shape == before["vectors"].shape and not after["drawn"][:2].any()
    assert len(seen) == 4 and all(torch.equal(vectors, after["drawn"]) for vectors, _ in seen)
    assert set(after["with_random"]) == {"hard, plain", "soft, augmented"}


def narrow_student(after, before, seen, printed):
    assert after["Student"] is before["Student"]
    assert [hidden for _, hidden in seen] == [150, 150, 20, 20]
    assert after["size"] == 8 * 20 * (600 + 20 + 2) + 41 * 200 + 402


def softened_targets(after, before, seen, printed):
    v = before["teacher_both"]
    z, every = torch.randn(v.shape, generator=torch.Generator().manual_seed(0)).requires_grad_(), slice(None)
    (slope,) = torch.autograd.grad(after["on_softened"](v, 3.0)(z, every), z)
    torch.testing.assert_close(slope, 3 * ((z / 3).softmax(1) - (v / 3).softmax(1)).detach() / len(v))
    assert len(seen) == 4 and set(after["other"]) == {"squared error", "T = 1", "T = 3"}


SOLVED = [without_rules, inherited_labels, random_vectors, narrow_student, softened_targets]


@pytest.mark.parametrize("number", range(1, len(SOLVED) + 1))
def test_the_solutions_of_the_exercises_run(number, monkeypatch, capsys):
    after, before, seen = solved(number, monkeypatch)
    SOLVED[number - 1](after, before, seen, capsys.readouterr().out.splitlines())
    assert len(exercises.solutions(NAME)) == len(SOLVED)
