"""The definitions of the chapter on the lyric machine against references, properties and bad input."""

from __future__ import annotations

import base64
import itertools
import json
import math
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import test_site
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import nn

from utils.tools import definitions, exercises

browser = test_site.browser  # a fixture: Chromium
CHAPTER = definitions.of_chapter("char_rnn_lyrics")
CHAPTER["DEVICE"] = "cpu"
TEXT = st.lists(st.integers(0, 3), min_size=12, max_size=60)
SIGN = CHAPTER["SIGN"]
PLAY = "to be or not to be\nthat is the question\nwhether tis nobler\n" * 20


def model_of(symbols=12, **shape):
    torch.manual_seed(0)
    return CHAPTER["CharModel"](symbols, **{"width": 8, **shape}).eval()


# ---- texts and alphabets


@pytest.mark.parametrize("text", ["", "a", "aaaa"])
def test_a_text_of_one_character_is_refused(text):
    with pytest.raises(ValueError, match="two different"):
        CHAPTER["Alphabet"](text)


@given(st.text(min_size=2, max_size=40).filter(lambda t: len(set(t)) > 1))
@settings(max_examples=40, deadline=None)
def test_encoding_and_decoding_are_inverse(text):
    alphabet = CHAPTER["Alphabet"](text)
    assert alphabet.decode(alphabet.encode(text)) == text


def test_unknown_characters_are_named_or_written_as_lost():
    with pytest.raises(ValueError, match="not in the alphabet: .*x.*ü"):
        CHAPTER["Alphabet"]("abc").encode("aüxb")
    rare = CHAPTER["Alphabet"]("aabbc", least=2, lost="□")
    assert rare.decode(rare.encode("abcz")) == "ab□□"


def test_song_books_come_without_the_notes_around_them_and_in_plain_lines(tmp_path, monkeypatch):
    book = tmp_path / "book.txt"
    content = "HEAD\n*** START OF THIS BOOK\n\nA song\n      of twö\n   12\n\n*** END OF THIS\nTAIL"
    book.write_bytes(b"\xef\xbb\xbf" + content.replace("\n", "\r\n").encode())
    monkeypatch.setitem(CHAPTER, "datasets", SimpleNamespace(path=lambda _: book))
    assert CHAPTER["song_books"]() == ["A song\n  of tw?"] * 2


def test_poems_come_without_byte_order_mark_and_full_width_blanks(tmp_path, monkeypatch):
    place = tmp_path / "a.json"
    poems = [
        {"rhythmic": "如梦令", "paragraphs": ["\u3000春江。", "花\ufffd。"]},
        {"rhythmic": "如梦令", "paragraphs": []},
        {"rhythmic": "水龙吟", "paragraphs": ["月。"]},
    ]
    place.write_bytes(b"\xef\xbb\xbf" + json.dumps(poems).replace(", ", ",\r\n").encode())
    registry = SimpleNamespace(files=lambda _: ["a.json", "LICENSE"])
    monkeypatch.setitem(CHAPTER, "datasets", SimpleNamespace(path=lambda _: place, registry=registry))
    assert CHAPTER["song_ci"]() == [("如梦令", "春江。花□。")]


# ---- the network


