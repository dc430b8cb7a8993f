"""A training step, 32 rows of 64 characters, one layer of 128: walked in Python, and with the layer of PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from utils.bench.common import Entry
from utils.tools.definitions import of_chapter


def measure(entry: Entry) -> None:
    """Measure, and put what was found into the entry."""
    chapter = of_chapter("char_rnn_lyrics")
    torch.manual_seed(0)
    model = chapter["CharModel"](65)
    x, y = chapter["windows"](torch.randint(65, (32 * 64 + 1,)), 64)
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    walked = torch.nn.LSTMCell(64, 128)

    def update(states: torch.Tensor) -> None:
        loss = F.cross_entropy(model.answer(states).flatten(0, 1), y.flatten())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()

    def ours() -> None:
        update(model.layer(model.embed(x))[0])

    def theirs() -> None:
        h = c = torch.zeros(32, 128)
        states = []
        for vectors in model.embed(x):
            h, c = walked(vectors, (h, c))
            states.append(h)
        update(torch.stack(states))

    milliseconds = entry.medians({"this book": ours, "torch.nn.LSTMCell, step by step": theirs}, rounds=10, repeats=5)
    title = "Character RNN, training step, 32 rows of 64 characters"
    entry.compare(title, milliseconds, wanted=1, done=(x.numel(), "characters"))
