"""Distillation with answers that are stored, and asked for in each step; the rates of teacher and student."""

from __future__ import annotations

import functools

import torch

from utils.bench.common import Entry
from utils.datasets import sst2
from utils.tools.definitions import of_chapter


def measure(entry: Entry) -> None:
    """Measure, and put what was found into the entry."""
    chapter, reviews = of_chapter("bert_to_bilstm"), sst2.load()
    chapter["DEVICE"], few = "cpu", entry.few(512, 64)
    chapter["pretrained"] = pretrained = chapter["packaged"]()
    texts = [sentence.words for sentence in reviews.train[:few]]
    pieces = chapter["pieces_of"](texts)
    rows, vectors = chapter["word_vectors"](texts, pretrained)
    numbers = chapter["word_numbers"](texts, rows)
    teacher = chapter["Teacher"](pretrained.encoder()).eval()
    student = chapter["Student"](vectors)
    answers = chapter["logits_of"](teacher, pieces)
    loss = chapter["distillation_loss"]

    def filled_up() -> None:
        with torch.no_grad():
            for chosen in torch.arange(few).split(256):
                teacher(chapter["padded"](pieces, chosen))

    labelling = {
        "this book, one length a batch": lambda: chapter["logits_of"](teacher, pieces),
        "batches of 256 as they come, filled up": filled_up,
    }
    training = {
        "this book, stored answers": lambda: chapter["learn"](student, numbers, answers, loss, 1, 1e-3),
        "answers asked for in each step": lambda: chapter["distil"](student, teacher, numbers, pieces, 1, 1e-3),
    }
    milliseconds = entry.medians(labelling, rounds=3, repeats=1)
    entry.compare("SST-2, answers of the teacher", milliseconds, wanted=1.2, done=(few, "sentences"))
    milliseconds = entry.medians(training, rounds=4, repeats=1)
    title = f"SST-2, an epoch of distillation on {few} sentences"
    entry.compare(title, milliseconds, wanted=1.5, done=(few, "sentences"))
    student.eval()
    for batch, rounds, wanted in ((1, 20, 3), (few, 2, 5)):
        words, parts = torch.randint(2, len(vectors), (batch, 20)), torch.randint(1999, 2999, (batch, 22))
        with torch.inference_mode():
            sides = {"student": functools.partial(student, words), "teacher": functools.partial(teacher, parts)}
            milliseconds = entry.medians(sides, rounds, repeats=1)
        title = f"SST-2, student against teacher, sentences of 20 words, batch {batch}"
        entry.compare(title, milliseconds, wanted, done=(batch, "sentences"))
