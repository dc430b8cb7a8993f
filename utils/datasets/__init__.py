"""Where the data of the chapters comes from: registered files, their checks, loaders, cards, stand-ins.
One module per data family (`from utils.datasets import citation`); command: `python -m utils.datasets`."""

from .cards import card
from .errors import BadFile, BadMirror, DataError, UnknownName, Unreachable
from .files import cache_folder, mirror_folder, path, within_reach
from .provenance import announce_stand_in, loaded, real_or_stand_in, stand_ins
from .text import read_text

__all__ = ["BadFile", "BadMirror", "DataError", "UnknownName", "Unreachable"]  # the light modules only, no family
__all__ += ["announce_stand_in", "cache_folder", "card", "loaded", "mirror_folder", "path", "read_text"]
__all__ += ["real_or_stand_in", "stand_ins", "within_reach"]
