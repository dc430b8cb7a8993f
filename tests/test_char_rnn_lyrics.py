"""The definitions of the chapter on the lyric machine against references, properties and bad input."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from utils.tools import definitions, exercises

CHAPTER = definitions.of_chapter("char_rnn_lyrics")
CHAPTER["DEVICE"] = "cpu"
TEXT = st.lists(st.integers(0, 3), min_size=12, max_size=60)
SIGN = CHAPTER["SIGN"]


def model_of(symbols=12, **shape):
    torch.manual_seed(0)
    return CHAPTER["CharModel"](symbols, **{"width": 8, "table": 4, **shape})


# ---- texts and alphabets


def test_a_file_comes_back_with_plain_line_ends(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\n")
    assert CHAPTER["read_text"](path) == "one\ntwo\nthree\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b" \n", "is empty"), (b"ab\xff", "byte 2 is 0xff"), (b"\xe6\x98", "not UTF-8")],
)
def test_an_empty_file_and_invalid_utf8_are_refused_by_name(tmp_path, content, message):
    path = tmp_path / "song.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        CHAPTER["read_text"](path)
    assert "song.txt" in str(error.value)


@pytest.mark.parametrize("text", ["", "a", "aaaa"])
def test_a_text_of_one_character_is_refused(text):
    with pytest.raises(ValueError, match="two different"):
        CHAPTER["Alphabet"](text)


@given(st.text(min_size=2, max_size=40).filter(lambda t: len(set(t)) > 1))
@settings(max_examples=40, deadline=None)
def test_encoding_and_decoding_are_inverse(text):
    alphabet = CHAPTER["Alphabet"](text)
    assert alphabet.decode(alphabet.encode(text)) == text


def test_unknown_characters_are_named_or_written_as_unknown():
    with pytest.raises(ValueError, match="not in the alphabet: 'x' 'ü'"):
        CHAPTER["Alphabet"]("abc").encode("aüxb")
    rare = CHAPTER["Alphabet"]("aabbc", least=2, unknown="□")
    assert rare.decode(rare.encode("abcz")) == "ab□□"


def test_unknown_character_in_a_prompt_and_an_empty_prompt_are_refused():
    alphabet = CHAPTER["Alphabet"]("abcdefghijkl")
    for prompt, message in (("aZ", "'Z'"), ("", "prompt")):
        with pytest.raises(ValueError, match=message):
            CHAPTER["write"](model_of(), alphabet, prompt, 3)


def test_song_books_come_without_the_notes_around_them(tmp_path, monkeypatch):
    book = tmp_path / "book.txt"
    content = "HEAD\n*** START OF THIS BOOK\n\nA song\n      of two\n   12\n\n*** END OF THIS\nTAIL"
    book.write_text(content, encoding="utf-8")
    monkeypatch.setitem(CHAPTER, "datasets", SimpleNamespace(path=lambda _: book))
    assert CHAPTER["song_books"]() == ["A song\n  of two"] * 2


# ---- the network


@given(st.integers(1, 5), st.integers(1, 30), st.integers(1, 12))
@settings(max_examples=15, deadline=None)
def test_the_explicit_cells_are_those_of_the_fused_call(rows, steps, width):
    model = model_of(width=width)
    ids = torch.randint(12, (steps, rows))
    states, cells = CHAPTER["cells_of"](model, ids)
    logits, (h, c) = model(ids)
    torch.testing.assert_close(model.output(states), logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(cells[-1], c[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(states[-1], h[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("layers", [1, 2])
def test_widths_are_chosen_for_equal_parameters(kind, layers):
    width = CHAPTER["width_for"](kind, layers, 50_000, 65)
    found = CHAPTER["size"](CHAPTER["CharModel"](65, kind, width, layers, table=32))
    assert abs(found / 50_000 - 1) < 0.01


def test_one_hot_input_is_a_fixed_unit_matrix():
    model = model_of(table=0)
    assert torch.equal(model.table(torch.arange(12)), torch.eye(12))
    assert CHAPTER["size"](model) == CHAPTER["size"](model.reader) + CHAPTER["size"](model.output)


def test_the_network_of_2015_has_its_number_of_parameters():
    assert CHAPTER["size"](CHAPTER["CharModel"](65, width=128, layers=2, table=0)) == 240_321


@given(st.integers(2, 80), st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_streams_hold_each_character_and_the_next(length, rows):
    ids = torch.arange(length)
    if length - 1 < rows:
        with pytest.raises(ValueError, match="too few"):
            CHAPTER["streams"](ids, rows)
        return
    inputs, targets = CHAPTER["streams"](ids, rows)
    assert torch.equal(inputs + 1, targets)
    assert torch.equal(inputs.T.flatten(), ids[: inputs.numel()])


def test_training_carries_the_state_and_forgets_it_when_told():
    """A text whose next symbol needs two symbols of memory: with memory solved, without it not."""
    ids = torch.tensor([0, 0, 1, 1] * 600)
    with_memory, without = model_of(2, width=16), model_of(2, width=16)
    assert CHAPTER["train"](with_memory, ids, 40_000, rows=4, length=16)[-10:].mean() < 0.1
    assert CHAPTER["train"](without, ids, 40_000, rows=4, length=16, forget=True)[-10:].mean() > 0.6


@pytest.mark.parametrize("forget", [False, True])
def test_each_step_begins_in_the_state_that_the_last_one_left(forget):
    model, given, left = model_of(), [], []
    forward = model.forward

    def noting(ids, state=None):
        logits, after = forward(ids, state)
        given.append(state)
        left.append(after)
        return logits, after

    model.forward = noting
    step = CHAPTER["Step"](model, 3, forget=forget)
    for _ in range(3):
        step(*(torch.randint(12, (5, 2)) for _ in range(2)))
    if forget:
        assert given == [None] * 3
        return
    assert given[0] is None
    for begun, ended in zip(given[1:], left[:-1], strict=True):
        assert all(torch.equal(a, b) and not a.requires_grad for a, b in zip(begun, ended, strict=True))


def test_nothing_is_dropped_where_losses_are_measured():
    model, ids = model_of(layers=2, dropout=0.5).train(), torch.randint(12, (41,))
    np.testing.assert_array_equal(CHAPTER["each_nats"](model, ids, rows=2), CHAPTER["each_nats"](model, ids, rows=2))


def test_the_network_reads_no_held_out_text():
    chapter = definitions.of_chapter("char_rnn_lyrics")
    read = []
    chapter.update(
        DEVICE="cpu",
        letters=chapter["Alphabet"](PLAY),
        ids=torch.zeros(90, dtype=torch.long),
        learning=torch.zeros(80, dtype=torch.long),
        held_out=torch.zeros(10, dtype=torch.long),
        train=lambda model, ids, *rest, **how: read.append(len(ids)),
        each_nats=lambda model, ids: len(ids),
    )
    _, _, tested = chapter["learn_plays"]({"network": {"width": 8}, "read": 300, "rate": 1e-2}, 0)
    assert read == [80] and tested == 10


@pytest.mark.parametrize("forget", [False, True])
def test_losses_stand_in_the_order_of_the_text(forget):
    model, ids = model_of(), torch.randint(12, (41,))
    found = CHAPTER["each_nats"](model, ids, rows=1, forget=forget)
    state, logits = None, []
    for n in ids[:-1]:
        out, state = model(n.view(1, 1), None if forget else state)
        logits.append(out[0, 0])
    wanted = nn.functional.cross_entropy(torch.stack(logits), ids[1:], reduction="none")
    np.testing.assert_allclose(found, wanted.detach().numpy(), atol=1e-5)


# ---- counting


def plain_kneser_ney(ids, order, symbols, context, w):
    """Eq. (3) with dictionaries, one probability."""

    def table(k):
        found = Counter(tuple(ids[i : i + k]) for i in range(len(ids) - k + 1))
        if k == order:
            return found
        longer = {tuple(ids[i : i + order]) for i in range(len(ids) - order + 1)}
        for _ in range(order - k):  # distinct grams, the oldest symbol dropped
            kept = Counter(gram[1:] for gram in longer)
            longer = set(kept)
        return kept

    p = 1 / symbols
    for k in range(1, order + 1):
        counts = table(k)
        d = CHAPTER["discounts"](np.array(list(counts.values())))
        u = tuple(context[len(context) - k + 1 :])
        total = sum(counts[(*u, v)] for v in range(symbols))
        if total:
            mass = sum(d[min(counts[(*u, v)], 3)] for v in range(symbols))
            own = counts[(*u, w)]
            p = (own - d[min(own, 3)] + mass * p) / total
    return p


@given(TEXT, st.integers(1, 4), TEXT)
@settings(max_examples=30, deadline=None)
def test_the_table_is_kneser_ney_written_with_dictionaries(ids, order, other):
    found = CHAPTER["NGram"](np.array(ids), order, 5).probabilities(np.array(other))
    wanted = [plain_kneser_ney(ids, order, 5, other[t - order + 1 : t], other[t]) for t in range(order - 1, len(other))]
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


@given(TEXT, st.integers(1, 4), st.lists(st.integers(0, 4), min_size=3, max_size=3))
@settings(max_examples=30, deadline=None)
def test_probabilities_after_any_context_sum_to_one(ids, order, context):
    table = CHAPTER["NGram"](np.array(ids), order, 5)
    before = context[: order - 1]
    total = sum(table.probabilities(np.array([*before, w]))[-1] for w in range(5))
    assert abs(total - 1) < 1e-9


def test_an_order_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="64 bits"):
        CHAPTER["grams"](np.zeros(20, np.int64), 11, 65)


def test_bytes_in_nats_become_characters_in_bits():
    assert CHAPTER["bits_per_character"](math.log(2), 300, 100) == pytest.approx(3)
    assert CHAPTER["bits_per_character"](1.7672, **CHAPTER["LYRICS"]) == pytest.approx(6.75, abs=0.005)


# ---- writing


def test_temperature_zero_is_the_likeliest_and_small_temperatures_come_near():
    logits = torch.randn(50, 9)
    assert torch.equal(CHAPTER["draw"](logits, 0), logits.argmax(1))
    assert torch.equal(CHAPTER["draw"](logits, 1e-6), logits.argmax(1))
    assert torch.equal(CHAPTER["draw"](logits, nucleus=1e-9), logits.argmax(1))


@pytest.mark.parametrize("style", [{"temperature": -0.1}, {"temperature": math.nan}, {"nucleus": 0}, {"nucleus": 1.5}])
def test_impossible_styles_are_refused(style):
    with pytest.raises(ValueError, match="temperature"):
        CHAPTER["draw"](torch.zeros(1, 3), **style)


def test_draws_have_the_probabilities_of_eq_5():
    p = torch.tensor([0.5, 0.3, 0.15, 0.05])
    generator = torch.Generator().manual_seed(0)
    many = p.log().expand(20_000, -1)
    for style, wanted in (
        ({}, p),
        ({"temperature": 0.5}, p**2 / (p**2).sum()),
        ({"nucleus": 0.8}, torch.tensor([0.625, 0.375, 0, 0])),
        ({"nucleus": 0.81}, torch.tensor([0.5, 0.3, 0.15, 0]) / 0.95),
    ):
        if "nucleus" in style and style["nucleus"] == 0.8:
            style = {"nucleus": 0.7999}
        found = torch.bincount(CHAPTER["draw"](many, generator=generator, **style), minlength=4) / 20_000
        torch.testing.assert_close(found, wanted.float(), rtol=0, atol=0.015)


def test_writing_repeats_with_its_seed_and_temperature_zero_without_one():
    alphabet, model = CHAPTER["Alphabet"]("abcdefghijkl"), model_of()
    one, same, other = (CHAPTER["write"](model, alphabet, "ab", 40, seed=s) for s in (1, 1, 2))
    assert one == same != other
    cold = [CHAPTER["write"](model, alphabet, "ab", 20, seed=s, temperature=0) for s in (1, 2)]
    assert cold[0] == cold[1]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.integers(0, 9))
@settings(max_examples=15, deadline=None)
def test_every_poem_fits_its_pattern_even_from_an_untrained_network(lines, seed):
    alphabet = CHAPTER["Alphabet"]("春江花月夜。，、《》\n□")
    pattern = "".join(SIGN * n + "。" for n in lines)
    for poem in CHAPTER["write"](model_of(len(alphabet)), alphabet, "\n", 0, rows=3, seed=seed, pattern=pattern):
        assert CHAPTER["fits"](poem, pattern)


@pytest.mark.parametrize("alphabet", [{}, {"unknown": "□"}])
def test_nothing_to_write_and_marks_that_the_alphabet_lacks_are_refused(alphabet):
    signs = CHAPTER["Alphabet"]("春江花月夜。《》\n□", **alphabet)
    model = model_of(len(signs))
    for length in (0, -1):
        with pytest.raises(ValueError, match=f"length is {length}"):
            CHAPTER["write"](model, signs, "\n", length)
    with pytest.raises(ValueError, match="length is 0"):
        CHAPTER["write"](model, signs, "\n", 0, pattern="")
    with pytest.raises(ValueError, match="not in the alphabet: '！'"):
        CHAPTER["write"](model, signs, "\n", 0, pattern=f"{SIGN}！{SIGN}。")
    assert len(CHAPTER["write"](model, signs, "\n", 0, pattern=f"{SIGN}。")[0]) == 2


def test_the_pattern_of_a_tune_is_its_commonest():
    poems = [("a", "春江。花。"), ("a", "月夜。春。"), ("a", "春。"), ("b", "花，")]
    assert CHAPTER["pattern_of"](poems, "a") == f"{SIGN}{SIGN}。{SIGN}。"
    with pytest.raises(ValueError, match="no poem"):
        CHAPTER["pattern_of"](poems, "c")
    assert not CHAPTER["fits"]("春，", f"{SIGN}。") and not CHAPTER["fits"]("。。", f"{SIGN}。")


# ---- copies, cells


@given(st.text("ab", max_size=14), st.text("ab", max_size=30))
@settings(max_examples=80, deadline=None)
def test_the_longest_copy_is_that_of_brute_force(sample, source):
    stretches = (sample[i:j] for i, j in itertools.combinations(range(len(sample) + 1), 2))
    wanted = max((len(s) for s in stretches if s in source), default=0)
    found = CHAPTER["longest_copy"](sample, source)
    assert len(found) == wanted and found in source and found in sample


def test_distinct_pairs():
    assert CHAPTER["distinct"](["a", "b", "a", "b", "a"], 2) == 0.5
    assert CHAPTER["distinct"](["a"], 2) == 0


def test_properties_of_code():
    found = CHAPTER["code_properties"]("f(1,\n  'a(')  # b\n")
    assert found["place in the line"].tolist() == [0, 1, 2, 3, 4, *range(13)][: len("f(1,\n  'a(')  # b\n")]
    assert found["depth of brackets"].tolist() == [0] + [1] * 10 + [0] * 7
    assert found["in a string or comment"].tolist() == [0] * 7 + [1] * 4 + [0] * 3 + [1] * 3 + [0]


def test_correlations_are_numpys_and_a_planted_cell_is_found():
    rng = np.random.default_rng(0)
    values, wanted = rng.normal(size=(400, 5)), rng.normal(size=400)
    values[:, 3] -= 4 * wanted
    found = CHAPTER["correlations"](values, wanted)
    np.testing.assert_allclose(found, [np.corrcoef(v, wanted)[0, 1] for v in values.T])
    cell, r = CHAPTER["best_cells"](values, {"x": wanted})["x"]
    assert cell == 3 and r < -0.9
    values[200:, 3] = rng.normal(size=200)  # on the half that is not searched it knows nothing
    cell, r = CHAPTER["best_cells"](values, {"x": wanted})["x"]
    assert cell == 3 and abs(r) < 0.3


def test_coloured_text_is_escaped_and_asks_nothing_of_the_network():
    markup = CHAPTER["coloured"]("<a>\n", np.array([0.5, -1, 0, 1]), "x & y")
    assert "&lt;" in markup and "x &amp; y" in markup and "http" not in markup and "<script" not in markup


# ---- the solutions of the exercises

PLAY = "to be or not to be\nthat is the question\nwhether tis nobler\n" * 20
SONGS = [("如梦令", "天地人。山水人。风月人。"), ("如梦令", "日月星。天地星。山水星。")] * 8


def at_the_end():
    """What the chapter leaves behind: small texts, and networks of 16 units without training."""
    after = definitions.of_chapter("char_rnn_lyrics")
    after["DEVICE"] = "cpu"
    letters, unseen = after["Alphabet"](PLAY), "a = [1]\nb = 2\n" * 40
    signs, glyphs = after["Alphabet"](after["song_text"](SONGS)), after["Alphabet"](unseen)
    ids, border = letters.encode(PLAY), int(0.9 * len(PLAY))
    after.update(
        settings={"laptop": {"read": 300, "network": {"width": 16, "layers": 1}}},
        letters=letters,
        ids=ids,
        border=border,
        learning=ids[:border],
        verses=PLAY,
        sung=letters,
        singer=model_of(len(letters)),
        numbers=ids.numpy(),
        models=[model_of(len(letters))],
        best_order=3,
        poems=SONGS,
        songs=after["song_text"](SONGS),
        songs_held_out=after["song_text"](SONGS[:1]),
        signs=signs,
        poet=model_of(len(signs)),
        patterns={"如梦令": after["pattern_of"](SONGS, "如梦令")},
        style={"temperature": 0.8, "nucleus": 0.95},
        tunes=("如梦令",),
        in_bits={"signs": 8.0, "bytes": 9.0},
        unseen=unseen,
        glyphs=glyphs,
        programmer=model_of(len(glyphs)),
        cells_found={"trained": {"place in the line": (3, 0.5)}},
    )
    return after


def check_ballad(after, _):
    assert after["syllables"]("O say can you see\n\nbeautiful\nhm").tolist() == [5, 3]
    assert list(after["ballads"]) == [1.0, 0.7, 0.5, 0.3]
    assert all(len(verses) == 60 for verses in after["ballads"].values())


def check_held_cell(after, _):
    model, ids = after["programmer"], after["glyphs"].encode(after["unseen"])
    inputs, targets = after["streams"](ids, 32)
    with torch.no_grad():
        x = model.table(inputs) @ model.reader.weight_ih_l0.T + model.reader.bias_ih_l0 + model.reader.bias_hh_l0
        h, c, states = torch.zeros(32, 8), torch.zeros(32, 8), []
        for x_t in x:
            i, f, g, o = (x_t + h @ model.reader.weight_hh_l0.T).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            c[:, 3] = 0
            h = o.sigmoid() * c.tanh()
            states.append(h)
        logits = model.output(torch.stack(states)).transpose(1, 2)
        expected = nn.functional.cross_entropy(logits, targets, reduction="none").T.flatten()
    found = after["nats"]
    np.testing.assert_allclose(found["the line's cell"], expected, atol=1e-5)
    np.testing.assert_allclose(found["no cell"], after["each_nats"](model, ids), atol=1e-6)
    assert not np.allclose(found["the line's cell"], found["no cell"], atol=1e-5) and len(found) == 9
    assert after["breaks"].sum() == after["unseen"][1 : targets.numel() + 1].count("\n")


def check_rhyme(after, _):
    poem, told = after["made"]["如梦令"]
    assert after["fits"](poem, after["patterns"]["如梦令"]) and len(told) == 3
    assert after["companions"] == {"人": {"人"}, "星": {"星"}}
    ends = [line[-1] for line in poem.split("。")[:-1]]
    rhymes = [end in after["companions"].get(ends[0], ()) for end in ends]
    assert rhymes == told


def check_bytes(after, printed):
    table = after["byte_table"]
    assert list(table) == [1, 3, 5, 7] and 0 < table[7] < table[3] < table[1]
    counts = Counter(after["songs"].encode())
    total = sum(counts.values())
    nats = -np.mean([math.log(counts[b] / total) for b in after["songs_held_out"].encode()])
    sizes = len(after["songs_held_out"].encode()), len(after["songs_held_out"])
    assert table[1] == pytest.approx(after["bits_per_character"](nats, *sizes), rel=0.1)  # but for smoothing
    assert "network of bytes: 9.00" in printed


def check_weights(after, _):
    loss_of, tested = after["loss_of"], after["tested"]
    nats = after["each_nats"](after["models"][0], after["ids"][after["border"] :])
    assert loss_of(1, *tested) == pytest.approx(nats.mean())
    assert loss_of(after["ideal"], *tested) <= min(loss_of(w, *tested) for w in (0, 0.5, 1, after["chosen"]))
    assert loss_of(after["chosen"], *after["last_tenth"]) <= loss_of(0.5, *after["last_tenth"])
    assert all(0 < p <= 1 for part in (*tested, *after["last_tenth"]) for p in part)


CHECKS = (check_ballad, check_held_cell, check_rhyme, check_bytes, check_weights)


@pytest.mark.parametrize("number", range(5))
def test_the_solutions_of_the_exercises_run(number, capsys):
    after = at_the_end()
    exercises.execute("char_rnn_lyrics", number, after, {"1500": "60"})
    CHECKS[number](after, capsys.readouterr().out)
