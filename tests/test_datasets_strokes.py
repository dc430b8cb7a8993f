"""The loader of drawings and its stand-in: what is refused, what is left out; real files from the mirror only."""

import os
import pickle
import zipfile

import numpy as np
import pytest

from utils import datasets
from utils.datasets import errors, strokes

pytestmark = pytest.mark.usefixtures("empty_cache")
needs_mirror = pytest.mark.skipif(not os.environ.get("WALKTHROUGHS_MIRROR"), reason="WALKTHROUGHS_MIRROR is not set")
GOOD = np.array([[0, 0, 0], [3, 4, 0], [-5, 2, 1]], np.int16)


def written(place, **parts):
    """An .npz file with these parts, each an array of objects; a part left out is one good drawing."""
    filled = {}
    for part in ("train", "valid", "test"):
        drawings = parts.get(part, [GOOD + (len(part), 0, 0)])
        filled[part] = np.empty(len(drawings), object)
        filled[part][:] = drawings
    np.savez(place / "drawings.npz", **filled)
    return place / "drawings.npz"


def sound(drawings):
    """What holds for the drawings, real or not."""
    for part in (drawings.train, drawings.validation, drawings.test):
        assert all(d.shape[1:] == (3,) and len(d) >= strokes.SHORTEST and d.dtype == np.int16 for d in part)
        assert all(set(np.unique(d[:, 2])) <= {0, 1} and d[-1, 2] == 1 for d in part)
    seen = {d.tobytes() for d in drawings.train}
    assert not any(d.tobytes() in seen for d in (*drawings.validation, *drawings.test))


@needs_mirror
@pytest.mark.parametrize(
    ("name", "sizes", "short"), [("kanji", [9998, 593, 499], 2), ("omniglot", [29925, 995, 999], 81)]
)
def test_the_real_drawings(name, sizes, short):
    drawings = strokes.load(name)
    sound(drawings)
    assert not drawings.stand_in and datasets.loaded["strokes"] == "real"
    assert [len(drawings.train), len(drawings.validation), len(drawings.test)] == sizes  # the card's counts
    assert drawings.dropped["short"] == short


def test_the_stand_in_is_announced_and_always_the_same(offline, capsys):
    drawings = strokes.load("kanji")
    sound(drawings)
    assert drawings.stand_in and "STAND-IN DATA for strokes" in capsys.readouterr().out
    again = strokes.generated()
    assert all(np.array_equal(a, b) for a, b in zip(drawings.train, again.train, strict=True))
    assert "stand-in" in datasets.card("strokes").facts


def test_another_name_is_refused():
    with pytest.raises(KeyError):
        strokes.load("sketches")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (np.zeros((4, 3), np.int16), "never moves"),
        (np.array([[1, np.nan, 0], [1, 2, 0], [1, 2, 1]]), "no finite"),
        (np.array([[1, np.inf, 0], [1, 2, 0], [1, 2, 1]]), "no finite"),
        (np.array([[1, 0.5, 0], [1, 2, 0], [1, 2, 1]]), "no whole"),
        (np.array([[1, 40000, 0], [1, 2, 0], [1, 2, 1]]), "beyond 32767"),
        (np.array([[1, 2, 0], [1, 2, 2], [1, 2, 1]]), "neither 0 nor 1"),
        (np.zeros((0, 3), np.int16), "not an array of rows"),
        (np.ones((3, 2), np.int16), "not an array of rows"),
        (np.array([["a", "b", "c"]] * 3), "no finite"),
        ("a text", "not an array of rows"),
    ],
)
def test_a_bad_drawing_is_named(tmp_path, wrong, why):
    with pytest.raises(datasets.BadFile, match=f"(?s)valid, drawing 1.*{why}"):
        strokes.of_file(written(tmp_path, valid=[GOOD, wrong]))


def test_short_drawings_and_later_repeats_are_left_out_and_counted(tmp_path):
    twice = [GOOD, GOOD, GOOD[:2]]
    drawings = strokes.of_file(written(tmp_path, train=twice, valid=[GOOD, GOOD + (1, 0, 0)], test=[GOOD + (1, 0, 0)]))
    assert [len(drawings.train), len(drawings.validation), len(drawings.test)] == [2, 1, 0]
    assert drawings.dropped == {"short": 1, "train": 0, "validation": 1, "test": 1}


def test_whole_numbers_stored_as_floats_are_read(tmp_path):
    assert np.array_equal(strokes.of_file(written(tmp_path, train=[GOOD.astype(float)])).train[0], GOOD)


def test_a_part_that_is_missing_is_named(tmp_path):
    np.savez(tmp_path / "drawings.npz", train=np.arange(3))
    with pytest.raises(datasets.BadFile, match="valid.*test"):
        strokes.of_file(tmp_path / "drawings.npz")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_file_is_refused(tmp_path, share):
    place = written(tmp_path)
    content = place.read_bytes()
    place.write_bytes(content[: int(share * len(content))])
    with pytest.raises(datasets.BadFile, match="fetch it again"):
        strokes.of_file(place)


def test_a_member_cut_short_is_refused(tmp_path):
    place = written(tmp_path)
    with zipfile.ZipFile(place) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(place, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content[: len(content) - 20 * (name == "test.npy")])
    with pytest.raises(datasets.DataError):
        strokes.of_file(place)


class Harmful:
    """Pickled as a call of a function that is not admitted."""

    def __init__(self, function):
        self.function = function

    def __reduce__(self):
        return self.function, ("true",)


@pytest.mark.parametrize("function", [os.system, eval, pickle.loads])
def test_a_pickle_that_asks_for_more_than_arrays_is_refused_and_not_run(tmp_path, function):
    with pytest.raises(errors.UnsafePickle, match="not admitted"):
        strokes.of_file(written(tmp_path, test=[GOOD, Harmful(function)]))
