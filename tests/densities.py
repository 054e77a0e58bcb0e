"""How dense the code is, for each room: what a reader has to unfold, per 1,000 lines.

python -m tests.densities             of this project
python -m tests.densities PATH...     of others, to compare
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "crucible_batch"
WIDEST = 100


@dataclass
class Density:
    """The sums of some files."""

    lines: int = 0
    conditional_expressions: int = 0
    walrus: int = 0
    long_lines: int = 0

    def add(self, text: str) -> None:
        """Add a file."""
        nodes = list(ast.walk(ast.parse(text)))
        lines = text.splitlines()
        self.lines += len(lines)
        self.conditional_expressions += sum(isinstance(node, ast.IfExp) for node in nodes)
        self.walrus += sum(isinstance(node, ast.NamedExpr) for node in nodes)
        self.long_lines += sum(len(line) > WIDEST for line in lines)

    def row(self, name: str) -> str:
        """Return the figures as a row: lines, then what there is per 1,000 lines."""
        thousands = self.lines / 1000 or 1
        conditional = self.conditional_expressions / thousands
        return (
            f"{name:<24} {self.lines:>7,} {conditional:>8.1f} {self.walrus / thousands:>8.1f}"
            f" {self.long_lines / thousands:>8.1f}"
        )


def rooms(root: Path) -> Iterator[tuple[str, list[Path]]]:
    """Yield each room of the package with its files; each feature is one."""
    found: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).parts
        depth = 2 if parts[0] == "features" and len(parts) > 2 else 1
        found.setdefault("/".join(parts[:depth]), []).append(path)
    yield from found.items()


def density(paths: Sequence[Path]) -> Density:
    """Return the sums of these files."""
    total = Density()
    for path in paths:
        total.add(path.read_text(encoding="utf-8"))
    return total


def main(given: Sequence[str]) -> None:
    """Print a row for each room, or for each path that is given."""
    print(f"{'per 1,000 lines':<24} {'lines':>7} {'... if':>8} {':=':>8} {f'> {WIDEST}':>8}")
    if given:
        for name in given:
            print(density(sorted(Path(name).rglob("*.py"))).row(Path(name).name))
        return
    for name, paths in rooms(PACKAGE):
        print(density(paths).row(name))
    print(density(sorted(PACKAGE.rglob("*.py"))).row("all"))


if __name__ == "__main__":
    main(sys.argv[1:])
