"""The definitions of the lattice LSTM chapter against references, properties and bad input."""

from __future__ import annotations

import re
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from utils.datasets.errors import BadFile
from utils.tools import definitions, exercises

CHAPTER = definitions.of_chapter("lattice_lstm_ner")
CHAPTER["DEVICE"] = "cpu"
TAGS = ["O", *(f"{letter}-{kind}" for letter in "BMES" for kind in ("X", "Y"))]
SMALL = {
    "first_epochs": 1,
    "tuning": False,
    "seeds": 1,
    "few_seeds": 1,
    "weibo_seeds": 1,
    "looked_at": 4,
    "held_out": 12,
    "sentences": 16,
    "weibo_sentences": 16,
    "cut_sentences": 16,
    "cut_epochs": 1,
}


def fresh():
    """The chapter's definitions on made-up sentences."""
    chapter = definitions.of_chapter("lattice_lstm_ner")
    parts = {name: part[:16] for name, part in chapter["made_up_sentences"]().items()}
    lexicon = dict.fromkeys([*chapter["WORDS"], "东山西"], 2)
    chapter |= {"DEVICE": "cpu", "settings": SMALL, "resume": parts, "few": parts, "lexicon": lexicon}
    chapter |= {"longest_word": 3, "total_count": 2 * len(lexicon)}
    chapter["sets"] = {"Resume": parts | {"news": parts["test"]}, "Weibo": parts}
    chapter["kinds"] = {
        "lattice": {"words": lexicon},
        "characters": {},
        "words": {"cut": chapter["likeliest_cut"]},
        "strings": {"words": chapter["exchanged"](lexicon, [text for part in parts.values() for text, _ in part])},
        "wide gates": {"words": lexicon},
    }
    chapter["plans"] = {"Resume": (1, 8), "Weibo": (1, 9)}
    return chapter


# ---- reading


@pytest.mark.parametrize(
    ("text", "line"), [("高 O\n勇O\n", 2), ("高 O\n\n勇 X-NAME\n", 3), ("高 B\n", 1), ("高 O extra\n", 1), (" O\n", 1)]
)
def test_a_broken_line_is_named_with_its_number(text, line):
    with pytest.raises(BadFile, match=f"resume.*line {line} is not"):
        CHAPTER["parse_tagged"](text, "resume")


def test_a_tag_of_the_other_scheme_is_refused():
    """I is no letter of BMES, E none of BIO."""
    with pytest.raises(BadFile, match="line 2 is not .* tag of BMES"):
        CHAPTER["parse_tagged"]("高 B-NAME\n勇 I-NAME\n", "resume")
    with pytest.raises(BadFile, match="line 2 is not .* tag of BI"):
        CHAPTER["parse_tagged"]("科0\tB-PER\n技1\tE-PER\n", "weibo", "\t", "BI")


@pytest.mark.parametrize("blank", ["", " ", "\t", "\r"])
def test_sentences_end_at_empty_lines_and_at_the_end_of_the_file(blank):
    read = CHAPTER["parse_tagged"](f"\ufeff高 B-NAME\r\n勇 E-NAME\n{blank}\n\n： O", "resume")
    assert read == [(("高", "勇"), ("B-NAME", "E-NAME")), (("：",), ("O",))]
    assert CHAPTER["parse_tagged"]("", "resume") == []


@pytest.mark.parametrize("blank", ["\u3000", "\xa0", "\u2028", "\x85"])
def test_blanks_of_the_text_are_characters(blank):
    read = CHAPTER["parse_tagged"](f"高 O\n{blank} O\n勇 O\n", "resume")
    assert read == [(("高", blank, "勇"), ("O", "O", "O"))]


def test_bio_becomes_bmes_with_the_same_entities():
    tags = ("B-P", "I-P", "I-P", "B-P", "O", "B-Q", "I-Q")
    assert CHAPTER["bmes"](tags) == ("B-P", "M-P", "E-P", "S-P", "O", "B-Q", "E-Q")
    with pytest.raises(ValueError, match="no BIO tag"):
        CHAPTER["bmes"](("M-P",))


