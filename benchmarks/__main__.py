"""``python -m benchmarks [MODULE...] [--quick] [--keep]``: measure, print the table, and keep it in
the docs.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import table
from benchmarks.row import Row


def measuring() -> dict[str, Callable[[bool], Iterator[Row]]]:
    """Find the modules that have ``rows``, in the table's order."""
    names = [
        found.name
        for found in pkgutil.iter_modules([str(Path(__file__).parent)])
        if found.name != "__main__"
    ]
    modules = {
        name: importlib.import_module(f"benchmarks.{name}")
        for name in sorted(names, key=table.place)
    }
    return {name: module.rows for name, module in modules.items() if hasattr(module, "rows")}


def _say(began: float, text: str) -> None:
    minutes, seconds = divmod(int(time.monotonic() - began), 60)
    print(f"{minutes:3}:{seconds:02}  {text}", file=sys.stderr, flush=True)


def main() -> int:
    """Return 0 when all was measured, whether or not the goals were met: the table says that."""
    found = measuring()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=", ".join(found))
    parser.add_argument("--quick", action="store_true", help="smaller numbers and fewer rounds")
    parser.add_argument("--keep", action="store_true", help="write the results into the docs")
    chosen = parser.parse_args()
    if unknown := set(chosen.modules) - set(found):
        parser.error(f"no such module: {', '.join(sorted(unknown))}")
    measured: list[Row] = []
    began = time.monotonic()
    for name in chosen.modules or found:
        _say(began, f"measuring {name} ...")
        rows = []
        for row in found[name](chosen.quick):
            _say(
                began, f"  {row.what}: {row.reached} ({'met' if row.met else 'missed'}, {row.goal})"
            )
            rows.append(row)
        measured += rows
        if chosen.keep:
            table.keep(name, rows)
    print(table.text(measured), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