@given(st.integers(1, 5), st.integers(1, 30), st.integers(1, 12))
@settings(max_examples=15, deadline=None)
def test_the_cells_are_those_of_the_fused_call(rows, steps, width):
    model = model_of(width=width)
    x = torch.randint(12, (steps, rows))
    cells = CHAPTER["cells_of"](model, x)
    for step in (1, steps):
        _, (_, c) = model(x[:step])
        torch.testing.assert_close(cells[step - 1], c[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["LSTM", "LSTM, two layers", "simple"])
def test_widths_are_chosen_for_equal_parameters(name):
    kind, layers = CHAPTER["KINDS"][name]
    width = CHAPTER["width_for"](kind, layers)
    model = CHAPTER["CharModel"](65, width, layers, kind)
    assert model.layer.num_layers == layers and abs(CHAPTER["size_of"](model) / 30_000 - 1) < 0.03


def test_sizes_are_those_of_the_table_of_losses():
    assert round(CHAPTER["size_of"](CHAPTER["CharModel"](65)), -4) == 110_000
    assert round(CHAPTER["size_of"](CHAPTER["CharModel"](65, 256)), -4) == 350_000


@given(st.integers(2, 80), st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_windows_hold_each_character_and_the_next(size, length):
    text = torch.arange(size)
    x, y = CHAPTER["windows"](text, length)
    assert torch.equal(x + 1, y) and x.shape[0] == length and x.shape[1] == (size - 1) // length
    assert torch.equal(x.T.flatten(), text[: x.numel()])


@pytest.mark.parametrize("empty", [0.0, 0.5, 1.0])
def test_the_state_is_carried_without_history_and_emptied_by_rows(empty):
    torch.manual_seed(0)
    state = tuple(torch.ones(1, 1000, 3, requires_grad=True) for _ in range(2))
    found = CHAPTER["carried"](state, empty)
    assert not any(part.requires_grad for part in found) and torch.equal(*found)
    rows = found[0][0]
    assert torch.equal(rows.min(1)[0], rows.max(1)[0])
    assert abs(rows.mean().item() - (1 - empty)) < 0.06
    assert torch.equal(CHAPTER["carried"](state[0], 0.0), torch.ones(1, 1000, 3))


def test_training_needs_the_carried_state():
    """A text whose next symbol needs two symbols of memory: with memory solved, without it not."""
    text = torch.tensor([0, 0, 1, 1] * 600)
    with_memory, without = model_of(2, width=16), model_of(2, width=16)
    carried = CHAPTER["train"](with_memory, text, 40_000, rows=4, length=16, empty=0.0)
    alone = CHAPTER["train"](without, text, 40_000, rows=64, length=1, empty=1.0)
    assert np.mean(carried[-10:]) < 0.1 and np.mean(alone[-10:]) > 0.6
    assert len(carried) == len(alone) == 625


def test_each_window_begins_in_the_state_that_the_last_one_left():
    model, given_states, left = model_of(), [], []
    forward = model.forward

    def noting(x, state=None):
        logits, after = forward(x, state)
        given_states.append(state)
        left.append(after)
        return logits, after

    model.forward = noting
    CHAPTER["train"](model, torch.randint(12, (400,)), 120, rows=4, length=10, empty=0.0)
    assert len(left) == 3 and given_states[0] is None
    for begun, ended in zip(given_states[1:], left[:-1], strict=True):
        assert all(torch.equal(a, b) and not a.requires_grad for a, b in zip(begun, ended, strict=True))


def test_nothing_is_dropped_where_losses_are_measured():
    model, text = model_of(drop=0.5), torch.randint(12, (401,))
    CHAPTER["train"](model, text, 80, rows=4, length=10)
    np.testing.assert_array_equal(CHAPTER["nats"](model, text, 20), CHAPTER["nats"](model, text, 20))


def test_losses_by_place_in_rows_that_begin_empty():
    model, text = model_of(), torch.randint(12, (41,))
    found = CHAPTER["nats"](model, text, 10)
    for row in range(4):
        state, logits = None, []
        for n in text[10 * row : 10 * row + 10]:
            out, state = model(n.view(1, 1), state)
            logits.append(out[0, 0])
        wanted = nn.functional.cross_entropy(torch.stack(logits), text[10 * row + 1 : 10 * row + 11], reduction="none")
        np.testing.assert_allclose(found[:, row], wanted.detach().numpy(), atol=1e-5)


def test_the_network_reads_no_held_out_text():
    chapter = definitions.of_chapter("char_rnn_lyrics")
    read, tested = [], []
    chapter.update(
        DEVICE="cpu",
        letters=chapter["Alphabet"](PLAY),
        learning=torch.zeros(80, dtype=torch.long),
        held_out=torch.zeros(65, dtype=torch.long),
        train=lambda model, text, *rest, **how: read.append(len(text)),
        nats=lambda model, text, length: tested.append(len(text)) or np.zeros((2, 2)),
    )
    chapter["learn_plays"]({"width": 8}, {"read": 300}, 0)
    chapter["learn_shape"](nn.RNN, 1, 300, 0.01, True, 0)
    chapter["learn_shape"](nn.RNN, 1, 300, 0.01, False, 0)
    assert read == [80, 72, 80] and tested == [65, 65, 65, 8, 65]


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
    found = np.exp(-CHAPTER["table_nats"](CHAPTER["NGram"](ids, order, 5), np.array(other)))
    wanted = [plain_kneser_ney(ids, order, 5, other[t - order + 1 : t], other[t]) for t in range(order - 1, len(other))]
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


@given(TEXT, st.integers(1, 4), st.lists(st.integers(0, 4), min_size=3, max_size=3))
@settings(max_examples=30, deadline=None)
def test_probabilities_after_any_context_sum_to_one(ids, order, context):
    table = CHAPTER["NGram"](ids, order, 5)
    grams = np.array([[*context[: order - 1], w] for w in range(5)])
    assert abs(table.probabilities(grams).sum() - 1) < 1e-9


def test_an_order_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="64 bits"):
        CHAPTER["codes_of"](np.zeros((20, 11), np.int64), 65)


def test_the_order_is_chosen_on_the_last_tenth_of_what_it_is_given():
    text = np.tile([0, 0, 1, 1], 200)  # the next symbol needs two
    assert CHAPTER["best_order"](text, 2, 4) >= 3
    rng = np.random.default_rng(0)
    assert CHAPTER["best_order"](rng.integers(4, size=400), 4, 4) == 2


def test_bytes_in_nats_become_characters_in_bits():
    assert CHAPTER["bits_per_character"](math.log(2), 300, 100) == pytest.approx(3)
    assert CHAPTER["bits_per_character"](1.7672, 102_008, 38_528) == pytest.approx(6.75, abs=0.005)


# ---- writing


class Fixed(nn.Module):
    """The same logits after every symbol."""

    def __init__(self, p):
        super().__init__()
        self.p = torch.tensor(p)

    def forward(self, x, state=None):
        return self.p.log().expand(*x.shape, -1), state


def test_draws_have_the_probabilities_of_eq_4():
    p = torch.tensor([0.5, 0.3, 0.15, 0.05])
    alphabet = CHAPTER["Alphabet"]("abcd")
    for temperature, wanted in ((1.0, p), (0.5, p**2 / (p**2).sum()), (0, torch.tensor([1.0, 0, 0, 0]))):
        made = CHAPTER["write"](Fixed(p.tolist()), alphabet, "a", 200, temperature, rows=100)
        counts = Counter("".join(made))
        found = torch.tensor([counts[s] / 20_000 for s in "abcd"])
        torch.testing.assert_close(found, wanted.float(), rtol=0, atol=0.015)


def test_a_table_writes_with_the_same_temperature():
    text = np.array([0, 1] * 40 + [0, 2] * 10 + [0])  # after 0 mostly 1
    alphabet, table = CHAPTER["Alphabet"]("abc"), CHAPTER["NGram"](text, 2, 3)
    p = table.probabilities(np.array([[0, 0], [0, 1], [0, 2]]))
    for temperature in (1.0, 0.5):
        made = CHAPTER["write_by_table"](table, alphabet, "ba", 1, temperature, 20_000)
        wanted = p ** (1 / temperature) / (p ** (1 / temperature)).sum()
        np.testing.assert_allclose([made.count(s) / 20_000 for s in "abc"], wanted, atol=0.015)


def test_a_wrong_prompt_or_temperature_is_refused():
    alphabet = CHAPTER["Alphabet"]("abcdefghijkl")
    for prompt, temperature, message in (("aZ", 1, "'Z'"), ("", 1, "prompt"), ("a", -0.1, "temperature")):
        with pytest.raises(ValueError, match=message):
            CHAPTER["write"](model_of(), alphabet, prompt, 3, temperature)


def test_writing_repeats_with_its_seed_and_temperature_zero_without_one():
    alphabet, model = CHAPTER["Alphabet"]("abcdefghijkl"), model_of()
    one, same, other = (CHAPTER["write"](model, alphabet, "ab", 40, seed=s) for s in (1, 1, 2))
    assert one == same != other
    cold = [CHAPTER["write"](model, alphabet, "ab", 20, 0, seed=s) for s in (1, 2)]
    assert cold[0] == cold[1]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.integers(0, 9))
