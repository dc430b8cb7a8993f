"""The loader of spoken digits with their speakers; real files are read from the mirror folder only."""

import os

import numpy as np
import pytest

from utils import datasets
from utils.datasets import spoken_digits
from utils.datasets.safe import load_npz

pytestmark = pytest.mark.usefixtures("empty_cache")
needs_mirror = pytest.mark.skipif(not os.environ.get("WALKTHROUGHS_MIRROR"), reason="WALKTHROUGHS_MIRROR is not set")
LINES = "5_nicolas_9\n3_yweweler_14\n"


def arrays(**more):
    """Two recordings of 2 and 3 frames, that fit LINES."""
    return {"X": np.ones((5, 13), np.float32), "y": np.array([5, 3]), "lengths": np.array([2, 3])} | more


def sound(found: spoken_digits.SpokenDigits) -> None:
    """What holds for the recordings, real or not: every digit fifty times by each of six speakers."""
    assert len(found.frames) == len(found.digits) == len(found.speakers) == len(found.numbers) == 3000
    assert all(x.shape[1] == 13 and x.dtype == np.float32 and np.isfinite(x).all() for x in found.frames)
    names = {*zip(found.digits.tolist(), found.speakers.tolist(), found.numbers.tolist(), strict=True)}
    assert names == {(d, s, n) for d in range(10) for s in spoken_digits.SPEAKERS for n in range(50)}


@needs_mirror
def test_the_real_recordings():
    found = spoken_digits.load()
    sound(found)
    assert not found.stand_in and datasets.loaded["spoken-digits"] == "real"
    assert sum(map(len, found.frames)) == 53999  # the card's count
    assert (found.numbers < 5).sum() == 300


def test_the_stand_in_is_announced_and_always_the_same(offline, capsys):
    found = spoken_digits.load()
    sound(found)
    assert found.stand_in and "spoken-digits" in datasets.stand_ins
    assert "STAND-IN DATA for spoken-digits" in capsys.readouterr().out
    again = spoken_digits.generated()
    assert all(np.array_equal(a, b) for a, b in zip(found.frames, again.frames, strict=True))
    assert "stand-in" in datasets.card("spoken-digit-strings").facts


@pytest.mark.parametrize("change", [lambda t: "\ufeff" + t, lambda t: t.replace("\n", "\r\n"), lambda t: t + "\n \n"])
def test_byte_order_mark_windows_line_ends_and_empty_lines_do_no_harm(change):
    found = spoken_digits.joined(arrays(), change(LINES))
    assert found.digits.tolist() == [5, 3] and found.numbers.tolist() == [9, 14]
    assert found.speakers.tolist() == ["nicolas", "yweweler"]
    assert [x.shape for x in found.frames] == [(2, 13), (3, 13)]


@pytest.mark.parametrize("line", ["", "5_nicolas", "x_nicolas_9", "5_nobody_9", "5_nicolas_900", "5 nicolas 9"])
def test_a_malformed_line_is_named(line):
    with pytest.raises(datasets.BadFile, match="line 1 is not"):
        spoken_digits.parse_order(f"{line}\n3_theo_1\n")


def test_an_empty_list_does_not_fit_and_a_recording_is_named_once():
    with pytest.raises(datasets.BadFile, match="its 0 digits are not those of the 2 recordings"):
        spoken_digits.joined(arrays(), "")
    with pytest.raises(datasets.BadFile, match="named twice"):
        spoken_digits.parse_order("5_theo_9\n5_theo_9\n")


def test_a_list_in_another_order_is_refused():
    with pytest.raises(datasets.BadFile, match="not those of the"):
        spoken_digits.joined(arrays(), "3_yweweler_14\n5_nicolas_9\n")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"lengths": np.array([2, 4])}, "do not add up"),
        ({"lengths": np.array([5, 0])}, "do not add up"),
        ({"lengths": np.array([5])}, "do not add up"),
        ({"X": np.ones(5, np.float32)}, "do not add up"),
        ({"X": np.full((5, 13), np.nan, np.float32)}, "no number"),
        ({"X": np.full((5, 13), np.inf, np.float32)}, "no number"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(more, words):
    with pytest.raises(datasets.BadFile, match=words):
        spoken_digits.joined(arrays(**more), LINES)


def test_a_missing_array_is_named():
    with pytest.raises(datasets.BadFile, match="lacks lengths"):
        spoken_digits.joined({k: v for k, v in arrays().items() if k != "lengths"}, LINES)


def test_a_truncated_file_is_refused(tmp_path, monkeypatch):
    whole = tmp_path / "digits.npz"
    np.savez_compressed(whole, **arrays())
    whole.write_bytes(whole.read_bytes()[:-60])
    with pytest.raises(datasets.BadFile, match="not a complete"):
        load_npz(whole)


def test_another_list_of_names_is_refused(tmp_path, monkeypatch):
    (tmp_path / "order.txt").write_text(LINES)
    monkeypatch.setattr(spoken_digits, "_order", lambda: tmp_path / "order.txt")
    with pytest.raises(datasets.BadFile, match="not the list of names"):
        spoken_digits.load()
