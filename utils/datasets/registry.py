"""What data/registry.csv says: the names of all remote files, where they are published, what they must hold.
The check of a file against its row is here too."""

import contextlib
import csv
import difflib
import functools
import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from .errors import BadFile, UnknownName

ROOT = Path(__file__).resolve().parents[2]
GRAPHS = {name: f"planetoid/ind.{name}." for name in ("cora", "citeseer", "pubmed")}  # parts of a data set
_checked: set[tuple] = set()  # (path, size, mtime, hash) of each file that passed its check


class Entry(NamedTuple):
    """A row of the registry; for `gzip` content, bytes and sha256 are those of what is packed."""

    name: str
    dataset: str
    address: str
    bytes: int | None
    sha256: str
    git_blob: str
    content: str
    licence: str


@functools.cache
def registry() -> dict[str, Entry]:
    """The rows of data/registry.csv by name."""
    with open(ROOT / "data" / "registry.csv", encoding="utf-8", newline="") as table:
        rows: list[dict[str, Any]] = list(csv.DictReader(table))
    return {row["name"]: Entry(**row | {"bytes": int(row["bytes"]) if row["bytes"] else None}) for row in rows}


def unknown(name: str, known: Iterable[str], kind: str, where: str = "data/registry.csv") -> UnknownName:
    """The error for a file, data set or card (`kind`) that is not in `known`, with the nearest names."""
    nearest = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.4)
    advice = f"did you mean {' or '.join(nearest)}?" if nearest else "see python -m utils.datasets list"
    return UnknownName(name, f"no such {kind}", where, advice)


def files(dataset: str) -> list[str]:
    """Names of the files of a data set (`planetoid`) or of one of its graphs (`cora`). Raises UnknownName."""
    rows, start = registry().values(), GRAPHS.get(dataset, "\0")
    names = [row.name for row in rows if row.dataset == dataset or row.name.startswith(start)]
    if not names:
        raise unknown(dataset, {row.dataset for row in rows} | set(GRAPHS), "data set")
    return names


def check(entry: Entry, file: Path, origin: str = "") -> Path:
    """Return `file` if its size and hash are the registered ones; remembered until the file changes.

    Args:
        entry: what the registry says of it.
        file: the file.
        origin: what an error gives as its place; the path of the file if empty.

    Raises:
        BadFile: expected and found size and hash.
    """
    stat, expected = file.stat(), entry.sha256 or entry.git_blob
    stamp = (str(file), stat.st_size, stat.st_mtime_ns, expected)
    if stamp in _checked:
        return file
    size, digest = _measure(entry, file)
    if digest == expected and entry.bytes in (None, size):
        _checked.add(stamp)
        return file
    if _is_web_page(entry, file):
        fault = "a web page in place of the file"
    else:
        fault = "truncated" if size < (entry.bytes or 0) else "wrong content"
    wanted = f"{entry.bytes or 'any number of'} bytes with hash {expected}"
    what = f"{fault}: expected {wanted}, found {size} bytes with hash {digest}"
    where, advice = f"{file}, published at {entry.address}", "replace it where it came from, or fetch it again"
    if origin:
        where, advice = origin, "try again later, or set WALKTHROUGHS_MIRROR to a folder that holds the file"
    raise BadFile(entry.name, what, where, advice)


def _measure(entry: Entry, file: Path) -> tuple[int, str]:
    """The size and the hash of a file's content, which is unpacked first if the registry's hash is of that."""
    start: Callable[[], Any] = hashlib.sha256
    if not entry.sha256:
        start = functools.partial(hashlib.sha1, b"blob %d\0" % file.stat().st_size)
    unpacked = gzip.open if entry.content == "gzip" else open
    size, digest = 0, "unknown, for it cannot be read to its end"
    with contextlib.suppress(OSError, EOFError, zlib.error), unpacked(file, "rb") as stream:
        try:
            digest = hashlib.file_digest(stream, start).hexdigest()
        finally:
            size = stream.tell()
    return size, digest


def _is_web_page(entry: Entry, file: Path) -> bool:
    """Whether a file that is not registered as one is an HTML page: an error or a login in place of the content."""
    if entry.name.endswith((".htm", ".html")):
        return False
    with open(file, "rb") as stream:
        start = stream.read(512).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return start.startswith((b"<!doctype html", b"<html"))
