"""The definitions of the lattice LSTM chapter against references, properties and bad input."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from utils import datasets
from utils.datasets import registry
from utils.datasets.errors import BadFile
from utils.tools import definitions, exercises

LATTICE = definitions.of_chapter("lattice_lstm_ner")
LATTICE["DEVICE"] = "cpu"
TAGS = ["O", *(f"{letter}-{kind}" for letter in "BMES" for kind in ("X", "Y"))]


def task_of(sentences, lexicon):
    parts = {"train": sentences, "validation": sentences[:2], "test": sentences[:2]}
    return LATTICE["build_task"](parts, lexicon)


# ---- reading


@pytest.mark.parametrize(
    ("text", "line"), [("高 O\n勇O\n", 2), ("高 O\n\n勇 X-NAME\n", 3), ("高 B\n", 1), ("高 O extra\n", 1), (" O\n", 1)]
)
def test_a_broken_line_is_named_with_its_number(text, line):
    with pytest.raises(BadFile, match=f"resume.*line {line} is not"):
        LATTICE["parse_tagged"](text, "resume")


def test_a_tag_of_the_other_scheme_is_refused():
    """I is no letter of BMES, E none of BIO."""
    with pytest.raises(BadFile, match="line 2 is not .* tag of BMES"):
        LATTICE["parse_tagged"]("高 B-NAME\n勇 I-NAME\n", "resume")
    with pytest.raises(BadFile, match="line 2 is not .* tag of BI"):
        LATTICE["parse_tagged"]("科0\tB-PER\n技1\tE-PER\n", "weibo", "\t", "BI")


def test_sentences_end_at_empty_lines_and_at_the_end_of_the_file():
    read = LATTICE["parse_tagged"]("高 B-NAME\r\n勇 E-NAME\n\n\n： O", "resume")
    assert read == ((("高", "勇"), ("B-NAME", "E-NAME")), (("：",), ("O",)))
    assert LATTICE["parse_tagged"]("科0\tO\n310\tO\n", "weibo", "\t")[0][0] == ("科", "3")
    assert LATTICE["parse_tagged"]("", "resume") == ()


def test_bio_becomes_bmes_with_the_same_entities():
    tags = ("B-P", "I-P", "I-P", "B-P", "O", "B-Q", "I-Q")
    assert LATTICE["bmes"](tags) == ("B-P", "M-P", "E-P", "S-P", "O", "B-Q", "E-Q")
    with pytest.raises(ValueError, match="no BIO tag"):
        LATTICE["bmes"](("M-P",))


def test_a_lexicon_keeps_words_of_two_characters_and_may_be_empty():
    assert LATTICE["parse_lexicon"]("的 3 uj\n南京 5 ns\n南京 2 ns\n") == ["南京"]
    assert LATTICE["parse_lexicon"]("") == []
    with pytest.raises(BadFile, match="line 2"):
        LATTICE["parse_lexicon"]("南京 5 ns\n 5 ns\n")


def test_a_byte_order_mark_is_no_character():
    mark = "\ufeff"
    assert LATTICE["parse_tagged"](f"{mark}中 B-LOC\n国 E-LOC\n", "resume")[0][0] == ("中", "国")
    assert LATTICE["parse_lexicon"](f"{mark}南京 3 ns\n") == ["南京"]
    assert list(LATTICE["parse_vectors"]([f"{mark}中 1 2"], "vectors", 2)) == ["中"]
    assert list(LATTICE["parse_vectors"]([f"{mark}1 2", "中 1 2"], "vectors", 2)) == ["中"]  # before a header


# ---- the paper's vectors


def test_vectors_are_read_with_and_without_header():
    """A word may be a blank of another kind; blank lines and blanks at the end are nothing."""
    lines = ["南京 1 2 \n", "\n", "\u3000 3\t-4e-1\r\n", "\u00a0 0 7"]
    wanted = {"南京": [1, 2], "\u3000": [3, -0.4], "\u00a0": [0, 7]}
    for text in (lines, ["3 2\n", *lines]):
        found = LATTICE["parse_vectors"](text, "vectors", 2)
        assert list(found) == list(wanted)
        for word, vector in wanted.items():
            assert found[word].dtype == np.float32 and found[word] == pytest.approx(vector)
    assert LATTICE["parse_vectors"]([], "vectors", 2) == {}
    assert LATTICE["parse_vectors"](["甲 1 2", "甲 3 4"], "vectors", 2)["甲"].tolist() == [3, 4]
    assert list(LATTICE["parse_vectors"](["7 1 2", "3 2 2"], "vectors", 2)) == ["7", "3"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["甲 1 2", "乙 1"], "line 2 is not a word and 2 numbers"),
        (["甲 1 2", "乙 1 2 3"], "line 2 is not a word and 2 numbers"),
        (["甲 1 2", "", "乙 1 two"], "line 3 is not a word and 2 numbers"),
        (["甲 1 nan"], "line 1 is not a word and 2 numbers"),
        (["甲 1 1e99"], "line 1 is not a word and 2 numbers"),
        (["甲"], "line 1 is not a word and 2 numbers"),
        (["1 50", "甲 1 2"], "line 1 is not the header of 2 numbers a word"),
        (["甲 1 2", "1 2"], "line 2 is not a word and 2 numbers"),
        (["3 2", "甲 1 2", "乙 1 2"], "first line tells of 3 vectors, 2 follow"),
    ],
)
def test_broken_vectors_are_named_with_their_line(lines, message):
    with pytest.raises(BadFile, match=f"^vectors: .*{message}"):
        LATTICE["parse_vectors"](lines, "vectors", 2)


@given(st.dictionaries(st.text("甲乙3\u3000", min_size=1, max_size=3), st.floats(-9, 9, width=32), max_size=6))
@settings(max_examples=40, deadline=None)
def test_written_vectors_are_read_back(numbers):
    lines = [f"{len(numbers)} 2", *(f"{word} {x!r} {-x!r}" for word, x in numbers.items())]
    found = LATTICE["parse_vectors"](lines, "vectors", 2)
    assert {word: vector.tolist() for word, vector in found.items()} == {w: [x, -x] for w, x in numbers.items()}


@pytest.mark.parametrize("folder", ["WALKTHROUGHS_CACHE", "WALKTHROUGHS_MIRROR"])
def test_vectors_are_found_in_cache_or_mirror(folder, tmp_path, monkeypatch):
    for variable in ("WALKTHROUGHS_CACHE", "WALKTHROUGHS_MIRROR"):
        (tmp_path / variable).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / variable))
    names = LATTICE["VECTOR_FILES"]
    assert [LATTICE["local_copy"](name) for name in names.values()] == [None, None]
    assert set(names.values()) <= set(registry.files("gigaword-vectors"))
    for table, name in names.items():
        file = tmp_path / folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes((f"{table[:4]}京\x85 " + "0.5 " * 50 + "\n").encode())
    assert list(LATTICE["read_vectors"]()) == list(names)
    assert list(LATTICE["read_vectors"]()["word_table"]) == ["word京\x85"]


def test_a_model_starts_from_the_vectors_it_is_given():
    sentences = ((("东", "山", "5"), ("O", "O", "O")),)
    vectors = {
        "char_table": {c: np.full(50, x, np.float32) for c, x in (("东", 3.0), ("0", -1.0), ("未", 2.0))},
        "word_table": {"东山": np.full(50, 7.0, np.float32), "东西": np.ones(50, np.float32)},
    }
    parts = {"train": sentences, "validation": (), "test": ((("未",), ("O",)),)}
    task = LATTICE["build_task"](parts, vectors["word_table"], vectors["char_table"])
    assert task.test.characters[0].tolist() == [task.known["未"]] and task.words == 1
    model = LATTICE["LatticeTagger"](task.characters, task.words, 1, (0, 1))
    before = model.char_table.detach().clone()
    LATTICE["start_from"](model, task, vectors)
    for character, sign in (("东", 1), ("0", -1), ("未", 1)):
        row = model.char_table[:, task.known[character]]
        torch.testing.assert_close(row, torch.full((2, 50), sign * 50**-0.5))
    unchanged = [0, task.known["山"]]
    assert torch.equal(model.char_table[:, unchanged], before[:, unchanged])
    assert torch.equal(model.word_table, torch.full((4, 1, 50), 7.0))
    LATTICE["start_from"](model, task, {"char_table": {}, "word_table": {}})  # nothing known, nothing done


def test_files_in_the_mirror_start_a_training(tmp_path, monkeypatch):
    """Made-up files of the real form, put where the chapter says, reach the tables of the networks."""
    monkeypatch.setenv("WALKTHROUGHS_MIRROR", str(tmp_path))
    monkeypatch.setenv("WALKTHROUGHS_QUIET", "1")
    monkeypatch.setitem(datasets.loaded, "gigaword-vectors", "before")
    rng, sentences = np.random.default_rng(0), LATTICE["made_up_sentences"]()
    characters = sorted({c for text, _ in sentences["train"] for c in text})
    listed = {"char_table": characters[1:], "word_table": [*LATTICE["WORDS"][:50], "山", "无关"]}
    made = {table: {name: rng.standard_normal(50).round(6) for name in names} for table, names in listed.items()}
    for table, name in LATTICE["VECTOR_FILES"].items():
        lines = (f"{word} {' '.join(map(str, vector))} \n" for word, vector in made[table].items())
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("".join(lines), encoding="utf-8")
    vectors = LATTICE["real_or_stand_in"]("gigaword-vectors", LATTICE["read_vectors"], dict)
    assert datasets.loaded["gigaword-vectors"] == "real"
    task = LATTICE["task_of_vectors"]({part: s[:20] for part, s in sentences.items()}, vectors)
    assert set(task.numbers) <= set(LATTICE["WORDS"][:50]) and set(task.vectors["word_table"]) == set(task.numbers)
    model, history, _ = LATTICE["train"](task, (0, 1), 1, rate=1e-9)
    assert history.shape == (1, 2, 2, 3)
    for word, number in task.numbers.items():
        wanted = torch.tensor(made["word_table"][word], dtype=torch.float32)
        torch.testing.assert_close(model.word_table[:, number], wanted.expand(4, 50), atol=1e-5, rtol=0)
    for character in characters[1:]:
        wanted = torch.tensor(made["char_table"][character], dtype=torch.float32)
        found = model.char_table[:, task.known[character]]
        torch.testing.assert_close(found, (wanted / wanted.norm()).expand(2, 50), atol=1e-5, rtol=0)


@pytest.mark.skipif(not datasets.within_reach("resume-ner"), reason="the files are out of reach")
def test_the_published_files_have_the_known_sizes():
    """13438 training entities open; two of them are torn by an empty line."""
    resume = LATTICE["read_resume"]()
    assert {part: len(sentences) for part, sentences in resume.items()} == {
        "train": 3821,
        "validation": 463,
        "test": 477,
    }
    assert [sum(len(LATTICE["spans"](t)) for _, t in s) for s in resume.values()] == [13436, 1497, 1630]


@pytest.mark.skipif(not datasets.within_reach("weibo-ner"), reason="the files are out of reach")
def test_weibo_has_the_known_entities():
    weibo = LATTICE["read_weibo"]()
    assert [len(sentences) for sentences in weibo.values()] == [1350, 270, 270]
    assert [sum(len(LATTICE["spans"](t)) for _, t in s) for s in weibo.values()] == [1885, 389, 414]


def test_stand_in_sentences_are_well_formed_and_repeat():
    one, two = LATTICE["made_up_sentences"](), LATTICE["made_up_sentences"]()
    assert one == two
    for characters, tags in one["train"]:
        assert len(characters) == len(tags) > 0
        assert set(tags) <= {"O", "B-LOC", "E-LOC", "B-TITLE", "E-TITLE"}


# ---- words and spans


@given(st.text("甲乙丙", max_size=12), st.lists(st.text("甲乙丙", min_size=1, max_size=5), max_size=8))
@settings(max_examples=80, deadline=None)
def test_the_trie_finds_what_looking_up_every_substring_finds(text, words):
    found = LATTICE["matches"](LATTICE["build_trie"](words), text)
    assert len(found) == len(set(found))
    assert set(found) == LATTICE["matches_by_lookup"](words, text)


@given(st.lists(st.sampled_from(TAGS), max_size=12))
@settings(max_examples=100, deadline=None)
def test_spans_are_those_of_a_regular_expression(tags):
    assert LATTICE["spans"](tags) == LATTICE["spans_by_pattern"](tags)


def test_scores_by_hand():
    gold = [["B-X", "E-X", "O", "S-Y"], ["S-X"]]
    found = [["B-X", "E-X", "S-Y", "O"], ["O"]]
    assert LATTICE["scores"](gold, found) == pytest.approx((50.0, 100 / 3, 40.0))
    assert LATTICE["scores"]([["O"]], [["O"]]) == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError):
        LATTICE["scores"](gold, found[:1])


def test_control_lexicons_have_the_lengths_of_the_words():
    words = LATTICE["WORDS"]
    sentences = LATTICE["made_up_sentences"]()["train"]
    strings = [LATTICE["random_strings"](words, sentences, common) for common in (False, True)]
    for made in (*strings, LATTICE["permuted"](words)):
        assert [len(w) for w in made] == [len(w) for w in words]
    assert len(set(LATTICE["permuted"](words))) == len(set(words))  # one to one
    task = task_of(sentences, words)
    spans = LATTICE["any_spans"](task)
    text = "|".join("".join(c) for c, _ in sentences)
    assert all(span in text for span in spans) and len(spans) == len(set(spans)) > 0


def test_common_strings_are_drawn_as_the_text_has_its_characters():
    sentences = ((("甲",) * 95 + ("乙",) * 5, ("O",) * 100),)
    text = {c: "".join(LATTICE["random_strings"](["东西"] * 2000, sentences, c)) for c in (False, True)}
    assert text[True].count("甲") / 4000 == pytest.approx(0.95, abs=0.02)
    assert text[False].count("甲") / 4000 == pytest.approx(0.5, abs=0.04)
    assert text[True] == "".join(LATTICE["random_strings"](["东西"] * 2000, sentences, True))


def test_the_share_of_known_entities_by_hand():
    """Text and type must both stand in the training part."""
    train = ((("甲", "乙", "丙"), ("B-X.NAM", "E-X.NAM", "S-Y.NOM")),)
    test = ((("甲", "乙", "丙", "丙"), ("B-X.NAM", "E-X.NAM", "S-X.NAM", "S-Y.NOM")),)
    parts = {"train": train, "validation": (), "test": test}
    assert LATTICE["known_share"](parts) == pytest.approx(2 / 3)
    assert LATTICE["known_share"](parts, "NAM") == 0.5 and LATTICE["known_share"](parts, "NOM") == 1
    assert LATTICE["known_share"](parts | {"test": ()}) == 0


def test_f1_of_one_kind_by_hand():
    gold = [("S-X.NAM", "O", "S-Y.NOM", "O")]
    found = [[("S-X.NAM", "S-X.NAM", "O", "O")], [("O", "O", "S-Y.NOM", "S-Y.NOM")]]
    assert LATTICE["f1_of_kind"](gold, found, "NAM") == pytest.approx([200 / 3, 0])
    assert LATTICE["f1_of_kind"](gold, found, "NOM") == pytest.approx([0, 200 / 3])
    assert LATTICE["f1_of_kind"](gold, found) == pytest.approx([50, 50])


# ---- the chain of tags


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_crf_is_the_sum_over_all_sequences(seed):
    torch.manual_seed(seed)
    lengths = torch.randint(1, 5, (2, 3))
    mask = torch.arange(int(lengths.max()))[:, None, None] < lengths
    y = 3 * torch.randn(*mask.shape, 3).double()
    crf = [torch.randn(*size).double() for size in ((2, 3), (2, 3, 3), (2, 3))]
    log_z, best = LATTICE["log_partition"](y, mask, *crf), LATTICE["viterbi"](y, mask, *crf)
    tags = torch.zeros(mask.shape, dtype=torch.long)
    for s in range(2):
        for b in range(3):
            n = lengths[s, b]
            exact, path = LATTICE["crf_by_enumeration"](y[:n, s, b], *(w[s] for w in crf))
            assert abs(log_z[s, b] - exact) < 1e-9
            assert tuple(best[:n, s, b].tolist()) == path
            tags[:n, s, b] = torch.tensor(path)
    best_score = LATTICE["path_score"](y, mask, tags, *crf)
    start, transition, stop = crf
    for s in range(2):
        for b in range(3):
            n, path = lengths[s, b], tags[:, s, b].tolist()
            wanted = start[s, path[0]] + stop[s, path[n - 1]] + sum(y[t, s, b, path[t]] for t in range(n))
            wanted += sum(transition[s, path[t - 1], path[t]] for t in range(1, n))
            assert abs(best_score[s, b] - wanted) < 1e-9
    some_score = LATTICE["path_score"](y, mask, torch.zeros_like(tags), *crf)
    assert (best_score >= some_score - 1e-9).all() and (best_score < log_z).all()


def test_partition_of_extreme_scores_is_finite():
    y = torch.tensor([-900.0, 900.0, 0.0]).expand(400, 1, 1, 3)
    mask = torch.ones(400, 1, 1, dtype=torch.bool)
    log_z = LATTICE["log_partition"](y, mask, torch.zeros(1, 3), torch.zeros(1, 3, 3), torch.zeros(1, 3))
    assert log_z.item() == pytest.approx(400 * 900, rel=1e-5)


def far_scores(kind):
    """Emissions (T, 1, 1, L), start, transition and stop whose exponentials leave 32 bits."""
    L = 3
    y, transition = torch.zeros(4, 1, 1, L), torch.zeros(1, L, L)
    start, stop = torch.zeros(1, L), torch.zeros(1, L)
    if kind == "high transitions":
        transition += 89
    elif kind == "a high start":
        start += 300
    elif kind == "forbidden transitions":
        transition[0, :, 1:] = -1e4
        y[2, 0, 0] = torch.tensor([-110.0, 0, 0])
    elif kind == "impossible transitions":
        transition[0, :, 1:] = -torch.inf
        y[2, 0, 0] = torch.tensor([-110.0, 0, 0])
    elif kind == "a little lost":
        transition[0, :, 1:] = -1e4
        y[2, 0, 0] = torch.tensor([-103.0, 0, 0])
    return y, start, transition, stop


@pytest.mark.parametrize(
    "kind",
    ["high transitions", "a high start", "forbidden transitions", "impossible transitions", "a little lost"],
)
def test_partition_of_far_scores_is_the_sum_over_all_sequences(kind):
    y, *crf = far_scores(kind)
    mask = torch.ones(y.shape[:3], dtype=torch.bool)
    mask[3] = False  # the last character stands behind the end
    exact, _ = LATTICE["crf_by_enumeration"](y[:3, 0, 0].double(), *(w[0].double() for w in crf))
    weights = [w.requires_grad_() for w in (y, *crf)]
    log_z = LATTICE["log_partition"](weights[0], mask, *weights[1:])
    assert log_z.item() == pytest.approx(exact.item(), rel=1e-6)
    gradients = torch.autograd.grad(log_z.sum(), weights)
    assert all(torch.isfinite(g).all() for g in gradients)
    assert gradients[0][:3].sum().item() == pytest.approx(3, rel=1e-4)  # one tag at each character


def test_partition_in_logarithms_is_the_other_one():
    torch.manual_seed(0)
    mask = torch.arange(6)[:, None, None] < torch.tensor([[6, 1, 4], [2, 3, 5]])
    y = 3 * torch.randn(*mask.shape, 4).double()
    crf = [torch.randn(*size).double() for size in ((2, 4), (2, 4, 4), (2, 4))]
    assert not LATTICE["far_apart"](y, *crf)
    found = [LATTICE[name](y, mask, *crf) for name in ("log_partition", "log_partition_of_far_scores")]
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)


# ---- the lattice


@given(st.integers(0, 10_000), st.lists(st.integers(1, 9), min_size=2, max_size=6), st.sampled_from([0, 0.2, 0.6, 1]))
@settings(max_examples=12, deadline=None)
def test_batched_lattice_is_the_definition_in_loss_and_every_gradient(seed, lengths, density):
    lengths = lengths[: len(lengths) // 2 * 2]
    assert LATTICE["largest_gap"](seed, lengths, density) < 1e-9


def test_batched_lattice_is_the_definition_in_single_precision():
    assert LATTICE["largest_gap"](5, [9, 3, 7, 8], 0.4, torch.float32) < 1e-4


@pytest.mark.parametrize(
    ("code", "broken"),
    [
        ("to_g = torch.lerp(i, ratio, here.to(i.dtype))", "to_g = i"),
        ("kept.masked_fill_(here, 0)", "pass"),
        ("(ratio * kept).masked_fill_(~here, 1)", "ratio.masked_fill_(~here, 1)"),
        ("d.sums[-1] = 0", "d.sums[-1] = 1"),
        ("torch.mul(at.weight[t], cell, out", "torch.mul(at.weight[t], at.f_w[t], out"),
        ('"link": eye.clone()', '"link": eye.clone()[:, :-1]'),
    ],
)
def test_a_wrong_lattice_is_noticed(code, broken):
    wrong = definitions.of_chapter("lattice_lstm_ner", {code: broken})
    wrong["DEVICE"] = "cpu"
    try:
        gap = wrong["largest_gap"](1, [7, 4, 9, 6], 0.5)
    except RuntimeError:
        return
    assert gap > 1e-6


def test_without_words_only_the_character_cell_is_left():
    """Against a plain loop over eqs. (4) and (5)."""
    torch.manual_seed(0)
    model = LATTICE["LatticeTagger"](9, 1, 3, size=4, width=3)
    p, x = model.of_group(0), torch.randn(6, 3)
    h = c = torch.zeros(4)
    found = LATTICE["lattice_by_definition"](x, [], p)
    for t in range(6):
        i, o, g = (x[t] @ p["char_in"][:, :12] + h @ p["char_state"] + p["char_bias"][:12]).split(4)
        c = (1 - i.sigmoid()) * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        assert torch.allclose(h, found[t], atol=1e-6)


def test_where_a_word_ends_the_previous_cell_is_left_out():
    """Two sentences that differ in the first character, which the word's end cannot see but through h."""
    torch.manual_seed(0)
    model = LATTICE["LatticeTagger"](9, 2, 3, size=4, width=3)
    p = {name: value.detach().clone() for name, value in model.of_group(0).items()}
    p["char_state"].zero_()  # no way through the gates
    x, word = torch.randn(4, 3), torch.randn(3)
    other = torch.cat([torch.randn(1, 3), x[1:]])
    blind = [
        LATTICE["lattice_by_definition"](v, [(2, 3, word)], p | {"word_state": p["word_state"] * 0}) for v in (x, other)
    ]
    assert not torch.allclose(blind[0][2], blind[1][2], atol=1e-4)
    p["word_in"] = torch.cat([p["word_in"] * 0, p["word_in"][:, 4:]], 1)[:, -12:]
    p["word_bias"][:4] = -60.0  # the word's forget gate is shut: nothing of c_b
    p["word_state"] = p["word_state"] * 0
    shut = [LATTICE["lattice_by_definition"](v, [(2, 3, word)], p) for v in (x, other)]
    assert torch.allclose(shut[0][3], shut[1][3], atol=1e-6)


