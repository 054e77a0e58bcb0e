"""The events of several journals in one order: by time, and in each journal's own order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from crucible_batch.core.events import Event
from crucible_batch.journal.event_codec import decode_event, encode_event
from crucible_batch.temporary_database import room_for, temporary_database

_TABLES = (
    """CREATE TABLE events (
           at REAL NOT NULL, source INTEGER NOT NULL, number INTEGER NOT NULL,
           subject TEXT NOT NULL, type TEXT NOT NULL, body TEXT NOT NULL,
           PRIMARY KEY (at, source, number)
       ) WITHOUT ROWID""",
    "CREATE TABLE jobs (identity TEXT PRIMARY KEY, source INTEGER NOT NULL) WITHOUT ROWID",
)


class MergedEvents:
    """Events in a temporary database.

    So one journal is open at a time, and memory doesn't grow with the events. An event has the time
    of the latest one before it in its own journal if its clock was set back.
    """

    def __init__(self) -> None:
        self._connection = temporary_database(*_TABLES)

    def __enter__(self) -> MergedEvents:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def claim(self, source: int, identities: Iterable[str]) -> str | None:
        """Record whose jobs these are.

        Returns the first identity that another source has claimed; None if none has. Raises
        ``UserError`` if the temporary directory is full.
        """
        with room_for("the jobs of the shards"):
            for identity in identities:
                row = (identity, source)
                self._connection.execute(
                    "INSERT OR IGNORE INTO jobs (identity, source) VALUES (?, ?)", row
                )
                if self.source_of(identity) != source:
                    return identity
        return None

    def source_of(self, identity: str) -> int | None:
        """Return the source that has claimed a job; None if none has."""
        query = "SELECT source FROM jobs WHERE identity = ?"
        row = self._connection.execute(query, (identity,)).fetchone()
        if row is None:
            return None
        return int(row[0])

    def add(self, source: int, events: Iterable[tuple[str, Event]]) -> float | None:
        """Add the events of one journal, oldest first, and return the time of the latest.

        Returns None if there are none. ``source`` orders events of the same time, and may be used
        once. Raises ``JournalError`` for events that can't be decoded, and ``UserError`` if the
        temporary directory is full.
        """
        latest: float | None = None
        self._connection.execute("BEGIN")
        # Not in the block below, which is about this database only
        for number, (subject, event) in enumerate(events):
            if latest is None or event.at > latest:
                latest = event.at
            row = (latest, source, number, subject, *encode_event(event))
            with room_for("the events of the shards"):
                self._connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", row)
        self._connection.execute("COMMIT")
        return latest

    def saved_at(self, path: str) -> list[str]:
        """Return the identities of the jobs with an output saved at this path or moved to it."""
        query = """SELECT DISTINCT subject FROM events WHERE type IN ('Saved', 'Relocated')
                    AND json_extract(body, '$.path') = ? ORDER BY subject"""
        return [subject for (subject,) in self._connection.execute(query, (path,))]

    def __iter__(self) -> Iterator[tuple[str, Event]]:
        """Yield subject and event of all events in order."""
        query = "SELECT subject, type, body FROM events ORDER BY at, source, number"
        for subject, kind, body in self._connection.execute(query):
            yield subject, decode_event(kind, body)
