"""A training step of RIN with the discriminator split by eq. (8) against the plain one; writing against judging."""

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
    log = chapter["make_log"](entry.few(4000, 500), 0)
    train = log.kept["train"]
    widest = np.argsort((train.candidates >= 0).sum(1))[-entry.few(1000, 100) :]
    cases = train.take(widest)
    table = torch.randn(len(log.number), 64)
    rows = chapter["batches"](cases, 100, np.random.default_rng(0))[0]

    def step(form: str) -> Callable[[], None]:
        torch.manual_seed(0)
        network = chapter[form](64, 128)
        return lambda: chapter["rin_loss"](network, cases, rows, table).backward()

    forms = {"this book: the discriminator split, eq. (8)": step("FastRIN"), "plain form, eq. (5)": step("RIN")}
    seconds = entry.medians(forms, rounds=5, repeats=4)
    entry.compare("RIN, a training step of a hundred sessions", seconds, wanted=1.5, done=(len(rows), "sessions"))
