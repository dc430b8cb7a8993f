"""Drawings as sequences of pen moves: kanji of KanjiVG and handwritten symbols of Omniglot.
Stand-in: polygons, spirals and zigzags of a seeded generator, with their strokes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import BadFile
from .files import path
from .provenance import real_or_stand_in
from .safe import load_npz

FILES = {"kanji": "strokes/short_kanji.npz", "omniglot": "strokes/omniglot.npz"}
PARTS = {"train": "train", "validation": "valid", "test": "test"}  # our name -> the file's
SHORTEST = 3  # rows; shorter drawings are left out


@dataclass(frozen=True, eq=False)
class Drawings:
    """Three parts of drawings. A drawing is an array (rows, 3) of int16: the move from the point before, in x and in
    y (downwards), and 1 if the pen is lifted after it. The first row is the offset from the origin.
    `dropped` counts what was left out: drawings that are too short, and test or validation drawings seen before."""

    train: tuple[np.ndarray, ...]
    validation: tuple[np.ndarray, ...]
    test: tuple[np.ndarray, ...]
    dropped: dict[str, int]
    stand_in: bool


def load(name: str) -> Drawings:
    """Load `kanji` (9998, 593 and 499 drawings) or `omniglot`, or 500, 60 and 60 generated ones when the file is
    out of reach. Raises KeyError for another name and any DataError but Unreachable."""
    file = FILES[name]
    return real_or_stand_in("strokes", lambda: of_file(path(file)), generated)


def of_file(place: Path) -> Drawings:
    """The drawings of an .npz file with the object arrays `train`, `valid` and `test`.
    Raises BadFile for another content, UnsafePickle for a pickle that asks for more than arrays."""
    arrays = load_npz(place)
    if lacking := [part for part in PARTS.values() if part not in arrays]:
        raise BadFile(place.name, f"parts are missing: {lacking}", str(place), "fetch the file again")
    parts = {
        ours: [checked(drawing, f"{theirs}, drawing {number}", place) for number, drawing in enumerate(arrays[theirs])]
        for ours, theirs in PARTS.items()
    }
    return whole(parts, stand_in=False)


def checked(drawing: Any, what: str, place: Path) -> np.ndarray:
    """The drawing, if it is one. Raises BadFile, which says what is wrong with which drawing."""

    def bad(why: str) -> BadFile:
        return BadFile(place.name, f"{what}: {why}", str(place), "fetch the file again")

    if not isinstance(drawing, np.ndarray) or drawing.ndim != 2 or drawing.shape[1] != 3 or not len(drawing):
        raise bad("not an array of rows with two offsets and a pen")
    if not np.issubdtype(drawing.dtype, np.integer):
        if drawing.dtype.kind != "f" or not np.isfinite(drawing).all():
            raise bad("offsets that are no finite numbers")
        if (drawing != np.round(drawing)).any():
            raise bad("offsets that are no whole numbers")
    if np.abs(drawing[:, :2].astype(np.float64)).max() > 32767:
        raise bad("an offset beyond 32767")
    if not np.isin(drawing[:, 2], (0, 1)).all():
        raise bad("a pen that is neither 0 nor 1")
    if not drawing[:, :2].any():
        raise bad("a pen that never moves")
    return drawing.astype(np.int16)


def whole(parts: dict[str, list[np.ndarray]], stand_in: bool) -> Drawings:
    """The drawings without the short ones, and the later parts without drawings of the earlier ones."""
    dropped, seen, kept = {"short": 0}, set(), {}
    for part, drawings in parts.items():
        long = [drawing for drawing in drawings if len(drawing) >= SHORTEST]
        dropped["short"] += len(drawings) - len(long)
        kept[part] = tuple(drawing for drawing in long if drawing.tobytes() not in seen)
        dropped[part] = len(long) - len(kept[part])
        seen |= {drawing.tobytes() for drawing in long}
    return Drawings(**kept, dropped=dropped, stand_in=stand_in)


def generated() -> Drawings:
    """The stand-in: drawings of two to five strokes, each a polygon, a spiral or a zigzag of 4 to 12 points."""
    rng = np.random.default_rng(5)

    def stroke() -> np.ndarray:
        steps, size = np.arange(rng.integers(4, 13)), rng.uniform(40, 160)
        turn = rng.choice((np.pi / 2, np.pi / 3, 0.9))
        kind, angle = rng.integers(3), rng.uniform(0, 2 * np.pi)
        radius = size * (1 + 0.1 * steps) if kind == 1 else np.full(len(steps), size)
        points = np.stack([radius * np.cos(turn * steps + angle), radius * np.sin(turn * steps + angle)], 1)
        return points if kind < 2 else np.stack([30.0 * steps, size * (steps % 2)], 1)

    def drawing() -> np.ndarray:
        strokes = [stroke() + rng.uniform(-150, 150, 2) for _ in range(rng.integers(2, 6))]
        lifted = np.concatenate([np.arange(len(s)) == len(s) - 1 for s in strokes])
        places = np.round(np.concatenate(strokes)).astype(np.int64)
        return np.column_stack([np.diff(places, axis=0, prepend=0), lifted]).astype(np.int16)

    sizes = {"train": 500, "validation": 60, "test": 60}
    return whole({part: [drawing() for _ in range(size)] for part, size in sizes.items()}, stand_in=True)
