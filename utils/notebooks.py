"""Chapters as source text: their cells, and a hash of what they do.

Nothing here runs a notebook or needs Jupyter: a chapter is read as the JSON file that it is.
"""

from __future__ import annotations

import ast
import hashlib
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def path_of(chapter: str) -> Path:
    """The file of a chapter.

    Raises:
        FileNotFoundError: no such chapter; the message lists those that exist.
    """
    path = ROOT / "chapters" / f"{chapter}.ipynb"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.ipynb")))
        raise FileNotFoundError(f"there is no chapter {chapter!r}; the chapters are {known}")
    return path


def cells(path: Path, kind: str = "code") -> list[dict[str, Any]]:
    """The cells of one kind (code or markdown) in a notebook, their source joined to one string."""
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [{**cell, "source": "".join(cell["source"])} for cell in found if cell["cell_type"] == kind]


def code_hash(source: str) -> str:
    """A hash of what code does: comments, layout and docstrings do not count."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node, False):
            node.body = body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]


def chapter_hash(chapter: str) -> str:
    """A hash of all code cells of a chapter."""
    return code_hash("\n".join(cell["source"] for cell in cells(path_of(chapter))))
