"""Recorded runs: what a run measured and where, one JSON file per chapter and profile.

A record carries hashes of the code that made it, so that a reader is told when the code has moved on.
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import json
import os
import platform
import resource
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from utils import notebooks
from utils.claims import ROOT, ClaimError

FOLDER = ROOT / "data" / "results"
SHOWS = {"utils.claims", "utils.results", "utils.notebooks", "utils.plots", "utils.show", "utils.colab"}
PACKAGES = ["torch", "tensorflow", "dgl", "numpy", "scipy", "scikit-learn", "pandas", "matplotlib", "transformers"]


def device_joules(library: str = "libnvidia-ml.so.1") -> float | None:
    """What the first NVIDIA device has used since its driver was loaded, in joules; None where nothing reports it."""
    try:
        nvml = ctypes.CDLL(library)
    except OSError:
        return None
    handle, millijoules = ctypes.c_void_p(), ctypes.c_ulonglong()
    failed = (
        nvml.nvmlInit_v2()
        or nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(handle))
        or nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules))
    )
    return None if failed else millijoules.value / 1000


JOULES_BEFORE = device_joules()  # at the start of the process: the counter never goes back


def load(chapter: str, profile: str, folder: Path = FOLDER) -> dict[str, Any] | None:
    """The recorded run of a chapter in a profile, or None where none was made.

    Raises:
        ClaimError: the file is there but is not a record.
    """
    path = folder / f"{chapter}.{profile}.json"
    if not path.exists():
        return None
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        run["records"], run["provenance"]["code"], run["profile"]
    except (ValueError, KeyError, TypeError) as error:
        raise ClaimError(f"data/results/{path.name} is not a recorded run ({error!r}): make the run again") from error
    return run


def save(run: dict[str, Any], folder: Path = FOLDER) -> Path:
    """Write a run whole or not at all."""
    text = json.dumps(run, indent=1, sort_keys=True, allow_nan=False) + "\n"
    return write_whole(folder / f"{run['chapter']}.{run['profile']}.json", text.encode())


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file so that nobody, whatever happens, meets a part of it; its folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_bytes(content)
    return part.replace(path)


def code_hashes(chapter: str) -> dict[str, str]:
    """Hashes of the chapter's code and of each loaded module of utils, those that only show things left out."""
    hashes = {f"chapters/{chapter}.ipynb": notebooks.chapter_hash(chapter)}
    for name, module in sorted(sys.modules.items()):
        if name.startswith("utils.") and getattr(module, "__file__", None) and name not in SHOWS:
            path = Path(module.__file__).resolve()
            hashes[path.relative_to(ROOT).as_posix()] = _hash_now(path)
    return hashes


def versions() -> dict[str, str]:
    """The versions of Python and of the packages on which results may depend, as far as they are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def stale(run: dict[str, Any]) -> list[str]:
    """The files whose code is not what it was when the run was made; an empty list for a current record."""
    return [name for name, recorded in run["provenance"]["code"].items() if _hash_now(ROOT / name) != recorded]


def _hash_now(path: Path) -> str | None:
    if path.suffix == ".ipynb" and path.exists():
        return notebooks.chapter_hash(path.stem)
    return notebooks.code_hash(path.read_text(encoding="utf-8")) if path.exists() else None


def provenance(chapter: str, device: str, seconds: float) -> dict[str, Any]:
    """Where, when and with what a run was made: device, versions, commit, code hashes, seconds, bytes, joules.
    A run that found kept results is stamped as resumed, and its seconds are those of its last part."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    stamp = {
        "device": device_name(device),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": versions(),
        "commit": commit(chapter),
        "code": code_hashes(chapter),
        "wall_seconds": round(seconds, 1),
        "processor_seconds": round(time.process_time() + children.ru_utime + children.ru_stime, 1),
        "peak_memory_bytes": max(own.ru_maxrss, children.ru_maxrss) * 1024,  # of the largest process
    }
    kept = Path(os.environ.get("WALKTHROUGHS_KEPT", "no folder")).glob("*.pickle")
    if any(file.stat().st_mtime < time.time() - seconds for file in kept):
        stamp["resumed"] = True
    if device == "cuda":
        import torch

        stamp["peak_device_memory_bytes"] = torch.cuda.max_memory_allocated()
        if JOULES_BEFORE is not None:
            stamp["device_energy_joules"] = round(device_joules() - JOULES_BEFORE)
    return stamp


def device_name(device: str) -> str:
    """The name of the processor or accelerator that a run used."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"CPU, {names[0] if names else platform.processor() or platform.machine()}"


def commit(chapter: str) -> str:
    """The repository's commit, with a plus sign when the chapter's files were changed since; outside git 'unknown'."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True)
    if head.returncode:
        return "unknown"
    files = [f"chapters/{chapter}.ipynb", f"data/claims/{chapter}.yml", "utils"]
    changed = subprocess.run([*git, "status", "--porcelain", "--", *files], capture_output=True, text=True).stdout
    return head.stdout.strip() + ("+" if changed.strip() else "")