@pytest.mark.parametrize("length", [1, 500])
def test_sentences_of_one_and_of_many_characters(length):
    text = ("东" * length)[:length]
    task = task_of((((*text,), ("O",) * length), (("山", "西"), ("B-X", "E-X"))), ["东东", "东东东", "山西"])
    torch.manual_seed(0)
    model = LATTICE["LatticeTagger"](task.characters, task.words, len(task.labels), size=5, width=4).eval()
    batch = LATTICE["make_batch"](task.train, np.array([[0, 1]]), model.letters)
    loss = model.loss(batch)
    assert loss[0, 0].item() == pytest.approx(LATTICE["definition_loss"](model, task.train, 0).item(), rel=1e-4)
    assert loss[0, 1].item() == pytest.approx(LATTICE["definition_loss"](model, task.train, 1).item(), rel=1e-4)
    assert [len(tags) for tags in LATTICE["decode"](model, task.train, task.labels)[0]] == [length, 2]


def test_a_word_of_one_character_is_refused_where_it_stands_and_right_a_character_earlier():
    """By eq. (6) it starts when eq. (7) of its character is done: the two forms would not be the same."""
    model = LATTICE["LatticeTagger"](12, 15, 5, seeds=(3,), size=6, width=5).double().eval()
    part = LATTICE["random_part"](np.random.default_rng(0), [5], 0)
    for rows in ([(2, 2, 7)], [(1, 3, 4), (3, 2, 7)]):
        part.words = [np.array(rows)]
        with pytest.raises(ValueError, match="end behind the character where it begins"):
            LATTICE["make_batch"](part, np.array([[0]]), model.letters)
    part.words = [np.array([(1, 2, 7)])]
    loss = model.loss(LATTICE["make_batch"](part, np.array([[0]]), model.letters))
    assert loss.item() == pytest.approx(LATTICE["definition_loss"](model, part, 0).item(), rel=1e-9)


