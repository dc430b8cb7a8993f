"""The one family of exceptions of the data layer.
Each message says which file, what is wrong, where, and what to do."""


class DataError(Exception):
    """A data file cannot be had, or cannot be trusted."""

    def __init__(self, name: str, what: str, where: str, advice: str) -> None:
        super().__init__(name, what, where, advice)
        self.name = name

    def __str__(self) -> str:
        name, what, where, advice = self.args
        return f"{name}: {what}\n  where: {where}\n  what to do: {advice}"


class UnknownName(DataError):
    """The registry or the cards have no such name."""


class Unreachable(DataError):
    """No mirror has the file and the network does not bring it; the only error that leads to a stand-in."""


class NotFound(DataError):
    """The server answers, but does not have the file at this address or does not hand it out."""


class BadFile(DataError):
    """The content is not what the registry (or the format) demands: wrong hash, wrong size, truncated."""


class CacheNotWritable(DataError):
    """The cache folder cannot be made or written."""


class BadMirror(DataError):
    """WALKTHROUGHS_MIRROR is set, but names no folder."""


class NotPinned(DataError):
    """The registry lists the address, but knows no hash to check the content with."""


class UnsafePickle(DataError):
    """A pickle names a class or function that is not on the list of admitted ones."""
