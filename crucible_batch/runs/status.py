"""The state of a run directory, read from its journal: also during a run, and after a run was
killed.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from crucible_batch.core.control import PausedSince, pause_of
from crucible_batch.core.job import Job, Phase
from crucible_batch.core.outcome import Outcome, outcome_of
from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.prices import workflow_class
from crucible_batch.core.sharding import OutstandingShards
from crucible_batch.core.tally import Tally
from crucible_batch.journal import Journal, is_locked
from crucible_batch.report import ReportHead
from crucible_batch.report.html import Advice
from crucible_batch.runs.finished_jobs import FinishedJob, finished_jobs
from crucible_batch.runs.next_step import advice_of
from crucible_batch.runs.reporting import head_of
from crucible_batch.runs.run_journal import (
    changed_at_of,
    journal_outputs_url,
    local_directory,
    manifest_of,
    newest_run,
    pruned_on,
)
from crucible_batch.runs.shard_notes import outstanding_shards

OLDEST = 8
NEWEST_ENDS = 200
_AT_WORK = {Phase.PREPARING, Phase.SUBMITTING, Phase.IN_FLIGHT, Phase.FETCHING}


@dataclass(frozen=True, slots=True)
class AtWork:
    """A job in progress.

    ``since`` is the time at which its credits were held, in seconds since the epoch.
    """

    name: str
    phase: Phase
    since: float


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a run at one moment. Times are in seconds since the epoch.

    ``oldest`` are the jobs that have been in progress for the longest time. ``ended_at`` are the
    end times of this run's last jobs, oldest first. ``errors`` counts the error codes of jobs that
    have failed finally.
    """

    began_at: float
    tally: Tally
    phases: Mapping[Phase, int]
    oldest: tuple[AtWork, ...]
    ended_at: tuple[float, ...]
    errors: Mapping[str, int]


def progress_of(jobs: Iterable[tuple[PlannedJob, Job]], began_at: float) -> Progress:
    """Return the progress of the plan's jobs.

    The results of earlier runs are counted as outcomes, but not in ``ended_at`` and as outputs.
    """
    tally = Tally()
    phases: Counter[Phase] = Counter()
    errors: Counter[str] = Counter()
    at_work: list[AtWork] = []
    ended: list[float] = []
    for planned, job in jobs:
        if job.phase in _AT_WORK:
            tally.add(Outcome.PENDING)
            phases[job.phase] += 1
            at_work.append(AtWork(planned.name, job.phase, job.current.held_at))
            continue
        outcome, error = outcome_of(job, workflow_class(planned.workflow_id), {})
        tally.add(outcome)
        if outcome is Outcome.FAILED and error is not None:
            errors[error.code] += 1
        for output in job.outputs.values():
            if output.at >= began_at:
                tally.add_output(output.byte_size)
        end = _ended_at(job)
        if end is not None and end >= began_at:
            ended.append(end)
    return Progress(
        began_at=began_at,
        tally=tally,
        phases=phases,
        oldest=tuple(heapq.nsmallest(OLDEST, at_work, key=attrgetter("since"))),
        ended_at=tuple(sorted(heapq.nlargest(NEWEST_ENDS, ended))),
        errors=errors,
    )


def _ended_at(job: Job) -> float | None:
    if job.phase is Phase.SUCCEEDED:
        return max(output.at for output in job.outputs.values())
    if not job.attempts or job.phase is Phase.READY:
        return None
    return job.current.ended_at


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a run directory.

    ``running`` is true if a run holds its lock, and ``progress`` is that run's progress.
    ``manifest`` is the manifest's path as given to the newest run; None if that run followed a
    saved plan. ``changed_at`` is when the newest run ended, or began if it has no ending, in
    seconds since the epoch. ``shards`` are those of the newest divided plan, if not all of them are
    merged. ``paused`` is the pause of a run that is active. ``pruned`` is the day on which outputs
    were deleted, such as "2026-11-29". ``outputs_at`` is the URL of the outputs if they are in an
    object store: commands take it in place of ``run_dir``, on any machine.
    """

    run_dir: Path
    running: bool
    report: ReportHead
    progress: Progress | None = None
    manifest: Path | None = None
    changed_at: float = 0.0
    shards: OutstandingShards | None = None
    paused: PausedSince | None = None
    pruned: str | None = None
    outputs_at: str | None = None

    @property
    def location(self) -> str | Path:
        """The run directory as commands take it: its path, or the URL of its outputs."""
        return self.outputs_at or self.run_dir

    def jobs(self) -> Iterator[FinishedJob]:
        """Yield each job, in manifest order."""
        return finished_jobs(self.run_dir)


def read_status(run_dir: str | Path) -> Status:
    """Read the state of a run directory.

    Raises ``RunDirectoryError`` if it isn't one, and ``JournalError``.
    """
    directory = local_directory(run_dir)
    with Journal.read(directory) as journal:
        newest, running = newest_run(journal), is_locked(directory)
        jobs = journal.jobs(newest.terms.rule)
        progress = paused = None
        if running and newest.ending is None:
            progress = progress_of(jobs, newest.started_at)
            paused = pause_of(journal.controls())
        url = journal_outputs_url(journal)
        return Status(
            directory,
            running,
            head_of(journal),
            progress,
            manifest_of(newest.terms),
            changed_at_of(newest),
            outstanding_shards(journal),
            paused,
            pruned_on(journal),
            None if url is None else str(url),
        )


def advice_for(run_dir: Path, head: ReportHead) -> Advice:
    """Return what to do next in a run directory with this report.

    Raises as ``codes_never_retried``.
    """
    with Journal.read(run_dir) as journal:
        return advice_of(journal, head, run_dir)


def codes_never_retried(run_dir: str | Path) -> frozenset[str]:
    """Return the codes, in upper case, of failures that get no further attempt by the newest run's
    retry rule.

    Raises ``RunDirectoryError`` and ``JournalError``.
    """
    with Journal.read(Path(run_dir)) as journal:
        return newest_run(journal).terms.never
