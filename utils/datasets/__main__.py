"""The command `python -m utils.datasets list | fetch [set ...] | verify [set ...]`.
Exit codes: 0 all well, 1 a file is bad, absent (verify) or cannot be had (fetch), 2 wrong usage."""

import argparse
import sys
from collections import Counter

from .errors import DataError
from .files import locate, path
from .registry import files, registry


def main(arguments: list[str] | None = None) -> int:
    """Run the command, print one line per set and each error, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m utils.datasets", description="The data files of the book.")
    parser.add_argument("action", choices=("list", "fetch", "verify"))
    parser.add_argument("sets", nargs="*", metavar="set", help="planetoid, cora, mnist, ...; default: all")
    options = parser.parse_args(arguments)
    try:
        sets = {name: files(name) for name in options.sets or [row.dataset for row in registry().values()]}
    except DataError as error:
        parser.error(str(error))
    states = {name: _report(name, members, options.action == "fetch") for name, members in sets.items()}
    allowed = {"cache", "mirror"} | ({"remote", "not pinned"} if options.action == "list" else set())
    return 0 if all(state <= allowed for state in states.values()) else 1


def _report(dataset: str, names: list[str], fetch: bool) -> set[str]:
    """Print where the files of a set lie (after fetching them, if asked) and return the places and errors."""
    rows, states = [registry()[name] for name in names], Counter()
    for name in names:
        try:
            if fetch:
                path(name)
            states[locate(name)[0]] += 1
        except DataError as error:
            print(error, file=sys.stderr)
            states[type(error).__name__] += 1
    size = f"{sum(row.bytes for row in rows):,}" if all(row.bytes for row in rows) else "unknown"
    where = ", ".join(f"{state} {count}" for state, count in states.items())
    licence = " / ".join(dict.fromkeys(row.licence for row in rows))
    print(f"{dataset}: files {len(names)}, bytes {size}; {where}; licence: {licence}")
    return set(states)


if __name__ == "__main__":
    sys.exit(main())
