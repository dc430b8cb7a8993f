"""What data/registry.csv says: the names of all remote files, where they are published, what they must hold.
The check of a file against its row is here too."""

import contextlib
import csv
import difflib
import functools
import gzip
import hashlib
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

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
        rows = [row | {"bytes": int(row["bytes"]) if row["bytes"] else None} for row in csv.DictReader(table)]
    return {row["name"]: Entry(**row) for row in rows}


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


def check(entry: Entry, file: Path) -> Path:
    """Return `file` if its size and hash are the registered ones; remembered until the file changes.
    Raises BadFile with the expected and the found size and hash."""
    stat, expected = file.stat(), entry.sha256 or entry.git_blob
    stamp = (str(file), stat.st_size, stat.st_mtime_ns, expected)
    if stamp in _checked:
        return file
    digest = hashlib.sha256() if entry.sha256 else hashlib.sha1(b"blob %d\0" % stat.st_size)
    size = 0
    unpacked = gzip.open if entry.content == "gzip" else open
    unreadable = contextlib.suppress(OSError, EOFError, zlib.error)  # what cannot be read to its end is too short
    with unreadable, unpacked(file, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
            size += len(block)
    if digest.hexdigest() == expected and entry.bytes in (None, size):
        _checked.add(stamp)
        return file
    fault = "truncated" if size < (entry.bytes or 0) else "wrong content"
    wanted = f"{entry.bytes or 'any number of'} bytes with hash {expected}"
    what = f"{fault}: expected {wanted}, found {size} bytes with hash {digest.hexdigest()}"
    where, advice = (
        f"{file}, published at {entry.address}",
        "replace it where it came from, or fetch it again",
    )
    raise BadFile(entry.name, what, where, advice)