def test_padding_changes_nothing():
    task = task_of(LATTICE["made_up_sentences"]()["train"][:8], LATTICE["WORDS"])
    model = LATTICE["LatticeTagger"](task.characters, task.words, len(task.labels), size=6, width=5).eval()
    together = model.loss(LATTICE["make_batch"](task.train, np.arange(8)[None], model.letters))[0]
    alone = [model.loss(LATTICE["make_batch"](task.train, np.array([[k]]), model.letters))[0, 0] for k in range(8)]
    assert torch.allclose(together, torch.stack(alone), atol=1e-4)


def test_characters_never_seen_and_tags_never_seen_do_no_harm():
    parts = {"train": ((("甲", "乙"), ("O", "S-X")),), "validation": (), "test": ((("丙", "1"), ("O", "S-Z")),)}
    task = LATTICE["build_task"](parts, [])
    assert task.test.characters[0].tolist() == [0, 0]
    assert task.labels == ["O", "S-X"] and task.test.gold == [("O", "S-Z")]
    model = LATTICE["LatticeTagger"](task.characters, task.words, 2, size=5, width=4)
    found = LATTICE["decode"](model, task.test, task.labels)
    assert len(found[0][0]) == 2 and set(found[0][0]) <= {"O", "S-X"}


def test_an_empty_lexicon_is_the_character_model():
    sentences = LATTICE["made_up_sentences"]()["train"][:6]
    task = task_of(sentences, [])
    assert task.words == 1 and not any(len(w) for w in task.train.words)
    model = LATTICE["LatticeTagger"](task.characters, task.words, len(task.labels), size=5, width=4).eval()
    loss = model.loss(LATTICE["make_batch"](task.train, np.arange(6)[None], model.letters))
    loss.sum().backward()
    assert torch.isfinite(loss).all() and model.char_state.grad.abs().sum() > 0


