"""What a loader handed out, real data or a stand-in, and the banner that announces a stand-in.
The claims machinery reads `loaded`; a stand-in is never compared with a paper."""

from collections.abc import Callable
from typing import TypeVar

from .errors import Unreachable

Data = TypeVar("Data")
loaded: dict[str, str] = {}  # name as given to the loader -> "real" or "stand-in"
stand_ins: set[str] = set()  # the names whose latest load gave a stand-in
BANNER = """STAND-IN DATA for {name}: {reason}.
What follows runs on generated data of the same shape; its numbers are never compared with a paper.
For the real data, connect to the network or set WALKTHROUGHS_MIRROR to a folder with the files."""


def announce_stand_in(name: str, reason: str) -> None:
    """Print the banner and note that `name` is a stand-in; `reason` must not hold a path of the machine."""
    loaded[name] = "stand-in"
    stand_ins.add(name)
    print(BANNER.format(name=name, reason=reason))


def real_or_stand_in(name: str, real: Callable[[], Data], stand_in: Callable[[], Data]) -> Data:
    """Return `real()`, or announce and return `stand_in()` if it is Unreachable; other errors are raised."""
    try:
        data = real()
    except Unreachable as error:
        announce_stand_in(name, f"{error.name} is out of reach")
        return stand_in()
    loaded[name] = "real"
    stand_ins.discard(name)
    return data
