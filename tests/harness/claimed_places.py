"""A journal that was edited: it says that an output stands at a place where the plan puts none."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

OURS = [
    ".crucible/journal.sqlite3",
    ".crucible/lock",
    ".crucible/journal.sqlite3-wal",
    "report.json",
    "report.html",
    "REPORT.JSON",
    "receipts.jsonl",
    "thumbnails/a.webp",
    "a/0.png.json",
    "../elsewhere.png",
    "a/../report.json",
    "a/./0.png",
    "a//0.png",
]


def contents(bench: Any) -> dict[str, bytes]:
    files = (path for path in bench.path.rglob("*") if path.is_file())
    changing = {
        "report.json",
        "report.html",
        "journal.sqlite3",
        "journal.sqlite3-wal",
        "journal.sqlite3-shm",
        "holder",
    }
    return {
        str(path.relative_to(bench.path)): path.read_bytes()
        for path in files
        if path.name not in changing
    }


def edit(bench: Any, *, path: str, output: str | None = None) -> None:
    """Have the journal say that the first output is at ``path``, and that the plan wants it so."""
    with (
        closing(sqlite3.connect(bench.path / "out/.crucible/journal.sqlite3")) as connection,
        connection,
    ):
        change = (
            "UPDATE events SET body = json_set(body, '$.path', ?) "
            "WHERE type = 'Saved' AND body LIKE '%\"a/0.png\"%'"
        )
        assert connection.execute(change, (path,)).rowcount == 1
        if output is not None:
            connection.execute(
                "UPDATE plan SET body = json_set(body, '$.output', ?) WHERE position = 0", (output,)
            )
