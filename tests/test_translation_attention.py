"""The definitions of the chapter on translation: networks, searches, model 1, the channel, scores, and bad input."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from utils.datasets import translation
from utils.tools import definitions, exercises

CHAPTER = definitions.of_chapter("translation_attention")
CHAPTER |= {"DEVICE": "cpu", "segmented": tuple}  # every character a word
PAD, START, END = CHAPTER["PAD"], CHAPTER["START"], CHAPTER["END"]
LOOKS = CHAPTER["LOOKS"]
SENTENCES = st.lists(st.lists(st.integers(4, 8), min_size=1, max_size=6), min_size=1, max_size=5)
PAIRS = [(("tea",), ("茶",)), (("drink", "tea"), ("喝", "茶")), (("drink", "water"), ("喝", "水"))]


def fresh():
    """The chapter's definitions with a small world."""
    chapter = definitions.of_chapter("translation_attention")
    chapter |= {"DEVICE": "cpu", "data": translation.generated()}
    chapter["settings"] = {"plain_epochs": 1, "pairs": 200, "tested": 20}
    return chapter


@pytest.fixture(scope="module")
def small():
    """A small world with a translator that has not learned."""
    chapter = fresh()
    parts = chapter["material"](200, 20)
    torch.manual_seed(0)
    model = chapter["network"]("additive", parts["words"], parts["characters"])
    return chapter, parts, model


def filled(sentences):
    return nn.utils.rnn.pad_sequence([torch.tensor(s) for s in sentences], batch_first=True)


def made(look, width=6):
    torch.manual_seed(1)
    if look == "additive":
        return CHAPTER["Translator"](9, 9, width).eval()
    return CHAPTER["Rival"](9, 9, look, width).eval()


@given(SENTENCES)
@settings(max_examples=30, deadline=None)
def test_a_sentence_is_translated_alike_whatever_stands_beside_it(sentences):
    text = torch.tensor([[START, 5, 6]])
    for look in LOOKS:
        model = made(look)
        with torch.no_grad():
            together = model(filled(sentences), text.repeat(len(sentences), 1))
            for row, sentence in enumerate(sentences):
                alone = model(torch.tensor([sentence]), text)
                assert torch.allclose(alone[0][0], together[0][row], atol=1e-5)
                weights = together[1][row]
                assert torch.allclose(weights.sum(1), torch.ones(3), atol=1e-5)
                assert not weights[:, len(sentence) :].any()


def test_the_context_is_the_mean_for_equal_weights_and_the_last_state_for_one_vector():
    sentences = filled([[4, 5, 6], [7, 8]])
    for look in ("uniform", "forwards", "reversed"):
        model = made(look)
        notes, keys, mask, state = model.encode(sentences)
        _, feature, weights = model.step(state, torch.tensor([START, START]), notes, keys, mask)
        wanted = notes[0].mean(0) if look == "uniform" else notes[0, 2]
        assert torch.allclose(feature[0, 6:12], wanted, atol=1e-6)
        shown = torch.tensor([0.5, 0.5, 0]) if look == "uniform" else torch.tensor([0.0, 1, 0])
        assert torch.allclose(weights[1], shown)


def test_the_reader_without_attention_sees_the_first_word_last_when_reversed():
    forwards, backwards = made("forwards"), made("reversed")
    assert torch.equal(forwards.encode(torch.tensor([[6, 5, 4]]))[0], backwards.encode(torch.tensor([[4, 5, 6]]))[0])
    one, two = backwards.encode(filled([[4, 5, 6], [7, 8]]))[3], backwards.encode(torch.tensor([[7, 8]]))[3]
    assert torch.allclose(one[1], two[0], atol=1e-6)


def test_a_network_that_reads_both_ways_knows_what_follows():
    model = made("additive")
    notes = [model.encode(torch.tensor([[4, 5, last]]))[0][0, 0] for last in (6, 7)]
    assert torch.allclose(notes[0][:3], notes[1][:3]) and not torch.allclose(notes[0][3:], notes[1][3:])


