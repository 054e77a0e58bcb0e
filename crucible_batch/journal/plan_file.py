"""A plan in an unnamed temporary SQLite file.

It is written and read row by row, so it is never completely in memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager

from crucible_batch.core.plan import PlannedJob
from crucible_batch.journal.codec import decode, encode
from crucible_batch.temporary_database import room_for, temporary_database

INSERT_PLANNED = "INSERT INTO plan (position, identity, body) VALUES (?, ?, ?)"
# Created after the inserts: with identities in random order this takes a third of the time.
INDEX_PLAN = "CREATE UNIQUE INDEX IF NOT EXISTS plan_by_identity ON plan (identity)"
_ROWS = "SELECT position, identity, body FROM plan ORDER BY position"


class PlanFile:
    """The jobs of one plan, in manifest order."""

    def __init__(self) -> None:
        self._connection = temporary_database(
            "CREATE TABLE plan "
            "(position INTEGER PRIMARY KEY, identity TEXT NOT NULL, body TEXT NOT NULL)"
        )

    @classmethod
    @contextmanager
    def temporary(cls) -> Iterator[PlanFile]:
        """Create an empty plan, which is deleted at the end of the block.

        It is also deleted when the process ends or is killed.
        """
        plan = cls()
        try:
            yield plan
        finally:
            plan.close()

    def fill(self, jobs: Iterable[PlannedJob]) -> None:
        """Store the jobs, which must be in manifest order and have distinct identities.

        Raises ``UserError`` if the temporary directory has no room for them.
        """
        with room_for("the plan"):
            rows = ((job.position, job.identity, encode(job)) for job in jobs)
            self._connection.execute("BEGIN")
            self._connection.executemany(INSERT_PLANNED, rows)
            self._connection.execute(INDEX_PLAN)
            self._connection.execute("COMMIT")

    def clear(self) -> None:
        """Remove all jobs."""
        self._connection.execute("DELETE FROM plan")

    def jobs(self) -> Iterator[PlannedJob]:
        """Yield the jobs, in manifest order."""
        for _, _, body in self.rows():
            yield decode(PlannedJob, body)

    def rows(self) -> Generator[tuple[int, str, str], None, None]:
        """Yield the rows in the form that ``INSERT_PLANNED`` takes, in manifest order."""
        # Not `yield from`: a generator that an error left open would close the cursor of a closed
        # database.
        for row in self._connection.execute(_ROWS):  # noqa: UP028
            yield row

    def holds(self, identity: str) -> bool:
        """Whether the plan has a job with this identity, under any name."""
        query = "SELECT 1 FROM plan WHERE identity = ?"
        return self._connection.execute(query, (identity,)).fetchone() is not None

    def has_images(self) -> bool:
        """Whether any job has an input image. Doesn't decode the jobs."""
        query = "SELECT 1 FROM plan WHERE json_extract(body, '$.images') <> '{}' LIMIT 1"
        return self._connection.execute(query).fetchone() is not None

    def is_kept_in(self, journal: sqlite3.Connection) -> bool:
        """Whether a journal's plan is equal to this one, byte for byte."""
        (count,) = journal.execute("SELECT count(*) FROM plan").fetchone()
        if count != len(self):
            return False
        with closing(self.rows()) as rows, closing(journal.execute(_ROWS)) as stored:
            try:
                return all(row == other for row, other in zip(rows, stored, strict=True))
            except sqlite3.OperationalError:  # a damaged row may not even be text
                return False

    def __len__(self) -> int:
        (count,) = self._connection.execute("SELECT count(*) FROM plan").fetchone()
        return int(count)

    def close(self) -> None:
        self._connection.close()
