"""``python -m benchmarks [MODULE...] [--quick] [--keep]``: measure, print the table, and keep it in the docs."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import table
from benchmarks.row import Row


def measuring() -> dict[str, Callable[[bool], Iterator[Row]]]:
    """Find the modules that have ``rows``, in the table's order."""
    names = [found.name for found in pkgutil.iter_modules([str(Path(__file__).parent)]) if found.name != "__main__"]
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in sorted(names, key=table.place)}
    return {name: module.rows for name, module in modules.items() if hasattr(module, "rows")}


def main() -> int:
    """Return 0 when all was measured, whether or not the goals were met: the table says that."""
    found = measuring()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=", ".join(found))
    parser.add_argument("--quick", action="store_true", help="smaller numbers and fewer rounds")
    parser.add_argument("--keep", action="store_true", help="write the table in docs/performance.md")
    chosen = parser.parse_args()
    if unknown := set(chosen.modules) - set(found):
        parser.error(f"no such module: {', '.join(sorted(unknown))}")
    measured: list[Row] = []
    for name in chosen.modules or found:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        rows = list(found[name](chosen.quick))
        measured += rows
        if chosen.keep:
            table.keep(name, rows)
    print(table.text(measured), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
