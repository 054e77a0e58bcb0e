"""The journal's store: one SQLite file in the run directory, with every commit synced."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from crucible_batch.core.asset import ASSET_PREFIX, Asset
from crucible_batch.core.control import ControlEntry
from crucible_batch.core.events import Accepted, Created, Event, Found
from crucible_batch.core.gateway_types import ErrorInfo, LedgerEntry
from crucible_batch.core.identity import content_of
from crucible_batch.core.job import Job
from crucible_batch.core.ledger_coverage import LedgerCoverage
from crucible_batch.core.outcome import Ending
from crucible_batch.core.plan import PlannedJob, RunTerms
from crucible_batch.core.retry_rule import ONCE, RetryRule
from crucible_batch.errors import JournalError, RunDirectoryError
from crucible_batch.journal import sql
from crucible_batch.journal.binding import Binding
from crucible_batch.journal.codec import decode, encode, moment, text
from crucible_batch.journal.database import (
    connect,
    create_tables,
    foreign_errors,
    has_journal,
    is_created,
    transaction,
)
from crucible_batch.journal.event_codec import decode_event, encode_event
from crucible_batch.journal.group_commit import GroupCommitWriter, Statement
from crucible_batch.journal.plan_file import INDEX_PLAN, INSERT_PLANNED, PlanFile
from crucible_batch.journal.replay import asset_of, job_of
from crucible_batch.journal.safe_files import DIRECTORY, FILE, refuse_links

_SENT_ELSEWHERE = "uploads sent elsewhere"
"""The note about uploads that another process may still send, by nonce."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run in this directory. ``ending`` is None while it runs, and if it was killed."""

    started_at: float
    finished_at: float | None
    terms: RunTerms
    ending: Ending | None

    @property
    def stops(self) -> Mapping[str, ErrorInfo]:
        """Why jobs were not started, as ``outcome_of`` takes it; empty if the run has no ending."""
        return {} if self.ending is None else self.ending.all_stops


def _no_run_directory(directory: Path, why: str) -> RunDirectoryError:
    return RunDirectoryError(
        f"{directory} is not a run directory: {why}",
        hint="give the directory of a run, such as outputs/NAME/default; "
        "crucible-batch status lists them",
    )


