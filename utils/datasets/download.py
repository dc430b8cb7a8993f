"""Download of one registered file: tries, a time limit, a progress bar, a check, an atomic move.
What goes wrong is told apart: out of reach, not found, refused, bad content, cache not writable.

pooch transfers the file. Its own tries know no time limit, and ask again for what is not there: they stay unused."""

import contextlib
import errno
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

from .errors import BadFile, CacheNotWritable, NotFound, Unreachable
from .registry import Entry, check

ATTEMPTS, PAUSE = 3, 0.5  # tries per file; seconds before the second try, doubled for each further one
TIMEOUT = (5, 15)  # seconds to connect, seconds without a byte
PATIENCE, SLOWEST = 60, 50_000  # seconds for all tries of a file; a long file gets bytes / SLOWEST seconds
PART, LEFT_OVER = ".part-", 86_400  # name of the folder of a download; seconds after which it is an ended one's
TRY_AGAIN = {408, 425, 429}  # answers below 500 that a later try may change


def download(entry: Entry, target: Path) -> Path:
    """Fetch a registered file into a temporary folder beside `target`, check it, and move it in place.
    Raises Unreachable, NotFound, BadFile or CacheNotWritable."""
    deadline = time.monotonic() + max(PATIENCE, (entry.bytes or 0) / SLOWEST)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_left_overs(target.parent)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=PART, ignore_cleanup_errors=True) as folder:
            part = Path(folder) / target.name
            for attempt in range(ATTEMPTS):
                try:
                    _transfer(entry, part, deadline)
                    os.replace(check(entry, part, origin=entry.address), target)
                    return target
                except (Unreachable, BadFile):
                    if attempt + 1 == ATTEMPTS or time.monotonic() > deadline:
                        raise
                    time.sleep(PAUSE * 2**attempt)
    except OSError as error:
        advice = "make the folder writable, or set WALKTHROUGHS_CACHE to one that is"
        if error.errno == errno.ENOSPC:
            advice = "make room on the disk, or set WALKTHROUGHS_CACHE to a folder on another one"
        raise CacheNotWritable(entry.name, f"cannot be stored ({error})", str(target), advice) from error
    raise AssertionError("every try ends in a return or an error")


def _remove_left_overs(folder: Path) -> None:
    """Remove what downloads left that were killed; one that may still run is younger than LEFT_OVER."""
    for old in folder.glob(PART + "*"):
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            if time.time() - old.stat().st_mtime > LEFT_OVER:
                shutil.rmtree(old, ignore_errors=True)


def _transfer(entry: Entry, part: Path, deadline: float) -> None:
    """One try, in a thread that is left behind at the deadline, so that a trickling server cannot hold us."""
    import pooch
    import requests

    show = sys.stderr.isatty() or "google.colab" in sys.modules  # elsewhere a bar would be new stderr output
    failures: list[Exception] = []

    def work() -> None:
        try:
            pooch.HTTPDownloader(progressbar=show, timeout=TIMEOUT)(entry.address, str(part), None)
        except Exception as error:
            failures.append(error)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(max(0.0, deadline - time.monotonic()))
    if worker.is_alive():
        raise _unreachable(entry, "the server stalled")
    if not failures or isinstance(failures[0], requests.exceptions.ChunkedEncodingError):
        return  # an answer that broke off is a truncated file: the check says so
    if not isinstance(failures[0], requests.RequestException):
        raise failures[0]
    status = getattr(failures[0].response, "status_code", None)
    if not status:
        raise _unreachable(entry, type(failures[0]).__name__)
    if status >= 500 or status in TRY_AGAIN:
        raise _unreachable(entry, f"the server answered {status}")
    advice = "correct the address in data/registry.csv"
    if status not in (404, 410):
        advice = "the server or a proxy on the way refuses it: check the proxy, or use a mirror (WALKTHROUGHS_MIRROR)"
    raise NotFound(entry.name, f"the server answered {status}", entry.address, advice)


def _unreachable(entry: Entry, reason: str) -> Unreachable:
    advice = "connect to the network, or set WALKTHROUGHS_MIRROR to a folder that holds the file"
    return Unreachable(entry.name, f"out of reach, and in no mirror folder: {reason}", entry.address, advice)
