"""Watching a run directory while a run writes it, by reading only new events of the journal."""

from __future__ import annotations

import heapq
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from crucible_batch.core.control import pause_of
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.outcome import SUBMIT_UNANSWERED, Outcome
from crucible_batch.core.pace import RATE_WINDOW, Pace
from crucible_batch.core.sharding import OutstandingShards
from crucible_batch.core.tally import Tally
from crucible_batch.errors import RunDirectoryError
from crucible_batch.journal import Journal, RunRecord, is_locked
from crucible_batch.outputs import OutputStore
from crucible_batch.report import CountsRow, JobRow, OutputRow, build_head, build_row
from crucible_batch.runs.generations import generations_of
from crucible_batch.runs.object_runs import store_of
from crucible_batch.runs.reporting import row_amender
from crucible_batch.runs.run_journal import changed_at_of, manifest_of, pruned_on
from crucible_batch.runs.shard_notes import outstanding_shards
from crucible_batch.runs.status import Status

_JOURNAL = Path(".crucible/journal.sqlite3")
SENDING = "sending"
"""The status of a job whose submit has no answer yet: shown as pending during the run, and as
unknown after it.
"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a run directory at one moment.

    ``number`` is that of the newest event included. ``edition`` changes if every job may have
    changed: a run began, perhaps with another plan; a run ended, which gives the reasons why jobs
    were not started; a run was killed; or the plan was divided into shards. ``pictures`` counts the
    outputs of all jobs. ``ended_at`` are the end times of the newest run's last jobs, oldest first,
    in seconds since the epoch; empty unless it is running. ``commands`` counts those given to the
    newest run.
    """

    status: Status
    edition: int
    number: int
    pictures: int
    ended_at: tuple[float, ...]
    commands: int

    @property
    def killed(self) -> bool:
        """Whether the newest run was killed: it is not running and recorded no ending."""
        return self.status.report.exit_code is None and not self.status.running

    @property
    def pace(self) -> Pace:
        """The rate of a running run."""
        return Pace(self.status.changed_at, self.ended_at)


def journal_mark(directory: Path) -> object:
    """Return a value that differs whenever the journal's files have been written to."""
    marks: list[tuple[int, int, int] | None] = []
    for file in (_JOURNAL, f"{_JOURNAL}-wal"):
        try:
            found = (directory / file).stat()
        except OSError:
            marks.append(None)
        else:
            marks.append((found.st_mtime_ns, found.st_size, found.st_ino))
    return marks


@dataclass(frozen=True, slots=True)
class KeptCards:
    """The cards of a run's page, and its input images, as JSON.

    They are those of a journal whose files have this ``mark``.
    """

    mark: object
    jobs: str
    inputs: str


@dataclass(slots=True)
class _Known:
    changed_at: int
    status: str
    reused: bool
    pictures: int = 0
    ended_at: float | None = None


@dataclass(slots=True)
class _JournalCache:
    run: RunRecord
    began_at: float
    ledger: Ledger = field(default_factory=Ledger)
    number: int = 0
    jobs: dict[str, _Known] = field(default_factory=dict)
    outputs: dict[str, OutputRow] = field(default_factory=dict)
    pictures: dict[str, OutputRow] = field(default_factory=dict)