@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_the_lexicon_is_read_with_counts(start):
    read = CHAPTER["parse_lexicon"](f"{start}的 3 uj\r\n南京 5 ns\n\n南京 2 ns\n")
    assert read == {"的": 3, "南京": 5}
    assert CHAPTER["parse_lexicon"]("") == {}
    for bad in ("南京 5 ns\n 5 ns\n", "南京 5\n市长\n", "南京 5\n市长 n\n"):
        with pytest.raises(BadFile, match="line 2 is not"):
            CHAPTER["parse_lexicon"](bad)


def test_words_of_weibo_and_of_conllu_are_found():
    text, words = CHAPTER["cut_at"](list("科技全方位"), [True, False, True, False, False])
    assert text == "科技全方位" and words == {(0, 1, "W"), (2, 4, "W")}
    read = CHAPTER["parse_conllu"]("\ufeff# text = 他们来\r\n1\t他们\tx\n1-2\t来来\tx\n2\t来\tx\n\n\n1\t好\tx\n")
    assert read == [["他们", "来"], ["好"]]


@given(st.lists(st.sampled_from(TAGS), max_size=12))
def test_spans_are_those_of_a_regular_expression(tags):
    found = set()
    for kind in "XY":
        letters = "".join(tag[0] if tag[2:] == kind else "O" for tag in tags)
        found |= {(m.start(), m.end() - 1, kind) for m in re.finditer("S|BM*E", letters)}
    assert CHAPTER["spans"](tags) == found


@given(st.lists(st.integers(1, 4), min_size=1, max_size=8), st.data())
def test_tags_and_spans_are_each_others_inverse(lengths, data):
    """Over tokens of any length, for entities whose borders are borders of tokens."""
    ends = np.cumsum(lengths).tolist()
    borders = [(e - n, e - 1) for e, n in zip(ends, lengths, strict=True)]
    cut = sorted(data.draw(st.sets(st.integers(0, len(lengths)), max_size=4)))
    pairs = list(zip(cut[::2], cut[1::2], strict=False))
    entities = {(borders[a][0], borders[b - 1][1], "X") for a, b in pairs}
    tags = CHAPTER["tags_of"](entities | {(0, 10**6, "Y")}, borders)  # the last one cannot be tagged
    back = {(borders[a][0], borders[b][1], kind) for a, b, kind in CHAPTER["spans"](tags)}
    assert back == entities


# ---- words


@given(st.text("东西南北", max_size=10), st.sets(st.text("东西南北", min_size=1, max_size=4), max_size=12))
def test_words_are_all_substrings_of_two_characters_and_more(text, words):
    longest = max(map(len, words), default=0)
    found = CHAPTER["find_words"](text, words, longest)
    places = product(range(len(text)), repeat=2)
    assert set(found) == {(b, e, text[b : e + 1]) for b, e in places if b < e and text[b : e + 1] in words}
    assert len(found) == len(set(found))


def test_a_word_of_one_character_is_refused_where_it_would_change_the_model():
    with pytest.raises(ValueError, match="must end behind"):
        CHAPTER["arcs_of"]([np.array([[2, 2, 0]])], [4])
    parts = dict.fromkeys(("train", "validation", "test"), [("南京南", {(0, 1, "X")})])
    task = CHAPTER["numbered"](parts, ["南", "南京"])
    assert task.words == ["南京"] and task.train[0].words.tolist() == [[0, 1, 0]]


def test_the_cuts_are_those_of_all_cuts():
    chapter = fresh()
    chapter["lexicon"].clear()
    chapter["lexicon"].update({"东": 9, "西": 1, "东西": 30, "西南": 4, "南北东": 2, "东西南": 1})
    total = 47
    assert chapter["longest_match"]("东西南北东") == ["东西南", "北", "东"]
    chapter["total_count"] = total
    text = "东西南北东西"
    ways = []
    for inner in product((0, 1), repeat=len(text) - 1):
        places = [0, *(k + 1 for k, on in enumerate(inner) if on), len(text)]
        words = [text[a:b] for a, b in zip(places, places[1:], strict=False)]
        if all(len(w) == 1 or w in chapter["lexicon"] for w in words):
            ways.append((sum(np.log(chapter["lexicon"].get(w, 1) / total) for w in words), words))
    assert chapter["likeliest_cut"](text) == max(ways)[1]
    assert "".join(chapter["likeliest_cut"]("山东西")) == "山东西"
    assert chapter["likeliest_cut"]("") == chapter["longest_match"]("") == []


