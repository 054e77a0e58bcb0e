"""A plan in an unnamed temporary SQLite file, written and read row by row so that it is never whole in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager

from crucible_batch.domain.plan import PlannedJob
from crucible_batch.errors import UserError
from crucible_batch.journal.codec import decode, encode

INSERT_PLANNED = "INSERT INTO plan (position, identity, body) VALUES (?, ?, ?)"
_IS_PLANNED = "SELECT 1 FROM plan WHERE position = ? AND identity = ? AND body = ?"


class PlanFile:
    """The jobs of one plan, in manifest order."""

    def __init__(self) -> None:
        # SQLite unlinks its temporary file as soon as it is open, so a killed process leaves none behind.
        self._connection = sqlite3.connect("", isolation_level=None)
        self._connection.execute("PRAGMA temp_store = FILE")
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute(
            "CREATE TABLE plan (position INTEGER PRIMARY KEY, identity TEXT NOT NULL, body TEXT NOT NULL)"
        )

    @classmethod
    @contextmanager
    def temporary(cls) -> Iterator[PlanFile]:
        """Create an empty plan that is deleted at the end of the block, or when the process ends or is killed."""
        plan = cls()
        try:
            yield plan
        finally:
            plan.close()

    def fill(self, jobs: Iterable[PlannedJob]) -> None:
        """Store the jobs, which must be in manifest order and have distinct identities.

        Raises ``UserError`` if the temporary directory has no room for them.
        """
        try:
            self._connection.execute("BEGIN")
            self._connection.executemany(INSERT_PLANNED, ((job.position, job.identity, encode(job)) for job in jobs))
            # Created after the inserts: with identities in random order this takes a third of the time.
            self._connection.execute("CREATE UNIQUE INDEX IF NOT EXISTS plan_by_identity ON plan (identity)")
            self._connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise UserError(
                f"the plan can't be written to the temporary directory: {error}",
                hint="make room there, or name another directory in TMPDIR; nothing was spent",
            ) from error

    def jobs(self) -> Iterator[PlannedJob]:
        """Yield the jobs, in manifest order."""
        for _, _, body in self.rows():
            yield decode(PlannedJob, body)

    def rows(self) -> Generator[tuple[int, str, str], None, None]:
        """Yield the rows in the form that ``INSERT_PLANNED`` takes, in manifest order."""
        yield from self._connection.execute("SELECT position, identity, body FROM plan ORDER BY position")

    def holds(self, identity: str) -> bool:
        """Whether the plan has a job with this identity, under any name."""
        return self._connection.execute("SELECT 1 FROM plan WHERE identity = ?", (identity,)).fetchone() is not None

    def is_kept_in(self, journal: sqlite3.Connection) -> bool:
        """Whether a journal's plan is equal to this one, byte for byte."""
        (count,) = journal.execute("SELECT count(*) FROM plan").fetchone()
        # Compared by SQLite, since damaged rows of the journal may not even be text.
        with closing(self.rows()) as rows:
            return count == len(self) and all(journal.execute(_IS_PLANNED, row).fetchone() for row in rows)

    def __len__(self) -> int:
        (count,) = self._connection.execute("SELECT count(*) FROM plan").fetchone()
        return int(count)

    def close(self) -> None:
        self._connection.close()