def test_the_state_of_the_writer_asks():
    """The weights change with the state, for additive attention and dot products."""
    for look in ("additive", "dot"):
        model = made(look)
        notes, keys, mask, state = model.encode(torch.tensor([[4, 5, 6]]))
        step = [model.step(s, torch.tensor([START]), notes, keys, mask)[2] for s in (state, -state)]
        assert not torch.allclose(*step)


def test_the_loss_leaves_out_what_fills_and_counts_the_end():
    model = made("additive")
    words = torch.tensor([[4, 5]])
    short, long = torch.tensor([[START, 6, END]]), torch.tensor([[START, 6, END, PAD, PAD]])
    assert CHAPTER["loss_of"](model, words, short).item() == pytest.approx(
        CHAPTER["loss_of"](model, words, long).item(), rel=1e-5
    )
    logits = model(words, short[:, :-1])[0].log_softmax(2)
    by_hand = -(logits[0, 0, 6] + logits[0, 1, END])
    assert CHAPTER["loss_of"](model, words, short).item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_batches_hold_every_pair_once_and_cut_only_what_fills(small):
    chapter, parts, _ = small
    seen = Counter()
    for words, characters in chapter["batches"](parts["learn"], 16):
        assert (words != PAD).any(0).all() and (characters != PAD).any(0).all()
        for row, text in zip(words.tolist(), characters.tolist(), strict=True):
            seen[tuple(n for n in row if n), tuple(n for n in text if n)] += 1
    wanted = Counter(
        (tuple(n for n in a if n), tuple(n for n in b if n))
        for a, b in zip(*(t.tolist() for t in parts["learn"]), strict=True)
    )
    assert seen == wanted


def test_training_lowers_the_loss_and_gives_one_value_per_epoch(small):
    chapter, parts, _ = small
    torch.manual_seed(0)
    model = chapter["network"]("additive", parts["words"], parts["characters"])
    before = chapter["mean_loss"](model, parts["validate"])
    history = chapter["train"](model, parts["learn"], parts["validate"], 3, 1e-2, size=16)
    assert len(history) == 3 and history[-1] < history[0] < before


def test_greedy_search_takes_the_likeliest_and_ends(small):
    chapter, parts, model = small
    words = parts["learn"][0][:5]
    rows = chapter["greedy"](model, words)
    with torch.no_grad():
        for row, source in zip(rows, words, strict=True):
            text = torch.tensor([[START, *row]])
            best = model.eval()(source[None], text)[0][0].argmax(1).tolist()
            ended = len(row) < chapter["LONGEST"]
            assert best[: len(row)] == row and (not ended or best[len(row)] == END)


def test_a_beam_finds_what_a_search_through_all_texts_finds():
    torch.manual_seed(3)
    model = CHAPTER["Translator"](9, 6, 6).eval()
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(2)
        model.out[1].bias[END] += 2
    words = torch.tensor([[4, 5]])

    def score(text):
        logits = model(words, torch.tensor([[START, *text]]))[0][0].log_softmax(1)
        return sum(logits[k, n].item() for k, n in enumerate([*text, END]))

    others = [n for n in range(6) if n != END]
    with torch.no_grad():
        best = max((text for n in range(4) for text in itertools.product(others, repeat=n)), key=score)
        found = CHAPTER["beam"](model, words, width=200)[0]
    assert all(END not in text[:-1] for _, text in found)  # nothing is written after the end
    top = max(found)
    assert tuple(top[1][:-1]) == best and top[0] == pytest.approx(score(best), abs=1e-4)
    for total, text in found[:5]:
        if text[-1] == END:
            assert total == pytest.approx(score(text[:-1]), abs=1e-3)


