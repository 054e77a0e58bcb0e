"""The sums over all campaigns, by revision: ``docs/reliability/totals.json``.

``make figures`` writes it, and the table in the page of results.

A campaign is added once, whatever it found: that of a night, too, whose file isn't kept.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.verification.campaign.rows import ROOT

TOTALS = ROOT / "docs" / "reliability" / "totals.json"
COLUMNS = {
    "trials": "trials",
    "kills": "kills",
    "runs": "simulated runs",
    "crashes": "simulated crashes",
    "faults": "simulated faults",
    "virtual days": "virtual days",
    "mutants": "mutants",
}
"""The counts that are added up, and their names on the page."""

Part = dict[str, Any]
"""What one campaign played on one revision."""


def load() -> list[Part]:
    """Return the parts of all campaigns that were added, oldest first."""
    parts: list[Part] = json.loads(TOTALS.read_text(encoding="utf-8"))["parts"]
    return parts


def parts_of(told: Mapping[str, Any]) -> Iterator[Part]:
    """Yield what a campaign played on each revision: rows that were run again have their own."""
    names = ("revision", "started_at", "seed")
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in told["rows"]:
        groups.setdefault(tuple(row.get(name, told[name]) for name in names), []).append(row)
    for group, rows in groups.items():
        counts: Counter[str] = Counter()
        found: Counter[str] = Counter()
        for row in rows:
            counts.update({name: row["counts"].get(name, 0) for name in COLUMNS})
            found.update(row["found"])
        yield {
            **dict(zip(names, group, strict=True)),
            "rows": [row["row"] for row in rows],
            "counts": {name: counts[name] for name in COLUMNS},
            "failures": {kind: count for kind, count in sorted(found.items()) if count},
        }


def added(parts: Sequence[Part], told: Mapping[str, Any]) -> list[Part]:
    """Return the parts with those of a campaign, each once."""
    by_start = {(part["revision"], part["started_at"]): part for part in parts}
    by_start |= {(part["revision"], part["started_at"]): part for part in parts_of(told)}
    return sorted(by_start.values(), key=lambda part: (part["started_at"], part["revision"]))


def sums(parts: Sequence[Part]) -> dict[str, int]:
    """Add up the counts, and the failures of all kinds."""
    total = {name: sum(part["counts"][name] for part in parts) for name in COLUMNS}
    return total | {"failures": sum(sum(part["failures"].values()) for part in parts)}


def save(parts: Sequence[Part], path: Path = TOTALS) -> None:
    text = json.dumps({"totals": sums(parts), "parts": list(parts)}, indent=1)
    path.write_text(f"{text}\n", encoding="utf-8")


def table(parts: Sequence[Part]) -> Iterator[str]:
    """Yield the rows of the page: each revision, then the sum."""
    yield f"| first played | revision | {' | '.join(COLUMNS.values())} | failures |"
    yield f"|---|---|{'---|' * len(COLUMNS)}---|"
    revisions: dict[str, list[Part]] = {}
    for part in parts:
        revisions.setdefault(part["revision"], []).append(part)
    for revision, group in revisions.items():
        cells = (group[0]["started_at"][:10], f"`{revision[:9]}`", *_cells(group))
        yield f"| {' | '.join(cells)} |"
    yield f"| | **{len(revisions)} revisions** | {' | '.join(_cells(parts))} |"


def _cells(parts: Sequence[Part]) -> Iterator[str]:
    yield from (f"{count:,}" for count in sums(parts).values())