@settings(max_examples=15, deadline=None)
def test_every_poem_fits_its_pattern_even_from_an_untrained_network(lines, seed):
    alphabet = CHAPTER["Alphabet"]("春江花月夜。，、《》\n□")
    pattern = "".join(SIGN * n + "。" for n in lines)
    for poem in CHAPTER["write"](model_of(len(alphabet)), alphabet, "\n", 0, rows=3, seed=seed, pattern=pattern):
        assert CHAPTER["fits"](poem, pattern)


def test_the_pattern_of_a_tune_is_its_commonest():
    poems = [("a", "春江。花。"), ("a", "月夜。春。"), ("a", "春。"), ("b", "花，")]
    assert CHAPTER["pattern_of"](poems, "a") == f"{SIGN}{SIGN}。{SIGN}。"
    with pytest.raises(ValueError, match="no poem"):
        CHAPTER["pattern_of"](poems, "c")
    assert not CHAPTER["fits"]("春，", f"{SIGN}。") and not CHAPTER["fits"]("。。", f"{SIGN}。")


@given(st.text("ab", max_size=14), st.text("ab", max_size=30))
@settings(max_examples=80, deadline=None)
def test_the_longest_copy_is_that_of_brute_force(sample, source):
    stretches = (sample[i:j] for i, j in itertools.combinations(range(len(sample) + 1), 2))
    wanted = max((len(s) for s in stretches if s in source), default=0)
    found = CHAPTER["longest_copy"](sample, source)
    assert len(found) == wanted and found in source and found in sample


