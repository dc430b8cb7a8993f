"""A training step, 50 rows of 50 characters, 2 layers of 128: the chapter's against torch.nn.LSTM used plainly."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from utils.bench.common import Entry
from utils.tools.definitions import of_chapter


def measure(entry: Entry) -> None:
    """Measure, and put what was found into the entry."""
    chapter = of_chapter("char_rnn_lyrics")
    torch.manual_seed(0)
    symbols, batch = 65, 50
    ids = torch.randint(symbols, (batch * 50 + 1,))
    chapter["DEVICE"] = "cpu"
    model = chapter["CharModel"](symbols, width=128, layers=2)
    ours = chapter["Step"](model, steps=1_000_000)
    inputs, targets = chapter["streams"](ids, batch)

    layers = torch.nn.ModuleList([torch.nn.LSTM(symbols, 128, 2), torch.nn.Linear(128, symbols)])
    optimiser = torch.optim.Adam(layers.parameters(), 0.01)
    state = None

    def theirs() -> None:
        nonlocal state
        hidden, state = layers[0](F.one_hot(inputs, symbols).float(), state)
        state = tuple(s.detach() for s in state)
        loss = F.cross_entropy(layers[1](hidden).flatten(0, 1), targets.flatten())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(layers.parameters(), 1.0)
        optimiser.step()

    steps = {"this book": lambda: ours(inputs, targets), "torch.nn.LSTM, one-hot input, plain Adam": theirs}
    milliseconds = entry.medians(steps, rounds=10, repeats=5)
    title = "Character RNN, training step at batch 50, length 50"
    entry.compare(title, milliseconds, wanted=1, done=(inputs.numel(), "characters"))
