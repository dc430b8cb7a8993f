"""Walks of all nodes at once against a walk at a time; then five million simulated lines through the counting."""

from __future__ import annotations

import functools
import math
import multiprocessing
import random
import resource
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from utils.bench.common import Entry
from utils.datasets import searchlog
from utils.tools.definitions import of_chapter

LOGS = {  # lines after which the memory is read, and the entries that the table may have
    "every edge": ((250_000, 500_000, 1_000_000), None),
    "at most 200,000 entries": ((500_000, 1_000_000, 2_500_000, 5_000_000), 200_000),
}


def measure(entry: Entry) -> None:
    """Measure, and put what was found into the entry."""
    chapter = of_chapter("rin_query_suggestion")
    graph = chapter["Graph"](chapter["count_edges"](chapter["find_sessions"](searchlog.lines(entry.few(3000, 300)))[0]))
    rows = [slice(*ends) for ends in pairwise(graph.ends.tolist())]
    neighbours = [(graph.targets[row].tolist(), graph.weights[row].tolist()) for row in rows]
    some, length = np.random.default_rng(0).permutation(len(rows))[: entry.few(2000, 100)], 10

    def one_at_a_time() -> None:
        for node in some.tolist():
            for _ in range(length - 1):
                node = random.choices(*neighbours[node])[0]

    steps = {
        "this book, all walks a step at a time": lambda: chapter["walks"](graph, some, length, 0),
        "one walk after the other, random.choices": one_at_a_time,
    }
    title, done = "Random walks by weight, 2000 of 10 nodes", (len(some) * (length - 1), "steps")
    entry.compare(title, entry.medians(steps, rounds=5, repeats=3), wanted=10, done=done)

    alone = multiprocessing.get_context("spawn")
    seen = {}
    for name, (marks, limit) in LOGS.items():
        with alone.Pool(1) as fresh:
            seen[name] = fresh.apply(
                count_a_log, (tuple(entry.few(mark, least=11_000 * k) for k, mark in enumerate(marks, 1)), limit)
            )
        for lines, entries, seconds, memory in seen[name]:
            rate = f"{lines / seconds:7,.0f} lines/s, {entries:9,} entries, {memory:6,.0f} MB"
            print(f"  {name}: {lines:9,} lines cleaned and counted: {rate}")
    held = seen["at most 200,000 entries"]
    peaks = {f"{float(f'{lines:.1g}'):,.0f} lines": memory for lines, *_, memory in (held[1], held[-1])}
    title = "RIN, memory of counting a log of five times the lines, table of at most 200,000 entries"
    entry.compare(title, peaks, wanted=3, unit="MB", sense="at most")
    title = "RIN, cleaning and counting a log, by lines"
    entry.grew(title, "lines", {n: [(p[0], 1e3 * p[2]) for p in points] for n, points in seen.items()}, limit=3600)
    title = "RIN, memory of counting a log, by lines"
    entry.grew(title, "lines", {n: [(p[0], p[3]) for p in points] for n, points in seen.items()}, unit="MB")


def count_a_log(marks: tuple[int, ...], limit: int | None) -> list[tuple[int, int, float, float]]:
    """Count a simulated log as the chapter does, in one pass; for a process of its own.

    Returns:
        After each mark the lines, the entries of the table, the processor seconds without those of the simulator,
        and the largest memory so far (MB) above what the process had before the first line.
    """
    chapter, simulating = of_chapter("rin_query_suggestion"), 0.0
    found: list[tuple[int, int, float, float]] = []
    combine = functools.partial(chapter["merged_within"], limit) if limit else chapter["merged"]
    before, began = resident(), time.process_time()

    def simulated(users: int, seed: int) -> list[str]:
        nonlocal simulating
        since = time.process_time()
        lines = list(searchlog.lines(users, seed))
        simulating += time.process_time() - since
        return lines

    def watched(first: Counter, second: Counter) -> Counter:
        total = combine(first, second)
        if total["lines"] >= [*marks, math.inf][len(found)]:
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
            found.append((total["lines"], len(total), time.process_time() - began - simulating, memory))
        return total

    chapter["searchlog"] = SimpleNamespace(lines=simulated)
    chapter["over_parts"](chapter["count_part"], chapter["parts_of_stream"](1.1 * marks[-1]), watched)
    if len(found) < len(marks):
        raise ValueError(f"the log ended before {marks[-1]:,} lines")
    return found


def resident() -> float:
    """The memory (MB) that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