def test_distinct_pairs():
    assert CHAPTER["distinct"](["a", "b", "a", "b", "a"]) == 0.5
    assert CHAPTER["distinct"](["a"]) == 0


def test_lines_that_parse():
    for line, wanted in (("x = f(1)", True), ("for x in y:", True), ("x = (1,", False), ("else:", False)):
        assert CHAPTER["parses"](line) == wanted, line
    text = "cut off\nx = f(1, 2, 3)\n# a comment of length\nshort\nif x is 1 then y:\ncut off"
    assert CHAPTER["share_parsed"]([text, text], "") == (50, 2)
    assert CHAPTER["share_parsed"]([text], "  x = f(1, 2, 3)\n") == (0, 1)
    assert CHAPTER["share_parsed"]([""], "") == (0, 0)


# ---- lines and their spoiled forms


def test_words_are_replaced_by_words_of_their_shape_and_frequency():
    like = CHAPTER["neighbours"](["aa"] * 9 + ["bb"] * 8 + ["cc"] + ["Aa", "aa,", "dd,"], reach=1)
    assert like["bb"] == ["cc", "aa"] and like["Aa"] == [] and like["aa,"] == ["dd,"]
    line, rng = ["aa", "Aa", "bb"], np.random.default_rng(0)
    for _ in range(20):
        shuffled, replaced = CHAPTER["spoiled"](line, like, rng)
        assert sorted(shuffled) == sorted(line) and shuffled != line
        changed = [n for n in range(3) if replaced[n] != line[n]]
        assert len(changed) == 1 and replaced[changed[0]] in like[line[changed[0]]]
    assert CHAPTER["spoiled"](["Aa", "Aa"], like, rng) is None


def test_settings_are_tried_without_the_last_tenth_of_the_training_part(monkeypatch):
    """Each trial trains on nine tenths of its text and is judged on the rest; held-out text is not touched."""
    alphabet = CHAPTER["Alphabet"](PLAY)
    ids, read, judged = alphabet.encode(PLAY), [], []
    cut, poems = int(0.9 * len(ids)), int(0.9 * len(PLAY))

    def losses(model, text, count):
        judged.append(text.tolist())
        return np.zeros((1, 1))

    monkeypatch.setitem(CHAPTER, "train", lambda model, text, *more, **how: read.append(text.tolist()))
    monkeypatch.setitem(CHAPTER, "nats", losses)
    monkeypatch.setitem(CHAPTER, "letters", alphabet)
    monkeypatch.setitem(CHAPTER, "learning", ids)
    CHAPTER["tuning_loss"]({"width": 4}, {}, 0)
    monkeypatch.setitem(CHAPTER, "ascii_letters", alphabet)
    monkeypatch.setitem(CHAPTER, "code", PLAY)
    CHAPTER["learn_code"](10, 4, 0.01, 0.1, True, 0)
    monkeypatch.setitem(CHAPTER, "hanzi", alphabet)
    monkeypatch.setitem(CHAPTER, "ci", PLAY)
    monkeypatch.setitem(CHAPTER, "ci_held_out", PLAY[:300])
    CHAPTER["learn_ci"](1, 4, False, 0.01, True, 0)
    assert read == [ids[:cut].tolist()] * 2 + [ids[:poems].tolist()]
    assert judged == [ids[cut:].tolist()] * 2 + [ids[poems:].tolist()]
    CHAPTER["learn_code"](10, 4, 0.01, 0.1, False, 0)
    CHAPTER["learn_ci"](1, 4, False, 0.01, False, 0)
    assert read[3:] == [ids.tolist()] * 2 and judged[3:] == [ids[:300].tolist()]