def test_the_power_of_the_length_decides_between_short_and_long():
    found = [[(-2.0, [5, END]), (-3.0, [5, 6, 7, 8, END])]]
    assert CHAPTER["best_of"](found, 0.0) == [[5, END]]
    assert CHAPTER["best_of"](found, 1.0) == [[5, 6, 7, 8, END]]


def test_em_by_hand_one_round():
    table, history = CHAPTER["model_one"](PAIRS[:2], rounds=1)
    # tea: a half in the first pair, a third in the second for each word
    assert table["tea"]["茶"] == pytest.approx((1 / 2 + 1 / 3) / (1 / 2 + 1 / 3 + 1 / 3))
    assert table["drink"] == pytest.approx({"喝": 0.5, "茶": 0.5})
    assert history == pytest.approx([-math.log(5)])


@given(st.lists(st.tuples(st.text("abc", min_size=1, max_size=4), st.text("xyz", min_size=1, max_size=4)), min_size=1))
@settings(max_examples=40, deadline=None)
def test_rows_of_model_one_sum_to_one_and_its_likelihood_never_falls(pairs):
    table, history = CHAPTER["model_one"]([(tuple(e), tuple(f)) for e, f in pairs])
    assert all(sum(row.values()) == pytest.approx(1) for row in table.values())
    assert (np.diff(history) >= -1e-12).all() and len(history) == 8
    assert set(table) == {"", *(word for e, _ in pairs for word in e)}


def test_model_one_against_a_plain_loop():
    table, _ = CHAPTER["model_one"](PAIRS, rounds=3)
    t = {(e, f): 1.0 for es, fs in PAIRS for e in ("", *es) for f in fs}
    for _ in range(3):
        counts = Counter()
        for es, fs in PAIRS:
            for f in fs:
                total = sum(t[e, f] for e in ("", *es))
                for e in ("", *es):
                    counts[e, f] += t[e, f] / total
        sums = Counter()
        for (e, _), count in counts.items():
            sums[e] += count
        t = {(e, f): count / sums[e] for (e, f), count in counts.items()}
    for (e, f), chance in t.items():
        assert table[e][f] == pytest.approx(chance)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_language_model_sums_to_one_after_any_words(order):
    sentences = [tuple("abca"), tuple("abd"), tuple("b")]
    model = CHAPTER["KneserNey"](sentences, order)
    words = [*model.counts[0][()], "?"]
    for before in (("<s>", "<s>"), ("a", "b"), ("x", "y"), ("b", "a")):
        assert sum(model(word, before) for word in words) == pytest.approx(1)


def test_kneser_ney_counts_in_how_many_places_a_word_stands():
    """San Francisco: a word that follows one word only is unlikely elsewhere, however frequent it is."""
    sentences = [("san", "francisco")] * 5 + [("the", "dog"), ("a", "dog"), ("my", "dog")]
    model = CHAPTER["KneserNey"](sentences, order=2)
    assert model("dog", ("new",)) > model("francisco", ("new",))
    assert model("francisco", ("san",)) > 0.8


def channel_of(pairs, **more):
    pairs = [translation.Pair(e, tuple("".join(f)), "x") for e, f in pairs]
    return CHAPTER["Channel"](pairs, **more)


def test_the_channel_translates_what_it_has_seen_and_skips_what_it_has_not():
    channel = channel_of(PAIRS * 5)
    assert channel.translate(("drink", "water")) == "喝水"
    assert channel.translate(("drink", "unheard", "tea")) == "喝茶"
    assert channel.word_by_word(("tea", "drink")) == "茶喝"
    assert channel.translate(("unheard",)) == ""


def test_the_channel_scores_english_given_chinese():
    """Each option holds log p(English | Chinese), not the other direction."""
    channel = channel_of([*PAIRS * 5, (("brew",), ("茶",))])
    options = dict(channel.options("tea"))
    assert options["茶"] == pytest.approx(math.log(channel.back["茶"]["tea"]))
    assert options[""] == pytest.approx(math.log(channel.back[""]["tea"]))
    assert channel.back["茶"]["tea"] != pytest.approx(channel.direct["tea"]["茶"], rel=0.05)


