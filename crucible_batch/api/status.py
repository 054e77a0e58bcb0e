"""The state of a run directory, read from its journal: also during a run, and after a run was killed."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from crucible_batch.api.cluster_note import is_with_workers, present_pause
from crucible_batch.api.notification_note import notifications_of
from crucible_batch.api.object_runs import complete_sidecars, in_thread, publish_files, store_by
from crucible_batch.api.period_note import noted_period
from crucible_batch.api.prune_mark import pruned_on
from crucible_batch.api.remaining_budget import budget_for_remaining
from crucible_batch.api.request import check_path
from crucible_batch.api.run_location import journal_outputs_url, local_directory
from crucible_batch.api.shard_note import describe_shards, noted_shards
from crucible_batch.api.stage_note import noted_stages
from crucible_batch.domain.control import PausedSince
from crucible_batch.domain.gateway_types import ErrorInfo
from crucible_batch.domain.job import Job, Phase
from crucible_batch.domain.outcome import Outcome, outcome_of
from crucible_batch.domain.plan import PlannedJob, RunTerms
from crucible_batch.domain.prices import workflow_class
from crucible_batch.domain.retry_rule import Remedy, remedy_for
from crucible_batch.domain.sharding import OutstandingShards
from crucible_batch.errors import ExitCode, ReportError, RunDirectoryError, ShardsOutstandingError
from crucible_batch.journal import Journal, RunRecord, is_locked
from crucible_batch.outputs import Sidecars
from crucible_batch.report import (
    CountsRow,
    JobRow,
    PicksRow,
    ReportHead,
    RowFile,
    WaitingRow,
    build_head,
    build_row,
    build_rows,
    count_jobs,
    write_report,
)
from crucible_batch.report.html import (
    PAGE_FILE,
    Advice,
    Thumbnails,
    advice,
    credit_curve,
    is_short_of_budget,
    write_page,
)

OLDEST = 8
_BATCH = 256
NEWEST_ENDS = 200
_AT_WORK = {Phase.PREPARING, Phase.SUBMITTING, Phase.IN_FLIGHT, Phase.FETCHING}


@dataclass(frozen=True, slots=True)
class AtWork:
    """A job in progress. ``since`` is the time at which its credits were held, in seconds since the epoch."""

    name: str
    phase: Phase
    since: float


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a run at one moment. Times are in seconds since the epoch.

    ``oldest`` are the jobs that have been in progress for the longest time. ``ended_at`` are the end times of this
    run's last jobs, oldest first. ``errors`` counts the error codes of jobs that have failed finally.
    """

    began_at: float
    total: int
    counts: Mapping[Outcome, int]
    phases: Mapping[Phase, int]
    oldest: tuple[AtWork, ...]
    ended_at: tuple[float, ...]
    errors: Mapping[str, int]
    outputs: int
    byte_size: int


def progress_of(jobs: Iterable[tuple[PlannedJob, Job]], began_at: float) -> Progress:
    """Return the progress of the plan's jobs.

    The results of earlier runs are in ``counts``, but not in ``ended_at``, ``outputs`` and ``byte_size``.
    """
    counts: Counter[Outcome] = Counter()
    phases: Counter[Phase] = Counter()
    errors: Counter[str] = Counter()
    oldest: list[tuple[float, int, AtWork]] = []
    ended: list[float] = []
    outputs = byte_size = 0
    for planned, job in jobs:
        if job.phase in _AT_WORK:
            phases[job.phase] += 1
            since = job.current.held_at
            # The top of the heap is the newest entry and is dropped first. The position orders equal ages.
            entry = (-since, -planned.position, AtWork(planned.name, job.phase, since))
            (heapq.heappush if len(oldest) < OLDEST else heapq.heappushpop)(oldest, entry)
            continue
        outcome, error = outcome_of(job, workflow_class(planned.workflow_id), {})
        counts[outcome] += 1
        if outcome is Outcome.FAILED and error is not None:
            errors[error.code] += 1
        saved = [output for output in job.outputs.values() if output.at >= began_at]
        outputs += len(saved)
        byte_size += sum(output.byte_size for output in saved)
        if (end := _ended_at(job)) is not None and end >= began_at:
            (heapq.heappush if len(ended) < NEWEST_ENDS else heapq.heappushpop)(ended, end)
    return Progress(
        began_at=began_at,
        total=counts.total() + phases.total(),
        counts=counts,
        phases=phases,
        oldest=tuple(entry[2] for entry in sorted(oldest, reverse=True)),
        ended_at=tuple(sorted(ended)),
        errors=errors,
        outputs=outputs,
        byte_size=byte_size,
    )