def test_what_stood_after_the_last_characters_is_counted_in_the_source_alone():
    """With a property of the last two characters, two are chosen and suffice; with another source nothing is known."""
    rng = np.random.default_rng(0)
    source, asked = ("".join(rng.choice(list("abc"), 3000)) for _ in range(2))

    def after(text):
        return np.array([float(text[max(0, n - 1) : n + 1] in ("ab", "ca")) for n in range(len(text))])

    found, length = CHAPTER["by_last_characters"](source, after(source), asked, after(asked))
    assert found > 99.9 and length >= 2
    short, _ = CHAPTER["by_last_characters"](source, after(source), asked, after(asked), most=1)
    assert 50 < short < 99
    turned = np.where(
        np.arange(len(asked)) < len(asked) / 2, after(asked), 1 - after(asked)
    )  # its second half is wrong
    assert CHAPTER["by_last_characters"](source, after(source), asked, turned)[0] < 0.1
    unknown, _ = CHAPTER["by_last_characters"]("xyz" * 500, np.zeros(1500), asked, after(asked))
    assert unknown == 50


def test_lines_are_judged_by_their_own_characters_and_nothing_else():
    """Network and table, against one row at a time without any filling."""
    alphabet = CHAPTER["Alphabet"]("abcdefghijk\n")
    trios = [["abcd" + line for line in trio] for trio in (("abc", "cba", "adc"), ("fghij", "jihgf", "fghik"))]
    model = model_of(len(alphabet))
    table = CHAPTER["NGram"](alphabet.encode("abcdfghij\nabc\n" * 9).numpy(), 3, len(alphabet))
    for cost in (
        lambda ids: CHAPTER["network_cost"](model, ids),
        lambda ids: CHAPTER["table_cost"](table, ids),
    ):
        alone = [[cost(alphabet.encode(t + "\n")[None])[0][-(len(t) - 3) :].sum() for t in trio] for trio in trios]
        wanted = [[100.0 * (trio[0] < trio[n]) for trio in alone] for n in (1, 2)]
        np.testing.assert_array_equal(CHAPTER["preferred"](cost, alphabet, trios, 4), wanted)
    assert wanted == [[100, 100], [100, 100]]


def test_what_fills_a_short_line_up_costs_nothing():
    alphabet, values = CHAPTER["Alphabet"]("abcdefghijk\n"), iter(((1.0, 100.0), (2.0, 0.0), (0.5, 0.0)))
    trios = [["abcd" + "abc"] * 3, ["abcd" + "fghij"] * 3]

    def cost(ids):
        inside, beyond = next(values)
        found = np.full((2, ids.shape[1] - 1), inside)
        found[:, :3] += beyond  # the context
        found[0, 3 + 3 + 1 :] += beyond  # behind the end of the short line
        return found

    np.testing.assert_array_equal(CHAPTER["preferred"](cost, alphabet, trios, 4), [[100, 100], [0, 0]])


def test_lines_are_taken_with_what_stands_before_them():
    like = CHAPTER["neighbours"](["aa", "bb", "cc", "dd", "ee", "ff", "gg"])
    source = "aa bb\ncc dd ee ff\nshort\nff ee dd cc\n"
    found = CHAPTER["trios_of"](source, str.split, " ", 6, like, 9)
    assert sorted(trio[0] for trio in found) == ["aa bb\ncc dd ee ff", "short\nff ee dd cc"]
    assert all(len({len(t) for t in trio}) == 1 and len(set(trio)) == 3 for trio in found)


# ---- cells


def test_properties_of_code():
    found = CHAPTER["code_properties"]("f(1,\n  'a(')  # b\n")
    assert found["place in the line"].tolist() == [0, 1, 2, 3, 4, *range(13)]
    assert found["brackets"].tolist() == [0] + [1] * 10 + [0] * 7
    assert found["string"].tolist() == [0] * 7 + [1] * 4 + [0] * 3 + [1] * 3 + [0]


