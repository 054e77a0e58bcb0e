"""The state of a sandbox in SQLite, so that a restart shows the same balances, jobs, keys and bytes."""

import sqlite3
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import TypeAdapter

from crucible_batch.sandbox import exact_json
from crucible_batch.sandbox.records import Account, Asset, Entry, Job, Record
from crucible_batch.sandbox.world import SavedRecords

_SCHEMA = Path(__file__).with_name("schema.sql")

_TABLES = frozenset({"account", "entry", "asset", "job", "blob"})

_INSERT_ENTRY = """
INSERT INTO entry (entry_id, account_id, entry_type, amount, created_at, description, job_id, asset_id,
                   balance_after, reserved_after)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_UPSERT_ASSET = """
INSERT INTO asset (asset_id, record) VALUES (?, ?)
ON CONFLICT (asset_id) DO UPDATE SET record = excluded.record
"""
_UPSERT_JOB = """
INSERT INTO job (job_id, account_id, idempotency_key, record) VALUES (?, ?, ?, ?)
ON CONFLICT (job_id) DO UPDATE SET record = excluded.record
"""

_RecordT = TypeVar("_RecordT", Account, Entry, Asset, Job)


_LISTS: dict[type, TypeAdapter[Any]] = {}


class Store:
    """One SQLite file, or memory where `path` is None. Raises OSError for a file that isn't its own, or is in use."""

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
        return SavedRecords(
            accounts=self._read(Account, "SELECT account_id, key_sha256 FROM account ORDER BY seq"),
            entries=self._read(
                Entry,
                "SELECT entry_id, account_id, entry_type, amount, created_at, description, job_id, asset_id,"
                " balance_after, reserved_after FROM entry ORDER BY seq",
            ),
            assets=self._read_json(Asset, "SELECT record FROM asset ORDER BY seq"),
            jobs=self._read_json(Job, "SELECT record FROM job ORDER BY seq"),
        )

    def save(self, records: Iterable[Record]) -> None:
        """Write records, new or replaced, in one transaction."""
        self._db.execute("BEGIN IMMEDIATE")
        with self._db:
            for record in records:
                self._write(record)

    def put_blob(self, sha256: str, content: bytes) -> None:
        self._db.execute("INSERT OR IGNORE INTO blob (sha256, bytes) VALUES (?, ?)", (sha256, content))

    def blob(self, sha256: str) -> bytes:
        """Return the bytes of a digest. Raises KeyError."""
        row = self._db.execute("SELECT bytes FROM blob WHERE sha256 = ?", (sha256,)).fetchone()
        if row is None:
            raise KeyError(sha256)
        return bytes(row["bytes"])

    def _prepare(self) -> None:
        self._db.row_factory = sqlite3.Row
        tables = {str(row["name"]) for row in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if tables - _TABLES:
            raise sqlite3.DatabaseError("it is the database of another program")
        # Kept for the life of the process and freed by the kernel with it: two sandboxes can't share a state.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        # A killed process loses nothing so; a power cut may, and a sandbox may afford that.
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA.read_text(encoding="utf-8"))

    def _write(self, record: Record) -> None:
        match record:
            case Account():
                self._db.execute(
                    "INSERT INTO account (account_id, key_sha256) VALUES (?, ?)",
                    (record.account_id, record.key_sha256),
                )
            case Entry():
                values = exact_json.members(record).values()
                self._db.execute(_INSERT_ENTRY, [str(each) if isinstance(each, Decimal) else each for each in values])
            case Asset():
                self._db.execute(_UPSERT_ASSET, (record.asset_id, exact_json.dumps(record)))
            case Job():
                self._db.execute(
                    _UPSERT_JOB,
                    (record.job_id, record.account_id, record.idempotency_key, exact_json.dumps(record)),
                )

    def _read(self, kind: type[_RecordT], query: str) -> list[_RecordT]:
        rows = [dict(row) for row in self._db.execute(query)]
        return _validated(kind, rows)

    def _read_json(self, kind: type[_RecordT], query: str) -> list[_RecordT]:
        rows = [exact_json.loads(row["record"].encode()) for row in self._db.execute(query)]
        return _validated(kind, rows)


def _validated(kind: type[_RecordT], rows: list[Any]) -> list[_RecordT]:
    if kind not in _LISTS:  # made once: it takes longer than reading a small state
        _LISTS[kind] = TypeAdapter(list[kind])  # type: ignore[valid-type]
    found: list[_RecordT] = _LISTS[kind].validate_python(rows)
    return found
