"""What a chapter needs beside itself, in one list: python -m utils.tools.archive [file] writes it as one archive.

The start cell of a chapter unpacks the archive where there is no clone of the book, on Colab for one.
"""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

from utils import ROOT

PATTERNS = ("utils/**/*", "data/**/*", "chapters/*.ipynb", "LICENSE", "pyproject.toml", "requirements-chapters.txt")
LEFT_OUT = {"__pycache__", ".ipynb_checkpoints"}


def shipped(root: Path = ROOT) -> list[Path]:
    """The files that the archive holds, relative to the root: everything in utils and data, and the chapters."""
    found = {path.relative_to(root) for pattern in PATTERNS for path in root.glob(pattern) if path.is_file()}
    return sorted(path for path in found if not LEFT_OUT & set(path.parts) and path.suffix not in (".pyc", ".part"))


def content(path: Path) -> bytes:
    """What the archive holds of a file: of a notebook its cells without their outputs, of others all."""
    if path.suffix != ".ipynb" or path.parent.name != "chapters":
        return path.read_bytes()
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    return (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode()


def write(target: Path, root: Path = ROOT) -> Path:
    """Write the archive; equal files give equal bytes."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in shipped(root):
            entry = zipfile.ZipInfo(path.as_posix(), date_time=(2020, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content(root / path))
    return target


if __name__ == "__main__":
    print(write(Path(sys.argv[1] if len(sys.argv) > 1 else "paper-walkthroughs.zip")))