def test_areas_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    values, wanted = rng.integers(9, size=(200, 3)).astype(float), rng.random(200) < 0.3
    wanted_areas = [100 * roc_auc_score(wanted, v) for v in values.T]
    np.testing.assert_allclose(CHAPTER["auc"](values, wanted), wanted_areas)


def test_a_planted_cell_is_found_and_judged_on_the_other_half():
    rng = np.random.default_rng(0)
    values, yes = rng.normal(size=(2000, 5)), rng.random(2000) < 0.4
    values[:, 3] -= 4 * yes  # it says yes by falling
    cell, area = CHAPTER["best_cell"](values, yes)
    assert cell == 3 and area > 98
    place = rng.integers(30, size=2000)
    values[:, 1] = np.abs(place - 10) + 0.1 * rng.normal(size=2000)  # not a straight line
    cell, share = CHAPTER["best_cell"](values, place)
    assert cell == 1 and 0.5 < share < 0.99
    values[1000:] = rng.normal(size=(1000, 5))
    assert abs(CHAPTER["best_cell"](values, yes)[1] - 50) < 10
    assert CHAPTER["best_cell"](values, place)[1] < 0.1


def test_coloured_text_is_escaped():
    markup = CHAPTER["coloured"]("<a>\n", [50, -100, 0, 100], "x & y")
    assert "&lt;" in markup and "x &amp; y" in markup and "http" not in markup and "<script" not in markup


# ---- the network in the page


def machine_of(model, symbols):
    CHAPTER["letters"] = SimpleNamespace(symbols=symbols)
    net = CHAPTER["packed"](model)
    return net, CHAPTER["machine"](net, "before <b>")


def rounded(net, model):
    """The model with the weights that the page has."""
    whole, place, row, parts = np.frombuffer(base64.b64decode(net["bytes"]), np.int8), 0, 0, []
    n, width = len(net["symbols"]), net["width"]
    for rows, columns in ((n, 4 * width), (4 * width, width), (n, width + 1)):
        scale = np.array(net["scales"][row : row + rows])[:, None]
        parts.append(torch.tensor(whole[place : place + rows * columns].reshape(rows, columns) * scale).float())
        place, row = place + rows * columns, row + rows
    assert place == len(whole) and row == len(net["scales"])

    def logits(text):
        h, c = torch.zeros(2, width)
        for symbol in "\n" + text:
            i, f, g, o = (parts[0][net["symbols"].index(symbol)] + parts[1] @ h).chunk(4)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return parts[2][:, :-1] @ h + parts[2][:, -1]

    return logits


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    alphabet = CHAPTER["Alphabet"](PLAY + "<")
    model = CHAPTER["CharModel"](len(alphabet), 24)
    CHAPTER["train"](model, alphabet.encode(PLAY), 30_000, rows=4, length=20)
    return model, alphabet


def test_a_byte_a_weight_changes_the_logits_little(trained):
    model, alphabet = trained
    net, markup = machine_of(model, alphabet.symbols)
    text = "whether tis"
    ours = model(alphabet.encode("\n" + text)[:, None])[0][-1, 0]
    torch.testing.assert_close(rounded(net, model)(text), ours, rtol=0, atol=0.5)
    assert markup.count("</script>") == 2 and "before &lt;b&gt;" in markup


def test_the_network_of_the_page_gives_the_logits_of_pytorch(trained, browser):
    model, alphabet = trained
    net, markup = machine_of(model, alphabet.symbols)
    faults, page = [], browser.new_page(viewport={"width": 375, "height": 800})
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.set_content(f"<!doctype html><html lang='en'><title>t</title><main>{markup}</main></html>")
    for text in ("", "to be", "whether tis <\n"):
        found = page.evaluate("text => document.getElementById('lyric-machine').logits(text)", text)
        torch.testing.assert_close(torch.tensor(found), rounded(net, model)(text), rtol=0, atol=1e-4)
    page.get_by_label("Your line").fill("to be ÄÖ")
    slider = page.get_by_label("Temperature")
    slider.focus()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    assert page.locator("output").text_content() == slider.input_value() == "0.1"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    told = page.get_by_label("What the network wrote").text_content()
    assert told.startswith("to be ÄÖ") and len(told) == 408 and set(told[8:]) <= set(PLAY + "<")
    assert "to be or not to be" in told or "question" in told
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    page.evaluate(test_site.AXE)
    assert page.evaluate("axe.run('#lyric-machine', {resultTypes: ['violations']})")["violations"] == []
    page.close()
    assert faults == []