@given(st.lists(st.text("东西南北", max_size=12), max_size=5), st.sets(st.text("东西南北", min_size=2, max_size=3)))
def test_words_are_exchanged_for_strings_that_are_none_and_not_more_frequent(texts, words):
    made = CHAPTER["exchanged"](words, texts)

    def count(string):
        return sum(text[k:].startswith(string) for text in texts for k in range(len(text)))

    there = sorted(word for word in words if count(word))
    assert len(made) == len(set(made)) <= len(there) and not words & set(made)
    for length in (2, 3):
        ours = sorted((count(w) for w in made if len(w) == length), reverse=True)
        theirs = sorted((count(w) for w in there if len(w) == length), reverse=True)
        assert all(a > 0 for a in ours) and len(ours) <= len(theirs)
        assert all(a <= b for a, b in zip(ours, theirs, strict=False))


def test_each_word_has_its_string_where_there_are_enough():
    """As long, and as frequent: 西南 and 南西 occur once, 东西 and 北北 twice."""
    texts = ["东西南西", "东西北北北", "山"]
    made = CHAPTER["exchanged"](["东西", "西南", "门门"], texts)
    assert made[0] == "北北" and made[1] in ("南西", "西北") and len(made) == 2


# ---- the layer


@st.composite
def lattices(draw):
    lengths = draw(st.lists(st.integers(1, 7), min_size=1, max_size=4))
    places = [[(b, e) for b, e in product(range(n), repeat=2) if b < e] for n in lengths]
    words = [[(*p, 0) for p in draw(st.lists(st.sampled_from(ps), unique=True))] if ps else [] for ps in places]
    return lengths, words