def test_without_the_right_to_drop_every_known_word_is_translated():
    channel = channel_of([*PAIRS * 5, (("the", "tea"), ("茶",)), (("the", "water"), ("水",))])
    assert channel.translate(("drink", "the", "tea")) == "喝茶"
    assert len(channel.translate(("drink", "the", "tea"), dropping=False)) == 3
    assert dict(channel.options("the")).keys() >= {""}  # the options are whole afterwards


def test_the_weight_of_the_language_model_decides_between_words():
    """Two words explain the English one; what the language model likes wins only if it counts."""
    pairs = [(("tea",), ("茶",))] * 9 + [(("tea",), ("喝",)), (("drink",), ("喝",))] + [(("brew",), ("茶",))] * 9
    channel = channel_of(pairs)
    plain = max(channel.options("tea"), key=lambda option: option[1])[0]
    assert plain == "喝" or channel.translate(("tea",), 0.0) == plain
    assert channel.translate(("tea",), 0.0) != channel.translate(("tea",), 5.0) == "茶"


def test_the_search_of_the_channel_is_a_search():
    """With a wide beam it finds the best of all texts that it can build."""
    channel = channel_of(PAIRS * 3, width=1000)
    source = ("drink", "tea", "water")

    def score(chosen):
        total, text = 0.0, ("<s>", "<s>")
        for e, log_p in chosen:
            total += log_p
            if e:
                total += math.log(channel.language(e, text))
                text += (e,)
        return total + math.log(channel.language("</s>", text)), "".join(text[2:])

    best = max(map(score, itertools.product(*map(channel.options, source))))
    assert channel.translate(source) == best[1]


def test_bleu_with_several_references_and_by_hand():
    bleu = CHAPTER["bleu"]
    assert bleu(["汤姆喜欢狗"], [["汤姆喜欢猫"]]) == pytest.approx(66.87, abs=0.01)
    assert bleu(["汤姆喜欢狗", "我是学生"], [["我们走吧", "汤姆喜欢狗"], ["我是学生"]]) == pytest.approx(100)
    assert bleu(["完全不同的话"], [["汤姆喜欢猫吗"]]) < 5


def test_sentences_with_one_source_are_translated_once_with_all_references():
    pairs = [translation.Pair(("hi",), tuple(c), "x") for c in ("嗨", "你好")] + [
        translation.Pair(("tea",), ("茶",), "x")
    ]
    sources, references = CHAPTER["by_source"](pairs, 9)
    assert sources == [("hi",), ("tea",)] and references == [["嗨", "你好"], ["茶"]]
    assert len(CHAPTER["by_source"](pairs, 1)[0]) == 1


def test_unknown_words_share_a_number_and_empty_sentences_are_refused():
    table = CHAPTER["table_of"]([("a", "b", "a"), ("b", "c")])
    assert table == {"a": 4, "b": 5}
    rows = CHAPTER["numbered"]([("a", "zzz"), ("b",)], table, ends=True)
    assert rows.tolist() == [[START, 4, CHAPTER["UNKNOWN"], END], [START, 5, END, PAD]]
    assert CHAPTER["spelled"]([[4, CHAPTER["UNKNOWN"], END, PAD]], table) == ["a□"]
    with pytest.raises(ValueError, match="empty sentence"):
        CHAPTER["numbered"]([("a",), ()], table)


def test_the_nearest_sentence_is_the_one_with_the_same_words(small):
    chapter, parts, _ = small
    pair = parts["pairs"][7]
    assert chapter["nearest"](200, [pair.english]) == ["".join(pair.chinese)]


