"""Re-execute every chapter under nbval and say at the end which data each ran on.

Strict where a chapter's real data is within reach: every stored output is compared. Lax on stand-ins: every
cell must run, and the cells tagged nbval-check-output are compared. Arguments: chapters, default all.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from utils import claims, datasets, results  # noqa: E402

SANITIZE = ROOT / "tests" / "nbval_sanitize.cfg"
NOTHING_COLLECTED = 5


def length(chapter: str) -> float:
    """Seconds of the recorded quick run; a chapter without one counts as the longest."""
    run = results.load(chapter, "quick")
    return run["provenance"]["wall_seconds"] if run else float("inf")


def nbval(chapters: list[str], mode: str) -> int:
    """Run nbval over chapters, two at a time, each in one kernel with one thread; the exit status of pytest.

    The longest come first, so that at the end no process waits long for the other.
    """
    files = [str(ROOT / "chapters" / f"{name}.ipynb") for name in sorted(chapters, key=length, reverse=True)]
    options = ["-p", "no:python", "-n", "2", "--dist", "loadscope", "--no-loadscope-reorder", "-q", "--durations", "5"]
    quiet = {"WALKTHROUGHS_QUIET": "1", "WALKTHROUGHS_PROFILE": "quick", "OMP_NUM_THREADS": "1"}
    environment = {**os.environ, **quiet}
    environment.pop("WALKTHROUGHS_RECORD", None)
    command = [sys.executable, "-m", "pytest", mode, "--nbval-sanitize-with", str(SANITIZE), *options, *files]
    return subprocess.run(command, cwd=ROOT, env=environment).returncode


def main() -> int:
    chosen = sys.argv[1:] or claims.chapters()
    real = [c for c in chosen if all(datasets.within_reach(name) for name in claims.load(c).data)]
    stand_ins = [c for c in chosen if c not in real]
    codes = []
    for chapters, mode in ((real, "--nbval"), (stand_ins, "--nbval-lax")):
        if chapters:
            codes.append(nbval(chapters, mode))
    print(
        f"\n{len(real)} of {len(chosen)} chapters ran on real data, every output compared: {', '.join(real) or 'none'}"
    )
    if stand_ins:
        print(f"{len(stand_ins)} ran on STAND-IN DATA, only their checks compared: {', '.join(stand_ins)}")
        print("For the real data, connect to the network or set WALKTHROUGHS_MIRROR.")
    return 1 if any(codes) or not codes else 0


if __name__ == "__main__":
    sys.exit(main())