def _ended_at(job: Job) -> float | None:
    if job.phase is Phase.SUCCEEDED:
        return max(output.at for output in job.outputs.values())
    return job.current.ended_at if job.attempts and job.phase is not Phase.READY else None


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a run directory.

    ``running`` is true if a run holds its lock, and ``progress`` is that run's progress. ``manifest`` is the manifest's
    path as given to the newest run; None if that run followed a saved plan. ``changed_at`` is when the newest run
    ended, or began if it has no ending, in seconds since the epoch. ``shards`` are those of the newest divided plan, if
    not all of them are merged; ``is_with_workers``: they are with the workers of a cluster. ``paused`` is the pause of
    a run that is active, or is run by the workers of a cluster. ``pruned`` is the day on which outputs were deleted,
    such as "2026-11-29".
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
    is_with_workers: bool = False

    @property
    def is_active(self) -> bool:
        """Whether a run holds the lock of the directory, or the workers of a cluster have its shards."""
        return self.running or self.is_with_workers

    def jobs(self) -> Iterator[JobRow]:
        """Yield the report's row of each job, in manifest order."""
        return report_rows(self.run_dir)


def read_status(run_dir: str | Path) -> Status:
    """Read the state of a run directory. Raises ``RunDirectoryError`` if it isn't one, and ``JournalError``."""
    directory = local_directory(run_dir)
    with Journal.read(directory) as journal:
        newest, running = newest_run(journal), is_locked(directory)
        jobs = journal.jobs(newest.terms.rule)
        progress = progress_of(jobs, newest.started_at) if running and newest.ending is None else None
        manifest = manifest_of(newest.terms)
        shards = outstanding_shards(journal)
        changed_at, head = changed_at_of(newest), head_of(journal)
        paused = present_pause(journal, is_running=progress is not None)
        pruned, with_workers = pruned_on(journal), is_with_workers(journal)
        return Status(directory, running, head, progress, manifest, changed_at, shards, paused, pruned, with_workers)


def write_report_again(run_dir: str | Path, *, html: bool = True) -> ReportHead:
    """Write ``report.json``, missing sidecars and, if ``html`` is true, ``report.html`` again from the journal.

    Raises ``UserError`` if the path isn't valid text, ``RunDirectoryError``, ``JournalError`` and ``ReportError``; with
    outputs in an object store, also ``ObjectStoreError``.
    """
    directory = local_directory(run_dir)
    check_path("the run directory", directory)
    with Journal.read(directory) as journal, RowFile(directory) as rows:
        store = store_by(journal, directory)
        collect_rows(journal, directory, rows)
        head = write_report_of(journal, directory, rows)
        if html:
            pictures = Thumbnails(directory, journal.planned(), store.open) if store.url is not None else None
            write_page_of(journal, directory, head, rows, thumbnails=pictures)
        if store.url is not None:
            terms = newest_run(journal).terms
            jobs = journal.jobs(terms.rule)
            while batch := list(islice(jobs, _BATCH)):  # read here, since a journal belongs to one thread
                in_thread(complete_sidecars(store, batch, terms))
            in_thread(publish_files(store))
    return head


def row_collector(
    sidecars: Sidecars | None, terms: RunTerms, rows: RowFile, *, since: float | None = None
) -> Callable[[PlannedJob, Job, Mapping[str, ErrorInfo]], None]:
    """Return a function that adds a job's row to ``rows`` and writes its missing sidecars, unless that is None.

    ``since`` is when the run began that has saved outputs with ``sidecars``, for ``Sidecars.complete``.
    """

    def collect(planned: PlannedJob, job: Job, stops: Mapping[str, ErrorInfo]) -> None:
        if sidecars is not None:
            sidecars.complete(planned, job, terms, since=since)
        rows.add(build_row(planned, job, stops))

    return collect


def collect_rows(journal: Journal, directory: Path, rows: RowFile) -> None:
    """Add a row for each job of an open journal, and write missing sidecars."""
    newest = newest_run(journal)
    sidecars = Sidecars(directory) if journal_outputs_url(journal) is None else None
    collect = row_collector(sidecars, newest.terms, rows)
    for planned, job in journal.jobs(newest.terms.rule):
        collect(planned, job, newest.stops)


def write_report_of(journal: Journal, directory: Path, rows: RowFile | None = None) -> ReportHead:
    """Write the report of an open journal and return its head. Raises ``ReportError`` if it can't be written.

    If ``rows`` is None, the rows are built and missing sidecars are written.
    """
    if rows is None:
        with RowFile(directory) as made:
            collect_rows(journal, directory, made)
            return write_report_of(journal, directory, made)
    head = head_of(journal, rows.counts)
    try:
        write_report(directory, head, rows.lines())
    except OSError as error:
        raise ReportError(
            f"the report can't be written: {error.strerror}",
            hint=f"fix the disk problem, then: {restore_hint(head, directory)}",
        ) from error
    return head