def test_a_batch_of_nothing_is_refused():
    task = task_of(LATTICE["made_up_sentences"]()["train"][:2], [])
    with pytest.raises(ValueError, match="at least one character"):
        LATTICE["make_batch"](task.train, np.zeros((1, 0), int), task.characters)


def test_the_walk_is_freed_with_its_result():
    task = task_of(LATTICE["made_up_sentences"]()["train"][:6], LATTICE["WORDS"])
    model = LATTICE["LatticeTagger"](task.characters, task.words, len(task.labels), size=6, width=5)
    batch = LATTICE["make_batch"](task.train, np.arange(6)[None], model.letters)
    inputs = LATTICE["input_products"](model, batch)
    gc.disable()
    try:
        walk = LATTICE["LatticeWalk"].apply(*inputs, model.char_state, model.word_state, model.link, batch.lattice)
        kept = weakref.ref(walk.grad_fn.state.cells)
        del walk
        assert kept() is None
    finally:
        gc.enable()


def test_networks_side_by_side_do_not_hear_each_other():
    task = task_of(LATTICE["made_up_sentences"]()["train"][:6], LATTICE["WORDS"])
    sizes = task.characters, task.words, len(task.labels)
    two = LATTICE["LatticeTagger"](*sizes, seeds=(4, 9), size=6, width=5).eval()
    chosen = np.array([[0, 1, 2], [3, 4, 5]])
    losses = two.loss(LATTICE["make_batch"](task.train, chosen, two.letters))
    for s, seed in enumerate((4, 9)):
        one = LATTICE["LatticeTagger"](*sizes, seeds=(seed,), size=6, width=5).eval()
        alone = one.loss(LATTICE["make_batch"](task.train, chosen[s : s + 1], one.letters))
        assert torch.allclose(losses[s], alone[0], atol=1e-5)


