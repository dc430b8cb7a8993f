"""Every chapter that uses torch runs from first to last cell on the pretend GPU, with tiny settings, and in time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time

import pytest

from utils import ROOT
from utils.records import claims, sources

SECONDS = 15  # of one core, as the profile promises; a busy machine and its start-up get three times as much


def uses_torch(chapter: str) -> bool:
    return any(
        re.search(r"^(import|from) torch\b", cell["source"], re.M) for cell in sources.cells(sources.path_of(chapter))
    )


TORCH = [chapter for chapter in claims.chapters() if uses_torch(chapter)]


def processor_seconds() -> float:
    times = os.times()
    return times.children_user + times.children_system


def test_most_chapters_use_torch():
    assert len(TORCH) > len(claims.chapters()) / 2


@pytest.mark.parametrize("chapter", claims.chapters())
def test_a_chapter_runs_in_the_smoke_profile(chapter):
    """On the pretend GPU where the chapter uses torch; otherwise as it is."""
    plain = "from utils.tools import run; import sys; run.execute_plain(sys.argv[1])"
    command = [sys.executable, *(["tests/pretend_gpu.py"] if chapter in TORCH else ["-c", plain]), chapter]
    environment = os.environ | {"WALKTHROUGHS_PROFILE": "smoke", "WALKTHROUGHS_QUIET": "1", "OMP_NUM_THREADS": "1"}
    before, began = processor_seconds(), time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-3000:]
    if chapter in TORCH:
        assert f"{chapter} ran on cuda" in done.stdout
    assert processor_seconds() - before < 3 * SECONDS, time.perf_counter() - began
