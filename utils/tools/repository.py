"""Write the public address of the book into _config.yml and into the start cell of every chapter.

Usage: python -m utils.tools.repository owner/name
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from utils import ROOT
from utils.records import sources

START = "utils/tools/start_cell.py"


def configured(config: str, name: str) -> str:
    """The text of _config.yml with the addresses of repository and site set, and the buttons that depend on them on."""
    owner, _, book = name.partition("/")
    settings = {"url": f"https://github.com/{name}", "colab_url": "https://colab.research.google.com"}
    settings["baseurl"] = f"https://{owner.lower()}.github.io/{book}/"
    for key, value in settings.items():
        config = re.sub(rf'^( +{key}: )"[^"]*"', rf'\1"{value}"', config, flags=re.M)
    return re.sub(r"^( +use_(?:repository|issues)_button: )false$", r"\1true", config, flags=re.M)


def start_cell(root: Path = ROOT) -> str:
    """The source of the start cell, as it stands in every chapter."""
    return (root / START).read_text(encoding="utf-8").rstrip("\n")


def is_start_cell(cell: dict) -> bool:
    """Whether a cell of a notebook makes the helper code importable."""
    return cell["cell_type"] == "code" and sources.is_start_cell("".join(cell["source"]))


def write_start_cell(notebook: Path, source: str) -> None:
    """Put `source` into the start cell of a notebook; everything else, outputs too, stays as it is."""
    content = json.loads(notebook.read_text(encoding="utf-8"))
    cells = [cell for cell in content["cells"] if is_start_cell(cell)]
    if len(cells) != 1:
        sys.exit(f"{notebook.name}: {len(cells)} cells have a line {sources.START} ..., expected one")
    cells[0]["source"] = source.splitlines(keepends=True)
    notebook.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def set_repository(name: str, root: Path = ROOT) -> None:
    """Write the address. Exits with a line when the name is malformed."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+", name):
        sys.exit(f"NAME is {name!r} but must be owner/name, as in: make repository NAME=ada/walkthroughs")
    source = re.sub(r'^REPOSITORY = ".*"$', f'REPOSITORY = "{name}"', start_cell(root), flags=re.M)
    (root / START).write_text(source + "\n", encoding="utf-8")
    config = root / "_config.yml"
    config.write_text(configured(config.read_text(encoding="utf-8"), name), encoding="utf-8")
    for notebook in sorted((root / "chapters").glob("*.ipynb")):
        write_start_cell(notebook, source)


if __name__ == "__main__":
    set_repository(sys.argv[1] if len(sys.argv) > 1 else "")
