"""A training step of the MNIST teacher, with jitter and dropout, against a plain loop; and one of a student."""

from __future__ import annotations

import torch

from utils.bench.common import Entry
from utils.tools.definitions import of_chapter


def measure(entry: Entry) -> None:
    """Measure, and put what was found into the entry."""
    chapter, count = of_chapter("distilling_knowledge"), entry.few(60_000, 1000)
    labels = torch.arange(count) % 10
    chapter["DEVICE"], chapter["settings"] = "cpu", {"bfloat16": False}
    padded, rows = torch.randint(256, (count, 32, 32), dtype=torch.uint8), torch.randperm(count)[:200]
    ours = chapter["TeacherTraining"](padded, labels, 0, "halves", 1)
    examples = chapter["TeacherTraining"](padded, labels, 0, "examples", 1)
    plain = chapter["network"](1200, 0)
    optimiser = torch.optim.Adam(plain.parameters())
    steps = {
        "this book, a mask per batch, half of the units": lambda: ours.train_batch(rows),
        "the same, a mask per case": lambda: examples.train_batch(rows),
        "plain loop: torch dropout, jitter one by one": lambda: chapter["plain_step"](
            plain, optimiser, padded, labels, rows
        ),
    }
    epochs = {name: 300 * step for name, step in entry.medians(steps, rounds=4, repeats=12).items()}
    entry.compare("MNIST teacher, an epoch of 300 steps", epochs, wanted=2, done=(60_000, "images"))

    images, logits, few = torch.rand(count, 784), torch.randn(count, 10), torch.arange(entry.few(5000, 400))
    student, loss = chapter["network"](800, 0), chapter["on_teacher"](logits)
    plain_steps = [torch.randperm(count)[:200] for _ in range(len(few) // 200)]

    def plain_teacher() -> None:
        for rows in plain_steps:
            chapter["plain_step"](plain, optimiser, padded, labels, rows)

    def train_student(short: bool) -> None:
        chapter["settings"]["bfloat16"] = short
        chapter["fit"](student, images, loss, few, 1, 0)

    steps = {
        "student, from stored logits": lambda: train_student(False),
        "the same, bfloat16 where the processor has it": lambda: train_student(True),
        "teacher, plain loop": plain_teacher,
    }
    title = "MNIST student against teacher, training on 5000 images"
    entry.compare(title, entry.medians(steps, rounds=4, repeats=1), wanted=2, done=(len(few), "images"))