@given(lattices(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_batch_is_the_definition(drawn, backwards):
    lengths, words = drawn
    torch.manual_seed(len(words))
    layer = CHAPTER["LatticeLSTM"](3, 4).double()
    x = torch.randn(max(lengths), len(lengths), 3, dtype=torch.double)
    arcs = CHAPTER["arcs_of"]([np.array(w, np.int64).reshape(-1, 3) for w in words], lengths, backwards)
    v = torch.randn(3, dtype=torch.double)
    together = layer(x, v.expand(len(arcs.words), 3), arcs)
    for row, n in enumerate(lengths):
        turned = [(n - 1 - e, n - 1 - b, v) if backwards else (b, e, v) for b, e, _ in words[row]]
        alone, shares = CHAPTER["by_definition"](layer, x[:n, row], turned)
        torch.testing.assert_close(together[:n, row], alone, rtol=0, atol=1e-12)
        assert sorted((b, e) for b, e, _ in shares) == sorted((b, e) for b, e, _ in turned)
        assert all(0 < s <= np.e / (1 + np.e) for _, _, s in shares)


def test_a_lone_word_gets_its_share_of_the_cell():
    """By hand: every gate one half, the word's cell known."""
    layer = CHAPTER["LatticeLSTM"](1, 1)
    for weight in layer.parameters():
        nn.init.zeros_(weight)
    layer.character.bias.data[:] = torch.tensor([0.0, 0, 10])  # g = 1
    layer.word.bias.data[:] = torch.tensor([10.0, -10, 0])  # the cell of the start
    arcs = CHAPTER["arcs_of"]([np.array([[0, 2, 0]])], [3])
    h = layer(torch.zeros(3, 1, 1), torch.zeros(1, 1), arcs).flatten()
    cells = [0.5, 0.75, (1 + 0.5) / 2]  # the last: g and the word's cell 1/2, half each
    torch.testing.assert_close(h, 0.5 * torch.tensor(cells).tanh(), atol=1e-3, rtol=0)


def test_cells_by_hand():
    assert CHAPTER["cell_by_hand"](0.5, 2, [(0.5, 8)]) == 5
    assert CHAPTER["cell_by_hand"](1, 0, [(0, 100)]) == 26.89


# ---- the chain of tags


def crf_of(tags, seed=0, scale=1.0):
    torch.manual_seed(seed)
    crf = CHAPTER["CRF"](tags).double()
    for weight in crf.parameters():
        nn.init.normal_(weight, std=scale)
    return crf


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_log_z_viterbi_and_score_are_those_of_all_sequences(tags, long, short, seed):
    crf, lengths = crf_of(tags, seed), (long, short)
    y = torch.randn(max(lengths), 2, tags, dtype=torch.double)
    mask = torch.arange(max(lengths))[:, None] < torch.tensor(lengths)
    log_z, best = crf.log_partition(y, mask), crf.best(y, mask)
    gold = torch.randint(tags, mask.shape)
    score = crf.score(y, mask, gold)
    for row, n in enumerate(lengths):
        exact, likeliest = CHAPTER["crf_by_enumeration"](crf, y[:n, row])
        torch.testing.assert_close(log_z[row], exact)
        assert tuple(best[:n, row].tolist()) == likeliest
        path = gold[:n, row]
        expected = crf.first[path[0]] + crf.last[path[-1]] + sum(y[t, row, k] for t, k in enumerate(path))
        expected = expected + sum(crf.pair[a, b] for a, b in zip(path, path[1:], strict=False))
        torch.testing.assert_close(score[row], expected)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_finite_scores_give_a_finite_log_z_and_gradient(far, pair, seed):
    torch.manual_seed(seed)
    crf = CHAPTER["CRF"](3)
    crf.pair.data[0, 1:], crf.pair.data[2] = pair, -pair
    y = torch.zeros(5, 2, 3)
    y[2, 0, 1], y[3, 1] = far, -far
    mask = torch.arange(5)[:, None] < torch.tensor([5, 4])
    log_z = crf.log_partition(y.requires_grad_(), mask)
    log_z.sum().backward()
    assert log_z.isfinite().all() and y.grad.isfinite().all() and crf.pair.grad.isfinite().all()


# ---- tagger, training, measures


def test_padding_and_company_change_nothing():
    chapter = fresh()
    task = chapter["numbered"](chapter["few"], chapter["lexicon"])
    torch.manual_seed(0)
    model = chapter["Tagger"](task).eval()
    together = model(chapter["batch_of"](task.train, task.labels))
    for row, sentence in enumerate(task.train):
        alone = model(chapter["batch_of"]([sentence], task.labels))[:, 0]
        torch.testing.assert_close(together[: len(alone), row], alone, atol=1e-5, rtol=1e-4)
        loss = model.loss(chapter["batch_of"]([sentence], task.labels))
        torch.testing.assert_close(loss, chapter["slow_loss"](model, sentence), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["lattice", "characters", "words"])
def test_it_learns_a_few_sentences_by_heart(kind):
    chapter = fresh()
    parts = dict.fromkeys(("train", "validation", "test"), chapter["few"]["train"][:8])
    task = chapter["numbered"](parts, **chapter["kinds"][kind])
    model, best = chapter["train"](task, 0.02, 0.0, 25, 0, size=4)
    found = chapter["find"](model, task.test)
    ceiling = [{e for s, _, e in [(s, 0, e) for e in s.entities]} for s in task.test]
    assert best > 85 and chapter["scores"](task.test, found)[2] == best
    assert chapter["scores"](task.test, ceiling) == (100, 100, 100)


def test_the_epoch_is_chosen_on_the_development_part():
    """Nothing else is looked at in training: other test sentences change nothing."""
    chapter = fresh()
    other, find, seen = chapter["few"] | {"test": chapter["few"]["train"][:3]}, chapter["find"], []
    weights = []

    def watched(model, part):
        seen.append(part)
        return find(model, part)

    chapter["find"] = watched
    for parts in (chapter["few"], other):
        task = chapter["numbered"](parts, [])
        model, _ = chapter["train"](task, 0.01, 0.5, 2, 0, size=8)
        weights.append(model.answer.weight)
        assert len(seen) == 2 and all(part is task.validation for part in seen)
        seen.clear()
    torch.testing.assert_close(*weights)


def test_nothing_is_dropped_or_hidden_when_tags_are_found():
    chapter = fresh()
    task = chapter["numbered"](chapter["few"], chapter["lexicon"])
    model = chapter["Tagger"](task, dropout=0.9)
    assert chapter["find"](model, task.test) == chapter["find"](model, task.test)
    assert model.training
    batch = chapter["batch_of"](task.train, task.labels)
    model.eval()
    torch.testing.assert_close(model(batch), model(batch))


def test_precision_recall_and_f1_are_counted_over_whole_entities():
    chapter = fresh()
    part = chapter["numbered"](dict.fromkeys(("train",), [("东南西北", {(0, 1, "A.NAM"), (3, 3, "B.NOM")})])).train
    assert chapter["scores"](part, [{(0, 1, "A.NAM"), (2, 3, "B.NOM"), (2, 2, "B.NOM")}]) == pytest.approx(
        (100 / 3, 50, 40)
    )
    assert chapter["scores"](part, [{(0, 1, "A.NAM")}], "NAM") == (100, 100, 100)
    assert chapter["scores"](part, [set()]) == (0, 0, 0)


def test_pieces_hold_every_sentence_once_and_sentences_of_like_length():
    chapter = fresh()
    task = chapter["numbered"](chapter["few"])
    for rng in (None, np.random.default_rng(0)):
        cut = chapter["pieces"](task.train, 5, rng)
        assert sorted(np.concatenate(cut).tolist()) == list(range(len(task.train)))
    lengths = [len(task.train[k].tokens) for piece in chapter["pieces"](task.train, 5) for k in piece]
    assert lengths == sorted(lengths)


def test_a_run_measures_all_that_is_recorded():
    chapter = fresh()
    for kind in chapter["kinds"]:
        run = chapter["tagging"]("Resume", kind, 0.01, 0.5, (1, 8), False, 0)
        assert {"development", "test", "NAM", "NOM", "news", "home"} <= set(run)
        assert ("held gates" in run) == (kind not in ("characters", "words"))
        low, high = (1, 99) if kind == "wide gates" else (100 / (1 + np.e), 100 * np.e / (1 + np.e))
        if "shares" in run:
            assert all(s == 0 or low <= s <= high for s in run["shares"].values())
            assert 0 <= run["held cells"] <= 100 and 0 <= run["no words"] <= 100


def test_the_search_sees_the_development_part_alone_and_rivals_train_as_long():
    chapter = fresh()
    seen = []
    train = chapter["train"]

    def watched(task, rate, dropout, epochs, seed, size, **form):
        seen.append((len(task.train), epochs, size, *form))
        return train(task, rate, dropout, epochs, seed, size, **form)

    chapter["train"] = watched
    found = chapter["tagging"]("Weibo", "characters", 0.01, 0.5, (1, 12), True, 0)
    chapter["sets"]["Weibo"] = chapter["sets"]["Weibo"] | {"test": []}  # an empty test part changes nothing
    assert found == chapter["tagging"]("Weibo", "characters", 0.01, 0.5, (1, 12), True, 0)
    for kind in ("lattice", "strings", "words", "wide gates"):
        chapter["tagging"]("Resume", kind, 0.01, 0.5, (1, 12), False, 0)
    assert seen == [(16, 2, 12), (16, 2, 12), (16, 1, 12), (16, 1, 12), (16, 2, 12), (16, 1, 12, "layer")]


@given(st.integers(0, 5), st.integers(0, 5))
def test_uphill_ends_on_the_top_of_a_single_hill(start, top):
    asked = []

    def value(rung):
        asked.append(rung)
        return -abs(rung - top)

    assert CHAPTER["uphill"](tuple(range(6)), start, value) == top
    assert len(asked) == len(set(asked)) and {max(top - 1, 0), min(top + 1, 5)} <= set(asked)


def test_the_setting_with_the_best_mean_of_whole_trainings_is_chosen():
    chapter, searched, asked = fresh(), {}, []

    def tagging(name, kind, rate, dropout, plan, search, seed):
        asked.append((seed, plan, search))
        return 90 - 1000 * abs(rate - 0.01) - 10 * abs(dropout - 0.1) + seed % 2

    tagging.__qualname__ = "tagging"  # as if it stood in the chapter
    chapter |= {"tagging": tagging, "searched": searched}
    assert chapter["tuned"]("Resume", "words") == (0.01, 0.1)
    assert set(asked) == {(1000, (1, 8), True), (1001, (1, 8), True)}
    assert len(searched["words"]) == len(asked) / 2 and "0.01 / 0.1" in searched["words"]


def test_held_gates_change_nothing_in_a_network_whose_gates_are_constant():
    chapter = fresh()
    task = chapter["numbered"](chapter["few"], chapter["lexicon"])
    model, _ = chapter["train"](task, 0.02, 0.0, 6, 0, size=4)
    for layer in model.lattice:
        for weight in (layer.link.weight, layer.end.weight):
            nn.init.zeros_(weight)
    plain = chapter["scores"](task.test, chapter["find"](model, task.test))[2]
    assert chapter["held"](model, task.test, "gate") == plain
    assert all("gate" not in vars(layer) for layer in model.lattice)  # back to the method


def test_held_cells_have_the_mean_of_all_words():
    """Of each direction, over the whole part: what the gates saw before, and what is in the cells afterwards."""
    chapter = fresh()
    task = chapter["numbered"](chapter["few"], chapter["lexicon"])
    torch.manual_seed(0)
    model = chapter["Tagger"](task)
    seen = {layer: [] for layer in model.lattice}

    class Watched(chapter["LatticeLSTM"]):
        def gate(self, at_end, cells):
            seen[self].append(cells)
            return super().gate(at_end, cells)

    for layer in model.lattice:
        layer.__class__ = Watched
    chapter["held"](model, task.test, "cell")
    for calls in seen.values():
        before, after = (torch.cat(part) for part in (calls[: len(calls) // 2], calls[len(calls) // 2 :]))
        assert len(before) == len(after) > 1 and before.std(0).min() > 0
        torch.testing.assert_close(after, before.mean(0).expand_as(after))


def test_how_words_lie_to_entities():
    relation, entities = CHAPTER["relation"], {(2, 4, "X")}
    places = {(2, 4): "whole", (2, 3): "part", (3, 4): "part", (1, 2): "across", (4, 6): "across", (5, 6): "outside"}
    assert {place: relation(*place, entities) for place in places} == places


def test_cutting_is_tagging_with_one_type():
    chapter = fresh()
    parts = {name: part[:12] for name, part in chapter["made_up_sentences"](True).items()}
    assert all(sum(e - b + 1 for b, e, _ in words) == len(text) for text, words in parts["train"])
    chapter["gold"] = parts
    assert chapter["cut_by"](chapter["longest_match"], parts["test"]) > 99
    assert 0 <= chapter["cutting"]("lattice", 1, 0) <= 100


# ---- the solutions of the exercises


def check_lengths(after, printed):
    assert "two characters: 100 words" in printed and "longer: 1 words" in printed


def check_cut(after, printed):
    assert len(printed.splitlines()) == 2 and "longest_match" in printed


def check_rules(after, printed):
    assert "entities" in printed
    for tags in after["allowed_tags"]:
        for a, b in zip(tags, tags[1:], strict=False):
            assert after["may_follow"](a, b)


def check_lexicon(after, printed):
    assert len(printed.splitlines()) == 3


def check_longer(after, printed):
    assert [line.split()[1] for line in printed.splitlines()] == ["1", "3"]


CHECKS = (check_lengths, check_cut, check_rules, check_lexicon, check_longer)


@pytest.mark.parametrize("number", range(5))
def test_the_solutions_of_the_exercises_run(number, capsys):
    after = fresh()
    exercises.execute("lattice_lstm_ner", number, after)
    CHECKS[number](after, capsys.readouterr().out)
