"""Receipts by job, in a nameless file: a million jobs have two million, in the order of time."""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Iterable

from crucible_batch.core.receipt import Receipt
from crucible_batch.errors import UserError

_MOST = 10_000


class ReceiptsByJob:
    """Takes receipts in any order, and gives back those of one job in that order."""

    def __init__(self, receipts: Iterable[Receipt]) -> None:
        """Raise ``UserError`` where the temporary directory has no room for them. Blocking; any thread may use it."""
        # SQLite opens a file in the temporary directory and takes its name away at once: no kill leaves it behind.
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for setting in ("temp_store = FILE", "synchronous = OFF", "journal_mode = OFF"):
            self._connection.execute(f"PRAGMA {setting}")
        try:
            self._connection.execute(
                "CREATE TABLE receipts (identity TEXT NOT NULL, job_id TEXT NOT NULL, body BLOB NOT NULL)"
            )
            self._connection.execute("BEGIN")
            rows = ((each.identity, each.job_id.lower(), pickle.dumps(each)) for each in receipts)
            self._connection.executemany("INSERT INTO receipts VALUES (?, ?, ?)", rows)
            self._connection.execute("CREATE INDEX receipts_by_identity ON receipts (identity)")
            self._connection.execute("CREATE INDEX receipts_by_job_id ON receipts (job_id)")
            self._connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            self.close()
            raise UserError(
                f"the receipts can't be sorted in the temporary directory: {error}",
                hint="make room there, or name another directory in TMPDIR; nothing was spent",
            ) from error

    def of(self, identity: str) -> list[Receipt]:
        """Return a job's receipts; none where it has none. Not all of them where somebody has added any number."""
        query = "SELECT body FROM receipts WHERE identity = ? ORDER BY rowid LIMIT ?"
        found = self._connection.execute(query, (identity, _MOST))
        return [pickle.loads(body) for (body,) in found]  # noqa: S301 - from a file that nobody else can open

    def owner(self, job_id: str) -> str | None:
        """Return the identity of the job that named this gateway job first: no two can have the same."""
        query = "SELECT identity FROM receipts WHERE job_id = ? ORDER BY rowid LIMIT 1"
        row = self._connection.execute(query, (job_id.lower(),)).fetchone()
        return None if row is None else str(row[0])

    def close(self) -> None:
        self._connection.close()
