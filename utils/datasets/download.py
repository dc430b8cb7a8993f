"""Download of one registered file: retries, a time limit, a progress bar, a check, an atomic move.
What goes wrong is told apart: out of reach, not found, bad content, cache not writable."""

import os
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


def download(entry: Entry, target: Path) -> Path:
    """Fetch a registered file into a temporary folder beside `target`, check it, and move it in place.
    Raises Unreachable, NotFound, BadFile or CacheNotWritable."""
    deadline = time.monotonic() + max(PATIENCE, (entry.bytes or 0) / SLOWEST)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        near = {"dir": target.parent, "prefix": ".part-", "ignore_cleanup_errors": True}
        with tempfile.TemporaryDirectory(**near) as folder:
            part = Path(folder) / target.name
            for attempt in range(ATTEMPTS):
                try:
                    _transfer(entry, part, deadline)
                    os.replace(check(entry, part), target)
                    return target
                except (Unreachable, BadFile):
                    if attempt + 1 == ATTEMPTS or time.monotonic() > deadline:
                        raise
                    time.sleep(PAUSE * 2**attempt)
    except OSError as error:
        advice = "make the folder writable, or set WALKTHROUGHS_CACHE to one that is"
        raise CacheNotWritable(entry.name, f"cannot be stored ({error})", str(target), advice) from error


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
        reason = "the server stalled"
    elif not failures or isinstance(failures[0], requests.exceptions.ChunkedEncodingError):
        return  # an answer that broke off is a truncated file: the check says so
    elif not isinstance(failures[0], requests.RequestException):
        raise failures[0]
    else:
        status = getattr(failures[0].response, "status_code", None)
        reason = f"the server answered {status}" if status else type(failures[0]).__name__
        if status and status < 500 and status not in (408, 425, 429):
            raise NotFound(entry.name, reason, entry.address, "correct the address in data/registry.csv")
    advice = "connect to the network, or set WALKTHROUGHS_MIRROR to a folder that holds the file"
    raise Unreachable(entry.name, f"out of reach, and in no mirror folder: {reason}", entry.address, advice)
