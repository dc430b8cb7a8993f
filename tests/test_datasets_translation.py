"""The loader of sentence pairs; real files are read from the mirror folder only."""

import os
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils import datasets
from utils.datasets import translation

pytestmark = pytest.mark.usefixtures("empty_cache")
needs_mirror = pytest.mark.skipif(not os.environ.get("WALKTHROUGHS_MIRROR"), reason="WALKTHROUGHS_MIRROR is not set")
TABLE = translation.simplifier("# a comment\n馬\t马\n著\t着 著\n")
CREDIT = "CC-BY 2.0 (France) Attribution: tatoeba.org #1 (CM) & #2 (Martha)"


def line(english="Hi, Tom!", chinese="嗨！", credit=CREDIT):
    return "\t".join((english, chinese, credit)) + "\n"


def nothing_leaks(found: translation.Translations) -> None:
    """No sentence of one part stands in another."""
    parts = found.train, found.validation, found.test
    for side in ("english", "chinese"):
        sentences = [{getattr(pair, side) for pair in part} for part in parts]
        assert sum(map(len, sentences)) == len(set().union(*sentences))


@needs_mirror
def test_the_real_pairs():
    found = translation.load()
    nothing_leaks(found)
    assert not found.stand_in and datasets.loaded["tatoeba-cmn-eng"] == "real"
    assert tuple(map(len, (found.train, found.validation, found.test))) == (28804, 1574, 1650)  # as the card says
    assert all("#" in pair.credit for pair in found.test)


def test_the_stand_in_is_announced_always_the_same_and_leaks_nothing(offline, capsys):
    found = translation.load()
    nothing_leaks(found)
    assert found.stand_in and "tatoeba-cmn-eng" in datasets.stand_ins
    assert "STAND-IN DATA for tatoeba-cmn-eng" in capsys.readouterr().out
    assert found.test == translation.generated().test and len(found.test) > 20 < len(found.validation)
    assert "stand-in" in datasets.card("tatoeba-cmn-eng").facts


@pytest.mark.parametrize("change", [lambda t: "\ufeff" + t, lambda t: t.replace("\n", "\r\n"), lambda t: t + "\n"])
def test_byte_order_mark_windows_line_ends_and_an_empty_end_do_no_harm(change, tmp_path, monkeypatch):
    place = tmp_path / "cmn-eng.zip"
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr("cmn.txt", change(line() + line("It's a horse.", "這是馬。")).encode())
    pairs = translation.parsed(translation._member(place), TABLE)
    assert [pair.english for pair in pairs] == [("hi", "tom"), ("it's", "a", "horse")]
    assert pairs[1].chinese == ("這", "是", "马") and pairs[0].credit == CREDIT


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hi.\t嗨。\n", "is not English, Chinese and a credit"),
        ("Hi.\t嗨。\t\n", "is not English, Chinese and a credit"),
        ("no tabs at all\n", "is not English, Chinese and a credit"),
        (line() + "\n" + line(), "line 2 is not English"),
        (line(english="..."), "has no English sentence"),
        (line(english=""), "has no English sentence"),
        (line(chinese="？！"), "has no Chinese sentence"),
        (line(chinese="嗨\ufffd"), "cannot be read"),
        (line(chinese="嗨\x07"), "cannot be read"),
        (line(english="word " * 61), "more than 60"),
        (line(chinese="字" * 61), "more than 60"),
        (line() + line(chinese=" "), "line 2 has no Chinese"),
        ("", "is not English"),
    ],
)
def test_a_malformed_line_is_named(text, words):
    with pytest.raises(datasets.BadFile, match=words):
        translation.parsed(text or "\n\n" + line(), TABLE)


def test_an_empty_file_is_refused():
    with pytest.raises(datasets.BadFile, match="no pair"):
        translation.parsed("", TABLE)


def test_what_is_no_archive_is_refused(tmp_path):
    place = tmp_path / "x.zip"
    place.write_bytes(b"<html>")
    with pytest.raises(datasets.BadFile, match="no archive"):
        translation._member(place)
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr("cmn.txt", "嗨".encode("gb18030"))
    with pytest.raises(datasets.BadFile, match="no archive with cmn.txt in UTF-8"):
        translation._member(place)


def test_the_first_simplified_form_counts_and_a_malformed_table_is_named():
    assert translation.characters("著 馬，Ａ1\u200b", TABLE) == ("着", "马", "a", "1")
    for text in ("馬马\n", "馬\t\n", "馬馬\t马\n"):
        with pytest.raises(datasets.BadFile, match="line 1 is not a character"):
            translation.simplifier(text)


def test_words_keep_their_apostrophes_and_lose_punctuation():
    assert translation.words("“Don’t!” she said—twice.") == ("don't", "she", "said", "twice")


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30))
def test_pairs_that_share_a_sentence_are_of_one_group(numbers):
    pairs = [translation.Pair((f"e{a}",), (f"c{b}",), "x") for a, b in numbers]
    groups = translation.joined(pairs)
    for one, group in zip(pairs, groups, strict=True):
        for other, another in zip(pairs, groups, strict=True):
            if one.english == other.english or one.chinese == other.chinese:
                assert group == another
    found = translation.split(pairs, stand_in=True)
    nothing_leaks(found)
    assert len(found.train) + len(found.validation) + len(found.test) == len(pairs)


def test_chains_are_followed_and_strangers_stay_apart():
    pairs = [translation.Pair((a,), (b,), "x") for a, b in ("ax", "by", "ay", "cz", "bw")]
    assert translation.joined(pairs) == [0, 0, 0, 3, 0]


def test_the_part_of_a_group_does_not_hang_on_the_order_of_the_file():
    pairs = list(translation.generated().train)
    one, other = translation.split(pairs, True), translation.split(pairs[::-1], True)
    assert set(one.test) == set(other.test) and set(one.validation) == set(other.validation)
