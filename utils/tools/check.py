"""Execute chapters again: python -m utils.tools.check [--smoke] [CHAPTER ...]; without names, all chapters.

By default the quick profile under nbval. Strict where a chapter's real data is within reach: every stored output is
compared. Lax on stand-ins, and where WALKTHROUGHS_SEED_SHIFT gives the run other draws: every cell must run, the cells
tagged nbval-check-output are compared, and `chapter.finish()` holds the values against the recorded ones.
With --smoke each chapter is executed with tiny settings, and nothing is compared. With --known names are only checked.
"""

from __future__ import annotations

import argparse
import difflib
import os
import subprocess
import sys
import time

from utils import ROOT, datasets
from utils.notebook import profiles
from utils.records import claims, runs

SANITIZE = ROOT / "tests" / "nbval_sanitize.cfg"


def unknown(names: list[str]) -> str:
    """A line that names the chapters that do not exist and those that do; empty where all exist."""
    known = claims.chapters()
    wrong = [name for name in names if name not in known]
    if not wrong:
        return ""
    near = [hit for name in wrong for hit in difflib.get_close_matches(name, known, n=1)]
    hint = f"Did you mean {' and '.join(near)}? " if near else ""
    return f"there is no chapter {' and '.join(map(repr, wrong))}. {hint}The chapters are {', '.join(known)}"


def length(chapter: str) -> float:
    """Seconds of the recorded quick run; a chapter without one counts as the longest."""
    run = runs.load(chapter, "quick")
    return run.provenance.wall_seconds if run else float("inf")


def environment(profile: str) -> dict[str, str]:
    """What a process that executes chapters, and records nothing, is given."""
    kept = {name: value for name, value in os.environ.items() if name != "WALKTHROUGHS_RECORD"}
    return {**kept, "WALKTHROUGHS_QUIET": "1", "WALKTHROUGHS_PROFILE": profile, "OMP_NUM_THREADS": "1"}


def nbval(chapters: list[str], mode: str) -> int:
    """Run nbval over chapters, two at a time, each in one kernel with one thread; the exit status of pytest.

    The longest come first, so that at the end no process waits long for the other.
    """
    files = [str(ROOT / "chapters" / f"{name}.ipynb") for name in sorted(chapters, key=length, reverse=True)]
    options = ["-p", "no:python", "-n", "2", "--dist", "loadscope", "--no-loadscope-reorder", "-q", "--durations", "5"]
    command = [sys.executable, "-m", "pytest", mode, "--nbval-sanitize-with", str(SANITIZE), *options, *files]
    return subprocess.run(command, cwd=ROOT, env=environment("quick")).returncode


def compare(chapters: list[str], shift: int) -> bool:
    """Chapters under nbval; whether all passed."""
    real = [c for c in chapters if all(datasets.within_reach(name) for name in claims.load(c).data)]
    stand_ins = [c for c in chapters if c not in real]
    codes = []
    for chosen, mode in ((real, "--nbval-lax" if shift else "--nbval"), (stand_ins, "--nbval-lax")):
        if chosen:
            codes.append(nbval(chosen, mode))
    what = f"seeds shifted by {shift}, values compared" if shift else "every output compared"
    print(f"\n{len(real)} of {len(chapters)} chapters ran on real data, {what}: {', '.join(real) or 'none'}")
    if stand_ins:
        print(f"{len(stand_ins)} ran on STAND-IN DATA, only their checks compared: {', '.join(stand_ins)}")
        print("For the real data, connect to the network or set WALKTHROUGHS_MIRROR.")
    return not any(codes)


def smoke(chapters: list[str]) -> bool:
    """Each chapter from first to last cell with tiny settings, in a process of its own; whether all ended well."""
    failed = []
    for chapter in chapters:
        began = time.perf_counter()
        command = [sys.executable, "-m", "utils.tools.run", chapter, "smoke"]
        done = subprocess.run(command, cwd=ROOT, env=environment("smoke"), capture_output=True, text=True)
        how = "failed" if done.returncode else "passed"
        print(f"{chapter}: {how}, {time.perf_counter() - began:.0f} s", flush=True)
        if done.returncode:
            failed.append(chapter)
            print(f"{done.stdout[-1000:]}\n{done.stderr[-4000:]}", flush=True)
    print(f"{len(chapters) - len(failed)} of {len(chapters)} chapters passed" + "; failed: " * bool(failed), end="")
    print(", ".join(failed))
    return not failed


def main() -> int:
    parser = argparse.ArgumentParser(prog="utils.tools.check", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("chapters", nargs="*", help="default: all")
    parser.add_argument("--smoke", action="store_true", help="tiny settings, nothing compared")
    parser.add_argument("--known", action="store_true", help="only check that the chapters exist")
    options = parser.parse_args()
    try:
        shift = profiles.seed_shift()
    except ValueError as error:
        parser.error(str(error))
    if fault := unknown(options.chapters):
        parser.error(fault)
    if options.known:
        return 0
    chapters = options.chapters or claims.chapters()
    return 0 if (smoke(chapters) if options.smoke else compare(chapters, shift)) else 1


if __name__ == "__main__":
    sys.exit(main())
