"""How long calls take, measured so that two of them can be compared.

The calls take turns, so that all of them meet the same state of the machine, and a first round that is not
counted warms them up. Processor seconds are what a busy machine does not stretch; work on a GPU has only
seconds of the wall, read when it is done.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

K = TypeVar("K", bound=Hashable)


def clock(device: str = "cpu") -> float:
    """Seconds: of this process's own time on a processor, of the wall when a GPU has done its work."""
    if device == "cpu":
        return time.process_time()
    sys.modules["torch"].cuda.synchronize()
    return time.perf_counter()


def in_turns(calls: Mapping[K, Callable[[], object]], rounds: int = 7, device: str = "cpu") -> dict[K, list[float]]:
    """The seconds of each call in each round, the calls taking turns; an uncounted round comes first.

    Take the least where a call is short and the machine busy, the median where its times truly differ.
    """
    seconds: dict[K, list[float]] = {name: [] for name in calls}
    for round_number in range(rounds + 1):
        for name, call in calls.items():
            began = clock(device)
            call()
            if round_number:
                seconds[name].append(clock(device) - began)
    return seconds
