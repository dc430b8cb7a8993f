"""Start a chapter: python -m utils.tools.new name [part]; of a chapter that is there, say what is left to do.

A new chapter has a notebook with the sections that every chapter has, a claims file, and a place in _toc.yml, at the
end of the part that is named, or of the last part before the pages about the book. What has to be written is marked
WRITE. Everything that is missing after that is printed with the file to edit.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from utils import ROOT
from utils.tools import reading
from utils.tools.repository import is_start_cell, start_cell

HERE = Path(__file__).resolve().parent
ABOUT = "About the book"
PART = re.compile(r"^  - caption: (.+)$", re.M)
MARK = re.compile(r"\bWRITE\b:? ?[^\\|\"]*")
LONGEST_NAME = 40
FEWEST_TERMS = 5


def notebook(name: str, root: Path = ROOT) -> str:
    """The text of a new chapter's notebook."""
    content = json.loads((HERE / "template.ipynb").read_text(encoding="utf-8").replace("NAME", name))
    for cell in content["cells"]:
        if "".join(cell["source"]) == "# START":
            cell["source"] = start_cell(root).splitlines(keepends=True)
    if sum(map(is_start_cell, content["cells"])) != 1:
        raise ValueError("template.ipynb needs one cell # START")
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def entered(contents: str, name: str, part: str) -> str:
    """The text of _toc.yml with the chapter at the end of a part. Exits with a line that lists the parts."""
    parts = PART.findall(contents)
    own = parts[: parts.index(ABOUT)] if ABOUT in parts else parts
    if not own or (part and part not in own):
        sys.exit(f"_toc.yml has no part {part!r} for chapters; the parts are {', '.join(own)}")
    at = [match.end() for match in PART.finditer(contents)][parts.index(part or own[-1])]
    following = PART.search(contents, at)
    end = following.start() if following else len(contents)
    return f"{contents[:end].rstrip()}\n      - file: chapters/{name}\n{contents[end:]}"


def create(name: str, part: str = "", root: Path = ROOT) -> list[Path]:
    """Write the three files; their paths. Exits with a line for a name that is malformed or taken, or no such part."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or len(name) > LONGEST_NAME:
        shown = repr(name if len(name) <= LONGEST_NAME else name[:LONGEST_NAME] + "...")
        sys.exit(
            f"CHAPTER is {shown} but must be small letters, digits and _, at most {LONGEST_NAME}, "
            "as in: make new CHAPTER=deep_sets"
        )
    page, claims, contents = root / f"chapters/{name}.ipynb", root / f"data/claims/{name}.yml", root / "_toc.yml"
    if page.exists() or claims.exists():
        sys.exit(f"there is a chapter {name} already")
    listed = entered(contents.read_text(encoding="utf-8"), name, part)
    page.write_text(notebook(name, root), encoding="utf-8")
    claims.write_text((HERE / "template.yml").read_text(encoding="utf-8").replace("NAME", name), encoding="utf-8")
    contents.write_text(listed, encoding="utf-8")
    return [page, claims, contents]


def left_to_write(root: Path = ROOT, chapter: str = "*") -> list[str]:
    """The marks WRITE in chapters and claims, as `file: WRITE: what is missing`."""
    files = sorted([*root.glob(f"chapters/{chapter}.ipynb"), *root.glob(f"data/claims/{chapter}.yml")])
    marks = [(path, mark) for path in files for mark in MARK.findall(path.read_text(encoding="utf-8"))]
    return [f"{path.relative_to(root).as_posix()}: {mark.strip()}" for path, mark in marks]


def remaining(name: str, root: Path = ROOT) -> list[str]:
    """What a chapter still lacks, each with the file to edit: its marks, and its place in what chapters share."""

    def text(path: str) -> str:
        file = root / path
        return file.read_text(encoding="utf-8") if file.exists() else ""

    found = left_to_write(root, name)
    page, claims = text(f"chapters/{name}.ipynb"), text(f"data/claims/{name}.yml")
    if f"chapters/{name}\n" not in text("_toc.yml"):
        found.append(f"_toc.yml: the line `- file: chapters/{name}` in one of the parts")
    if not re.search(rf"chapter: {name}\b", text("data/ideas.yml")):
        found.append(f"data/ideas.yml: a line for {name}: its label, year and place on the map of ideas")
    if not re.search(rf"\b{name} \(", text("symbols.md")):
        found.append(f"symbols.md: the letters of its equations, as in `{name} (1)`")
    terms = re.findall(r"^\| (\w.+?) \|.*\|$", text("glossary.md"), re.M)[1:]
    used = [term for term in terms if re.search(rf"\b{re.escape(term)}", page, re.I)]
    if len(used) < FEWEST_TERMS:
        found.append(f"glossary.md: its terms; the chapter mentions {len(used)} of those, at least {FEWEST_TERMS}")
    key = re.search(r"^paper: *[\"']?([^\"'\n]*)", claims, re.M)
    if not key or f"{{{key[1].strip()}," not in text("references.bib"):
        found.append("references.bib: the paper, under the key that the claims file names")
    tests = [path for path in root.glob("tests/test_*.py") if f'"{name}"' in path.read_text(encoding="utf-8")]
    if not tests:
        found.append(f"tests/test_{name}.py: tests of its definitions, defects that they notice, and its exercises")
    for profile in ("quick", "full"):
        if not (root / f"data/results/{name}.{profile}.json").exists():
            found.append(f"data/results/{name}.{profile}.json: make run CHAPTER={name} PROFILE={profile} writes it")
    return found


def main() -> None:
    name, part = (sys.argv[1:] + ["", ""])[:2]
    if not (ROOT / f"chapters/{name}.ipynb").exists() or not name:
        for path in create(name, part):
            print(f"wrote {path.relative_to(ROOT).as_posix()}")
    print("left to do:")
    for line in remaining(name) or ["nothing"]:
        print(f"  {line}")
    long = reading.length(name)
    print(f"{long.cells} code cells, {long.lines} visible lines, {long.minutes:.0f} minutes to read")
    print("For a data set that is new: data/registry.csv, data/cards.yml and a loader in utils/datasets.")
    print(f"`make new CHAPTER={name}` lists what is left then; `make format test book` checks all of it.")


if __name__ == "__main__":
    main()
