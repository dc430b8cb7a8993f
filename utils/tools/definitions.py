"""The definitions of a chapter, for tests and benchmarks; no cell is run."""

from __future__ import annotations

import ast
from typing import Any

from utils.records.sources import cells, path_of


def of_chapter(chapter: str, replace: dict[str, str] | None = None) -> dict[str, Any]:
    """The imports, functions, classes and upper-case constants of a chapter, without running its cells.

    Args:
        chapter: the chapter's name.
        replace: pairs of code and its replacement, applied to the source first. Tests use it to break a
            model on purpose; text that does not occur is an error.

    Returns:
        The namespace in which they were defined.
    """
    source = "\n".join(cell["source"] for cell in cells(path_of(chapter)))
    for old, new in (replace or {}).items():
        if old not in source:
            raise ValueError(f"the chapter {chapter!r} does not contain {old!r}")
        source = source.replace(old, new)
    kept = [node for node in ast.parse(source).body if _is_definition(node)]
    namespace: dict[str, Any] = {"__name__": f"chapters.{chapter}"}
    exec(compile(ast.Module(kept, []), f"<chapter {chapter}>", "exec"), namespace)
    return namespace


def _is_definition(node: ast.stmt) -> bool:
    if isinstance(node, ast.Assign):
        return all(isinstance(target, ast.Name) and target.id.isupper() for target in node.targets)
    return isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef))
