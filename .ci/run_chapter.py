"""Run a chapter and record what it measured: python .ci/run_chapter.py CHAPTER [quick|full].

A quick run also refreshes the outputs stored in the notebook; a full run needs no Jupyter.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils import claims, datasets, notebooks, run  # noqa: E402


def execute_plain(chapter: str) -> None:
    """Execute the code cells of a chapter one after the other in this process, without Jupyter."""
    import matplotlib

    matplotlib.use("Agg")
    namespace = {"__name__": "__main__", "display": print}
    cells = notebooks.cells(notebooks.path_of(chapter))
    for number, cell in enumerate(cells, 1):
        began = time.perf_counter()
        exec(compile(cell["source"], f"{chapter}, code cell {number}", "exec"), namespace)
        print(f"cell {number} of {len(cells)}: {time.perf_counter() - began:.1f} s", flush=True)


def execute_notebook(chapter: str) -> None:
    """Execute a chapter in one Jupyter kernel, top to bottom, and store the outputs in it."""
    import nbformat
    from nbclient import NotebookClient

    path = notebooks.path_of(chapter)
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=None, kernel_name="python3", record_timing=False)
    client.execute(cwd=str(path.parent))
    notebook.metadata["language_info"] = {"name": "python"}
    part = path.with_suffix(".part")
    nbformat.write(notebook, part)
    part.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapter")
    parser.add_argument("profile", nargs="?", default="quick", choices=run.PROFILES)
    options = parser.parse_args()
    os.environ.update(WALKTHROUGHS_PROFILE=options.profile, WALKTHROUGHS_RECORD="1")
    try:
        notebooks.path_of(options.chapter)
    except FileNotFoundError as error:
        sys.exit(str(error))
    missing = [name for name in claims.load(options.chapter).data if not datasets.within_reach(name)]
    if missing:
        sys.exit(
            f"{', '.join(missing)}: the real data is out of reach, and a run on stand-ins is not recorded. "
            "Connect to the network or set WALKTHROUGHS_MIRROR to a folder with the files."
        )
    if options.profile == "quick":
        os.environ["WALKTHROUGHS_QUIET"] = "1"
        execute_notebook(options.chapter)
    else:
        execute_plain(options.chapter)


if __name__ == "__main__":
    main()
