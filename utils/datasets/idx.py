"""Arrays of bytes in IDX files, and the four files of MNIST. Stand-in: the small digits of scikit-learn, enlarged."""

from __future__ import annotations

import gzip
import math
from typing import NamedTuple

import numpy as np

from .errors import BadFile
from .files import path
from .provenance import real_or_stand_in

NAME = "mnist"
FILES = [f"mnist/{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
BYTES = 8  # the code of the only type of values that is read


class Digits(NamedTuple):
    """Images as bytes (cases, 28, 28), 0 is blank; labels 0 to 9 (cases,)."""

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray


def parse(content: bytes, name: str = NAME) -> np.ndarray:
    """The array in an IDX file: two zero bytes, the type, the number of axes, their lengths, then the values.

    Raises:
        BadFile: it is no such file, holds other values than bytes, or is cut short.
    """
    start = 4 + 4 * content[3] if len(content) > 3 else 4
    shape = np.frombuffer(content[4:start], ">u4").tolist() if len(content) >= start else []
    if content[:3] != bytes((0, 0, BYTES)) or not shape or len(content) != start + math.prod(shape):
        raise BadFile(name, f"{len(content)} bytes are no IDX array of bytes", name, "fetch the file again")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def mnist() -> Digits:
    """The digits of MNIST, 60,000 for training and 10,000 for testing, or a stand-in when a file is out of reach.

    Raises:
        DataError: any but Unreachable.
    """
    return real_or_stand_in(NAME, _of_files, _small_digits)


def _of_files() -> Digits:
    return Digits(*(parse(gzip.decompress(path(name).read_bytes()), name) for name in FILES))


def _small_digits(train: int = 3000, test: int = 1000) -> Digits:
    """The 1,797 digits of 8 x 8, enlarged to 28 x 28 and moved by a pixel; no digit is in both parts."""
    from sklearn.datasets import load_digits

    small, rng = load_digits(), np.random.default_rng(5)
    large = np.pad(np.kron(small.images, np.ones((3, 3))) * 255 / 16, ((0, 0), (2, 2), (2, 2)))

    def drawn(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        moved = [np.roll(large[row], rng.integers(-1, 2, 2), (0, 1)) for row in rows]
        return np.stack(moved).astype(np.uint8), small.target[rows].astype(np.uint8)

    return Digits(*drawn(rng.integers(1297, size=train)), *drawn(rng.integers(1297, 1797, test)))
