"""The loader of MNIST and its stand-in; real files are read from the mirror folder only."""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from utils import datasets
from utils.datasets import idx

pytestmark = pytest.mark.usefixtures("empty_cache")
needs_mirror = pytest.mark.skipif(not os.environ.get("WALKTHROUGHS_MIRROR"), reason="WALKTHROUGHS_MIRROR is not set")


def sound(digits) -> None:
    """What holds for the digits, real or not."""
    for images, labels in ((digits.train, digits.train_labels), (digits.test, digits.test_labels)):
        assert images.shape == (len(labels), 28, 28)
        assert images.dtype == labels.dtype == np.uint8
        assert sorted(set(labels.tolist())) == list(range(10))
        assert images.max() > 200 and images[:, 0, 0].max() == 0
        assert np.bincount(labels).min() > 0.05 * len(labels)


@needs_mirror
def test_the_real_digits():
    digits = idx.mnist()
    sound(digits)
    assert datasets.loaded["mnist"] == "real"
    assert (len(digits.train), len(digits.test)) == (60000, 10000)
    assert round(digits.train.mean() / 255, 5) == 0.13066  # the card's figures
    assert round(digits.train.std() / 255, 5) == 0.30811
    assert (digits.test_labels == 3).sum() == 1010  # as the paper says
    assert digits.train_labels[:5].tolist() == [5, 0, 4, 1, 9]


def test_the_stand_in_is_announced_and_always_the_same(offline, capsys):
    digits = idx.mnist()
    sound(digits)
    assert "mnist" in datasets.stand_ins
    assert "STAND-IN DATA for mnist" in capsys.readouterr().out
    assert np.array_equal(idx.mnist().train, digits.train)
    assert "stand-in" in datasets.card("mnist").facts


def test_an_idx_file_is_read_as_its_header_says():
    content = b"\0\0\x08\x02" + (2).to_bytes(4, "big") + (3).to_bytes(4, "big") + bytes(range(6))
    assert idx.parse(content).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\x08",
        b"\0\0\x08\x00",
        b"\0\0\x08\x01\0\0",
        b"\0\0\x08\x01" + (3).to_bytes(4, "big") + b"ab",  # a value is missing
        b"\0\0\x08\x01" + (3).to_bytes(4, "big") + b"abcd",  # one too many
        b"\0\0\x0d\x01" + (1).to_bytes(4, "big") + b"abcd",  # floats
        b"\x1f\x8b\x08\x01" + (3).to_bytes(4, "big") + b"abc",  # still packed
    ],
)
def test_what_is_no_idx_file_is_named(content):
    with pytest.raises(datasets.DataError, match=r"train-images.*IDX"):
        idx.parse(content, "train-images")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 4), min_size=1, max_size=3), st.integers(0, 1000))
def test_what_is_packed_is_read(shape, seed):
    array = np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)
    content = bytes((0, 0, 8, array.ndim)) + np.array(shape, ">u4").tobytes() + array.tobytes()
    assert np.array_equal(idx.parse(content), array)
