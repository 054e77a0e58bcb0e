"""The journal's store: one SQLite file in the run directory, in WAL mode, every commit synced."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from importlib import resources
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from crucible_batch.domain.asset import ASSET_PREFIX, Asset
from crucible_batch.domain.events import EVENT_NAMES, Accepted, Created, Event, Found
from crucible_batch.domain.job import Job
from crucible_batch.domain.outcome import Ending
from crucible_batch.domain.plan import PlannedJob, RunTerms
from crucible_batch.domain.retry_rule import RetryRule
from crucible_batch.errors import JournalError, RunDirectoryError
from crucible_batch.journal import sql
from crucible_batch.journal.binding import Binding
from crucible_batch.journal.codec import decode, encode, moment, text
from crucible_batch.journal.event_codec import decode_event, encode_event
from crucible_batch.journal.group_commit import GroupCommitWriter
from crucible_batch.journal.plan_file import INSERT_PLANNED, PlanFile
from crucible_batch.journal.replay import asset_of, job_of
from crucible_batch.journal.safe_files import DIRECTORY, FILE, check_ours, foreign_errors, refuse_links, sync_names

FORMAT = 1


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run of this directory. ``ending`` is None while it runs, and if it was killed.

    ``begins_after`` is the number of the journal's last event when it began; None if that was not recorded.
    """

    started_at: float
    finished_at: float | None
    terms: RunTerms
    ending: Ending | None
    begins_after: int | None = None


