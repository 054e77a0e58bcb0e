"""Receipts by job, in a nameless file: a million jobs have two million, in the order of time."""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Iterable

from crucible_batch.core.receipt import Receipt
from crucible_batch.errors import UserError


class ReceiptsByJob:
    """Takes receipts in any order, and gives back those of one job in that order."""

    def __init__(self, receipts: Iterable[Receipt]) -> None:
        """Raise ``UserError`` where the temporary directory has no room for them. Blocking; any thread may use it."""
        # SQLite opens a file in the temporary directory and takes its name away at once: no kill leaves it behind.
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for setting in ("temp_store = FILE", "synchronous = OFF", "journal_mode = OFF"):
            self._connection.execute(f"PRAGMA {setting}")
        try:
            self._connection.execute("CREATE TABLE receipts (identity TEXT NOT NULL, body BLOB NOT NULL)")
            self._connection.execute("BEGIN")
            rows = ((receipt.identity, pickle.dumps(receipt)) for receipt in receipts)
            self._connection.executemany("INSERT INTO receipts VALUES (?, ?)", rows)
            self._connection.execute("CREATE INDEX receipts_by_identity ON receipts (identity)")
            self._connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            self.close()
            raise UserError(
                f"the receipts can't be sorted in the temporary directory: {error}",
                hint="make room there, or name another directory in TMPDIR; nothing was spent",
            ) from error

    def of(self, identity: str) -> list[Receipt]:
        """Return a job's receipts; none where it has none."""
        found = self._connection.execute("SELECT body FROM receipts WHERE identity = ? ORDER BY rowid", (identity,))
        return [pickle.loads(body) for (body,) in found]  # noqa: S301 - from a file that nobody else can open

    def close(self) -> None:
        self._connection.close()