# ---- the solutions of the exercises


def at_the_end():
    """What the chapter leaves behind: small texts, and small networks without training."""
    after = definitions.of_chapter("char_rnn_lyrics")
    after["DEVICE"] = "cpu"
    letters, ascii_letters = after["Alphabet"](PLAY), after["Alphabet"](after["ASCII"])
    border = int(0.9 * len(PLAY))
    learning, held_out = letters.encode(PLAY[:border]), letters.encode(PLAY[border:])
    programmer = model_of(len(ascii_letters), width=16)
    after.update(
        settings={"read": 2000, "width": 16},
        letters=letters,
        ascii_letters=ascii_letters,
        learning=learning,
        held_out=held_out,
        known=learning.numpy(),
        asked=held_out.numpy(),
        best=[(model_of(len(letters), width=16), [])],
        plays_table=after["NGram"](learning.numpy(), 3, len(letters)),
        plays_order=3,
        unseen="a = ['x']\nb = 'y'\n" * 20,
        code_runs=[(programmer, programmer)],
        chosen={"string": 3},
    )
    return after


def check_nucleus(after, printed):
    first = after["write_nucleus"](after["best"][0][0], "to", 40, 1e-9)
    assert first == after["write"](after["best"][0][0], after["letters"], "to", 40, 0)[0]
    p = [0.5, 0.3, 0.15, 0.05]
    after["letters"] = after["Alphabet"]("abcd")
    told = Counter(after["write_nucleus"](Fixed(p), "a", 4000, 0.7))
    assert set(told) == {"a", "b"} and abs(told["a"] / 4000 - 0.625) < 0.03


def check_held(after, printed):
    net, ids = after["code_runs"][0][0], after["ascii_letters"].encode(after["unseen"])
    np.testing.assert_allclose(after["nats_without"](net, []), after["nats"](net, ids, len(ids) - 1)[:, 0], atol=1e-6)
    layer, h, c, logits = net.layer, torch.zeros(16), torch.zeros(16), []
    for n in ids[:-1]:
        gates = layer.weight_ih_l0 @ net.embed.weight[n] + layer.weight_hh_l0 @ h + layer.bias_ih_l0 + layer.bias_hh_l0
        i, f, g, o = gates.chunk(4)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        c = c * (torch.arange(16) != 3)
        h = o.sigmoid() * c.tanh()
        logits.append(net.answer(h))
    wanted = nn.functional.cross_entropy(torch.stack(logits), ids[1:], reduction="none").detach()
    np.testing.assert_allclose(after["nats_without"](net, [3]), wanted, atol=1e-4)
    assert printed.count("quotes") == 4


def check_average(after, printed):
    assert len(after["by_net"]) == len(after["by_counts"]) == len(after["asked"]) - 1
    loss = after["nats"](after["best"][0][0], after["held_out"], len(after["asked"]) - 1).mean()
    assert f"network: {loss:.3f}" in printed and "both" in printed


def check_emptied(after, printed):
    assert printed.count("emptied") == 2 and "nan" not in printed


CHECKS = (check_nucleus, check_held, check_average, check_emptied)


@pytest.mark.parametrize("number", range(4))
def test_the_solutions_of_the_exercises_run(number, capsys):
    after = at_the_end()
    fewer = {"LENGTH = 300": "LENGTH = 40", '"\\nROMEO: "': '"to"'}
    exercises.execute("char_rnn_lyrics", number, after, fewer)
    CHECKS[number](after, capsys.readouterr().out)


def test_source_code_is_found_in_modules_and_in_packages():
    """zipfile is one file in Python 3.11 and a folder in 3.12."""
    texts = [CHAPTER["library_source"]([name]) for name in ("json", "textwrap")]
    assert "def loads(" in texts[0] and "def dedent(" in texts[1]
    assert set("".join(texts)) <= set(CHAPTER["ASCII"])
    assert CHAPTER["library_source"](["json", "textwrap"]) == "\n".join(texts)
