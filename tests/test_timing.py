"""utils.timing: calls that take turns, seconds that sleeping does not stretch."""

from __future__ import annotations

import time

from utils.notebook import timing


def test_calls_take_turns_and_the_first_round_is_not_counted():
    order = []
    found = timing.in_turns({"a": lambda: order.append("a"), 2: lambda: order.append(2)}, rounds=3)
    assert order == ["a", 2] * 4
    assert {name: len(seconds) for name, seconds in found.items()} == {"a": 3, 2: 3}
    assert all(second >= 0 for seconds in found.values() for second in seconds)


def test_processor_seconds_do_not_grow_while_others_work():
    def asleep():
        time.sleep(0.05)

    def at_work():
        began = time.process_time()
        while time.process_time() - began < 0.02:
            pass

    found = timing.in_turns({"asleep": asleep, "at work": at_work}, rounds=2)
    assert max(found["asleep"]) < 0.02 <= min(found["at work"])