def test_every_sentence_is_met_once_in_an_epoch_by_every_network():
    task = task_of(LATTICE["made_up_sentences"]()["train"], [])
    pieces = LATTICE["batches"](task.train, 32, 3, np.random.default_rng(0))
    for s in range(3):
        met = np.concatenate([piece[s] for piece in pieces])
        assert sorted(met.tolist()) == list(range(len(task.train.tags)))


def test_shares_of_the_words_are_those_of_the_definition():
    """One word, one sentence: the share in eq. (7) by hand."""
    torch.manual_seed(3)
    task = task_of(((("东", "山"), ("O", "O")),), ["东山"])
    model = LATTICE["LatticeTagger"](task.characters, task.words, 1, size=5, width=4).eval()
    p, x = model.of_group(0), model.char_table[0][torch.from_numpy(task.train.characters[0])]
    h = LATTICE["lattice_by_definition"](x[:1], [], p)[0]
    i0, _, g0 = (x[0] @ p["char_in"][:, :15]).split(5)
    c = i0.sigmoid() * g0.tanh()
    f, i, g = (model.word_table[0][0] @ p["word_in"] + h @ p["word_state"]).split(5)
    cell = f.sigmoid() * c + i.sigmoid() * g.tanh()
    a = (x[1] @ p["char_in"][:, 15:] + cell @ p["link"]).sigmoid().exp()
    mine = (x[1] @ p["char_in"][:, :15] + h @ p["char_state"])[:5].sigmoid().exp()
    (((begin, end, word, share),),) = LATTICE["shares"](model, task.train, [0])
    assert (begin, end, word) == (0, 1, 0)
    assert share == pytest.approx((a / (a + mine)).mean().item(), abs=1e-5)


