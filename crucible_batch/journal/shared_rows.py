"""The rows of a journal that another one needs.

It needs them to continue it, or to be reconciled with the gateway's ledger.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from crucible_batch.core.events import Intended
from crucible_batch.journal import sql
from crucible_batch.journal.database import foreign_errors
from crucible_batch.journal.event_codec import decode_event
from crucible_batch.journal.safe_files import DIRECTORY, FILE
from crucible_batch.journal.store import Journal

LOG_WRITERS = "log_writers"
"""The note about the newest processes that wrote the journal to its log."""
_OF_ONE_MACHINE = frozenset(
    {"manifest", "run id", "gateway", LOG_WRITERS, "report", "published", "rejects file"}
)
"""The notes that aren't shared: what the journal is bound to, and files of one machine."""
_RUNS = "SELECT id, started_at, finished_at, terms, ending FROM runs ORDER BY id"
_ADD_EVENT = "INSERT INTO events (seq, subject, type, body) VALUES (?, ?, ?, ?)"
_ADD_RUN = """INSERT OR REPLACE INTO runs (id, started_at, finished_at, terms, ending)
              VALUES (?, ?, ?, ?, ?)"""


@dataclass(frozen=True, slots=True)
class JournalRows:
    """Events with their numbers, the jobs whose first events are among them, and all runs and
    notes, as they are stored.

    ``gateway_entries`` and ``gateway_readings`` are what its runs saw of the gateway's ledger, at
    the end of a run.
    """

    events: tuple[tuple[int, str, str, str], ...] = ()
    runs: tuple[tuple[int, float, float | None, str, str | None], ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)
    gateway_entries: tuple[tuple[str, float, str], ...] = ()
    gateway_readings: tuple[tuple[float, float, str], ...] = ()
    planned: tuple[tuple[str, str], ...] = ()

    @property
    def last(self) -> int:
        """The number of the newest event; 0 if there is none."""
        if not self.events:
            return 0
        return self.events[-1][0]

    @property
    def digest(self) -> str:
        """The digest of the newest event; empty if there is none."""
        if not self.events:
            return ""
        return _digest_of(self.events[-1])

    def after(self, number: int) -> JournalRows:
        """Return the rows without the events up to this number."""
        return replace(self, events=tuple(event for event in self.events if event[0] > number))

    def changed_since(self, known: JournalRows) -> JournalRows:
        """Return the rows without the runs and notes that are ``known``."""
        runs = set(known.runs)
        notes = {
            name: value for name, value in self.notes.items() if known.notes.get(name) != value
        }
        return replace(self, runs=tuple(run for run in self.runs if run not in runs), notes=notes)


def _digest_of(event: tuple[int, str, str, str]) -> str:
    return hashlib.sha256("\0".join(map(str, event)).encode()).hexdigest()


def event_digest(journal: Journal, number: int) -> str:
    """Return the digest of the event with this number; empty if there is none.

    Two copies of a journal that were both continued have other events under the same numbers.
    """
    connection = journal._connection  # noqa: SLF001 - of this package
    with foreign_errors(journal.path.parents[1]):
        event = connection.execute(sql.EVENT, (number,)).fetchone()
    return "" if event is None else _digest_of(event)


def rows_after(journal: Journal, number: int, *, with_gateway_ledger: bool = False) -> JournalRows:
    """Return the durable events after this number, with the jobs whose first events are among them,
    and all runs and notes.

    With ``with_gateway_ledger``, the readings of the gateway's ledger are included.
    """
    connection = journal._connection  # noqa: SLF001 - of this package
    with foreign_errors(journal.path.parents[1]):
        notes = connection.execute("SELECT key, value FROM meta ORDER BY key")
        rows = JournalRows(
            tuple(connection.execute(sql.EVENTS_AFTER, (number,))),
            tuple(connection.execute(_RUNS)),
            {name: value for name, value in notes if name not in _OF_ONE_MACHINE},
            planned=tuple(connection.execute(sql.STARTED_AFTER, {"number": number})),
        )
        if with_gateway_ledger:
            rows = _with_gateway_ledger(rows, connection)
        return rows


def _with_gateway_ledger(rows: JournalRows, connection: sqlite3.Connection) -> JournalRows:
    if connection.execute(sql.HAS_GATEWAY_LEDGER).fetchone() is None:
        return rows
    entries = tuple(connection.execute("SELECT key, seen_at, body FROM gateway_entries"))
    readings = tuple(connection.execute("SELECT since, until, body FROM gateway_readings"))
    return replace(rows, gateway_entries=entries, gateway_readings=readings)


def note_sent_elsewhere(source: Journal, target: Journal) -> None:
    """Note in ``target`` the uploads of ``source`` that have no answer yet.

    The process that began them may only be frozen: it sends them when it wakes up. So nothing shows
    that they were not charged.
    """
    open_uploads: dict[str, str] = {}
    with foreign_errors(source.path.parents[1]):
        rows = source._connection.execute(sql.ASSET_EVENTS)  # noqa: SLF001 - of this package
        for subject, kind, body in rows:
            event = decode_event(kind, body)
            if isinstance(event, Intended):
                open_uploads[subject] = event.nonce
            else:
                open_uploads.pop(subject, None)
    target.note_sent_elsewhere(list(open_uploads.values()))


def copy_gateway_ledger(source: Journal, target: Journal) -> None:
    """Add what the runs of one journal saw of the gateway's ledger to another journal.

    May be repeated.
    """
    with foreign_errors(source.path.parents[1]):
        rows = _with_gateway_ledger(JournalRows(), source._connection)  # noqa: SLF001
    with foreign_errors(target.path.parents[1]), target.transaction():
        _add_gateway_ledger(rows, target._connection, keep=sql.MERGE_ENTRY)  # noqa: SLF001


def _add_gateway_ledger(
    rows: JournalRows, connection: sqlite3.Connection, *, keep: str = sql.KEEP_ENTRY
) -> None:
    for statement in sql.CREATE_GATEWAY_LEDGER:
        connection.execute(statement)
    connection.executemany(keep, rows.gateway_entries)
    connection.executemany(sql.KEEP_READING, rows.gateway_readings)


def add_rows(journal: Journal, entries: Iterable[JournalRows]) -> None:
    """Add events under their own numbers, and replace runs and notes, in one transaction.

    Jobs that the plan doesn't have are added to it.
    """
    connection = journal._connection  # noqa: SLF001 - of this package
    with foreign_errors(journal.path.parents[1]), journal.transaction():
        for rows in entries:
            connection.executemany(_ADD_EVENT, rows.events)
            connection.executemany(_ADD_RUN, rows.runs)
            for identity, body in rows.planned:
                for statement in sql.PLAN_RESTORED:
                    connection.execute(statement, {"identity": identity, "body": body})
            _add_gateway_ledger(rows, connection)
            for name, value in rows.notes.items():
                journal.note(name, value)


def set_journal_aside(directory: Path, name: str) -> None:
    """Rename the journal of a directory, so that another one can take its place.

    The caller holds the lock.
    """
    path = directory / DIRECTORY / FILE
    with foreign_errors(directory), closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")  # one file without a log beside it
    path.replace(path.with_name(f"{FILE}.{name}"))
