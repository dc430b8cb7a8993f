"""How long a chapter is for who reads it: code cells, lines of code in sight, words, minutes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from utils.records import sources

WORDS_A_MINUTE = 200
LINES_A_MINUTE = 40
MOST_CELLS, MOST_LINES, MOST_MINUTES = 45, 700, 25
FOLDED = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
LEFT_OUT = (
    re.compile(r"<details>.*?</details>", re.S),  # solutions of exercises
    re.compile(r"^```\{.*?^```", re.S | re.M),  # directives
    re.compile(r"\$\$.*?\$\$", re.S),
    re.compile(r"^\|.*$", re.M),  # tables
    re.compile(r"\]\([^)]*\)|\{\w+(?::\w+)?\}`[^`]*`"),  # targets of links, roles
)


@dataclass(frozen=True)
class Length:
    """Of a chapter: code cells, without the start cell; lines of those that are not folded; words; minutes."""

    cells: int
    lines: int
    words: int

    @property
    def minutes(self) -> float:
        """To read words and visible code."""
        return self.words / WORDS_A_MINUTE + self.lines / LINES_A_MINUTE

    def faults(self) -> list[str]:
        """Which limits a chapter exceeds."""
        limits = (
            (self.cells, MOST_CELLS, "code cells"),
            (self.lines, MOST_LINES, "visible lines of code"),
            (self.minutes, MOST_MINUTES, "minutes to read"),
        )
        return [f"{found:.0f} {what}, at most {most}" for found, most, what in limits if found > most]


def length(chapter: str) -> Length:
    """The length of a chapter as a reader meets it."""
    code = [cell for cell in sources.cells(sources.path_of(chapter)) if not sources.is_start_cell(cell["source"])]
    seen = [cell["source"] for cell in code if not FOLDED & set(cell["metadata"].get("tags", []))]
    prose = "\n".join(cell["source"] for cell in sources.cells(sources.path_of(chapter), "markdown"))
    for pattern in LEFT_OUT:
        prose = pattern.sub(" ", prose)
    return Length(len(code), sum(len(source.splitlines()) for source in seen), len(re.findall(r"\w[\w'’-]*", prose)))
