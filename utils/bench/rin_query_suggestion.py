"""Training RIN on batches of equally long sessions against one session at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from utils.bench.common import Entry
from utils.tools.definitions import of_chapter


def measure(entry: Entry) -> None:
    """Measure, and put what was found into the entry."""
    chapter = of_chapter("rin_query_suggestion")
    chapter["DEVICE"] = "cpu"
    log = chapter["make_log"](entry.few(3000, 500), 0)
    cases = log.kept["train"].take(slice(entry.few(400, 40)))
    table = torch.randn(len(log.number), 64)

    def epoch(form: str, size: int) -> Callable[[], None]:
        torch.manual_seed(0)
        network = chapter[form](64, 128)

        def run() -> None:
            for rows in chapter["batches"](cases, size, np.random.default_rng(0)):
                chapter["rin_loss"](network, cases, rows, table).backward()

        return run

    ways = {
        "this book: batches of one length": epoch("RIN", 128),
        "the same, the discriminator split by eq. (8)": epoch("SplitRIN", 128),
        "one session at a time": epoch("RIN", 1),
    }
    milliseconds = entry.medians(ways, rounds=4, repeats=1)
    entry.compare("RIN, an epoch of 400 sessions", milliseconds, wanted=5, done=(len(cases.answer), "sessions"))
