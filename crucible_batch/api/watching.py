"""Watching a run directory while a run writes it: each refresh reads only the new events of the journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from crucible_batch.api.status import Status
from crucible_batch.domain.gateway_types import ErrorInfo
from crucible_batch.domain.ledger import Ledger
from crucible_batch.domain.outcome import Outcome
from crucible_batch.domain.retry_rule import RetryRule
from crucible_batch.errors import RunDirectoryError
from crucible_batch.journal import Journal, RunRecord, is_locked
from crucible_batch.outputs import open_output
from crucible_batch.report import CountsRow, JobRow, OutputRow, build_rows, sum_up
from crucible_batch.report.html import CurvePoint, credit_curve

SENDING = "sending"
"""The status of a job whose submit has no answer yet: shown as pending during the run, and as unknown after it."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a run directory at one moment.

    ``number`` is that of the newest event included. ``edition`` changes if every job may have changed: a run began,
    perhaps with another plan; a run ended, which gives the reasons why jobs were not started; or a run was killed.
    """

    status: Status
    edition: int
    number: int

    @property
    def killed(self) -> bool:
        """Whether the newest run was killed: it is not running and recorded no ending."""
        return self.status.report.exit_code is None and not self.status.running


@dataclass(slots=True)
class _Known:
    """The cached state of a job."""

    changed_at: int
    status: str
    reused: bool


@dataclass(slots=True)
class _Books:
    """The cached state of a journal."""

    run: RunRecord
    began_at: float
    ledger: Ledger = field(default_factory=Ledger)
    number: int = 0
    jobs: dict[str, _Known] = field(default_factory=dict)
    outputs: dict[str, OutputRow] = field(default_factory=dict)
    pictures: dict[str, OutputRow] = field(default_factory=dict)

    @property
    def rule(self) -> RetryRule:
        return RetryRule(self.run.terms.attempts, self.run.terms.never)


class Watch:
    """A read-only view of one run directory. All methods block, and only one thread at a time may use it.

    The methods raise ``RunDirectoryError`` if no run has begun, and ``JournalError``.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._edition = 0
        self._running = False
        self._books: _Books | None = None

    def look(self) -> Snapshot:
        """Read the new events and return the present state."""
        with Journal.read(self.run_dir) as journal:
            runs = journal.runs()
            if not runs:
                raise RunDirectoryError("no run has begun here yet", hint="start one: crucible-batch run MANIFEST")
            # Only a run without an ending can be active, so the lock isn't tested for a finished one.
            self._running = runs[-1].ending is None and is_locked(self.run_dir)
            edition = 3 * len(runs) + (0 if self._running else 1 if runs[-1].ending is None else 2)
            if self._books is None or edition != self._edition:
                self._books, self._edition = _read(journal, runs), edition
            else:
                _read_on(journal, self._books)
            return self._sight(self._books)

    def changed(self, *, after: int) -> list[tuple[int, JobRow]]:
        """Return the jobs with events after the event number ``after``, each with its position in the plan, from 0."""
        books = self._looked()
        late = [(place, one) for place, one in enumerate(books.jobs) if books.jobs[one].changed_at > after]
        if not late:
            return []
        with Journal.read(self.run_dir) as journal:
            rows = ((place, _row(journal, identity, books)) for place, identity in late)
            return [(place, self._as_it_goes(row)) for place, row in rows if row is not None]

    def rows(self) -> Iterator[JobRow]:
        """Yield the row of every job, in manifest order."""
        books = self._looked()
        with Journal.read(self.run_dir) as journal:
            for row in build_rows(journal.jobs(books.rule), _stops(books.run)):
                yield self._as_it_goes(row)

    def curve(self) -> list[CurvePoint]:
        """Return the credits over time."""
        terms = self._looked().run.terms
        with Journal.read(self.run_dir) as journal:
            return credit_curve(journal.events(), terms)

    def output(self, path: str) -> OutputRow | None:
        """Return the output that was saved under this path according to the journal; None if there is none."""
        return self._looked().outputs.get(path)

    def output_of(self, sha256: str) -> OutputRow | None:
        """Return the output with this digest of its bytes; None if there is none."""
        return self._looked().pictures.get(sha256)

    def open(self, output: OutputRow) -> BinaryIO:
        """Open an output's file. Raises ``OSError`` if it is not a regular file; links are not followed."""
        return open_output(self.run_dir, output.path)

    def newest(self, count: int) -> list[OutputRow]:
        """Return the ``count`` outputs that were saved last, newest first."""
        outputs = self._looked().outputs.values()
        return sorted(outputs, key=lambda output: output.saved_at, reverse=True)[:count]

    def _looked(self) -> _Books:
        if self._books is None:
            self.look()
        assert self._books is not None
        return self._books

    def _sight(self, books: _Books) -> Snapshot:
        counts = Counter(known.status for known in books.jobs.values())
        if self._running:
            counts[Outcome.PENDING] += counts.pop(SENDING, 0)
        counts[Outcome.UNKNOWN] += counts.pop(SENDING, 0)
        head = sum_up(
            terms=books.run.terms,
            ending=books.run.ending,
            started_at=books.began_at,
            finished_at=books.run.finished_at,
            ledger=books.ledger,
            counts=CountsRow(
                total=len(books.jobs), reused=sum(known.reused for known in books.jobs.values()), **counts
            ),
        )
        terms = books.run.terms
        manifest = Path(terms.manifest_path) if terms.plan_digest is None else None
        status = Status(self.run_dir, self._running, head, manifest=manifest)
        return Snapshot(status, self._edition, books.number)

    def _as_it_goes(self, row: JobRow) -> JobRow:
        """Return the row with the status pending if a submit of the active run has no answer yet."""
        if self._running and _status(row) == SENDING:
            return row.model_copy(update={"status": "pending"})
        return row


def _stops(run: RunRecord) -> dict[str, ErrorInfo]:
    return {} if run.ending is None else dict(run.ending.stops)


def _status(row: JobRow) -> str:
    return SENDING if row.status == "unknown" and row.error is None else row.status


def _read(journal: Journal, runs: list[RunRecord]) -> _Books:
    books = _Books(runs[-1], runs[0].started_at)
    for number, subject, event in journal.numbered_events():
        books.ledger.apply(subject, event)
        books.number = number
    for planned, job in journal.jobs(books.rule):
        books.jobs[planned.identity] = _Known(0, "", reused=False)
        row = next(build_rows([(planned, job)], _stops(books.run)))
        _note(books, planned.identity, row, books.number)
    return books


def _read_on(journal: Journal, books: _Books) -> None:
    moved: dict[str, int] = {}
    for number, subject, event in journal.numbered_events(after=books.number):
        books.ledger.apply(subject, event)
        books.number = number
        if subject in books.jobs:
            moved[subject] = number
    for identity, number in moved.items():
        row = _row(journal, identity, books)
        if row is not None:
            _note(books, identity, row, number)


def _note(books: _Books, identity: str, row: JobRow, number: int) -> None:
    known = books.jobs[identity]
    known.changed_at, known.status = number, _status(row)
    known.reused = row.status == "succeeded" and row.attempts[-1].reused
    books.outputs.update({output.path: output for output in row.outputs})
    books.pictures.update({output.sha256: output for output in row.outputs})


def _row(journal: Journal, identity: str, books: _Books) -> JobRow | None:
    planned = journal.planned_job(identity)
    if planned is None:  # another run is replacing the plan right now; the next ``look`` has its edition
        return None
    return next(build_rows([(planned, journal.job(planned, books.rule))], _stops(books.run)))
