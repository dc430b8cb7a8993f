"""Settings that all tests share."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

NO_BROWSER = "no Chromium found"


def pytest_terminal_summary(terminalreporter) -> None:
    """Say in the closing lines when the site was not opened in a browser."""
    skipped = terminalreporter.stats.get("skipped", [])
    skipped = [report for report in skipped if NO_BROWSER in str(report.longrepr)]
    if skipped:
        terminalreporter.section("the site was not opened in a browser")
        terminalreporter.line(f"{len(skipped)} tests skipped: {NO_BROWSER}. Install it or set CHROMIUM.")