def write_page_of(
    journal: Journal,
    directory: Path,
    head: ReportHead,
    rows: Iterable[JobRow] | None = None,
    *,
    thumbnails: Thumbnails | None = None,
) -> Path:
    """Write the page of an open journal's report and return its path.

    Raises ``RunDirectoryError`` if it can't be written.
    """
    try:
        return write_page(
            directory,
            head,
            told_rows(journal) if rows is None else rows,
            credit_curve(journal.events(), journal.runs()[-1].terms),
            thumbnails=thumbnails,
            enough=budget_for_remaining(journal) if is_short_of_budget(head) else None,
            remedy=_remedy_for_failed(journal) if head.counts.failed else None,
            never=newest_run(journal).terms.never,
        )
    except OSError as error:
        raise RunDirectoryError(
            f"{PAGE_FILE} can't be written: {error.strerror}",
            hint=f"fix the disk problem, then: crucible-batch report {directory}",
        ) from error


def remedy_for_failed(run_dir: str | Path) -> Remedy | None:
    """Return what to do about the failed jobs of a run directory; None if there are none.

    Raises ``RunDirectoryError`` and ``JournalError``.
    """
    with Journal.read(Path(run_dir)) as journal:
        return _remedy_for_failed(journal)


def advice_of(journal: Journal, head: ReportHead, directory: Path) -> Advice:
    """Return what to do next in a run directory, as its page shows it."""
    return advice(
        head,
        directory,
        budget_for_remaining(journal) if is_short_of_budget(head) else None,
        _remedy_for_failed(journal) if head.counts.failed else None,
    )


def _remedy_for_failed(journal: Journal) -> Remedy | None:
    terms = newest_run(journal).terms
    found = (outcome_of(job, workflow_class(planned.workflow_id), {}) for planned, job in journal.jobs(terms.rule))
    codes = (error.code for outcome, error in found if outcome is Outcome.FAILED and error is not None)
    return remedy_for(codes, terms.never)


def restore_hint(head: ReportHead, directory: Path) -> str:
    """Return the command that writes a report or page which couldn't be written; another run if jobs are left."""
    if head.exit_code in {ExitCode.OK, ExitCode.SOME_FAILED}:
        return f"crucible-batch report {directory}"
    return "run the same command again"


def report_rows(run_dir: Path) -> Iterator[JobRow]:
    """Yield the report's rows from the journal, in manifest order."""
    with Journal.read(run_dir) as journal:
        yield from told_rows(journal)


def outstanding_shards(journal: Journal) -> OutstandingShards | None:
    """Return the shards of the newest divided plan; None if all of them are merged, or no plan was divided."""
    shards = noted_shards(journal)
    return shards if shards is not None and shards.missing else None


def newest_run(journal: Journal) -> RunRecord:
    """Return the newest run.

    Raises ``RunDirectoryError`` if none has begun: ``ShardsOutstandingError`` if its shards are run elsewhere.
    """
    runs = journal.runs()
    if not runs:
        if (shards := outstanding_shards(journal)) is not None:
            raise ShardsOutstandingError(journal.path.parents[1], describe_shards(shards))
        raise RunDirectoryError("no run has begun in this directory yet", hint="start one: crucible-batch run MANIFEST")
    return runs[-1]


def changed_at_of(run: RunRecord) -> float:
    """Return when a run ended, or began if it has no ending, in seconds since the epoch."""
    return run.started_at if run.finished_at is None else run.finished_at


def manifest_of(terms: RunTerms) -> Path | None:
    """Return the manifest's path as given to a run; None if the run followed a saved plan."""
    return Path(terms.manifest_path) if terms.plan_digest is None else None


def jobs_with_past(journal: Journal) -> Iterator[tuple[PlannedJob, Job, bool]]:
    """Yield the plan's jobs, then the retired ones, which are no longer in it. The third value is true for retired."""
    for planned, job in journal.jobs(newest_run(journal).terms.rule):
        yield planned, job, False
    for planned, job in journal.retired():
        yield planned, job, True


def told_rows(journal: Journal) -> Iterator[JobRow]:
    """Return the report's rows from an open journal, in manifest order."""
    newest = newest_run(journal)
    return build_rows(journal.jobs(newest.terms.rule), newest.stops)


def head_of(journal: Journal, counts: CountsRow | None = None) -> ReportHead:
    """Return the head of the report. The jobs are counted unless ``counts`` is given."""
    newest = newest_run(journal)
    head = build_head(
        terms=newest.terms,
        ending=newest.ending,
        started_at=journal.runs()[0].started_at,
        finished_at=newest.finished_at,
        events=journal.events(),
        counts=counts or count_jobs(journal.jobs(newest.terms.rule), newest.stops),
        period=noted_period(journal),
    )
    return head.model_copy(
        update={
            "notifications": notifications_of(journal, newest),
            "waiting": _waiting_rows(journal),
            "picks": [
                PicksRow(name=stage.name, sources=stage.sources, pick=stage.pick, before=stage.before)
                for stage in noted_stages(journal)
            ],
        }
    )


def _waiting_rows(journal: Journal) -> list[WaitingRow]:
    """Return the stages that wait for their picks."""
    return [
        WaitingRow(
            name=stage.name,
            sources=stage.sources,
            pick=stage.pick,
            choices=sum(1 for _ in stage.candidates(journal.plan())),
        )
        for stage in noted_stages(journal)
        if stage.is_waiting
    ]
