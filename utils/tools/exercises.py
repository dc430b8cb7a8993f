"""The worked exercises of a chapter, for tests: what a reader would paste at its end."""

from __future__ import annotations

import re
from typing import Any

import matplotlib.pyplot as plt

from utils.records import sources

EXERCISE = re.compile(r"^\d+\. ", re.M)
SOLUTION = re.compile(r"<details><summary>A solution</summary>\n\n(.*?)</details>", re.S)
CODE = re.compile(r"^( *)```python\n(.*?)^\1```", re.S | re.M)


def solutions(chapter: str) -> list[str]:
    """The code of each folded solution, in the order of the exercises.

    Raises:
        ValueError: the chapter has no exercises, or one of them lacks its solution.
    """
    prose = [cell["source"] for cell in sources.cells(sources.path_of(chapter), "markdown")]
    _, heading, text = "\n".join(prose).partition("## Exercises\n")
    text = text.partition("\n## ")[0]
    exercises = EXERCISE.split(text)[1:]
    if not heading or not exercises:
        raise ValueError(f"the chapter {chapter!r} has no exercises")
    found = []
    for number, exercise in enumerate(exercises, 1):
        folded = SOLUTION.search(exercise)
        blocks = CODE.findall(folded[1]) if folded else []
        if len(blocks) != 1:
            raise ValueError(f"exercise {number} of the chapter {chapter!r} wants one folded solution with its code")
        indent, code = blocks[0]
        found.append(re.sub(f"^{indent}", "", code, flags=re.M))
    return found


def execute(chapter: str, number: int, namespace: dict[str, Any], fewer: dict[str, str] | None = None) -> None:
    """Execute a solution, counted from 0, in a namespace; figures are drawn unseen and closed.

    Args:
        fewer: pairs of text and its replacement, for shorter runs; a solution that lacks the text stays as it is.
    """
    code = solutions(chapter)[number]
    for old, new in (fewer or {}).items():
        code = code.replace(old, new)
    plt.switch_backend("Agg")
    exec(code, namespace)
    plt.close("all")
