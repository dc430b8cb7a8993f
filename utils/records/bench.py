"""The record of the benchmarks, data/results/bench.json: `make bench` writes it, a page of the book shows it.

One entry for each benchmark, named for its chapter: {"stamp": ..., "comparisons": [...], "growth": [...]}.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from utils.records import runs

PATH = runs.FOLDER / "bench.json"
MEMORY = 8 * 2**30  # bytes: what a size may fill before it counts as too large


class RecordError(ValueError):
    """data/results/bench.json is there and is not a record of the benchmarks."""


def load(path: Path = PATH) -> dict[str, dict[str, Any]]:
    """The entries by name; none where nothing was measured yet.

    Raises:
        RecordError: the file is there but is not a record; the message names it and what is wrong.
    """
    if not path.exists():
        return {}
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["entries"]
        for name, entry in entries.items():
            check(name, entry)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(
            f"data/results/{path.name} is not a record of the benchmarks ({type(error).__name__}: {error}): "
            "delete it and run make bench"
        ) from error
    return entries


def check(name: str, entry: dict[str, Any]) -> None:
    """Raises ValueError, KeyError or TypeError where the entry is not what the page can show."""
    numbers = [entry["stamp"]["threads"]]
    texts = [entry["stamp"]["device"], entry["stamp"]["date"]]
    for comparison in entry["comparisons"]:
        texts += [comparison["title"], *(side["name"] for side in comparison["sides"])]
        numbers += [comparison["ratio"], comparison["wanted"], *(side["value"] for side in comparison["sides"])]
        if comparison["sense"] not in ("at least", "at most") or len(comparison["sides"]) < 2:
            raise ValueError(f"{name}: {comparison['title']!r} compares nothing")
    for growth in entry["growth"]:
        texts += [growth["title"], growth["along"], *(series["name"] for series in growth["series"])]
        numbers += [growth["limit"], growth["most"]]
        for series in growth["series"]:
            numbers += [math.exp(series["slope"]), *(value for point in series["points"] for value in point)]
            if len(series["points"]) < 3 or any(len(point) != 2 for point in series["points"]):
                raise ValueError(f"{name}: {series['name']!r} needs three points of a size and a time")
            if series["breaks"] is not None:
                numbers += [series["breaks"]["at"]]
                texts += [series["breaks"]["by"]]
    if not all(isinstance(text, str) and text for text in texts):
        raise TypeError(f"{name}: a name, a title or a date is no text")
    if not all(isinstance(number, (int, float)) and 0 < number < math.inf for number in numbers):
        raise ValueError(f"{name}: a value is not a positive number")


def save(entries: dict[str, dict[str, Any]], path: Path = PATH) -> None:
    """Write the record whole or not at all."""
    for name, entry in entries.items():
        check(name, entry)
    text = json.dumps({"entries": entries}, indent=1, allow_nan=False) + "\n"
    runs.write_whole(path, text.encode())


def met(comparison: dict[str, Any]) -> bool:
    """Whether the ratio is what was wanted."""
    ratio, wanted = comparison["ratio"], comparison["wanted"]
    return ratio >= wanted if comparison["sense"] == "at least" else ratio <= wanted


def slope(points: list[tuple[float, float]]) -> float:
    """The slope of a straight line through the larger half of the points, three at least, on logarithmic scales."""
    upper = sorted(points)[-max(3, math.ceil(len(points) / 2)) :]
    x, y = ([math.log(point[axis]) for point in upper] for axis in (0, 1))
    middle_x, middle_y = sum(x) / len(x), sum(y) / len(y)
    across = sum((a - middle_x) ** 2 for a in x)
    return sum((a - middle_x) * (b - middle_y) for a, b in zip(x, y, strict=True)) / across
