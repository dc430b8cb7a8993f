"""What the benchmarks share: steps timed in turns, comparisons with an aim, growth with size."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from utils.notebook import dgl_compat, timing
from utils.records import bench

Step = Callable[[], object]


def milliseconds_of(steps: Mapping[Any, Step], rounds: int, repeats: int) -> dict[Any, list[float]]:
    """Milliseconds of each step in each round, the steps taking turns; a turn is `repeats` calls, whose mean counts.

    Processor time: with one thread on either side it is the wall's on an idle machine, and no longer on a busy one.
    """

    def turn(step: Step) -> Step:
        def several() -> None:
            for _ in range(repeats):
                step()

        return several

    seconds = timing.in_turns({name: turn(step) for name, step in steps.items()}, rounds)
    return {name: [1e3 * value / repeats for value in values] for name, values in seconds.items()}


def medians(steps: Mapping[Any, Step], rounds: int = 10, repeats: int = 10) -> dict[Any, float]:
    """Median milliseconds of each step: what a comparison rests on."""
    return {name: float(np.median(values)) for name, values in milliseconds_of(steps, rounds, repeats).items()}


def least(steps: Mapping[Any, Step], rounds: int, repeats: int) -> dict[Any, float]:
    """Least milliseconds of each step: what a line of growth rests on, as its steps may be very short."""
    return {name: min(values) for name, values in milliseconds_of(steps, rounds, repeats).items()}


class Entry:
    """What the benchmark of one chapter found; printed as it comes.

    Attributes:
        scale: 1 for a measurement; a fraction makes sizes, rounds and repeats smaller, so that a test can run it.
    """

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale
        self.comparisons: list[dict[str, Any]] = []
        self.growth: list[dict[str, Any]] = []

    def few(self, number: int, least: int = 1) -> int:
        """A number of rows, steps or rounds at this scale."""
        return number if self.scale == 1 else max(least, round(number * self.scale))

    def sizes(self, first: int, last: int, factor: int = 2) -> list[int]:
        """first, first * factor, ... up to last at this scale; three at least."""
        return geometric(first, max(self.few(last), first * factor**2), factor)

    def medians(self, steps: Mapping[Any, Step], rounds: int = 10, repeats: int = 10) -> dict[Any, float]:
        """Median milliseconds of each step: what a comparison rests on."""
        return medians(steps, self.few(rounds), self.few(repeats))

    def compare(
        self,
        title: str,
        values: Mapping[str, float],
        wanted: float,
        done: tuple[float, str] | None = None,
        unit: str = "ms",
        sense: str = "at least",
    ) -> None:
        """The book's way, which is the first, against the last: is the ratio of the last to it what was wanted?

        done: how many of what are done in the time of a side, to have the rate as well.
        """
        sides: list[dict[str, Any]] = [{"name": name, "value": round(value, 4)} for name, value in values.items()]
        print(f"\n{title}")
        for side in sides:
            if done:
                side["rate"] = float(f"{1e3 * done[0] / side['value']:.4g}")
            rate = f" {side['rate']:9.0f} {done[1]}/s" if done else ""
            print(f"  {side['name']:48s} {side['value']:9.2f} {unit}{rate}")
        ratio = round(sides[-1]["value"] / sides[0]["value"], 3)
        comparison = {"title": title, "sides": sides, "ratio": ratio, "wanted": wanted, "sense": sense, "unit": unit}
        self.comparisons.append({**comparison, "rate_of": done[1]} if done else comparison)
        verdict = "met" if bench.met(comparison) else "missed"
        print(f"  {ratio:.1f} times (wanted: {sense} {wanted:g}): {verdict}")

    def grow(
        self,
        title: str,
        along: str,
        makers: Mapping[str, tuple[Callable[[int], Step], Iterable[int]]],
        fills: Mapping[str, Callable[[float], float]] | None = None,
        rounds: int = 5,
        most: float = 1e12,
    ) -> None:
        """Measure steps at growing sizes. makers: name -> (what makes the step of a size, sizes).

        fills: the bytes that the largest arrays of a side fill at a size, where they are the first to fail.
        most: the largest size that there can be.
        """
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in makers}
        for size in sorted({size for _, sizes in makers.values() for size in sizes}):
            steps = {name: make(size) for name, (make, sizes) in makers.items() if size in set(sizes)}
            first = least(steps, 1, 1)
            repeats = self.few(max(1, round(20 / max(first.values()))))
            for name, value in least(steps, self.few(rounds), repeats).items():
                found[name].append((size, value))
        self.grew(title, along, found, fills, most=most)

    def grew(
        self,
        title: str,
        along: str,
        found: Mapping[str, list[tuple[float, float]]],
        fills: Mapping[str, Callable[[float], float]] | None = None,
        limit: float = 60.0,
        most: float = 1e12,
        unit: str = "ms",
    ) -> None:
        """Record milliseconds at sizes, or MB; limit: the seconds after which a size counts as too large."""
        print(f"\n{title}")
        lines = []
        for name, points in found.items():
            slope = bench.slope(points)
            bound = (1e3 * limit, "time") if unit == "ms" else (bench.MEMORY / 2**20, "memory")
            breaks = breaking_point(points, slope, (fills or {}).get(name), *bound)
            breaks = breaks if breaks and breaks["at"] < most else None
            rounded = [[size, float(f"{value:.4g}")] for size, value in points]
            lines.append({"name": name, "points": rounded, "slope": round(slope, 3), "breaks": breaks})
            shown = "  ".join(f"{size:g}: {value:.3g} {unit}" for size, value in rounded)
            end = f"; breaks at {breaks['at']:,.0f} {along}, by {breaks['by']}" if breaks else ""
            print(f"  {name}: slope {slope:.2f}{end}\n    {shown}")
        self.growth.append(
            {"title": title, "along": along, "series": lines, "limit": limit, "most": most, "unit": unit}
        )


def dgl_or_stop() -> Any:
    """DGL, which a benchmark compares with. Exits with a line where it is not installed."""
    return dgl_compat.load() or sys.exit("this benchmark compares with DGL, which is not installed here")


def breaking_point(
    points: list[tuple[float, float]],
    slope: float,
    fills: Callable[[float], float] | None,
    bound: float,
    by: str = "time",
) -> dict[str, Any] | None:
    """The size at which a side passes the bound of what was measured or fills the memory, whichever comes first.

    The measured is carried on along the line through the larger sizes. None where neither comes below a thousand
    billion.
    """
    last, value = max(points)
    found = []
    if slope > 0.05:
        found.append((last * (bound / value) ** (1 / slope), by))
    if fills:
        small, large = 1.0, 1e12
        while large > 1.001 * small:
            middle = (small * large) ** 0.5
            small, large = (middle, large) if fills(middle) < bench.MEMORY else (small, middle)
        found.append((small, "memory"))
    at, by = min(found, default=(1e12, ""))
    return {"at": float(f"{at:.2g}"), "by": by} if at < 9e11 else None


def geometric(first: int, last: int, factor: int = 2) -> list[int]:
    """first, first * factor, ... up to last."""
    sizes = [first]
    while sizes[-1] * factor <= last:
        sizes.append(sizes[-1] * factor)
    return sizes