def test_shares_of_many_sentences_are_those_of_each():
    task = task_of(LATTICE["made_up_sentences"]()["train"][:6], LATTICE["WORDS"])
    model = LATTICE["LatticeTagger"](task.characters, task.words, len(task.labels), (0, 1), size=5, width=4).eval()
    together = LATTICE["shares"](model, task.train, np.arange(6))
    for k, found in enumerate(together):
        (alone,) = LATTICE["shares"](model, task.train, [k])
        assert [word[:3] for word in sorted(found)] == [word[:3] for word in sorted(alone)]
        assert {word[:2] for word in found} == {(b, e) for b, e, _ in task.train.words[k].tolist()}
        assert np.allclose([word[3] for word in sorted(found)], [word[3] for word in sorted(alone)], atol=1e-6)


@pytest.mark.parametrize("shape", [(0, 3), (7,), (50, 4, 100)])
def test_dropout_keeps_half_and_doubles_it(shape):
    torch.manual_seed(0)
    ones = torch.ones(shape, requires_grad=True)
    dropped = LATTICE["drop_half"](ones)
    dropped.sum().backward()
    assert torch.equal(ones.grad, dropped) and ((dropped == 0) | (dropped == 2)).all()
    if dropped.numel() > 1000:
        assert dropped.mean().item() == pytest.approx(1, abs=0.03)
        flat = dropped.detach().flatten() - 1
        together = [(flat[: len(flat) - lag] * flat[lag:]).mean().item() for lag in (1, 2, 4, 8, 16, 64)]
        assert np.abs(together).max() < 0.03


