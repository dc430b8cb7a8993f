"""Run a chapter and record what it measured: python .ci/run_chapter.py CHAPTER [quick|full] [--jobs N].

A quick run also refreshes the outputs stored in the notebook. A full run needs no Jupyter; its seeds run in as many
processes as there are cores, or one after the other on a GPU. Stopped and started again, it loses no finished seed:
results are kept in .kept, in a folder for each state of the code.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import sys
import time
import types
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils import claims, datasets, notebooks, results, run  # noqa: E402


def execute_plain(chapter: str) -> None:
    """Execute the code cells of a chapter one after the other in this process, without Jupyter."""
    import matplotlib

    matplotlib.use("Agg")
    module = sys.modules["__main__"] = types.ModuleType("__main__")  # where pickle looks for the chapter's classes
    module.display = print
    cells = notebooks.cells(notebooks.path_of(chapter))
    for number, cell in enumerate(cells, 1):
        began = time.perf_counter()
        exec(compile(cell["source"], f"{chapter}, code cell {number}", "exec"), vars(module))
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
    results.write_whole(path, (nbformat.writes(notebook) + "\n").encode())


def fingerprint(chapter: str) -> str:
    """A hash of what the results of a chapter depend on: its code, the helpers' code, and the versions in use."""
    parts = [notebooks.chapter_hash(chapter), *(f"{name} {number}" for name, number in results.versions().items())]
    for path in sorted((notebooks.ROOT / "utils").rglob("*.py")):
        if ".".join(path.relative_to(notebooks.ROOT).with_suffix("").parts) not in results.SHOWS:
            parts.append(notebooks.code_hash(path.read_text(encoding="utf-8")))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def keep_results(chapter: str, jobs: int | None) -> None:
    """Say where a full run keeps the results of its seeds, and in how many processes it makes them."""
    device = run.device()
    folder = notebooks.ROOT / ".kept" / f"{chapter}-{device}-{fingerprint(chapter)}"
    alone = device == "cuda" or importlib.util.find_spec("joblib") is None
    jobs = jobs or (1 if alone else len(os.sched_getaffinity(0)))
    os.environ.update(WALKTHROUGHS_KEPT=str(folder), WALKTHROUGHS_JOBS=str(jobs))
    print(
        f"{jobs} at a time on {device}; finished results are kept in {folder.relative_to(notebooks.ROOT)}", flush=True
    )


def unrecorded(chapter: str, profile: str) -> list[str]:
    """Claims that the recorded run should have a value for and has none, although their data was in reach.

    A chapter that loads a data set only where its seeds are trained, in other processes, records nothing of it.
    """
    whole = results.load(chapter, profile)
    recorded = whole["records"] if whole else {}
    return [
        claim.id
        for claim in claims.load(chapter).claims.values()
        if claim.id not in recorded
        and claim.expected[profile] != "not run"
        and (not claim.data or datasets.within_reach(claim.data))
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapter")
    parser.add_argument("profile", nargs="?", default="quick", choices=run.PROFILES)
    parser.add_argument("--jobs", type=int, help="processes of a full run (default: the cores, or 1 on a GPU)")
    options = parser.parse_args()
    os.environ.update(WALKTHROUGHS_PROFILE=options.profile, WALKTHROUGHS_RECORD="1")
    if importlib.util.find_spec("pooch") is None:  # it knows where this system keeps caches, and downloads
        os.environ.setdefault("WALKTHROUGHS_CACHE", str(notebooks.ROOT / ".cache"))
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
        keep_results(options.chapter, options.jobs)
        execute_plain(options.chapter)
    if nothing := unrecorded(options.chapter, options.profile):
        sys.exit(f"nothing was recorded for {', '.join(nothing)}")


if __name__ == "__main__":
    main()
