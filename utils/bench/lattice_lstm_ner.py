"""Training on sentences of Resume of middle length: the batched lattice against its definition at batch 1."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch

from utils.bench.common import Entry, Step
from utils.datasets.provenance import real_or_stand_in
from utils.tools.definitions import of_chapter


def measure(entry: Entry) -> None:
    """Measure, and put what was found into the entry."""
    chapter = of_chapter("lattice_lstm_ner")
    chapter["DEVICE"] = "cpu"
    read = functools.partial(chapter["read_parts"], "resume-ner/{}.char.bmes")
    resume = real_or_stand_in("resume-ner", read, chapter["made_up_sentences"])
    words = dict.fromkeys(chapter["WORDS"], 1)
    lexicon = real_or_stand_in("jieba-lexicon", chapter["read_lexicon"], lambda: words)
    task = chapter["numbered"]({"train": resume["train"]}, lexicon)
    order = np.argsort([len(sentence.tokens) for sentence in task.train], kind="stable")
    middle = [task.train[k] for k in order[len(order) // 2 - 128 : len(order) // 2 + 128]]
    model = chapter["Tagger"](task)
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-4)

    def step(loss: Callable[[], torch.Tensor]) -> None:
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()

    def batched(size: int) -> Step:
        chosen = middle[128 - size // 2 : 128 - size // 2 + size]
        return lambda: step(lambda: model.loss(chapter["batch_of"](chosen, task.labels)))

    def definition(size: int) -> Step:
        def one_after_the_other() -> None:
            for sentence in middle[128 : 128 + size]:
                step(functools.partial(chapter["slow_loss"], model, sentence))

        return one_after_the_other

    steps = {size: batched(size) for size in (64, 10, 1, 256)}
    milliseconds = entry.medians({**steps, "definition": definition(16)}, rounds=4, repeats=1)
    per_sentence = {f"this book, batch {size}": milliseconds[size] / size for size in steps}
    per_sentence["one sentence at a time, by definition"] = milliseconds["definition"] / 16
    entry.compare("Lattice LSTM, training, per sentence", per_sentence, wanted=15, done=(1, "sentences"))
    makers = {
        "one sentence at a time, by definition": (definition, (1, 2, 4, 8)),
        "batched lattice": (batched, entry.sizes(1, 256)),
    }
    entry.grow("Lattice LSTM, training step, by batch", "sentences", makers, rounds=3)
