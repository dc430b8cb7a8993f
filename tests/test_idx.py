"""IDX files of MNIST: what is read, what is refused, and the stand-in."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.datasets import idx, provenance
from utils.datasets.errors import BadFile, Unreachable


def packed(array):
    """An array of bytes as an IDX file."""
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


@given(st.lists(st.integers(0, 4), min_size=1, max_size=3), st.integers(0, 1000))
def test_what_is_packed_is_read(shape, seed):
    array = np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)
    assert np.array_equal(idx.parse(packed(array)), array)


GOOD = packed(np.arange(6, dtype=np.uint8).reshape(2, 3))


@pytest.mark.parametrize("content", [b"", b"\0\0", GOOD[:-1], GOOD + b"x", GOOD[:9], b"\0\0\x0d" + GOOD[3:], GOOD[4:]])
def test_other_content_is_refused(content):
    with pytest.raises(BadFile, match="no IDX array of bytes"):
        idx.parse(content, "mnist/x.gz")


def test_the_four_files_become_two_parts(monkeypatch, tmp_path):
    arrays = {}
    for count, name in zip((5, 5, 3, 3), idx.FILES, strict=True):
        shape = (count, 28, 28) if "images" in name else (count,)
        arrays[name] = np.random.default_rng(count).integers(10, size=shape, dtype=np.uint8)
        file = tmp_path / name.replace("/", "-")
        file.write_bytes(gzip.compress(packed(arrays[name])))
    monkeypatch.setattr(idx, "path", lambda name: tmp_path / name.replace("/", "-"))
    for found, expected in zip(idx.mnist(), arrays.values(), strict=True):
        assert np.array_equal(found, expected)
    assert provenance.loaded["mnist"] == "real"


def test_without_the_files_there_is_a_stand_in(monkeypatch, capsys):
    def nothing(name):
        raise Unreachable(name, "no network", "https://example.org", "connect")

    monkeypatch.setattr(idx, "path", nothing)
    digits = idx.mnist()
    assert [part.shape for part in digits] == [(3000, 28, 28), (3000,), (1000, 28, 28), (1000,)]
    assert set(digits.train_labels) == set(digits.test_labels) == set(range(10))
    assert provenance.loaded.pop("mnist") == "stand-in" and "STAND-IN" in capsys.readouterr().out
    provenance.stand_ins.discard("mnist")
