"""An epoch of the MNIST teacher and of a student: the plain loops against the one with a table of targets."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from utils.bench.common import Entry
from utils.tools.definitions import of_chapter


def measure(entry: Entry) -> None:
    """Measure, and put what was found into the entry."""
    chapter, count = of_chapter("distilling_knowledge"), entry.few(2000, 500)
    chapter["DEVICE"] = "cpu"
    x, y = torch.randn(count, 784), torch.arange(count) % 10
    teacher, student, one_hot = chapter["network"](1200), chapter["network"](800), F.one_hot(y, 10).float()
    soft = torch.softmax(chapter["logits_of"](teacher, x) / 20, 1)
    new = chapter["network"](1200)
    loops = {
        "MNIST student, an epoch of 60,000 images": {
            "this book: a table of targets, 16 bits where the processor has them": lambda: chapter["learn"](
                student, x, soft, 1, 20, y
            ),
            "the same in 32 bits": lambda: chapter["learn"](student, x, soft, 1, 20, y, short=False),
            "plain loop: the teacher is asked in each step": lambda: chapter["distil"](
                student, teacher, x, y, 1, batch=250
            ),
        },
        "MNIST teacher, an epoch of 60,000 images": {
            "this book: 16 bits where the processor has them": lambda: chapter["learn"](
                new, x, one_hot, 1, moved=True, bounded=True
            ),
            "plain loop": lambda: chapter["train"](new, x, y, 1, regularised=True, batch=250),
        },
    }
    for title, steps in loops.items():
        seconds = entry.medians(steps, rounds=4, repeats=1)
        epochs = {name: found * 60_000 / count for name, found in seconds.items()}
        entry.compare(title, epochs, wanted=1.5, done=(60_000, "images"))
