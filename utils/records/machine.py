"""What a run is stamped with: the machine, the versions, the seconds and the memory it took."""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import functools
import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

from utils import ROOT
from utils.records import sources
from utils.records.runs import Provenance

PACKAGES = ["torch", "tensorflow", "dgl", "numpy", "scipy", "scikit-learn", "pandas", "matplotlib", "transformers"]


def provenance(chapter: str, device: str, seconds: float, datasets: list[str], kept_seconds: float) -> Provenance:
    """The stamp of a run.

    Args:
        chapter: the notebook's name.
        device: cpu or cuda.
        seconds: of the wall, since the run began.
        datasets: names of the data sets that it loaded.
        kept_seconds: processor seconds of results that earlier parts of the run had left.
    """
    stamp = Provenance(
        device=device_name(device),
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        versions=versions(),
        commit=commit(chapter),
        code=sources.hashes(chapter, datasets),
        wall_seconds=round(seconds, 1),
        processor_seconds=round(time.process_time() + _helpers_seconds(), 1),
        kept_seconds=round(kept_seconds, 1),
        peak_memory_bytes=peak_memory(),
        resumed=kept_seconds > 0,
    )
    if device == "cuda":
        import torch

        stamp.peak_device_memory_bytes = torch.cuda.max_memory_allocated()
        if (joules := used_joules()) is not None:
            stamp.device_energy_joules = round(joules)
    return stamp


def versions() -> dict[str, str]:
    """The versions of Python and of the packages on which results may depend, as far as they are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def cores() -> int:
    """Processor cores that this process may use, on any system."""
    allowed = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def peak_memory() -> int:
    """Bytes that the largest process of this run has held; 0 where the system does not tell (Windows)."""
    try:
        import resource
    except ModuleNotFoundError:
        return 0
    most = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return most if sys.platform == "darwin" else most * 1024  # macOS counts bytes, Linux kibibytes


def _helpers_seconds() -> float:
    """Processor seconds of the helper processes that have ended; 0 on Windows."""
    times = os.times()
    return times.children_user + times.children_system


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
    """The repository's commit, with a plus sign when the chapter's files were changed since.

    "unknown" outside a repository, and where there is no git.
    """
    git = ["git", "-C", str(ROOT)]
    files = [f"chapters/{chapter}.ipynb", f"data/claims/{chapter}.yml", "utils"]
    try:
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True)
        changed = subprocess.run([*git, "status", "--porcelain", "--", *files], capture_output=True, text=True)
    except FileNotFoundError:
        return "unknown"
    return "unknown" if head.returncode else head.stdout.strip() + ("+" if changed.stdout.strip() else "")


@functools.cache
def joules_before() -> float | None:
    """The reading of the device's energy counter at the first call; `notebook.start` makes it."""
    return device_joules()


def used_joules() -> float | None:
    """What the device has used since the first reading, or None where one of the two readings failed."""
    before, now = joules_before(), device_joules()
    return None if before is None or now is None else now - before


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
