"""What was measured, by module: the table in ``docs/performance.md``, missed goals in
``CONTRIBUTING.md``.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.row import Row

Measured: TypeAlias = dict[str, dict[str, object]]

ROOT = Path(__file__).parents[1]
KEPT = Path(__file__).parent / "measured.json"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
IN_ORDER = (
    "whole_run", "concurrency", "downloads", "uploads", "journal", "manifest", "polling", "memory",
    "startup", "report", "page", "pushback",
)  # fmt: skip
"""As the goals were set; modules that are named later come behind them, by name."""
FOR_USERS = ("whole_run", "downloads", "uploads", "manifest", "memory", "startup", "report", "page")


def place(module: str) -> tuple[int, str]:
    """Where a module's rows stand."""
    return (IN_ORDER.index(module) if module in IN_ORDER else len(IN_ORDER), module)


def text(rows: Sequence[Row]) -> str:
    """Return rows as a Markdown table, followed by the reasons for missed goals."""
    head = ("measurement", "goal", "result", "met", "details")
    lines = [head, ("---",) * len(head)]
    lines += [
        (row.what, row.goal, row.reached, "yes" if row.met else "**no**", row.note) for row in rows
    ]
    return _table(lines) + "\nReasons for missed goals:\n\n" + _missed(rows)


def _table(lines: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _missed(rows: Sequence[Row]) -> str:
    """Return the reasons for missed goals, one line for each reason."""
    why: dict[str, list[str]] = {}
    for row in rows:
        if not row.met:
            missed = f"{row.what} ({row.reached}, goal {row.goal})"
            why.setdefault(row.reason or "see the details", []).append(missed)
    return "".join(f"- **{'; '.join(missed)}**: {reason}.\n" for reason, missed in why.items())


def keep(module: str, rows: Sequence[Row]) -> None:
    """Keep a module's rows, with the day and the machine, and write the pages again."""
    kept = load()
    kept[module] = {
        "measured_on": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "rows": [asdict(row) for row in rows],
    }
    KEPT.write_text(
        json.dumps(kept, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8"
    )
    for page, made in PAGES.items():
        page.write_text(filled(page.read_text(encoding="utf-8"), made(kept)), encoding="utf-8")


def load() -> Measured:
    """Read what was measured, by module."""
    found: Measured = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    return found


def filled(page: str, made: str) -> str:
    """Put a text between the page's marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{made}{END}{after}"


def for_users(kept: Measured) -> str:
    """Return the table of what a user notices, without the goals."""
    modules = [module for module in FOR_USERS if module in kept]
    lines = [(row.what, row.reached, row.note) for row in _rows(kept, modules)]
    days = sorted({str(kept[module]["measured_on"]) for module in modules})
    pythons = sorted({str(kept[module]["python"]) for module in modules})
    table = _table([("measurement", "result", "details"), ("---",) * 3, *lines])
    return f"{table}\nMeasured on {', '.join(days)} with Python {', '.join(pythons)}.\n"


def missed_goals(kept: Measured) -> str:
    """Return the missed goals of all modules, with the reasons."""
    return _missed(_rows(kept, sorted(kept, key=place)))


def _rows(kept: Measured, modules: Sequence[str]) -> list[Row]:
    rows: list[Any] = [kept[module]["rows"] for module in modules]
    return [Row(**row) for of_module in rows for row in of_module]


PAGES = {ROOT / "docs" / "performance.md": for_users, ROOT / "CONTRIBUTING.md": missed_goals}
"""Each page with measurements, and the function that writes them."""
