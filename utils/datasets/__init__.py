"""Where the data of the chapters comes from: registered files, their checks, loaders, cards, stand-ins.
One module per data family (`from utils.datasets import citation`); command: `python -m utils.datasets`."""

from .cards import card
from .errors import DataError, Unreachable
from .files import path, within_reach
from .provenance import announce_stand_in, loaded, stand_ins

__all__ = ["DataError", "Unreachable", "path", "within_reach"]  # the light modules only, no family
__all__ += ["announce_stand_in", "card", "loaded", "stand_ins"]
