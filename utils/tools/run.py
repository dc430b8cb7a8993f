"""Run a chapter and record what it measured: python -m utils.tools.run CHAPTER [smoke|quick|full] [--jobs N].

A quick run also refreshes the outputs stored in the notebook. A full run needs no Jupyter; its seeds run in as many
processes as there are cores, or one after the other on a GPU. Stopped and started again, it loses no finished seed:
results are kept in .kept, in a folder for each state of the code. A smoke run, and a run with shifted seeds
(WALKTHROUGHS_SEED_SHIFT), is executed and not recorded.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import shutil
import sys
import time
import types
from pathlib import Path

from utils import ROOT, datasets
from utils.notebook import profiles
from utils.records import claims, machine, runs, sources

KEPT = ROOT / ".kept"


def execute_plain(chapter: str) -> None:
    """Execute the code cells of a chapter one after the other in this process, without Jupyter."""
    import matplotlib

    matplotlib.use("Agg")
    module = sys.modules["__main__"] = types.ModuleType("__main__")  # where pickle looks for the chapter's classes
    vars(module)["display"] = print
    cells = sources.cells(sources.path_of(chapter))
    for number, cell in enumerate(cells, 1):
        began = time.perf_counter()
        exec(compile(cell["source"], f"{chapter}, code cell {number}", "exec"), vars(module))
        print(f"cell {number} of {len(cells)}: {time.perf_counter() - began:.1f} s", flush=True)


def execute_notebook(chapter: str) -> None:
    """Execute a chapter in one Jupyter kernel, top to bottom, and store the outputs in it."""
    import nbformat
    from nbclient import NotebookClient

    path = sources.path_of(chapter)
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=None, kernel_name="python3", record_timing=False)
    client.execute(cwd=str(path.parent))
    notebook.metadata["language_info"] = {"name": "python"}
    runs.write_whole(path, (nbformat.writes(notebook) + "\n").encode())


def fingerprint(chapter: str) -> str:
    """A hash of what the results of a chapter depend on: its code, loaders and data, the versions in use, the seeds."""
    file = claims.load(chapter)
    named = {*file.data, *(claim.data for claim in file.claims if claim.data)}
    parts = [*sources.hashes(chapter, sorted(named)).items(), *machine.versions().items(), profiles.seed_shift()]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def keep_results(chapter: str, jobs: int | None) -> Path:
    """Say where a full run keeps the results of its seeds, and in how many processes it makes them; the folder."""
    device = profiles.device()
    folder = KEPT / f"{chapter}-{device}-{fingerprint(chapter)}"
    alone = device == "cuda" or importlib.util.find_spec("joblib") is None
    jobs = jobs or (1 if alone else machine.cores())
    os.environ.update(WALKTHROUGHS_KEPT=str(folder), WALKTHROUGHS_JOBS=str(jobs))
    print(f"{jobs} at a time on {device}; finished results are kept in {folder.relative_to(ROOT)}", flush=True)
    return folder


def forget(chapter: str, but: Path) -> None:
    """Remove the results that other states of the chapter's code have left."""
    for folder in KEPT.glob(f"{chapter}-*"):
        if folder != but:
            shutil.rmtree(folder)


def unrecorded(chapter: str, profile: str, before: runs.Run | None = None) -> list[str]:
    """Claims that the recorded run should have a value for and has none, although their data was in reach.

    A chapter that loads a data set only where its seeds are trained, in other processes, records nothing of it.

    Args:
        before: the run that was recorded until now; a quick run measures the claims that it measured.
    """
    whole = runs.load(chapter, profile)
    recorded = whole.records if whole else {}
    return [
        claim.id
        for claim in claims.load(chapter).claims
        if claim.id not in recorded
        and (claim.id in before.records if before and profile == "quick" else claim.expected != "not run")
        and (not claim.data or datasets.within_reach(claim.data))
    ]


def execute(chapter: str) -> None:
    """Execute a chapter in the profile that is set, without recording anything."""
    os.environ.pop("WALKTHROUGHS_RECORD", None)
    os.environ["WALKTHROUGHS_QUIET"] = "1"
    execute_plain(chapter)


def record(chapter: str, profile: str, jobs: int | None) -> None:
    """Execute a chapter in the quick or the full profile and record the run. Exits with a line where it cannot."""
    missing = [name for name in claims.load(chapter).data if not datasets.within_reach(name)]
    if missing:
        sys.exit(
            f"{', '.join(missing)}: the real data is out of reach, and a run on stand-ins is not recorded. "
            "Connect to the network or set WALKTHROUGHS_MIRROR to a folder with the files."
        )
    before = runs.load(chapter, profile)
    os.environ["WALKTHROUGHS_RECORD"] = "1"
    if profile == "quick":
        os.environ["WALKTHROUGHS_QUIET"] = "1"
        execute_notebook(chapter)
    else:
        folder = keep_results(chapter, jobs)
        execute_plain(chapter)
        forget(chapter, but=folder)
    if nothing := unrecorded(chapter, profile, before):
        sys.exit(f"nothing was recorded for {', '.join(nothing)}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="utils.tools.run", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("chapter")
    parser.add_argument("profile", nargs="?", default="quick", choices=profiles.PROFILES)
    parser.add_argument("--jobs", type=int, help="processes of a full run (default: the cores, or 1 on a GPU)")
    options = parser.parse_args()
    if options.jobs is not None and options.jobs < 1:
        parser.error(f"--jobs is {options.jobs}; it must be above 0")
    os.environ["WALKTHROUGHS_PROFILE"] = options.profile
    if importlib.util.find_spec("pooch") is None:  # it knows where this system keeps caches, and downloads
        os.environ.setdefault("WALKTHROUGHS_CACHE", str(ROOT / ".cache"))
    try:
        sources.path_of(options.chapter)
        shift = profiles.seed_shift()
    except (FileNotFoundError, ValueError) as error:
        sys.exit(str(error))
    if options.profile == "smoke" or shift:
        if options.profile == "full":
            keep_results(options.chapter, options.jobs)
        execute(options.chapter)
        print("executed, not recorded: " + (f"the seeds were shifted by {shift}" if shift else "a smoke run"))
    else:
        record(options.chapter, options.profile, options.jobs)


if __name__ == "__main__":
    main()