class Watch:
    """A read-only view of one run directory.

    All methods block, and only one thread at a time may use it. The methods raise
    ``RunDirectoryError`` if no run has begun, and ``JournalError``.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._edition = 0
        self._running = False
        self._cache: _JournalCache | None = None
        self._store: OutputStore | None = None
        self.kept_cards: KeptCards | None = None
        """Those of the page that was made last, if the run was finished."""

    def look(self) -> Snapshot:
        """Read the new events and return the present state."""
        with Journal.read(self.run_dir) as journal:
            runs = journal.runs()
            if not runs:
                raise RunDirectoryError(
                    "no run has begun here yet", hint="start one: crucible-batch run MANIFEST"
                )
            # Only a run without an ending can be active, so the lock isn't tested for a finished
            # one.
            self._running = runs[-1].ending is None and is_locked(self.run_dir)
            shards = outstanding_shards(journal)
            # A number of its own for each state of each run.
            if self._running:
                state = 0
            elif shards is not None:
                state = 1
            elif runs[-1].ending is None:
                state = 2
            else:
                state = 3
            edition = 4 * len(runs) + state
            if self._cache is None or edition != self._edition:
                self._cache, self._edition = _read(journal, runs), edition
            else:
                _read_on(journal, self._cache)
            return self._snapshot(self._cache, journal, shards)

    def changed(self, *, after: int) -> list[tuple[int, JobRow]]:
        """Return the jobs with events after the event number ``after``.

        Each has its position in the plan, from 0.
        """
        cache = self._current_cache()
        late = [
            (place, one)
            for place, one in enumerate(cache.jobs)
            if cache.jobs[one].changed_at > after
        ]
        if not late:
            return []
        with Journal.read(self.run_dir) as journal:
            rows = ((place, _row(journal, identity, cache)) for place, identity in late)
            return [(place, self._as_it_goes(row)) for place, row in rows if row is not None]

    def rows(self) -> Generator[JobRow, None, None]:
        """Yield the row of every job, in manifest order."""
        cache = self._current_cache()
        with Journal.read(self.run_dir) as journal:
            amended, generations = row_amender(journal), generations_of(journal)
            for planned, job in journal.jobs(cache.run.terms.rule):
                row = build_row(planned, job, cache.run.stops, generations(planned))
                yield self._as_it_goes(amended(planned.identity, row))

    def output(self, path: str) -> OutputRow | None:
        """Return the output that the journal has under this path; None without one."""
        return self._current_cache().outputs.get(path)

    def output_of(self, sha256: str) -> OutputRow | None:
        """Return the output with this digest of its bytes; None if there is none."""
        return self._current_cache().pictures.get(sha256)

    def open(self, output: OutputRow) -> BinaryIO:
        """Open an output's file.

        Raises ``OSError`` if it is not a regular file; links are not followed. With outputs in an
        object store it is downloaded. Raises ``UserError`` and ``ObjectStoreError`` as
        ``store_of``.
        """
        if self._store is None:
            self._store = store_of(self.run_dir)
        return self._store.open(output.path)

    def newest(self, count: int) -> list[OutputRow]:
        """Return the ``count`` outputs that were saved last, newest first."""
        outputs = self._current_cache().outputs.values()
        return sorted(outputs, key=lambda output: output.saved_at, reverse=True)[:count]

    def _current_cache(self) -> _JournalCache:
        if self._cache is None:
            self.look()
        assert self._cache is not None
        return self._cache

    def _snapshot(
        self, cache: _JournalCache, journal: Journal, shards: OutstandingShards | None
    ) -> Snapshot:
        tally, commands = Tally(), journal.controls()
        sending = Outcome.PENDING if self._running else Outcome.UNKNOWN
        for known in cache.jobs.values():
            outcome = sending if known.status == SENDING else Outcome(known.status)
            tally.add(outcome, reused=known.reused)
        head = build_head(
            terms=cache.run.terms,
            ending=cache.run.ending,
            started_at=cache.began_at,
            finished_at=cache.run.finished_at,
            ledger=cache.ledger,
            counts=CountsRow.of(tally),
        )
        paused = None
        if self._running:
            paused = pause_of(commands)
        status = Status(
            self.run_dir,
            self._running,
            head,
            manifest=manifest_of(cache.run.terms),
            changed_at=changed_at_of(cache.run),
            shards=shards,
            paused=paused,
            pruned=pruned_on(journal),
        )
        pictures = sum(known.pictures for known in cache.jobs.values())
        return Snapshot(
            status, self._edition, cache.number, pictures, self._ended_at(cache), len(commands)
        )

    def _ended_at(self, cache: _JournalCache) -> tuple[float, ...]:
        if not self._running:
            return ()
        ended = [known.ended_at for known in cache.jobs.values() if known.ended_at is not None]
        return tuple(
            sorted(heapq.nlargest(RATE_WINDOW, (at for at in ended if at >= cache.run.started_at)))
        )

    def _as_it_goes(self, row: JobRow) -> JobRow:
        """Return the row as pending if a submit of the active run has no answer yet."""
        if self._running and _status(row) == SENDING:
            return row.model_copy(update={"status": "pending", "error": None})
        return row


def _ended_at(row: JobRow) -> float | None:
    """Return when a job succeeded or failed finally; None if it has not."""
    if row.status == "succeeded":
        return max((output.saved_at for output in row.outputs), default=None)
    if row.status == "failed" and row.attempts:
        return row.attempts[-1].ended_at
    return None


def _status(row: JobRow) -> str:
    if row.status != "unknown" or row.error is None:
        return row.status
    return SENDING if row.error.code == SUBMIT_UNANSWERED else row.status


def _read(journal: Journal, runs: list[RunRecord]) -> _JournalCache:
    cache = _JournalCache(runs[-1], runs[0].started_at)
    for number, subject, event in journal.numbered_events():
        cache.ledger.apply(subject, event)
        cache.number = number
    generations = generations_of(journal)
    for planned, job in journal.jobs(cache.run.terms.rule):
        cache.jobs[planned.identity] = _Known(0, "", reused=False)
        row = build_row(planned, job, cache.run.stops, generations(planned))
        _note(cache, planned.identity, row, cache.number)
    return cache


def _read_on(journal: Journal, cache: _JournalCache) -> None:
    moved: dict[str, int] = {}
    for number, subject, event in journal.numbered_events(after=cache.number):
        cache.ledger.apply(subject, event)
        cache.number = number
        if subject in cache.jobs:
            moved[subject] = number
    for identity, number in moved.items():
        row = _row(journal, identity, cache)
        if row is not None:
            _note(cache, identity, row, number)


def _note(cache: _JournalCache, identity: str, row: JobRow, number: int) -> None:
    known = cache.jobs[identity]
    known.changed_at, known.status = number, _status(row)
    known.reused = row.status == "succeeded" and row.attempts[-1].reused
    known.pictures = len(row.outputs)
    known.ended_at = _ended_at(row)
    for output in [*row.takes, *row.outputs]:
        cache.outputs[output.path] = cache.pictures[output.sha256] = output


def _row(journal: Journal, identity: str, cache: _JournalCache) -> JobRow | None:
    planned = journal.planned_job(identity)
    # Another run is replacing the plan right now; the next ``look`` has its edition.
    if planned is None:
        return None
    job = journal.job(planned, cache.run.terms.rule)
    row = build_row(planned, job, cache.run.stops, generations_of(journal)(planned))
    return row_amender(journal)(identity, row)