def test_a_short_training_learns_the_made_up_task(monkeypatch):
    monkeypatch.setenv("WALKTHROUGHS_QUIET", "1")
    task = LATTICE["build_task"](LATTICE["made_up_sentences"](), LATTICE["WORDS"])
    _, history, tags = LATTICE["train"](task, (0, 1), 6, rate=0.02)
    assert history.shape == (6, 2, 2, 3)
    final = LATTICE["at_best"](history)
    assert (final[:, 2] > 80).all()
    for s in range(2):
        assert LATTICE["scores"](task.test.gold, tags[s]) == pytest.approx(tuple(final[s]))


@pytest.mark.parametrize("together", [1, 2, 5])
def test_networks_trained_in_groups_are_those_of_each_group(together, monkeypatch):
    monkeypatch.setenv("WALKTHROUGHS_QUIET", "1")
    chapter = definitions.of_chapter("lattice_lstm_ner")
    parts = {part: sentences[:24] for part, sentences in chapter["made_up_sentences"]().items()}
    task = chapter["build_task"](parts, chapter["WORDS"])
    chapter.update(DEVICE="cpu", all_tasks={"Resume": {"lattice": task}}, settings={"together": together})
    model, history, tags = chapter["train_all"]("Resume", "lattice", 3, 2, 0.02, 8)
    firsts = range(0, 3, together)
    alone = [chapter["train"](task, range(k, min(k + together, 3)), 2, 0.02, 8) for k in firsts]
    assert history.shape == (2, 2, 3, 3) and len(tags) == 3
    assert np.array_equal(history, np.concatenate([found[1] for found in alone], 2))
    assert tags == [sequence for found in alone for sequence in found[2]]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), alone[0][0].parameters(), strict=True))


def test_the_epoch_is_chosen_on_the_development_part():
    """F1 of two networks over three epochs; the test part would choose others."""
    history = np.zeros((3, 2, 2, 3))
    history[:, 0, :, 2] = [[1, 5], [3, 4], [2, 6]]
    history[:, 1, :, 2] = [[9, 9], [7, 8], [8, 5]]
    assert LATTICE["at_best"](history)[:, 2].tolist() == [7, 5]