class Journal:
    """The durable past of one run directory.

    ``append`` is for one event loop; the reads are synchronous and stream. A read sees what was durable when it began;
    ``jobs`` sees that of each page of jobs. What a run reads raises ``JournalError``.
    """

    def __init__(self, directory: Path, *, read_only: bool = False) -> None:
        refuse_links(directory)
        self.path = directory / DIRECTORY / FILE
        self._read_only = read_only
        self._writer: GroupCommitWriter | None = None
        self._connection = self._connect()
        self._knows_gateway_jobs = read_only

    def _errors(self) -> AbstractContextManager[None]:
        """Raise ``JournalError`` for what the database raises, also in one of several tasks: a group of their errors
        passes ``open`` unseen."""
        return foreign_errors(self.path.parents[1])

    # -- opening ----------------------------------------------------------------------------------------------------

    @classmethod
    @contextmanager
    def open(cls, directory: Path, binding: Binding, *, now: float) -> Iterator[Journal]:
        """Open the journal of ``directory`` for a run, making it where there is none.

        Raises ``RunDirectoryError`` where the directory is bound to another manifest, run id or account, and
        ``JournalError`` where the file can't be used. The caller holds the directory's lock.
        """
        refuse_links(directory)
        (directory / DIRECTORY).mkdir(parents=True, exist_ok=True)
        with foreign_errors(directory), closing(cls(directory)) as journal:
            journal._migrate(now)  # noqa: SLF001 - its own class's
            journal._bind(binding)  # noqa: SLF001
            yield journal

    @staticmethod
    def exists(directory: Path) -> bool:
        """Whether the directory has a journal. Raises ``RunDirectoryError`` where something else stands there."""
        refuse_links(directory)
        return (directory / DIRECTORY / FILE).is_file()

    @classmethod
    @contextmanager
    def read(cls, directory: Path) -> Iterator[Journal]:
        """Open for reading only, also while a run is writing. Raises ``RunDirectoryError`` where there is none."""
        if not cls.exists(directory):
            raise RunDirectoryError(
                f"{directory} is no run directory: it has no journal",
                hint="name the directory that a run wrote to, such as outputs/NAME/default",
            )
        with foreign_errors(directory), closing(cls(directory, read_only=True)) as journal:
            yield journal

    def _connect(self) -> sqlite3.Connection:
        mode = self._reading_mode() if self._read_only else "rwc"
        connection = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None)
        try:
            connection.execute("PRAGMA busy_timeout = 5000")
            connection.execute("PRAGMA trusted_schema = OFF")
            check_ours(connection, self.path, FORMAT)  # before the journal mode, which is written into the file
            if self._read_only:
                connection.execute("PRAGMA query_only = ON")
            else:
                connection.execute("PRAGMA journal_mode = WAL")
                # NORMAL lost the last commits in a power cut; an intent that spends money must not be among them.
                connection.execute("PRAGMA synchronous = FULL")
        except (sqlite3.Error, JournalError):
            connection.close()
            raise
        return connection

    def _reading_mode(self) -> str:
        if os.access(self.path, os.W_OK) and os.access(self.path.parent, os.W_OK):
            # The last reader to close removes the write-ahead log, if it may write.
            return "rw"
        # Without a log there is no writer, and in a read-only directory the reader can't create its own files.
        return "ro" if self.path.with_name(f"{FILE}-wal").exists() else "ro&immutable=1"

    def _migrate(self, now: float) -> None:
        if self._number("PRAGMA user_version") == 0:
            sync_names(self.path)  # first, so that a try that fails here is made again
            schema = resources.files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")
            with self._transaction():
                for statement in schema.split(";\n"):
                    self._connection.execute(statement)
                self._connection.execute("INSERT INTO migrations (format, applied_at) VALUES (?, ?)", (FORMAT, now))
                self._connection.execute(f"PRAGMA user_version = {FORMAT}")

    def _bind(self, binding: Binding) -> None:
        wanted = {"manifest": binding.manifest_name, "run id": binding.run_id, "gateway": binding.gateway}
        with self._transaction():
            for key, value in wanted.items():
                self._connection.execute("INSERT OR IGNORE INTO meta (key, value) VALUES (?, ?)", (key, value))
        bound = self._meta()
        for key, value in wanted.items():
            if bound.get(key) != value:
                raise RunDirectoryError(
                    f"{self.path.parent.parent} belongs to another {key}: {bound.get(key)!r}, not {value!r}",
                    hint="choose another --out-dir: in this one every job would be bought again",
                )

    def close(self) -> None:
        """Write what is queued and close. May be called twice."""
        if self._writer is not None:
            self._writer.close()
        self._connection.close()

    # -- writing ----------------------------------------------------------------------------------------------------

    async def append(self, subject: str, event: Event) -> None:
        """Return once the event is durable. Raises ``JournalError`` where it isn't; then nothing may be built on it."""
        if self._writer is None:
            self._writer = GroupCommitWriter(self._connect)
        await self._writer.write(sql.APPEND, (subject, *encode_event(event)))

    async def drain(self) -> None:
        """Return once all that was given to ``append`` is durable, so that a read sees it. Raises ``JournalError``."""
        if self._writer is not None:
            await self._writer.drain()

    def restore(self, stories: Iterable[tuple[str, Sequence[Event]]]) -> None:
        """Write the events of several subjects, all of them or none, in the order given."""
        rows = ((subject, *encode_event(event)) for subject, story in stories for event in story)
        with self._transaction():
            self._connection.executemany(sql.APPEND, rows)

    def adopt(self, plan: PlanFile) -> None:
        """Replace the plan by another, in one transaction. Dropped jobs that have events are kept as retired.

        A plan that is already here, byte for byte, is not written again.
        """
        with self._transaction():
            if not plan.is_kept_in(self._connection):
                for statement in sql.RETIRE:
                    self._connection.execute(statement)
                self._connection.executemany(INSERT_PLANNED, plan.rows())
            self._connection.execute(sql.UNRETIRE)

    def begin_run(self, terms: RunTerms, *, now: float, after: int | None = None) -> int:
        """Record that a run begins, and after which event; returns its number.

        ``after`` is the last event that was there before the run; the newest one where it is left out.
        """
        last = self.last_number() if after is None else after
        with self._transaction():
            cursor = self._connection.execute(sql.BEGIN_RUN, (now, encode(terms), last))
        return int(cursor.lastrowid or 0)

    def end_run(self, run: int, ending: Ending, *, now: float) -> None:
        """Record how a run ended."""
        with self._transaction():
            self._connection.execute(
                "UPDATE runs SET finished_at = ?, ending = ? WHERE id = ?", (now, encode(ending), run)
            )

    def remember_key(self, fingerprint: str) -> None:
        """Store the fingerprint of a key of the directory's account."""
        self.note("key", fingerprint)

    def note(self, name: str, value: str) -> None:
        """Store a named value that is not an event, replacing the one of that name."""
        with self._transaction():
            self._connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (name, value))

    # -- reading ----------------------------------------------------------------------------------------------------

    def binding(self) -> Binding:
        """What this directory belongs to. Raises ``JournalError`` if a run was killed before it was recorded."""
        meta = self._meta()
        if not {"manifest", "run id", "gateway"} <= meta.keys():
            raise JournalError(f"{self.path} has been begun and no more", hint="run its manifest")
        return Binding(meta["manifest"], meta["run id"], meta["gateway"])

    def _meta(self) -> dict[str, str]:
        rows = self._connection.execute("SELECT key, value FROM meta")
        return {text(key, "binding"): text(value, "binding") for key, value in rows}

    def is_begun(self) -> bool:
        """Whether a run was recorded: not if a run was killed, or the disk was full, while the journal was created."""
        version = self._number("PRAGMA user_version")
        return version != 0 and self._connection.execute("SELECT 1 FROM runs").fetchone() is not None

    def remembered_key(self) -> str | None:
        """The fingerprint of the key that the directory was last used with; None before its first use."""
        return self.noted("key")

    def noted(self, name: str) -> str | None:
        """The value stored under this name; None if there is none."""
        row = self._connection.execute("SELECT value FROM meta WHERE key = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def receipted(self) -> int:
        """How many receipts the events of this journal have led to."""
        return self._number("SELECT count(*) FROM events WHERE type IN ('Accepted', 'Saved')")

    def newest_gateway_job(self) -> str | None:
        """The id of the gateway job that was accepted last, if any was."""
        event = self._newest(Accepted)
        return event.job_id if isinstance(event, Accepted) else None

    def newest_gateway_asset(self) -> str | None:
        """The id of the gateway's asset that was bought or found last, if any was."""
        event = self._newest(Created, Found)
        return event.asset_id if isinstance(event, Created | Found) else None

    def _newest(self, *kinds: type[Event]) -> Event | None:
        names = [name for name, kind in EVENT_NAMES.items() if kind in kinds]
        query = f"SELECT type, body FROM events WHERE type IN ({', '.join('?' * len(names))}) ORDER BY seq DESC LIMIT 1"  # noqa: S608
        row = self._connection.execute(query, names).fetchone()
        return None if row is None else decode_event(*row)

    def runs(self) -> list[RunRecord]:
        """All runs of this directory, oldest first."""
        return [
            RunRecord(
                moment(started, "start of a run"),
                None if finished is None else moment(finished, "end of a run"),
                decode(RunTerms, terms),
                None if ending is None else decode(Ending, ending),
                after if isinstance(after, int) else None,
            )
            for started, finished, terms, ending, after in self._connection.execute(sql.RUNS)
        ]

    def events(self) -> Iterator[tuple[str, Event]]:
        """Every event with its subject, oldest first."""
        for _, subject, event in self.numbered_events():
            yield subject, event

    def numbered_events(self, *, after: int = 0) -> Iterator[tuple[int, str, Event]]:
        """Every event after that number: its own number, which only increases, its subject and itself."""
        rows = self._connection.execute(
            "SELECT seq, subject, type, body FROM events WHERE seq > ? ORDER BY seq", (after,)
        )
        for number, subject, kind, body in rows:
            yield number, text(subject, "subject of an event"), decode_event(kind, body)

    def last_number(self) -> int:
        """The number of the newest event; 0 where there is none."""
        return self._number("SELECT coalesce(max(seq), 0) FROM events")

    def numbers_of(self, subject: str, *, after: int) -> list[int]:
        """The numbers of a subject's events that came after the event of that number."""
        query = "SELECT seq FROM events WHERE subject = ? AND seq > ? ORDER BY seq"
        return [number for (number,) in self._connection.execute(query, (subject, after))]

    def jobs(self, rule: RetryRule) -> Iterator[tuple[PlannedJob, Job]]:
        """The plan's jobs in manifest order, each as its events had left it when its page was read."""
        return self._jobs(sql.JOBS, rule)

    def started_jobs(self, rule: RetryRule) -> Iterator[tuple[PlannedJob, Job]]:
        """As ``jobs``, but only those with at least one event."""
        return self._jobs(sql.STARTED_JOBS, rule)

    def unstarted_jobs(self) -> Iterator[tuple[str, bool]]:
        """The plan's jobs without any event: the name of each, and whether it has input images."""
        with self._errors():
            for name, has_images in self._connection.execute(sql.UNSTARTED):
                yield text(name, "name of a job"), bool(has_images)

    def _jobs(self, query: str, rule: RetryRule) -> Iterator[tuple[PlannedJob, Job]]:
        with self._errors():
            last = self._number("SELECT coalesce(max(position), -1) FROM plan")
        for first in range(0, last + 1, sql.PAGE):
            with self._errors():
                page = self._connection.execute(query, (first, first + sql.PAGE)).fetchall()
            for _, group in groupby(page, key=itemgetter(0)):
                story = list(group)
                planned = decode(PlannedJob, story[0][1])
                rows = [(kind, body) for _, _, kind, body in story if kind is not None]
                yield planned, job_of(self.path, planned, rows, rule)

    def retired(self) -> Iterator[tuple[PlannedJob, Job]]:
        """Jobs with events that are no longer in the plan. They get no further attempt."""
        for (body,) in self._connection.execute("SELECT body FROM retired ORDER BY identity"):
            planned = decode(PlannedJob, body)
            yield planned, self.job(planned, RetryRule(attempts=1))

    def saved_at(self, path: str) -> list[str]:
        """The identities of the jobs an output of which was ever saved at this path, or moved to it."""
        with self._errors():
            if not self._read_only:
                self._connection.execute(sql.INDEX_PLACES)
            return [subject for (subject,) in self._connection.execute(sql.SAVED_AT, (path,))]

    def accepted_as(self, job_id: str) -> list[str]:
        """The identities of the jobs that were ever accepted as this gateway job; the id is in lower case."""
        with self._errors():
            if not self._knows_gateway_jobs:
                self._connection.execute(sql.INDEX_GATEWAY_JOBS)
                self._knows_gateway_jobs = True
            return [subject for (subject,) in self._connection.execute(sql.ACCEPTED_AS, (job_id,))]

    def known(self, identity: str) -> tuple[PlannedJob, Job, bool] | None:
        """One job as its events left it, and whether it is retired. None if it was never planned."""
        with self._errors():
            row = self._connection.execute(sql.KNOWN, (identity,)).fetchone()
        planned = decode(PlannedJob, row[0]) if row else None
        return None if planned is None else (planned, self.job(planned, RetryRule(attempts=1)), bool(row[1]))

    def job(self, planned: PlannedJob, rule: RetryRule) -> Job:
        """One job as its events left it, whether or not it is in the plan."""
        with self._errors():
            return job_of(self.path, planned, self._connection.execute(sql.EVENTS_OF, (planned.identity,)), rule)

    def planned_job(self, identity: str) -> PlannedJob | None:
        """The plan's job of this identity; None if there is none."""
        row = self._connection.execute("SELECT body FROM plan WHERE identity = ?", (identity,)).fetchone()
        return None if row is None else decode(PlannedJob, row[0])

    def asset(self, sha256: str) -> Asset:
        """An asset as its events left it."""
        with self._errors():
            return asset_of(sha256, self._connection.execute(sql.EVENTS_OF, (Asset(sha256).identity,)))

    def assets(self) -> Iterator[Asset]:
        """Every asset that has events, each as they left it, by digest."""
        query = "SELECT subject, type, body FROM events WHERE subject GLOB ? ORDER BY subject, seq"
        rows = self._connection.execute(query, (f"{ASSET_PREFIX}*",))
        for subject, group in groupby(rows, key=itemgetter(0)):
            yield asset_of(subject.removeprefix(ASSET_PREFIX), ((kind, body) for _, kind, body in group))

    def plan(self) -> Iterator[PlannedJob]:
        """The plan's jobs in manifest order, without their events."""
        for (body,) in self._connection.execute("SELECT body FROM plan ORDER BY position"):
            yield decode(PlannedJob, body)

    def planned(self) -> int:
        """How many jobs the plan has."""
        return self._number("SELECT count(*) FROM plan")

    def _number(self, query: str) -> int:
        (number,) = self._connection.execute(query).fetchone()
        return int(number)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # a full disk ends a transaction by itself
                self._connection.execute("ROLLBACK")
            raise
