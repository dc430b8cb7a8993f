"""What tests share: a sample claim, an empty cache, a machine that is offline, and a word about a missing browser."""

from __future__ import annotations

import os
import socket

import pytest

from utils import datasets
from utils.datasets import download, files
from utils.records import claims

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: sums in one order, as in the quick profile
# Chapters that follow the pattern: short, and with picture and first result on the first screen. A port of a program
# has no first result.
FOLLOW = sorted(set(claims.chapters()) - {"gnn_tensorflow"})
NO_BROWSER = "no Chromium found"
SAMPLE_CLAIM = {
    "id": "accuracy",
    "statement": "The model classifies.",
    "paper": 80.0,
    "unit": "%",
    "source": "Table 1",
    "evidence": "paper",
    "protocol": {"split": "fixed", "seeds": 3, "metric": "accuracy", "selection": "last epoch"},
    "kind": "interval",
    "tolerance": 1.0,
    "reason": "a reason",
    "expected": "reproduced",
}


def pytest_addoption(parser) -> None:
    parser.addoption("--door", metavar="CHAPTER", help="run this chapter alone from the archive")


def pytest_collection_modifyitems(config, items) -> None:
    """Leave out the doors of other chapters."""
    chosen = config.getoption("--door")
    doors = {item: mark.args[0] for item in items if (mark := item.get_closest_marker("door"))}
    others = [item for item, chapter in doors.items() if chosen and chapter != chosen]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in set(others)]


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WALKTHROUGHS_CACHE", str(tmp_path / "cache"))
    yield
    datasets.loaded.clear()
    datasets.stand_ins.clear()


@pytest.fixture
def offline(empty_cache, monkeypatch):
    def refuse(*_, **__):
        raise socket.gaierror("no network in this test")

    monkeypatch.delenv("WALKTHROUGHS_MIRROR", raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(download, "PAUSE", 0)
    for proxy in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
        monkeypatch.delenv(proxy.lower(), raising=False)
    files._answers.cache_clear()
    yield
    files._answers.cache_clear()


def pytest_terminal_summary(terminalreporter) -> None:
    """Say in the closing lines when the site was not opened in a browser."""
    skipped = terminalreporter.stats.get("skipped", [])
    skipped = [report for report in skipped if NO_BROWSER in str(report.longrepr)]
    if skipped:
        terminalreporter.section("the site was not opened in a browser")
        terminalreporter.line(f"{len(skipped)} tests skipped: {NO_BROWSER}. Install it or set CHROMIUM.")
