"""Chapters as source text: their cells, and a hash of the code that decides their numbers.

Nothing here runs a notebook or needs Jupyter: a chapter is read as the JSON file that it is.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from utils import ROOT

# Modules of utils.datasets that are no loaders.
PLUMBING = {"cards", "download", "errors", "files", "provenance", "registry", "safe", "text"}
DRAWS = {"plt", "axis", "axes", "ax", "figure", "fig", "display", "print"}  # names whose calls only show something
SHOWS = {"say", "table", "compare", "finish", "start"}  # methods of `chapter` and `notebook` that decide no number
NO_NUMBER = ("utils", "matplotlib")  # packages whose imports decide no number
START = "REPOSITORY ="  # in the first cell of every chapter


def path_of(chapter: str) -> Path:
    """The file of a chapter.

    Raises:
        FileNotFoundError: no such chapter; the message lists those that exist.
    """
    path = ROOT / "chapters" / f"{chapter}.ipynb"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in (ROOT / "chapters").glob("*.ipynb")))
        raise FileNotFoundError(f"there is no chapter {chapter!r}; the chapters are {known}")
    return path


def cells(path: Path, kind: str = "code") -> list[dict[str, Any]]:
    """The cells of one kind (code or markdown) in a notebook, their source joined to one string."""
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [{**cell, "source": "".join(cell["source"])} for cell in found if cell["cell_type"] == kind]


def is_start_cell(source: str) -> bool:
    """Whether this is the cell that makes the helper code importable."""
    return any(line.startswith(START) for line in source.splitlines())


def code_hash(source: str) -> str:
    """A hash of the code that decides numbers: comments, layout, docstrings, figures and tables do not count.

    The same under every version of Python: it is made from the fields of the syntax tree that hold something.
    """
    tree = _Deciding().visit(ast.parse(source))
    return hashlib.sha256(_plain(tree).encode()).hexdigest()[:16]


def chapter_hash(chapter: str) -> str:
    """A hash of the code of a chapter that decides its numbers: no start cell, no cells tagged `display`."""
    counted = [
        cell["source"]
        for cell in cells(path_of(chapter))
        if not is_start_cell(cell["source"]) and "display" not in cell["metadata"].get("tags", [])
    ]
    return code_hash("\n".join(counted))


def loaders(chapter: str) -> list[str]:
    """The modules of utils.datasets that read data for a chapter, as its imports name them."""
    found = set()
    for node in ast.walk(ast.parse("\n".join(cell["source"] for cell in cells(path_of(chapter))))):
        if isinstance(node, ast.ImportFrom) and node.module == "utils.datasets":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("utils.datasets."):
            found.add((node.module or "").split(".")[2])
    folder = ROOT / "utils" / "datasets"
    return sorted(name for name in found - PLUMBING if (folder / f"{name}.py").exists())


def data_hash(dataset: str) -> str:
    """A hash of what the registry demands of the files of a data set."""
    from utils.datasets import registry

    rows = [registry.registry()[name] for name in sorted(registry.files(dataset))]
    text = "\n".join(f"{row.name} {row.bytes} {row.sha256} {row.git_blob}" for row in rows)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def hashes(chapter: str, datasets: list[str]) -> dict[str, str]:
    """What a run of a chapter depends on, and a hash of each: its code, its loaders, its data sets."""
    names = [f"chapters/{chapter}.ipynb"]
    names += [f"utils/datasets/{name}.py" for name in loaders(chapter)]
    names += [f"data set {name}" for name in sorted(datasets)]
    return {name: found for name in names if (found := hash_now(name))}


def stale(recorded: dict[str, str]) -> list[str]:
    """What is not as it was when these hashes were taken; an empty list for a current record."""
    return [name for name, value in recorded.items() if hash_now(name) != value]


@functools.cache
def hash_now(name: str) -> str | None:
    """The hash of one of the things that `hashes` names, as it stands; None where it is gone. Read once a process."""
    if name.startswith("data set "):
        from utils.datasets.errors import UnknownName

        try:
            return data_hash(name.removeprefix("data set "))
        except UnknownName:
            return None
    path = ROOT / name
    if not path.exists():
        return None
    return chapter_hash(path.stem) if path.suffix == ".ipynb" else code_hash(path.read_text(encoding="utf-8"))


class _Deciding(ast.NodeTransformer):
    """Takes out of a syntax tree what cannot change a number."""

    def generic_visit(self, node: ast.AST) -> Any:
        super().generic_visit(node)
        body = getattr(node, "body", None)
        emptied = isinstance(body, list) and not body and not getattr(node, "orelse", None)
        return None if emptied and isinstance(node, (ast.For, ast.With, ast.If)) else node

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant) or _only_shows(node.value):  # a docstring, or a call that draws
            return None
        return node

    def visit_Assign(self, node: ast.Assign) -> Any:
        return None if _only_shows(node.value) else self.generic_visit(node)

    def visit_Dict(self, node: ast.Dict) -> Any:
        """Settings of the smoke profile, which measures nothing, do not count."""
        kept = [(k, v) for k, v in zip(node.keys, node.values, strict=True) if getattr(k, "value", None) != "smoke"]
        node.keys, node.values = [k for k, _ in kept], [v for _, v in kept]
        return self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> ast.AST | None:
        node.names = [alias for alias in node.names if alias.name.split(".")[0] not in NO_NUMBER]
        return node if node.names else None

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        return None if (node.module or "").split(".")[0] in NO_NUMBER else node


def _only_shows(value: ast.AST) -> bool:
    """Whether a value is a call like `plt.show()`, `axes[0].plot(...)`, `print(...)` or `chapter.say(...)`."""
    if not isinstance(value, ast.Call):
        return False
    root, method = value.func, getattr(value.func, "attr", "")
    while isinstance(root, (ast.Attribute, ast.Subscript, ast.Call)):
        root = root.func if isinstance(root, ast.Call) else root.value
    name = getattr(root, "id", "")
    return name in DRAWS or (name in ("chapter", "notebook") and method in SHOWS)


def _plain(node: Any) -> str:
    """A syntax tree as text, without fields that are empty: versions of Python differ in those."""
    if isinstance(node, ast.AST):
        fields = [
            f"{name}={_plain(value)}"
            for name, value in ast.iter_fields(node)
            if value is not None and value != [] and name not in ("ctx", "kind", "type_comment")
        ]
        return f"{type(node).__name__}({', '.join(fields)})"
    if isinstance(node, list):
        return f"[{', '.join(map(_plain, node))}]"
    return repr(node)
