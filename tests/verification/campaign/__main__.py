"""A campaign: each row of the regime for its share of the time, and a file of what came of it:
``make campaign``.

    python -m tests.verification.campaign --minutes 150   all rows, two hours and a half
    python -m tests.verification.campaign --minutes 5 --row 6   one of them, for five minutes
    python -m tests.verification.campaign --row 15 --into FILE   one once more, in its file

The file, ``docs/reliability/campaign-DATE.json``, names the revision, the seeds, the commands and
the findings. Exits 1 where there was any, where a planted bug was missed, or where a kind of fault
never struck.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import SystemRandom
from typing import Any

from tests.verification.campaign import planted
from tests.verification.campaign.rows import ROOT, ROWS, Row

_LEAST_S = 10.0
"""Even where the rows that take what they take have used the time up."""


def _git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def _machine() -> dict[str, object]:
    return {
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def play_rows(rows: Sequence[Row], until: float, seed: int) -> Iterator[dict[str, Any]]:
    """Play what takes what it takes first, and share out the rest of the time."""
    ordered = sorted(rows, key=lambda row: (row.share > 0, row.number))
    for place, row in enumerate(ordered):
        shares = sum(later.share for later in ordered[place:])
        left_s = until - time.monotonic()
        seconds = max(_LEAST_S, left_s * row.share / shares) if row.share else 0.0
        told = row.told(seconds, seed)
        print(
            (
                f"row {row.number:<2} {row.title}: {told['counts']}, "
                f"found {told['found']}, {told['took_s']} s"
            ),
            flush=True,
        )
        for finding in told["findings"]:
            print(f"  found: {finding}", flush=True)
        yield told


def totals(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Add all rows up."""
    sums: dict[str, dict[str, int]] = {}
    for name in ("counts", "faults", "found"):
        kinds = sorted({kind for row in rows for kind in row[name]})
        sums[name] = {kind: sum(row[name].get(kind, 0) for row in rows) for kind in kinds}
    return sums


def campaign(wanted: argparse.Namespace) -> dict[str, Any]:
    """Play it all."""
    began, started_at = time.monotonic(), datetime.now(UTC)
    rows = [row for row in ROWS if not wanted.row or row.number in wanted.row]
    told: dict[str, Any] = {
        "started_at": started_at.isoformat(timespec="seconds"),
        "revision": _git("rev-parse", "HEAD"),
        "is_clean": not _git("status", "--porcelain"),
        "machine": _machine(),
        "minutes": wanted.minutes,
        "seed": wanted.seed,
    }
    bugs = {} if wanted.row else planted.hunt()
    print(
        (
            f"planted {len(bugs)}, caught {sum(map(bool, bugs.values()))}, "
            f"{time.monotonic() - began:.0f} s"
        ),
        flush=True,
    )
    played = sorted(
        play_rows(rows, began + wanted.minutes * 60, wanted.seed), key=lambda row: row["row"]
    )
    return told | {
        "took_s": round(time.monotonic() - began),
        "planted": {"bugs": len(bugs), "caught": sum(map(bool, bugs.values())), "by": bugs},
        "totals": totals(played),
        "rows": played,
    }


def put_into(file: Path, told: dict[str, Any]) -> dict[str, Any]:
    """Put rows that were played once more in the place of those in a file, each with the revision,
    the time and the seed of its own."""
    old: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    own = {name: told[name] for name in ("revision", "started_at", "seed")}
    rows = {row["row"]: row for row in old["rows"]} | {
        row["row"]: row | own for row in told["rows"]
    }
    in_order = [rows[number] for number in sorted(rows)]
    return old | {
        "took_s": old["took_s"] + told["took_s"],
        "totals": totals(in_order),
        "rows": in_order,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.verification.campaign", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "--minutes", type=float, default=150, help="how long; some rows take what they take"
    )
    parser.add_argument(
        "--row",
        type=int,
        action="append",
        help="this row only, and no planted bugs; may be given again",
    )
    parser.add_argument(
        "--seed", type=int, default=SystemRandom().randrange(1, 1000), help="where the seeds begin"
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "docs" / "reliability", help="the folder for the file"
    )
    parser.add_argument("--into", type=Path, help="put the rows in the place of those in this file")
    wanted = parser.parse_args()
    told = campaign(wanted)
    file = wanted.into or wanted.out / f"campaign-{told['started_at'][:10]}.json"
    if wanted.into:
        told = put_into(file, told)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    missed = [name for name, by in told["planted"]["by"].items() if not by]
    silent = [fault for row in told["rows"] for fault in row["never_struck"]]
    print(f"{file}: {told['totals']['counts']}, found {told['totals']['found']}")
    print(f"bugs missed: {missed or 'none'}; faults that never struck: {silent or 'none'}")
    return 1 if missed or silent or any(told["totals"]["found"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())
