"""What a chapter needs on Colab: installs the packages that are missing and leaves the rest alone.
Nothing that Colab ships is changed, so the runtime need not be restarted."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXTRA = ROOT / ".colab"  # the one place for packages whose wheels do not name this Python
FIRST, LAST = "# --- imported by chapters", "# --- building and testing"


def required() -> dict[str, str]:
    """The packages that chapters import: name -> pinned version, from requirements.txt."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    first, last = (next(i for i, line in enumerate(lines) if line.startswith(mark)) for mark in (FIRST, LAST))
    pins = (line.split("#")[0].strip() for line in lines[first:last])
    return dict(pin.split("==") for pin in pins if pin)


def missing() -> list[str]:
    """Required packages that are not installed, in any version."""
    names = (distribution.metadata["Name"] or "" for distribution in metadata.distributions())
    present = {name.lower().replace("_", "-") for name in names}
    return [name for name in required() if name.lower() not in present]


def install_missing() -> None:
    """Install what is missing, without versions and without dependencies, so that nothing present changes.

    DGL has no wheel for Python 3.13 or later. Its library is loaded through ctypes, so that the wheel for
    3.12 serves; it goes into a folder of its own, at the end of the search path.

    Raises:
        RuntimeError: pip failed; the message holds its last lines.
    """
    if str(EXTRA) not in sys.path:
        sys.path.append(str(EXTRA))
    names = missing()
    if "dgl" in names and sys.version_info >= (3, 13):
        names.remove("dgl")
        wheel = ["--only-binary=:all:", "--python-version", "3.12", "--target", str(EXTRA)]
        pip(*wheel, f"dgl=={required()['dgl']}")
    if names:
        pip(*names)
    importlib.invalidate_caches()


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[2:])} failed:\n{done.stderr[-2000:]}")
