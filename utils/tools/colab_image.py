"""Run chapters the way a reader runs them on Colab: each notebook alone in an empty folder, in the quick profile.

Usage, inside the Colab image: python -m utils.tools.colab_image chapters/*.ipynb
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError


def passes(path: Path) -> bool:
    """Whether a notebook runs from top to bottom where a module google.colab is loaded."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell("import google.colab"))
    print(f"{path.stem} ...", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        try:
            NotebookClient(notebook, timeout=None, kernel_name="python3").execute(cwd=folder)
        except CellExecutionError as error:
            print(error, flush=True)
            return False
    return True


if __name__ == "__main__":
    failed = [path.stem for path in map(Path, sys.argv[1:]) if not passes(path)]
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)