def test_links_are_those_of_model_one():
    pair = translation.Pair(("drink", "tea"), ("喝", "茶"), "x")
    direct = {"drink": {"喝": 0.9, "茶": 0.1}, "tea": {"茶": 0.8}, "": {"喝": 0.1}}
    links_of = CHAPTER["links_of"]
    assert links_of(pair, direct) == [0, 1]
    direct[""]["喝"] = 0.95
    assert links_of(pair, direct) == [-1, 1] and links_of(pair, {}) == [-1, -1]


def test_agreement_is_whole_for_attention_that_looks_where_model_one_does():
    class Diagonal(nn.Module):
        def forward(self, words, text):
            looks = torch.zeros(len(words), text.shape[1], words.shape[1])
            for k in range(min(text.shape[1], words.shape[1])):
                looks[:, k, k] = 1
            return None, looks

    pairs = [translation.Pair(("drink", "tea"), ("喝", "茶"), "x"), translation.Pair(("tea",), ("茶",), "x")]
    direct = {"drink": {"喝": 1.0}, "tea": {"茶": 1.0}}
    parts = {"words": {"drink": 4, "tea": 5}, "characters": {"喝": 4, "茶": 5}}
    found = CHAPTER["agreement"](Diagonal(), pairs, parts, direct)
    assert found == pytest.approx({"attention": 100, "diagonal": 100, "random": 100 * 2 / 3})
    crossed = [translation.Pair(("tea", "drink"), ("喝", "茶"), "x")]
    found = CHAPTER["agreement"](Diagonal(), crossed, parts, direct)
    assert found == pytest.approx({"attention": 0, "diagonal": 0, "random": 50})


def test_bleu_by_length_sorts_sentences_by_their_source():
    sources = [("a",) * 3, ("a",) * 7, ("a",) * 12]
    texts = ["我是学生啊", "我是学生", "今天天气好"]
    wanted = [["我是学生啊"], ["完全不同"], ["今天天气好"]]
    short, middle, long = CHAPTER["by_length"](texts, sources, wanted)
    assert short == pytest.approx(100) and long == pytest.approx(100) and middle < 10


def test_shuffled_keeps_the_words_and_gives_each_sentence_its_own_order():
    shuffled = CHAPTER["shuffled"]
    source = tuple("abcdefgh")
    mixed = shuffled(source, 0)
    assert sorted(mixed) == sorted(source) and tuple(mixed) != source
    assert mixed == shuffled(source, 0) != shuffled(source, 1)
    orders = {tuple(shuffled((a, "x", "y"), 0).index(w) for w in (a, "x", "y")) for a in "abcdefgh"}
    assert len(orders) > 2


TEXTS = st.text("我你他猫狗", min_size=4, max_size=9)


@given(st.lists(st.tuples(TEXTS, st.lists(TEXTS, min_size=1, max_size=3)), min_size=4, max_size=8))
@settings(max_examples=30, deadline=None)
def test_bleu_from_counts_is_that_of_sacrebleu(pairs):
    written, wanted = [["我你他猫狗", *(t for t, _ in pairs)], [["我你他猫狗"], *(r for _, r in pairs)]]
    found = CHAPTER["scored"](CHAPTER["counted"](written, wanted).sum(0))
    assert found["BLEU"] == pytest.approx(CHAPTER["bleu"](written, wanted), abs=1e-6)
    assert found["without penalty"] >= found["BLEU"] - 1e-9


def test_what_bleu_counts_by_hand():
    rows = CHAPTER["counted"](["汤姆喜欢狗", "我们"], [["汤姆喜欢猫"], ["我们走吧", "我们走"]])
    assert rows.tolist() == [[5, 5, 4, 5, 3, 4, 2, 3, 1, 2], [2, 3, 2, 2, 1, 1, 0, 0, 0, 0]]
    found = CHAPTER["scored"](rows.sum(0))
    assert found["length"] == pytest.approx(7 / 8) and found["right"] == pytest.approx(100 * 6 / 7)
    assert found["BLEU"] == pytest.approx(found["without penalty"] * math.exp(1 - 8 / 7))


