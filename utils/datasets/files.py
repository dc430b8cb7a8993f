"""Where a registered file lies: in the cache, in a mirror folder, or only at its address.
`path` gives a checked local copy, whatever it takes."""

import contextlib
import functools
import os
from collections.abc import Iterable
from pathlib import Path

from .download import download
from .errors import BadFile, BadMirror, NotPinned
from .registry import ROOT, check, files, registry, unknown


def path(name: str) -> Path:
    """A checked local copy of the file `name`, downloaded into the cache if neither cache nor mirror has it.
    Raises UnknownName, NotPinned, Unreachable, NotFound, BadFile, BadMirror or CacheNotWritable."""
    place, file = locate(name)
    if place == "not pinned":
        what = "its content is not pinned: the registry has no hash to check it with"
        advice = "add its bytes and sha256 to data/registry.csv"
        raise NotPinned(name, what, registry()[name].address, advice)
    return file or download(registry()[name], cache_folder() / name)


def within_reach(dataset_or_names: str | Iterable[str]) -> bool:
    """Whether all files of a data set (or those named) are local, or their servers answer within 3 seconds.
    Raises UnknownName, BadMirror, and BadFile for a mirror file that fails its check."""
    names = files(dataset_or_names) if isinstance(dataset_or_names, str) else dataset_or_names
    places = {name: locate(name)[0] for name in names}
    remote = [registry()[name].address for name, place in places.items() if place == "remote"]
    servers = {"/".join(address.split("/")[:3]) for address in remote}
    return "not pinned" not in places.values() and all(map(_answers, sorted(servers)))


@functools.cache
def _answers(server: str) -> bool:
    """Whether `server` (https://host) answers a short question; asked once per process."""
    import requests

    try:
        return requests.head(server, timeout=3) is not None
    except requests.RequestException:
        return False


def locate(name: str) -> tuple[str, Path | None]:
    """Where the file lies: "cache" or "mirror" and its checked path, or "remote" or "not pinned" and None.
    Removes a cache file that fails its check. Raises UnknownName, BadMirror, and BadFile for a bad mirror file."""
    if name not in registry():
        raise unknown(name, registry(), "file")
    entry, cached, mirror = registry()[name], cache_folder() / name, mirror_folder()
    if not (entry.sha256 or entry.git_blob):
        return "not pinned", None
    if cached.is_file():
        try:
            return "cache", check(entry, cached)
        except BadFile:
            with contextlib.suppress(OSError):  # where it cannot be removed, it still fails every check
                cached.unlink()
    if mirror and (mirror / name).is_file():
        return "mirror", check(entry, mirror / name)
    return "remote", None


def cache_folder() -> Path:
    """The folder of WALKTHROUGHS_CACHE, else the user's cache folder; it need not exist yet."""
    if folder := os.environ.get("WALKTHROUGHS_CACHE"):
        return Path(folder).expanduser().absolute()
    import pooch

    return Path(pooch.os_cache("paper-walkthroughs"))


def mirror_folder() -> Path | None:
    """The folder of WALKTHROUGHS_MIRROR (relative to the repository, else the working folder) or None.
    Raises BadMirror if the variable is set to something that is no folder."""
    if not (folder := os.environ.get("WALKTHROUGHS_MIRROR")):
        return None
    given = Path(folder).expanduser()
    for place in (ROOT / given, given.absolute()):  # ROOT / given is given itself if it is absolute
        if place.is_dir():
            return place
    what = f"set to {folder!r}, which is " + ("a file" if given.exists() else "not there") + ", and must be a folder"
    advice = "correct the path, or unset the variable to do without a mirror"
    if folder[0] in "'\"":
        advice = "take off the quotes: they are part of the path here"
    raise BadMirror("WALKTHROUGHS_MIRROR", what, str(given.absolute()), advice)
