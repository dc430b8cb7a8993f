"""Training on sentences of Resume of middle length: the batched lattice against its definition at batch 1."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch

from utils.bench.common import Entry, Step
from utils.tools.definitions import of_chapter


def measure(entry: Entry) -> None:
    """Measure, and put what was found into the entry."""
    chapter = of_chapter("lattice_lstm_ner")
    chapter["DEVICE"] = "cpu"
    task = chapter["build_task"](chapter["read_resume"](), chapter["read_lexicon"]())
    order = np.argsort([len(characters) for characters in task.train.characters], kind="stable")
    middle = order[len(order) // 2 - 128 : len(order) // 2 + 128]
    model = chapter["LatticeTagger"](task.characters, task.words, len(task.labels))
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-4)

    def step(loss: Callable[[], torch.Tensor]) -> None:
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()

    def batched(size: int) -> Callable[[], None]:
        chosen = middle[None, 128 - size // 2 : 128 - size // 2 + size]
        return lambda: step(lambda: model.loss(chapter["make_batch"](task.train, chosen, model.letters)).sum())

    def one_by_one() -> None:
        for k in middle[120:136]:
            step(functools.partial(chapter["definition_loss"], model, task.train, k))

    steps = {size: batched(size) for size in (64, 10, 1, 256)}
    milliseconds = entry.medians({**steps, "definition": one_by_one}, rounds=4, repeats=1)
    per_sentence = {f"this book, batch {size}": milliseconds[size] / size for size in steps}
    per_sentence["one sentence at a time, by definition"] = milliseconds["definition"] / 16
    entry.compare("Lattice LSTM, training, per sentence", per_sentence, wanted=15, done=(1, "sentences"))

    def definition(size: int) -> Step:
        def one_after_the_other() -> None:
            for k in middle[:size]:
                step(functools.partial(chapter["definition_loss"], model, task.train, k))

        return one_after_the_other

    one, many = "one sentence at a time, by definition", "batched lattice"
    makers = {one: (definition, (1, 2, 4, 8)), many: (batched, entry.sizes(1, 256))}
    kept = chapter["kept_bytes"](task, 64) / 64
    entry.grow("Lattice LSTM, training step, by batch", "sentences", makers, {many: lambda n: n * kept}, rounds=3)
