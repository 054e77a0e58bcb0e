"""A plan in a private SQLite file: written row by row, read row by row, never a list."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from crucible_batch.core.plan import PlannedJob
from crucible_batch.errors import UserError
from crucible_batch.journal.codec import decode, encode

INSERT_PLANNED = "INSERT INTO plan (position, identity, body) VALUES (?, ?, ?)"


class PlanFile:
    """The jobs of one plan, in manifest order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = sqlite3.connect(path, isolation_level=None)
        # It is private and made anew each time: nothing in it outlives a crash, so nothing need be synced.
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS plan"
            " (position INTEGER PRIMARY KEY, identity TEXT NOT NULL UNIQUE, body TEXT NOT NULL)"
        )

    @classmethod
    @contextmanager
    def temporary(cls) -> Iterator[PlanFile]:
        """Make an empty one in a private temporary directory that goes when the block ends."""
        with tempfile.TemporaryDirectory(prefix="crucible-batch-") as directory:
            plan = cls(Path(directory) / "plan.sqlite3")
            try:
                yield plan
            finally:
                plan.close()

    def fill(self, jobs: Iterable[PlannedJob]) -> None:
        """Write the jobs, which come in manifest order and with distinct identities.

        Raises ``UserError`` where the temporary directory has no room for them.
        """
        try:
            self._connection.execute("BEGIN")
            self._connection.executemany(INSERT_PLANNED, ((job.position, job.identity, encode(job)) for job in jobs))
            self._connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise UserError(
                f"the plan can't be written to {self.path.parent}: {error}",
                hint="make room there, or name another directory in TMPDIR; nothing was spent",
            ) from error

    def jobs(self) -> Iterator[PlannedJob]:
        """Read them back, in manifest order."""
        for (body,) in self._connection.execute("SELECT body FROM plan ORDER BY position"):
            yield decode(PlannedJob, body)

    def __len__(self) -> int:
        (count,) = self._connection.execute("SELECT count(*) FROM plan").fetchone()
        return int(count)

    def close(self) -> None:
        self._connection.close()