def test_words_of_a_task_stand_where_the_text_has_them():
    task = task_of(
        ((tuple("去南京市长江"), ("O",) * 6), (("南",), ("O",)), (("京",), ("O",))), ["南京", "京市长", "南"]
    )
    names = list(task.numbers)
    for characters, words in zip([c for c, _ in task.train.text], task.train.words, strict=True):
        assert all("".join(characters[b : e + 1]) == names[w] for b, e, w in words.tolist())
    assert [len(words) for words in task.train.words] == [3, 1, 0]  # no word runs on into the next sentence


# ---- the solutions of the exercises


def at_the_end(folder):
    """What the chapter leaves behind, on a few made-up sentences and for one epoch."""
    after = definitions.of_chapter("lattice_lstm_ner")
    parts = {part: sentences[:24] for part, sentences in after["made_up_sentences"]().items()}
    lexicon = [*after["WORDS"], "东山西"]
    listed = folder / "words.txt"
    listed.write_text("\n".join(f"{word} 3 n" for word in [*lexicon, "东", "山"]), encoding="utf-8")
    after.update(
        DEVICE="cpu",
        settings={"epochs": 1},
        resume=parts,
        lexicon=lexicon,
        task=after["build_task"](parts, lexicon),
        final={"lattice": np.full((1, 3), 90.0), "characters": np.full((1, 3), 80.0)},
        path=lambda _: listed,
        real_or_stand_in=lambda name, real, stand_in: real(),
    )
    return after


def check_memory(after, printed):
    assert after["lattice_by_definition"] is after["kept"] is not after["lattice_with_memory"]
    assert float(printed.split()[-1]) > 0 == after["gradient_of_the_step_before"]([(0, 2, torch.ones(4))])
    torch.manual_seed(0)
    shapes = {"char_in": (4, 20), "char_state": (5, 15), "char_bias": (20,), "link": (5, 5)}
    shapes |= {"word_in": (4, 15), "word_state": (5, 15), "word_bias": (15,)}
    p = {name: torch.randn(shape) for name, shape in shapes.items()}
    x = torch.randn(6, 4)
    torch.testing.assert_close(after["lattice_with_memory"](x, [], p), after["kept"](x, [], p))
    p = {name: torch.zeros(shape) for name, shape in shapes.items()} | {"word_bias": torch.ones(15)}
    cell = torch.tensor(1.0).sigmoid() * torch.tensor(1.0).tanh()  # all three shares are equal
    found = after["lattice_with_memory"](x, [(1, 4, torch.ones(4))], p)
    torch.testing.assert_close(found[4], (0.5 * (cell / 3).tanh()).expand(5))


def check_single_characters(after, printed):
    assert after["parse_lexicon"] is after["longer_words"]
    fuller, names = after["fuller"], list(after["fuller"].numbers)
    kept = {(e, names[w]) for b, e, w in np.concatenate(fuller.train.words).tolist() if e - b + 1 != len(names[w])}
    assert {name for _, name in kept} == {"东", "山"}
    assert all(b < e for b, e, _ in np.concatenate(fuller.train.words).tolist())
    assert all((words[:, 0] >= 0).all() for words in fuller.train.words)
    few, many = (float(line.split()[2]) for line in printed.splitlines()[:2])
    assert many > few


def check_lengths(after, printed):
    assert "two characters: 100 words" in printed and "longer: 1 words" in printed
    assert list(after["by_length"]) == ["two characters", "longer"]
    assert all(0 <= f1 <= 100 for f1 in after["by_length"].values())


def check_batches(after, printed):
    assert len(after["few"].train.tags) == 6 and after["task"].train.text[4] in after["few"].train.text
    assert len(printed.splitlines()) == 6
    assert {size for size, _ in after["development"]} == {4, 256}
    assert all(0 <= f1 <= 100 for f1 in after["development"].values())


def check_one_table(after, _):
    assert after["LatticeTagger"] is after["two_tables"] is not after["OneTable"]
    task, shared = after["task"], after["OneTable"](6, 9, 5, seeds=(0, 1), size=6, width=4).eval()
    parameters = after["parameters"]
    assert parameters["LatticeTagger"] - parameters["OneTable"] == 50 * task.words
    assert type(after["shared"]) is after["OneTable"]
    both = after["LatticeTagger"](6, 9, 5, seeds=(0, 1), size=6, width=4).eval()
    table = shared.word_table.repeat_interleave(2, 0)
    both.load_state_dict(shared.state_dict() | {"word_table": table})
    part = after["random_part"](np.random.default_rng(0), [5, 3, 4, 6], 0.5, 6, 9)
    batch = after["make_batch"](part, np.array([[0, 1], [2, 3]]), 6)
    torch.testing.assert_close(shared(batch), both(batch))


CHECKS = (check_memory, check_single_characters, check_lengths, check_batches, check_one_table)


@pytest.mark.parametrize("number", range(5))
def test_the_solutions_of_the_exercises_run(number, tmp_path, capsys):
    after = at_the_end(tmp_path)
    exercises.execute("lattice_lstm_ner", number, after)
    CHECKS[number](after, capsys.readouterr().out)