def test_other_samples_hold_the_difference_and_are_wider_for_fewer_sentences():
    wanted = [["汤姆喜欢猫"], ["我们走吧朋友"], ["今天天气很好"], ["你是学生吗"]] * 40
    good = [texts[0] for texts in wanted]
    bad = [text if n % 3 else text[:-2] + "不是" for n, text in enumerate(good)]
    other_samples, bleu = CHAPTER["other_samples"], CHAPTER["bleu"]
    low, high = other_samples(good, bad, wanted)
    assert 0 < low < bleu(good, wanted) - bleu(bad, wanted) < high
    few = other_samples(good[:20], bad[:20], wanted[:20])
    assert few[1] - few[0] > 1.5 * (high - low)
    assert other_samples(good, good, wanted).tolist() == [0, 0]


def test_a_run_gives_what_is_recorded():
    chapter = fresh()
    torch.manual_seed(0)
    sources, wanted = chapter["material"](200, 20)["test"]
    found = chapter["network_run"]("additive", 5e-3, 200, 20, 1, 0)
    assert {"bleu", "lengths", "losses", "agreement", "another", "mixed", "beam", "tried"} <= set(found)
    assert len(found["lengths"]) == 3 and tuple(found["tried"]) == chapter["POWERS"]
    assert found["bleu"] == chapter["bleu"](found["greedy"], wanted) and len(found["beam"]) == len(sources)
    plain = chapter["network_run"]("reversed", 5e-3, 200, 20, 1, 0)
    assert set(plain) == {"bleu", "lengths", "losses"}
    texts, weight = chapter["statistical"](200, 20)
    ways = {"nearest", "word by word", "channel", "no language model", "no dropping"}
    assert set(texts) == ways and weight in (0.5, 1.0, 1.5)
    assert chapter["bleu"](texts["channel"], wanted) > 20
    assert sum(map(len, texts["no dropping"])) > sum(map(len, texts["channel"]))


def test_the_power_of_the_length_is_that_of_the_best_validation_bleu(small):
    """The search writes the test sentences with the power that is best on other sentences."""
    chapter, parts, model = small
    written, tried = chapter["search"](model, parts)
    best = max(tried, key=tried.get)
    ends = chapter["beam"](model, chapter["numbered"](parts["test"][0], parts["words"]))
    wanted = chapter["spelled"](chapter["best_of"](ends, best), parts["characters"])
    assert written == wanted
    asked = chapter["numbered"](parts["choose"][0], parts["words"])
    texts = chapter["spelled"](chapter["best_of"](chapter["beam"](model, asked), 2.0), parts["characters"])
    assert tried[2.0] == chapter["bleu"](texts, parts["choose"][1])


def test_the_rate_of_each_network_is_that_of_its_lowest_validation_loss(monkeypatch):
    chapter, seen = fresh(), []

    def trial(function, at, look, rate, *more):
        seen.append((function.__name__, tuple(at), rate))
        return [abs(rate - 0.2)]

    monkeypatch.setattr(chapter["seeds"], "each", trial)
    assert chapter["best_rate"]("dot", (0.1, 0.2, 0.4), 10, 1) == 0.2
    assert [rate for *_, rate in seen] == [0.1, 0.2, 0.4] and {at for _, at, _ in seen} == {(1000,)}


@pytest.mark.parametrize("number", range(4))
def test_the_exercises_run(number, small):
    chapter, parts, model = small
    sources, references = parts["test"]
    after = chapter | {"plain": parts, "model": model, "sources": sources, "references": references}
    after |= {"words": parts["words"], "characters": parts["characters"], "channel": chapter["channel_of"](200)}
    fewer = {"range(1800)": "range(360)", "last, 20, ": "last, 1, "} if number == 3 else {}
    exercises.execute("translation_attention", number, after, fewer)
