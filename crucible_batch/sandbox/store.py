"""The state of a sandbox in SQLite: a restart shows the same balances, jobs, keys and bytes."""

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from pydantic import TypeAdapter

from crucible_batch.sandbox import exact_json
from crucible_batch.sandbox.records import Account, Asset, Entry, Job, Record
from crucible_batch.sandbox.world import SavedRecords

_SCHEMA = """
CREATE TABLE IF NOT EXISTS record (
    seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, record TEXT NOT NULL,
    UNIQUE (kind, id)
);
CREATE TABLE IF NOT EXISTS blob (sha256 TEXT PRIMARY KEY, bytes BLOB NOT NULL) WITHOUT ROWID;
"""
_UPSERT = """
INSERT INTO record (kind, id, record) VALUES (?, ?, ?)
ON CONFLICT (kind, id) DO UPDATE SET record = excluded.record
"""
_ID_OF: dict[type[Record], str] = {
    Account: "account_id",
    Entry: "entry_id",
    Asset: "asset_id",
    Job: "job_id",
}


class Store:
    """One SQLite file, or memory where `path` is None.

    Raises OSError for a file that isn't its own, or is in use.
    """

    def __init__(self, path: Path | None) -> None:
        try:
            self._db = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=0)
        except sqlite3.OperationalError as error:
            raise OSError(f"can't open the state file {path}: {error}") from error
        try:
            self._prepare()
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise OSError(f"can't use the state file {path}: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def load(self) -> SavedRecords:
        """Read back everything that was saved, in the order in which it was made."""
        return SavedRecords(*map(self._read, _ID_OF))

    def save(self, records: Iterable[Record]) -> None:
        """Write records, new or replaced, in one transaction."""
        rows = (
            (type(each).__name__, getattr(each, _ID_OF[type(each)]), exact_json.dumps(each))
            for each in records
        )
        self._db.execute("BEGIN IMMEDIATE")
        with self._db:
            self._db.executemany(_UPSERT, rows)

    def put_blob(self, sha256: str, content: bytes) -> None:
        self._db.execute(
            "INSERT OR IGNORE INTO blob (sha256, bytes) VALUES (?, ?)", (sha256, content)
        )

    def blob(self, sha256: str) -> bytes:
        """Return the bytes of a digest. Raises KeyError."""
        row = self._db.execute("SELECT bytes FROM blob WHERE sha256 = ?", (sha256,)).fetchone()
        if row is None:
            raise KeyError(sha256)
        return bytes(row[0])

    def _prepare(self) -> None:
        tables = {
            name
            for (name,) in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
        if tables - {"record", "blob"}:
            raise sqlite3.DatabaseError("it is the database of another program")
        # Kept for the life of the process and freed by the kernel with it: two sandboxes can't
        # share a state.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        # A killed process loses nothing so; a power cut may, and a sandbox may afford that.
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)

    def _read(self, kind: type[Record]) -> list[Any]:
        query = "SELECT record FROM record WHERE kind = ? ORDER BY seq"
        rows = [
            exact_json.loads(text.encode()) for (text,) in self._db.execute(query, (kind.__name__,))
        ]
        if not rows:
            return []
        found: list[Any] = TypeAdapter(list[kind]).validate_python(rows)  # type: ignore[valid-type]
        return found
