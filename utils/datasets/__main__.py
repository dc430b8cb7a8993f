"""The command `python -m utils.datasets list | fetch [set ...] | verify [set ...]`.
Exit codes: 0 all well, 1 a file is bad, absent (verify) or cannot be had (fetch), 2 wrong usage or no mirror folder.
Files whose content is not pinned are reported; they count as absent only where their set is named."""

import argparse
import sys
from collections import Counter

from .errors import DataError
from .files import locate, mirror_folder, path
from .registry import files, registry

NOT_PINNED = "not pinned"


def main(arguments: list[str] | None = None) -> int:
    """Run the command, print one line per set and each error, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m utils.datasets", description="The data files of the book.")
    parser.add_argument("action", choices=("list", "fetch", "verify"))
    parser.add_argument("sets", nargs="*", metavar="set", help="planetoid, cora, mnist, ...; default: all")
    options = parser.parse_args(arguments)
    try:
        mirror_folder()
        sets = {name: files(name) for name in options.sets or [row.dataset for row in registry().values()]}
    except DataError as error:
        parser.error(str(error))
    allowed = {"cache", "mirror"}
    if options.action == "list":
        allowed |= {"remote", NOT_PINNED}
    elif not options.sets:
        allowed.add(NOT_PINNED)
    states = [_report(name, members, options.action == "fetch", bool(options.sets)) for name, members in sets.items()]
    return 0 if set().union(*states) <= allowed else 1


def _report(dataset: str, names: list[str], fetch: bool, named: bool) -> set[str]:
    """Print where the files of a set lie (after fetching them, if asked) and return the places and errors."""
    rows, states = [registry()[name] for name in names], Counter[str]()
    for name in names:
        try:
            place = locate(name)[0]
            if fetch and (named or place != NOT_PINNED):
                path(name)
                place = locate(name)[0]
            states[place] += 1
        except DataError as error:
            print(error, file=sys.stderr)
            states[type(error).__name__] += 1
    sizes = [row.bytes for row in rows if row.bytes]
    size = f"{sum(sizes):,}" if len(sizes) == len(rows) else "unknown"
    where = ", ".join(f"{state} {count}" for state, count in states.items())
    licence = " / ".join(dict.fromkeys(row.licence for row in rows))
    print(f"{dataset}: files {len(names)}, bytes {size}; {where}; licence: {licence}")
    return set(states)


if __name__ == "__main__":
    sys.exit(main())
