"""The definitions of the chapter on distilling BERT into a BiLSTM against references, properties and bad input."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.datasets import sst2
from utils.datasets.errors import BadFile, Unreachable
from utils.records import claims, verdicts
from utils.tools import definitions, exercises

NAME = "bert_to_bilstm"
BB = definitions.of_chapter(NAME)
BB["DEVICE"] = "cpu"
SENTENCES = [tuple(s.words) for s in sst2.generated().train[:200]]
WORDS = st.lists(st.sampled_from(sorted({w for s in SENTENCES for w in s})), min_size=1, max_size=30)
CLASSES = BB["word_classes"](SENTENCES, count=5)


def student(seed=0, words=40, width=12, **options):
    torch.manual_seed(seed)
    return BB["Student"](torch.randn(words, width), hidden=9, inner=6, **options).eval()


def fresh(replace=None):
    """What the cells leave behind, in small, with a teacher that knows nothing."""
    chapter, reviews = definitions.of_chapter(NAME, replace), sst2.generated()
    chapter |= {"DEVICE": "cpu", "SHORT": False, "reviews": reviews, "pretrained": chapter["random_pretrained"]()}
    train, validation, test = (
        [s.words for s in part[:24]] for part in (reviews.train, reviews.validation, reviews.test)
    )
    for name, part in (("validation", reviews.validation), ("test", reviews.test)):
        chapter[f"{name}_labels"] = torch.tensor([s.label for s in part[:24]])
    chapter |= {"validation_words": validation, "test_words": test, "sentence_words": train}
    rows, vectors = chapter["word_vectors"]([*train, *validation, *test], chapter["pretrained"], width=12)
    chapter |= {"rows": rows, "vectors": vectors, "test_numbers": chapter["word_numbers"](test, rows)}
    chapter["sentence_labels"] = labels = torch.tensor([s.label for s in reviews.train[:24]])
    torch.manual_seed(0)
    chapter["teacher"] = chapter["Teacher"](chapter["pretrained"].encoder()).eval()
    chapter["settings"] = {"words_read": 400, "sentence_words": 400}
    chapter["rates"] = {"labels": 1e-3, "logits": 1e-3}
    corpus = chapter["corpus"](train, labels, 2)
    chapter["corpora"] = {"phrases": corpus, "sentences": corpus}
    return chapter


# --- the student and its loss


def test_the_student_of_the_paper_has_963002_parameters_besides_its_vectors():
    model = BB["Student"](torch.zeros(17, 300))
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 963_002 + 17 * 300


def test_bert_large_and_base_have_their_known_sizes():
    assert BB["bert_parameters"](24, 1024) == 335_141_888
    assert BB["bert_parameters"](12, 768) == 109_482_240


def two_lstms(model, words):
    """The last states of two LSTMs, run one after the other with the weights of the model."""
    forwards, backwards = (torch.nn.LSTM(24, 9, batch_first=True) for _ in range(2))
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    for lstm, ending in ((forwards, ""), (backwards, "_reverse")):
        lstm.load_state_dict({n: getattr(model.lstm, n + ending) for n in names})
    inputs = torch.cat([model.fixed(words), model.trained(words)], -1)
    return torch.cat([forwards(inputs)[0][:, -1], backwards(inputs.flip(1))[0][:, -1]], 1)


def test_the_states_are_those_of_two_lstms_run_one_after_the_other():
    model, words = student(), torch.randint(1, 40, (3, 8))
    torch.testing.assert_close(model.encode(words), two_lstms(model, words), atol=1e-5, rtol=1e-5)


def test_pair_features_are_both_their_product_and_their_distance():
    torch.manual_seed(0)
    model = BB["Siamese"](torch.randn(40, 12), hidden=9, inner=6, states=8)
    first, second = torch.randint(1, 40, (5, 6)), torch.randint(1, 40, (5, 4))
    a, b = two_lstms(model, first), two_lstms(model, second)
    expected = model.output(model.inner(torch.cat([a, b, a * b, (a - b).abs()], 1)).relu())
    torch.testing.assert_close(model(first, second), expected, atol=1e-5, rtol=1e-5)
    model.inner.weight.data[:, :36] = 0  # without the sentences themselves, their order cannot matter
    torch.testing.assert_close(model(first, second), model(second, first), atol=1e-5, rtol=1e-5)


def test_only_one_channel_is_trained():
    model = student()
    model(torch.randint(1, 40, (4, 5))).sum().backward()
    assert model.fixed.weight.grad is None and model.trained.weight.grad.abs().sum() > 0
    assert model.fixed.weight.data_ptr() != model.trained.weight.data_ptr()


@given(st.integers(0, 1000), st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_the_loss_is_equation_3(seed, alpha):
    rng = np.random.default_rng(seed)
    z, v, t = rng.normal(0, 3, (9, 2)), rng.normal(0, 3, (9, 2)), rng.integers(2, size=9)
    for labels in (t, None):
        target = v.argmax(1) if labels is None else labels
        entropy = -np.log(np.exp(z[range(9), target]) / np.exp(z).sum(1)).mean()
        expected = alpha * entropy + (1 - alpha) * ((v - z) ** 2).sum(1).mean()
        given_labels = None if labels is None else torch.tensor(labels)
        loss = BB["distillation_loss"](torch.tensor(z), torch.tensor(v), given_labels, alpha)
        assert loss.item() == pytest.approx(expected)


# --- batches and loops


@given(st.lists(WORDS, min_size=1, max_size=60), st.integers(1, 9), st.booleans())
@settings(max_examples=40, deadline=None)
def test_batches_have_one_length_and_every_text_once(texts, size, shuffle):
    found = BB["batches"](texts, size, shuffle)
    assert sorted(row for rows in found for row in rows.tolist()) == list(range(len(texts)))
    for rows in found:
        assert len(rows) <= size and len({len(texts[row]) for row in rows.tolist()}) == 1


def test_texts_are_filled_up_on_the_right():
    found = BB["padded"]([[3, 4, 5], [6], [7, 8]], torch.tensor([1, 0]))
    assert found.tolist() == [[6, 0, 0], [3, 4, 5]]


def test_logits_come_in_the_order_of_the_texts_and_without_dropout():
    model = torch.nn.Sequential(student(), torch.nn.Dropout(0.5)).train()
    texts = [torch.randint(1, 40, (n,)).tolist() for n in (5, 2, 5, 3)]
    found = BB["logits_of"](model, texts)
    for text, logits in zip(texts, found, strict=True):
        torch.testing.assert_close(model[0](torch.tensor([text]))[0], logits, atol=1e-5, rtol=1e-5)


def toy(seed=0, count=150):
    """Texts whose label says whether the word 3 comes."""
    rng = np.random.default_rng(seed)
    texts = [rng.integers(3, 7, size=rng.integers(2, 6)).tolist() for _ in range(count)]
    return texts, torch.tensor([int(3 in text) for text in texts])


def test_both_plain_loops_and_the_fast_one_learn():
    texts, labels = toy()
    teacher, distilled, fast = student(1, 8), student(2, 8), student(3, 8)
    BB["train"](teacher, texts, labels, 20, 1e-2)
    answers = BB["logits_of"](teacher, texts)
    assert BB["accuracy"](answers, labels) > 95
    BB["distil"](distilled, teacher, texts, texts, 20, 1e-2)
    BB["learn"](fast, texts, answers, BB["distillation_loss"], 20, 1e-2, batch=50, short=False)
    for model in (distilled, fast):
        assert (BB["logits_of"](model, texts) - answers).square().mean() < 0.2 * answers.square().mean()


def test_the_teacher_gets_no_gradient_and_no_dropout_while_it_is_asked():
    texts, _ = toy(count=20)
    teacher = torch.nn.Sequential(student(1, 8), torch.nn.Dropout(0.9)).train()
    BB["distil"](student(2, 8), teacher, texts, texts, 1, 1e-2)
    assert not teacher.training and all(p.grad is None for p in teacher.parameters())


def test_as_many_words_are_read_as_was_asked_and_the_best_look_is_kept():
    texts, labels = toy()
    model = student(4, 8)
    seen = []
    model.register_forward_pre_hook(lambda m, args: seen.append(args[0].numel()) if m.training else None)
    other, right = toy(1)
    held_out = other, 1 - right  # whoever learns gets worse here, so that the best look is an early one
    curve = BB["learn"](model, texts, labels, F.cross_entropy, 2.5, 3e-2, held_out, batch=10, short=False)
    words = sum(map(len, texts))
    assert 0 <= sum(seen) - 2.5 * words <= 10 * 5
    assert len(curve) == 8 and curve[-1] < max(curve)
    assert BB["accuracy"](BB["logits_of"](model, other), 1 - right) == max(curve)


# --- altered texts


@given(WORDS, st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_altered_texts_keep_their_words_or_replace_them_by_the_rules(words, seed):
    made = BB["Augmenter"](SENTENCES, CLASSES)(tuple(words), np.random.default_rng(seed))
    assert 1 <= len(made) <= len(words)
    assert len(made) == len(words) or len(made) <= 5
    starts = range(len(words) - len(made) + 1)
    fits = [
        all(m in ("[MASK]", w) or CLASSES[m] == CLASSES[w] for m, w in zip(made, words[s:], strict=False))
        for s in starts
    ]
    assert any(fits)


def test_the_three_rules_come_as_often_as_asked():
    rng, words = np.random.default_rng(0), SENTENCES[0] * 200
    masked = BB["Augmenter"](SENTENCES, CLASSES, mask=0.1, same_class=0, ngram=0)(words, rng)
    assert masked.count("[MASK]") / len(words) == pytest.approx(0.1, abs=0.02)
    other = BB["Augmenter"](SENTENCES, CLASSES, mask=0, same_class=1, ngram=0)(words, rng)
    assert all(CLASSES[a] == CLASSES[b] for a, b in zip(other, words, strict=True)) and other != words
    cut = BB["Augmenter"](SENTENCES, CLASSES, mask=0, same_class=0, ngram=0.25)
    long = [s for s in SENTENCES if len(s) > 5]
    shorter = [len(cut(s, rng)) < 6 for _ in range(20) for s in long]
    assert np.mean(shorter) == pytest.approx(0.25, abs=0.05)


def test_no_copy_comes_twice_and_no_original():
    made = BB["rounds"](BB["Augmenter"](SENTENCES, CLASSES), SENTENCES, 3)
    every = [words for part in made for words in part]
    assert len(made) == 3 and len(set(every)) == len(every) and not set(every) & set(SENTENCES)
    assert made == BB["rounds"](BB["Augmenter"](SENTENCES, CLASSES), SENTENCES, 3)


def test_classes_put_words_with_the_same_neighbours_together():
    rng = np.random.default_rng(0)
    nouns, verbs = [f"n{k}" for k in range(8)], [f"v{k}" for k in range(8)]
    texts = [("the", rng.choice(nouns), rng.choice(verbs), "it") for _ in range(2000)]
    found = BB["word_classes"](texts, count=4)
    assert len({found[w] for w in nouns}) == len({found[w] for w in verbs}) == 1
    assert found["n0"] != found["v0"]


def test_a_corpus_has_true_labels_for_texts_and_decisions_for_copies():
    chapter = fresh()
    data = chapter["corpora"]["phrases"]
    assert data.ends[0] == 24 and data.ends[-1] == len(data.words) == len(data.logits) == len(data.labels)
    assert torch.equal(data.labels[:24], chapter["sentence_labels"])
    assert torch.equal(data.labels[24:], data.logits[24:].argmax(1))


@pytest.mark.parametrize("targets", ["labels", "logits", "random"])
def test_a_student_reads_what_its_cell_of_the_table_has(targets, monkeypatch):
    chapter, seen = fresh(), {}
    data = chapter["corpora"]["phrases"]

    def learn(model, texts, given, loss, epochs, rate, held_out, **_):
        seen.update(locals())
        return [0.0]

    monkeypatch.setitem(chapter, "learn", learn)
    torch.manual_seed(0)
    chapter["student_run"]("phrases", targets, 1, 400, 1e-3, 0)
    end = data.ends[1]
    assert seen["texts"] == chapter["word_numbers"](data.words[:end], chapter["rows"])
    assert seen["epochs"] * sum(map(len, seen["texts"])) == pytest.approx(400)
    assert torch.equal(seen["held_out"][1], chapter["validation_labels"])
    if targets == "labels":
        assert torch.equal(seen["given"], data.labels[:end]) and seen["loss"] is F.cross_entropy
        return
    assert torch.equal(seen["given"][:24], data.logits[:24])
    copies = seen["given"][24:], data.logits[24:end]
    assert torch.equal(*copies) == (targets == "logits")
    assert torch.equal(copies[0].sort(0).values, copies[1].sort(0).values)


# --- the teacher


def test_other_weights_than_the_expected_ones_are_refused(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"something else")
    spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(BadFile, match="model.safetensors: the weights have the SHA-256"):
        BB["packaged"]()


def test_a_missing_package_is_unreachable(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Unreachable, match="transformers"):
        BB["packaged"]()


def test_the_teacher_sees_no_padding():
    pretrained = BB["random_pretrained"]()
    teacher = BB["Teacher"](pretrained.encoder()).eval()
    one, two = pretrained.pieces(["a very good film", "so bad"])
    with torch.no_grad():
        alone = teacher(torch.tensor([two]))
        together = teacher(BB["padded"]([one, two], torch.tensor([0, 1])))
    torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="needs transformers")
def test_minilm_takes_empty_and_very_long_texts():
    pretrained = BB["packaged"]()
    empty, long = pretrained.pieces(["", "film " * 1000])
    assert (len(empty), len(long)) == (2, BB["LONGEST"])
    teacher = BB["Teacher"](pretrained.encoder()).eval()
    with torch.no_grad():
        assert teacher(torch.tensor([empty])).isfinite().all()


def test_word_vectors_are_centred_and_zero_for_unknown_words():
    rows, vectors = BB["word_vectors"](SENTENCES, BB["random_pretrained"](), width=30)
    assert vectors.shape == (len(rows) + 2, 30) and (vectors[:2] == 0).all()
    torch.testing.assert_close(vectors[2:].mean(0), torch.zeros(30), atol=1e-4, rtol=0)
    assert (vectors[2:].var(0).diff() >= -1e-5).all()  # the directions of largest variance come last
    assert BB["word_numbers"]([SENTENCES[0][:1], ("never seen",)], rows) == [[rows[SENTENCES[0][0]]], [1]]


def test_the_bands_of_the_headline_claims():
    file = claims.load(NAME)
    assert verdicts.judge(file["distilled-beats-hard"], [1.6, 1.61, 1.62]) == "reproduced"
    assert verdicts.judge(file["distilled-beats-hard"], [0.5, 2.0, 1.6]) == "undecided"
    assert verdicts.judge(file["student-size"], [963_001]) == "not reproduced"


# --- the solutions of the exercises


def solved(number, monkeypatch=None):
    """The names after a solution, and those before."""
    space = fresh()
    before = dict(space)
    exec(exercises.solutions(NAME)[number - 1], space)
    return space, before


def test_exercise_rules(capsys):
    after, before = solved(1)
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in printed] == [
        f"without {rule}" for rule in ("nothing", "ngram", "mask", "same_class")
    ]
    mean = {name: np.mean([len(w) for w in data.words[24:]]) for name, data in after["corpora"].items()}
    assert mean["without ngram"] > mean["without nothing"]


def test_exercise_inherited_labels():
    after, before = solved(2)
    decided = before["logits_of"](before["teacher"], before["pieces_of"](after["torn"])).argmax(1)
    assert ((decided != before["sentence_labels"]).numpy() == after["wrong"]).all()
    assert [len(a) < len(b) for a, b in zip(after["torn"], after["texts"], strict=True)] == after["cut"].tolist()


def test_exercise_decisions():
    after, _ = solved(3)
    assert set(after["found"]) == {("labels", 0), ("labels", 1), ("logits", 1)}
    assert all(0 <= value <= 100 for value in after["found"].values())


def test_exercise_chinese(monkeypatch, tmp_path, capsys):
    place = tmp_path / "train.bmes"
    place.write_text("王 B-NAME\n先 O\n生 O\n\n李 B-NAME\n先 O\n生 O\n\n", encoding="utf-8")
    space = fresh()
    monkeypatch.setattr(space["files"], "path", lambda name: place)
    exec(exercises.solutions(NAME)[3], space)
    assert space["chinese"] == [("王", "先", "生"), ("李", "先", "生")]
    assert set(space["found"]) == set("王李先生")


def test_exercise_narrow(capsys):
    after, _ = solved(5)
    assert set(after["narrow"]) == {"labels", "logits"}
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["20", "150"]
