"""The loader of review sentences and its stand-in; real files are read from the mirror folder only."""

import os

import pytest

from utils import datasets
from utils.datasets import sst2

pytestmark = pytest.mark.usefixtures("empty_cache")
needs_mirror = pytest.mark.skipif(not os.environ.get("WALKTHROUGHS_MIRROR"), reason="WALKTHROUGHS_MIRROR is not set")


def sound(reviews: sst2.Sentences) -> None:
    """What holds for the sentences, real or not."""
    for part in (reviews.train, reviews.validation, reviews.test):
        assert all(sentence.words and sentence.label in (0, 1) for sentence in part)
        assert all(word and word == "".join(word.split()) for sentence in part for word in sentence.words)
        assert 0.35 < sum(sentence.label for sentence in part) / len(part) < 0.65


@needs_mirror
def test_the_real_sentences():
    reviews = sst2.load()
    sound(reviews)
    assert not reviews.stand_in and datasets.loaded["sst2"] == "real"
    parts = (reviews.train, reviews.validation, reviews.test)
    assert [len(part) for part in parts] == [6920, 872, 1821]
    assert [sum(sentence.label for sentence in part) for part in parts] == [3610, 444, 909]  # the card's counts


def test_the_stand_in_is_announced_and_always_the_same(offline, capsys):
    reviews = sst2.load()
    sound(reviews)
    assert reviews.stand_in and "sst2" in datasets.stand_ins
    assert "STAND-IN DATA for sst2" in capsys.readouterr().out
    assert sst2.generated().train == reviews.train
    assert "stand-in" in datasets.card("sst2").facts


@pytest.mark.parametrize("line", ["", "no label", "words\t2", "words\t", "\t1", "words\tpositive", "   \t0"])
def test_a_malformed_line_is_named(line):
    with pytest.raises(datasets.DataError, match="line 7"):
        sst2.parse(line, "file", 7)


def test_a_line_may_hold_tabs_and_odd_spaces():
    assert sst2.parse("a  b\tc\t1") == sst2.Sentence(("a", "b", "c"), 1)


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path, monkeypatch):
    (tmp_path / "part.tsv").write_bytes(b"\xef\xbb\xbffine film\t1\r\nnot so\t0\r\n")
    monkeypatch.setattr(sst2, "path", lambda _: tmp_path / "part.tsv")
    expected = (sst2.Sentence(("fine", "film"), 1), sst2.Sentence(("not", "so"), 0))
    reviews = sst2.load()
    assert reviews.train == reviews.test == expected and not reviews.stand_in
    assert sst2.parse("\ufefffine film\t1") == expected[0]
