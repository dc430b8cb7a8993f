"""Runs chapters the way a reader runs them on Colab: each notebook alone in an empty folder.

Usage, inside the Colab image: python .ci/colab_image.py chapters/*.ipynb
"""

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

failed = []
for path in map(Path, sys.argv[1:]):
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell("import google.colab"))
    print(f"{path.stem} ...", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        try:
            NotebookClient(notebook, timeout=None, kernel_name="python3").execute(cwd=folder)
        except CellExecutionError as error:
            failed.append(path.stem)
            print(error, flush=True)
sys.exit(f"failed: {', '.join(failed)}" if failed else 0)