class Journal:
    """The durable event log of one run directory.

    Use ``append`` from one event loop. Reads are synchronous and stream their rows. A read returns
    what was durable when it began; ``jobs`` does so for each page of jobs. The reads that a run
    uses raise ``JournalError``.
    """

    def __init__(self, directory: Path, *, read_only: bool = False) -> None:
        refuse_links(directory)
        self.path = directory / DIRECTORY / FILE
        self._read_only = read_only
        self._writer: GroupCommitWriter | None = None
        self._connection = self._connect()
        self._knows_gateway_jobs = read_only

    def _errors(self) -> AbstractContextManager[None]:
        """Convert errors of the database to ``JournalError``.

        ``open`` does so too, but not for errors raised in tasks, which reach it as an exception
        group.
        """
        return foreign_errors(self.path.parents[1])

    # -- opening

    @classmethod
    @contextmanager
    def open(cls, directory: Path, binding: Binding, *, now: float) -> Iterator[Journal]:
        """Open the journal of ``directory`` for a run, creating it if needed.

        The caller must hold the directory's lock. Raises ``RunDirectoryError`` if the directory
        belongs to another manifest, run id or gateway, and ``JournalError`` if the file can't be
        used.
        """
        refuse_links(directory)
        (directory / DIRECTORY).mkdir(parents=True, exist_ok=True)
        with foreign_errors(directory), closing(cls(directory)) as journal:
            create_tables(journal._connection, journal.path, now=now)  # noqa: SLF001 - its own
            journal._bind(binding)  # noqa: SLF001
            yield journal

    @staticmethod
    def exists(directory: Path) -> bool:
        """Whether the directory has a journal.

        Raises ``RunDirectoryError`` as ``refuse_links`` does.
        """
        return has_journal(directory)

    @classmethod
    @contextmanager
    def read(cls, directory: Path) -> Iterator[Journal]:
        """Open a journal read-only; a run may be writing it.

        Raises ``RunDirectoryError`` if there is none.
        """
        if directory.is_file():
            raise _no_run_directory(directory, "it is a file")
        if not cls.exists(directory) and directory.is_dir():
            raise _no_run_directory(directory, "it has no journal")
        if not cls.exists(directory):
            raise _no_run_directory(directory, "it does not exist")
        with foreign_errors(directory), closing(cls(directory, read_only=True)) as journal:
            yield journal

    def _connect(self) -> sqlite3.Connection:
        return connect(self.path, read_only=self._read_only)

    def _bind(self, binding: Binding) -> None:
        with self.transaction():
            for key, value in binding.rows.items():
                self._connection.execute(
                    "INSERT OR IGNORE INTO meta (key, value) VALUES (?, ?)", (key, value)
                )
        binding.check(self._meta(), self.path.parents[1])

    def close(self) -> None:
        """Write queued events and close. May be called twice."""
        if self._writer is not None:
            self._writer.close()
        self._connection.close()

    # -- writing

    async def append(self, subject: str, event: Event) -> None:
        """Store an event, and return when it is durable.

        Raises ``JournalError`` if it can't be stored; the caller must not act on the event then.
        """
        await self._write((sql.APPEND, (subject, *encode_event(event))))

    async def append_control(self, run: int | None, entry: ControlEntry) -> None:
        """Store a command to a run, None: the newest, and return when it is durable. Raises
        ``JournalError``.
        """
        await self._write((sql.CREATE_CONTROLS, ()), (sql.ADD_CONTROL, (run, encode(entry))))

    async def note_job(self, identity: str, name: str, value: str) -> None:
        """Store a named value about a job, replacing the previous one, and return when it is
        durable. Raises ``JournalError``.
        """
        note = (sql.NOTE_JOB, (identity, name, value))
        await self._write((sql.CREATE_JOB_NOTES, ()), note)

    async def _write(self, *statements: Statement) -> None:
        if self._writer is None:
            self._writer = GroupCommitWriter(self._connect)
        await self._writer.write(*statements)

    async def append_planned(self, planned: PlannedJob) -> None:
        """Add a job at its position of the plan, and return when it is durable. Raises
        ``JournalError`` as ``append`` does.

        A job that has this position is retired: it is an earlier generation. Until the plan is
        replaced, its order is that of the additions.
        """
        place = (planned.position,)
        await self._write(
            (sql.RETIRE_AT, place),
            ("DELETE FROM plan WHERE position = ?", place),
            (INSERT_PLANNED, (planned.position, planned.identity, encode(planned))),
            ("DELETE FROM retired WHERE identity = ?", (planned.identity,)),
        )

    async def keep_reading(
        self, entries: Sequence[LedgerEntry], coverage: LedgerCoverage, answered_at: float
    ) -> None:
        """Store a reading of the gateway's ledger, and return when it is durable. Raises
        ``JournalError``.

        ``entries`` are those that are new or have changed, ``coverage`` is that of this and the
        readings before.
        """
        create = [(statement, ()) for statement in sql.CREATE_GATEWAY_LEDGER]
        kept = [(sql.KEEP_ENTRY, (entry.key, answered_at, encode(entry))) for entry in entries]
        reading = (sql.KEEP_READING, (coverage.since, coverage.until, encode(coverage)))
        await self._write(*create, *kept, reading)

    async def drain(self) -> None:
        """Return when all appended events are durable, so that reads include them.

        Raises ``JournalError``.
        """
        if self._writer is not None:
            await self._writer.drain()

    def restore(self, rebuilt: Iterable[tuple[str, Sequence[Event]]]) -> None:
        """Store the events of several subjects in one transaction, in the order given."""
        rows = ((subject, *encode_event(event)) for subject, events in rebuilt for event in events)
        with self.transaction():
            self._connection.executemany(sql.APPEND, rows)

    def adopt(self, plan: PlanFile) -> None:
        """Replace the plan, in one transaction. Dropped jobs that have events are kept as retired.

        A plan that is byte for byte the same as the stored one is not written again.
        """
        with self.transaction():
            if not plan.is_kept_in(self._connection):
                for statement in sql.RETIRE:
                    self._connection.execute(statement)
                self._connection.executemany(INSERT_PLANNED, plan.rows())
                self._connection.execute(INDEX_PLAN)
            self._connection.execute(sql.UNRETIRE)

    def begin_run(self, terms: RunTerms, *, now: float) -> int:
        """Record the start of a run and return the run's number."""
        with self.transaction():
            cursor = self._connection.execute(sql.BEGIN_RUN, (now, encode(terms)))
        return int(cursor.lastrowid or 0)

    def end_run(self, run: int, ending: Ending, *, now: float) -> None:
        with self.transaction():
            self._connection.execute(
                "UPDATE runs SET finished_at = ?, ending = ? WHERE id = ?",
                (now, encode(ending), run),
            )

    def remember_key(self, fingerprint: str) -> None:
        """Store the fingerprint of the key of the directory's account."""
        self.note("key", fingerprint)

    def note(self, name: str, value: str) -> None:
        """Store a named value that is not an event, replacing the previous one."""
        with self.transaction():
            self._connection.execute(
                "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (name, value)
            )

    def note_sent_elsewhere(self, nonces: Iterable[str]) -> None:
        """Note uploads, by their nonces, that another process may still send."""
        known = self.sent_elsewhere()
        if not known.issuperset(nonces):
            self.note(_SENT_ELSEWHERE, " ".join(sorted({*known, *nonces})))

    def transaction(self) -> AbstractContextManager[None]:
        """Store all writes of the block, or after an error none of them.

        May be nested. Not for ``append``.
        """
        return transaction(self._connection)

    # -- reading

    def binding(self) -> Binding:
        """Return what this directory belongs to.

        Raises ``JournalError`` if a run was killed before storing it.
        """
        meta = self._meta()
        if not {"manifest", "run id", "gateway"} <= meta.keys():
            raise JournalError(
                f"{self.path} is empty: the first run ended before it was recorded",
                hint="run its manifest",
            )
        return Binding(meta["manifest"], meta["run id"], meta["gateway"])

    def _meta(self) -> dict[str, str]:
        rows = self._connection.execute("SELECT key, value FROM meta")
        return {text(key, "binding"): text(value, "binding") for key, value in rows}

    def is_created(self) -> bool:
        """Whether the journal has its tables.

        False if the process was killed, or the disk full, during creation.
        """
        return is_created(self._connection)

    def is_begun(self) -> bool:
        """Whether any run was recorded.

        False if the process was killed, or the disk full, during creation.
        """
        return (
            self.is_created()
            and self._connection.execute("SELECT 1 FROM runs").fetchone() is not None
        )

    def remembered_key(self) -> str | None:
        """Return the fingerprint of the key that the directory was last used with; None before its
        first use."""
        return self.noted("key")

    def noted(self, name: str) -> str | None:
        """Return the value stored under this name; None if there is none."""
        if not self.is_created():
            return None
        rows = self._connection.execute("SELECT value FROM meta WHERE key = ?", (name,))
        return next((str(value) for (value,) in rows), None)

    def sent_elsewhere(self) -> frozenset[str]:
        """Return the nonces of the uploads that another process may still send."""
        return frozenset((self.noted(_SENT_ELSEWHERE) or "").split())

    def has_job_notes(self) -> bool:
        """Whether anything was noted about any job."""
        with self._errors():
            return self._connection.execute(sql.HAS_JOB_NOTES).fetchone() is not None

    def job_notes(self, identity: str) -> dict[str, str]:
        """Return what was noted about a job, by name. Requires ``has_job_notes``."""
        with self._errors():
            rows = self._connection.execute(sql.JOB_NOTES, (identity,))
            return {text(name, "note"): text(value, "note") for name, value in rows}

    def notes_of_jobs(self, first: str, end: str) -> Iterator[tuple[str, str, str]]:
        """Yield identity, name and value of the notes about jobs whose names are from ``first`` to
        before ``end``.
        """
        if not self.has_job_notes():
            return
        if not self._read_only:
            with self._errors():
                self._connection.execute(sql.INDEX_JOB_NOTES)
        last: tuple[str, str] | None = ("", "")
        while last is not None:
            with self._errors():
                between = (first, end, *last, sql.PAGE)
                page = self._connection.execute(sql.NOTES_OF_JOBS, between).fetchall()
            last = None
            for row in page:
                identity, name, value = (text(field, "note") for field in row)
                yield identity, name, value
                last = identity, name

    def receipted(self) -> int:
        """Return the number of receipts that the events of this journal have led to."""
        return self._number("SELECT count(*) FROM events WHERE type IN ('Accepted', 'Saved')")

    def newest_gateway_job(self) -> str | None:
        """Return the id of the gateway job that was accepted last, or None."""
        event = self._newest(Accepted)
        if not isinstance(event, Accepted):
            return None
        return event.job_id

    def newest_gateway_asset(self) -> str | None:
        """Return the id of the gateway's asset that was bought or found last, or None."""
        event = self._newest(Created, Found)
        if not isinstance(event, Created | Found):
            return None
        return event.asset_id

    def _newest(self, *kinds: type[Event]) -> Event | None:
        names = [kind.__name__ for kind in kinds]
        marks = ", ".join("?" * len(names))
        query = f"SELECT type, body FROM events WHERE type IN ({marks})"  # noqa: S608 - only marks
        row = self._connection.execute(f"{query} ORDER BY seq DESC LIMIT 1", names).fetchone()
        if row is None:
            return None
        return decode_event(*row)

    def runs(self) -> list[RunRecord]:
        """Return all runs in this directory, oldest first."""
        return [
            RunRecord(
                moment(started, "start of a run"),
                None if finished is None else moment(finished, "end of a run"),
                decode(RunTerms, terms),
                None if ending is None else decode(Ending, ending),
            )
            for started, finished, terms, ending in self._connection.execute(sql.RUNS)
        ]

    def run_starts(self) -> list[float]:
        """Return when each run in this directory began, in their order."""
        return [
            moment(started, "start of a run")
            for (started,) in self._connection.execute(sql.RUN_STARTS)
        ]

    def ledger_entries(self) -> list[LedgerEntry]:
        """Return the entries of the gateway's ledger that the runs of this directory have seen."""
        return [
            decode(LedgerEntry, body) for (body,) in self._of_gateway_ledger(sql.GATEWAY_ENTRIES)
        ]

    def ledger_entries_seen(self) -> dict[str, float]:
        """Return when the first reading that had an entry was begun, in seconds since the epoch, by
        the entry's key."""
        return {
            text(key, "entry"): moment(at, "reading")
            for key, at in self._of_gateway_ledger(sql.FIRST_SEEN)
        }

    def ledger_places(self, keys: Iterable[str]) -> dict[str, int]:
        """Return the places of entries, by their keys, for those that have one."""
        rows = self._of_gateway_ledger(sql.PLACES, json.dumps([*keys]))
        return {text(key, "entry"): place for key, place in rows if isinstance(place, int)}

    def last_ledger_place(self) -> int:
        """Return the highest place of an entry; 0 without any."""
        return max(
            (
                place
                for (place,) in self._of_gateway_ledger(sql.LAST_PLACE)
                if isinstance(place, int)
            ),
            default=0,
        )

    def ledger_coverages(self) -> list[LedgerCoverage]:
        """Return over which times the gateway's ledger was read without a gap, oldest first."""
        return [
            decode(LedgerCoverage, body)
            for (body,) in self._of_gateway_ledger(sql.GATEWAY_READINGS)
        ]

    def _of_gateway_ledger(self, query: str, *values: str) -> list[tuple[object, ...]]:
        with self._errors():
            if self._connection.execute(sql.HAS_GATEWAY_LEDGER).fetchone() is None:
                return []
            return self._connection.execute(query, values).fetchall()

    def controls(self) -> list[ControlEntry]:
        """Return the commands that were given to the newest run, oldest first."""
        if self._connection.execute(sql.HAS_CONTROLS).fetchone() is None:
            return []
        return [decode(ControlEntry, body) for (body,) in self._connection.execute(sql.CONTROLS)]

    def events(self) -> Iterator[tuple[str, Event]]:
        """Yield every event with its subject, oldest first."""
        for _, subject, event in self.numbered_events():
            yield subject, event

    def numbered_events(self, *, after: int = 0) -> Iterator[tuple[int, str, Event]]:
        """Yield number, subject and event of each event after number ``after``, oldest first.

        Numbers only increase.
        """
        for number, subject, kind, body in self._connection.execute(sql.EVENTS_AFTER, (after,)):
            yield number, text(subject, "subject of an event"), decode_event(kind, body)

    def last_number(self) -> int:
        """Return the number of the newest event; 0 if there are no events."""
        return self._number("SELECT coalesce(max(seq), 0) FROM events")

    def jobs(self, rule: RetryRule) -> Iterator[tuple[PlannedJob, Job]]:
        """Yield the plan's jobs in manifest order, each in its state when its page was read."""
        return self._jobs(sql.JOBS, rule)

    def started_jobs(self, rule: RetryRule) -> Iterator[tuple[PlannedJob, Job]]:
        """Yield as ``jobs`` does, but only jobs with at least one event."""
        return self._jobs(sql.STARTED_JOBS, rule)

    def unstarted_jobs(self) -> Iterator[tuple[str, bool]]:
        """Yield the name of each of the plan's jobs without any event, and whether it has input
        images."""
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
                job_rows = list(group)
                planned = decode(PlannedJob, job_rows[0][1])
                rows = [(kind, body) for _, _, kind, body in job_rows if kind is not None]
                yield planned, job_of(self.path, planned, rows, rule)

    def retired(self) -> Iterator[tuple[PlannedJob, Job]]:
        """Yield the jobs with events that are no longer in the plan.

        They get no further attempt.
        """
        for (body,) in self._connection.execute("SELECT body FROM retired ORDER BY identity"):
            planned = decode(PlannedJob, body)
            yield planned, self.job(planned, ONCE)

    def has_generations(self) -> bool:
        """Whether any job was asked for again since its output was rejected."""
        with self._errors():
            return self._connection.execute(sql.HAS_GENERATIONS).fetchone() is not None

    def other_generations(self, identity: str) -> list[tuple[PlannedJob, Job]]:
        """Return the other generations of a job that have events and are not in the plan, in
        order."""
        with self._errors():
            rows = self._connection.execute(
                sql.GENERATIONS, {"identity": content_of(identity)}
            ).fetchall()
        planned = [decode(PlannedJob, body) for (body,) in rows]
        others = (each for each in planned if each.identity != identity)
        return [
            (each, self.job(each, ONCE)) for each in sorted(others, key=lambda one: one.generation)
        ]

    def saved_at(self, path: str) -> list[str]:
        """Return the identities of the jobs that ever had an output saved at this path or moved to
        it."""
        with self._errors():
            if not self._read_only:
                self._connection.execute(sql.INDEX_PLACES)
            return [subject for (subject,) in self._connection.execute(sql.SAVED_AT, (path,))]

    def accepted_as(self, job_id: str) -> list[str]:
        """Return the identities of the jobs that were ever accepted as this gateway job.

        ``job_id`` is lower-case.
        """
        with self._errors():
            if not self._knows_gateway_jobs:
                self._connection.execute(sql.INDEX_GATEWAY_JOBS)
                self._knows_gateway_jobs = True
            return [subject for (subject,) in self._connection.execute(sql.ACCEPTED_AS, (job_id,))]

    def known(self, identity: str, rule: RetryRule = ONCE) -> tuple[PlannedJob, Job, bool] | None:
        """Return a job, its state, and whether it is retired; None if it was never planned."""
        with self._errors():
            row = self._connection.execute(sql.KNOWN, {"identity": identity}).fetchone()
        if row is None:
            return None
        planned = decode(PlannedJob, row[0])
        return planned, self.job(planned, rule), bool(row[1])

    def job(self, planned: PlannedJob, rule: RetryRule) -> Job:
        """Return a job in its current state, whether or not it is in the plan."""
        with self._errors():
            return job_of(
                self.path,
                planned,
                self._connection.execute(sql.EVENTS_OF, (planned.identity,)),
                rule,
            )

    def planned_job(self, identity: str) -> PlannedJob | None:
        """Return the plan's job with this identity; None if there is none."""
        rows = self._connection.execute("SELECT body FROM plan WHERE identity = ?", (identity,))
        return next((decode(PlannedJob, body) for (body,) in rows), None)

    def planned_content(self, content: str) -> PlannedJob | None:
        """Return the generation of a job that is in the plan; None if none is."""
        with self._errors():
            row = self._connection.execute(sql.PLANNED_CONTENT, {"identity": content}).fetchone()
        return None if row is None else decode(PlannedJob, row[0])

    def asset(self, sha256: str) -> Asset:
        with self._errors():
            return asset_of(
                sha256, self._connection.execute(sql.EVENTS_OF, (Asset(sha256).identity,))
            )

    def assets(self) -> Iterator[Asset]:
        """Yield every asset that has events, in its current state, ordered by digest."""
        query = "SELECT subject, type, body FROM events WHERE subject GLOB ? ORDER BY subject, seq"
        rows = self._connection.execute(query, (f"{ASSET_PREFIX}*",))
        for subject, group in groupby(rows, key=itemgetter(0)):
            yield asset_of(
                subject.removeprefix(ASSET_PREFIX), ((kind, body) for _, kind, body in group)
            )

    def plan(self, *, samples: bool = False) -> Iterator[PlannedJob]:
        """Yield the plan's jobs in manifest order, without their events; ``samples``: only those of
        ``sql.SAMPLES``.
        """
        for (body,) in self._connection.execute(sql.SAMPLES if samples else sql.PLAN):
            yield decode(PlannedJob, body)

    def identities(self) -> Iterator[str]:
        return (identity for (identity,) in self._connection.execute("SELECT identity FROM plan"))

    def planned(self) -> int:
        return self._number("SELECT count(*) FROM plan")

    def _number(self, query: str) -> int:
        (number,) = self._connection.execute(query).fetchone()
        return int(number)
