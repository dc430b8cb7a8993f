"""What a chapter needs on Colab: installs the packages that are missing and leaves the rest alone.

Nothing that Colab ships is changed, so the runtime need not be restarted. `python -m utils.notebook.colab` does
the same for DGL alone, where requirements-chapters.txt leaves it out: on Linux under Python 3.13.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

from utils import ROOT

EXTRA = ROOT / ".colab"  # the one place for packages whose wheels do not name this Python


def required() -> dict[str, str]:
    """The packages that chapters import: name -> pinned version, from requirements-chapters.txt."""
    lines = (ROOT / "requirements-chapters.txt").read_text(encoding="utf-8").splitlines()
    pins = (line.partition("#")[0].partition(";")[0].strip().partition("==") for line in lines)
    return {name: version for name, _, version in pins if name}


def missing() -> list[str]:
    """Required packages that are not installed, in any version."""
    names = (distribution.metadata["Name"] or "" for distribution in metadata.distributions())
    present = {name.lower().replace("_", "-") for name in names}
    return [name for name in required() if name.lower() not in present]


def install_missing() -> None:
    """Install what is missing, without versions and without dependencies, so that nothing present changes.

    DGL has no wheel for Python 3.13 or later; it goes into a folder of its own, at the end of the search path.

    Raises:
        RuntimeError: pip failed; the message holds its last lines.
    """
    if str(EXTRA) not in sys.path:
        sys.path.append(str(EXTRA))
    names = missing()
    if "dgl" in names and sys.version_info >= (3, 13):
        names.remove("dgl")
        install_dgl(EXTRA)
    if names:
        pip(*names)
    importlib.invalidate_caches()


def install_dgl(folder: Path) -> None:
    """Put the wheel of DGL for Python 3.12 into a folder. Its library is loaded through ctypes, so that it serves."""
    wheel = ["--only-binary=:all:", "--python-version", "3.12", "--target", str(folder)]
    pip(*wheel, f"dgl=={required()['dgl']}")


def pip(*arguments: str) -> None:
    """Call pip without dependencies; RuntimeError with its last lines where it fails."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[2:])} failed:\n{done.stderr[-2000:]}")


if __name__ == "__main__" and sys.platform == "linux" and sys.version_info >= (3, 13) and "dgl" in missing():
    install_dgl(Path(sysconfig.get_path("purelib")))
