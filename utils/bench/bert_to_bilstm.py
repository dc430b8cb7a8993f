"""Answers of the teacher, training of the student, by length and as they come; the rates of both models."""

from __future__ import annotations

import functools

import numpy as np
import torch

from utils.bench.common import Entry
from utils.datasets import sst2
from utils.tools.definitions import of_chapter


def measure(entry: Entry) -> None:
    """Measure, and put what was found into the entry."""
    chapter, reviews = of_chapter("bert_to_bilstm"), sst2.load()
    chapter["DEVICE"] = "cpu"
    pretrained, few = chapter["packaged"](), entry.few(512, 64)
    texts = [sentence.words for sentence in reviews.train[:few]]
    labels = torch.tensor([sentence.label for sentence in reviews.train[:few]])
    pieces = [np.array(ids) for ids in pretrained.pieces([" ".join(words) for words in texts])]
    rows = chapter["vocabulary"]([texts])
    ids = chapter["ids_of"](texts, rows)
    teacher = chapter["Teacher"](pretrained).eval()
    student = chapter["Student"](torch.randn(len(rows) + 2, 300))
    optimiser = torch.optim.Adam([p for p in student.parameters() if p.requires_grad], fused=True)
    loss = chapter["on_hard"](labels)

    def filled_up(inputs: list, chosen: torch.Tensor) -> torch.Tensor:
        return torch.nn.utils.rnn.pad_sequence([torch.from_numpy(inputs[k]) for k in chosen], batch_first=True)

    def plain_labels() -> None:
        with torch.inference_mode():
            for chosen in torch.arange(few).split(64):
                teacher(filled_up(pieces, chosen))

    def plain_epoch() -> None:
        student.train()
        for chosen in torch.randperm(few).split(50):
            value = loss(student(filled_up(ids, chosen)), chosen)
            optimiser.zero_grad()
            value.backward()
            optimiser.step()

    labelling = {
        "this book, one length a batch": lambda: chapter["logits_of"](teacher, pieces),
        "batches of 64 as they come, filled up": plain_labels,
    }
    training = {
        "this book, one length a batch": lambda: chapter["fit"](student, ids, loss, 1, 50, optimiser, 0),
        "batches of 50 as they come, packed": plain_epoch,
    }
    milliseconds = entry.medians(labelling, rounds=3, repeats=1)
    entry.compare("SST-2, answers of the teacher", milliseconds, wanted=1.2, done=(few, "sentences"))
    milliseconds = entry.medians(training, rounds=4, repeats=1)
    entry.compare(f"SST-2, an epoch of the student on {few} sentences", milliseconds, wanted=1, done=(few, "sentences"))
    student.eval()
    for batch, rounds, wanted in ((1, 20, 3), (few, 2, 5)):
        words, parts = torch.randint(2, len(rows), (batch, 20)), torch.randint(1999, 2999, (batch, 22))
        with torch.inference_mode():
            sides = {"student": functools.partial(student, words), "teacher": functools.partial(teacher, parts)}
            milliseconds = entry.medians(sides, rounds, repeats=1)
        title = f"SST-2, student against teacher, sentences of 20 words, batch {batch}"
        entry.compare(title, milliseconds, wanted, done=(batch, "sentences"))
