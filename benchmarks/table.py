"""The table in ``docs/performance.md``: stored by module, so that each can be measured separately."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.row import Row

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "performance.md"
KEPT = Path(__file__).parent / "measured.json"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
IN_ORDER = (
    "whole_run", "concurrency", "downloads", "uploads", "journal", "manifest", "polling", "memory", "startup", "report",
    "pushback",
)  # fmt: skip
"""As the goals were set; modules that are named later come behind them, by name."""


def place(module: str) -> tuple[int, str]:
    """Where a module's rows stand."""
    return (IN_ORDER.index(module) if module in IN_ORDER else len(IN_ORDER), module)


def text(rows: Sequence[Row]) -> str:
    """Return rows as a Markdown table, followed by the reasons for missed goals."""
    head = ("measurement", "goal", "result", "met", "details")
    lines = [head, ("---",) * len(head)]
    lines += [(row.what, row.goal, row.reached, "yes" if row.met else "**no**", row.note) for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + _missed(rows)


def _missed(rows: Sequence[Row]) -> str:
    """Return the reasons for missed goals, one line for each reason."""
    why: dict[str, list[str]] = {}
    for row in rows:
        if not row.met:
            why.setdefault(row.reason or "see the details", []).append(f"{row.what} ({row.reached})")
    lines = [f"- **{'; '.join(missed)}**: {reason}.\n" for reason, missed in why.items()]
    return "\nReasons for missed goals:\n\n" + "".join(lines) if lines else ""


def keep(module: str, rows: Sequence[Row]) -> None:
    """Keep a module's rows, with the day and the machine, and write the page's table again."""
    kept = load()
    kept[module] = {
        "measured_on": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "rows": [asdict(row) for row in rows],
    }
    KEPT.write_text(json.dumps(kept, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), kept), encoding="utf-8")


def load() -> dict[str, dict[str, object]]:
    """Read what was measured, by module."""
    found: dict[str, dict[str, object]] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    return found


def filled(page: str, kept: Mapping[str, Mapping[str, object]]) -> str:
    """Put the table of what was measured between the page's marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    modules = sorted(kept, key=place)
    rows = [Row(**row) for module in modules for row in kept[module]["rows"]]  # type: ignore[attr-defined]
    days = sorted({str(kept[module]["measured_on"]) for module in modules})
    pythons = sorted({str(kept[module]["python"]) for module in modules})
    when = f"Measured on {', '.join(days)} with Python {', '.join(pythons)}.\n" if modules else "No measurements yet.\n"
    return f"{before}{BEGIN}\n{text(rows)}\n{when}{END}{after}"
