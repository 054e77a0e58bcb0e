"""Plan, jobs and ledger to a report. Pure: it reads what it is given, once for the head and once for the rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

from crucible_batch.core.answers import ErrorInfo
from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.ending import Ending, RunStatus
from crucible_batch.core.events import Event
from crucible_batch.core.job import Attempt, AttemptStatus, Job
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.outcome import outcome_of
from crucible_batch.core.plan import PlannedJob, RunTerms
from crucible_batch.core.prices import PriceBook, workflow_class
from crucible_batch.report.models import (
    AttemptRow,
    CountsRow,
    CreditsRow,
    ErrorRow,
    JobRow,
    ManifestRow,
    OutputRow,
    ReportHead,
    SentRow,
)
from crucible_batch.report.notes import notes

_COSTS = {AttemptStatus.ACCEPTED, AttemptStatus.SUCCEEDED, AttemptStatus.VANISHED}


def build_head(
    *,
    terms: RunTerms,
    ending: Ending | None,
    started_at: float,
    finished_at: float | None,
    events: Iterable[tuple[str, Event]],
    jobs: Iterable[tuple[PlannedJob, Job]],
) -> ReportHead:
    """Sum up a run directory. ``terms`` and ``ending`` are the newest run's; None means it runs, or was killed."""
    ledger = Ledger(PriceBook.of(terms))
    for subject, event in events:
        ledger.apply(subject, event)
    counts = _counts(jobs, {} if ending is None else ending.stops)
    return sum_up(
        terms=terms, ending=ending, started_at=started_at, finished_at=finished_at, ledger=ledger, counts=counts
    )


def sum_up(
    *,
    terms: RunTerms,
    ending: Ending | None,
    started_at: float,
    finished_at: float | None,
    ledger: Ledger,
    counts: CountsRow,
) -> ReportHead:
    """Put a head together of books and counts that are kept already."""
    stops = {} if ending is None else ending.stops
    return ReportHead(
        run_id=terms.run_id,
        status=(RunStatus.RUNNING if ending is None else ending.status).value,
        exit_code=None if ending is None else ending.exit_code,
        manifest=ManifestRow(name=terms.manifest_name, path=terms.manifest_path, sha256=terms.manifest_sha256),
        started_at=_timestamp(started_at),
        finished_at=None if finished_at is None else _timestamp(finished_at),
        credits=_credits(ledger, terms.budget),
        counts=counts,
        stops={scope: _error(stop) for scope, stop in stops.items()},
        notes=list(notes(ledger)),
    )


def build_rows(jobs: Iterable[tuple[PlannedJob, Job]], stops: Mapping[str, ErrorInfo]) -> Iterator[JobRow]:
    """Yield a row for each job, in manifest order."""
    for planned, job in jobs:
        yield _row(planned, job, stops)


def _row(planned: PlannedJob, job: Job, stops: Mapping[str, ErrorInfo]) -> JobRow:
    outcome, error = outcome_of(job, workflow_class(planned.workflow_id), stops)
    last = job.attempts[-1] if job.attempts else None
    return JobRow(
        name=planned.name,
        status=outcome.value,
        workflow_id=planned.workflow_id,
        prompt=planned.prompt,
        params=dict(planned.params),
        images={param: image.spec.sha256 for param, image in planned.images.items()},
        image_files={param: str(image.path) for param, image in planned.images.items()},
        axes=dict(planned.axes),
        repeat=planned.repeat,
        job_id=last.job_id if last else None,
        idempotency_key=last.key if last else job.key,
        attempts=[_attempt(attempt) for attempt in job.attempts],
        credits=sum((attempt.credits for attempt in job.attempts if attempt.status in _COSTS), ZERO),
        outputs=[
            OutputRow(
                index=saved.index,
                path=saved.path,
                sha256=saved.sha256,
                byte_size=saved.byte_size,
                mime_type=saved.mime_type,
                width=saved.width,
                height=saved.height,
                saved_at=saved.at,
                sent=None if saved.sent is None else SentRow(sha256=saved.sent.sha256, byte_size=saved.sent.byte_size),
            )
            for _, saved in sorted(job.outputs.items())
        ],
        error=None if error is None else _error(error),
    )


def _attempt(attempt: Attempt) -> AttemptRow:
    return AttemptRow(
        idempotency_key=attempt.key,
        job_id=attempt.job_id,
        status=attempt.status.value,
        credits=attempt.credits,
        answer_credits=attempt.answered,
        record_credits=attempt.recorded,
        reused=attempt.reused,
        held_at=attempt.held_at,
        prepared_at=attempt.prepared_at,
        accepted_at=attempt.accepted_at,
        running_at=attempt.running_at,
        ended_at=attempt.ended_at,
        error=None if attempt.error is None else _error(attempt.error),
    )


def _credits(ledger: Ledger, budget: Credits | None) -> CreditsRow:
    over = ZERO if budget is None else max(ZERO, ledger.committed - budget)
    return CreditsRow(
        budget=budget,
        spent=ledger.spent,
        held=ledger.held,
        jobs=ledger.jobs,
        reused=ledger.reused,
        uploads=ledger.uploads,
        lost_uploads=ledger.lost_uploads,
        rebates=ledger.rebates,
        refunded=ledger.refunded,
        over_budget=over,
        price_differs=ledger.price_differs,
        price_differs_jobs=ledger.repriced_jobs,
    )


def _counts(jobs: Iterable[tuple[PlannedJob, Job]], stops: Mapping[str, ErrorInfo]) -> CountsRow:
    counts = dict.fromkeys(CountsRow.model_fields, 0)
    for planned, job in jobs:
        outcome, _ = outcome_of(job, workflow_class(planned.workflow_id), stops)
        counts["total"] += 1
        counts[outcome.value] += 1
        if outcome.value == "succeeded" and job.current.reused:
            counts["reused"] += 1
    return CountsRow(**counts)


def _error(error: ErrorInfo) -> ErrorRow:
    return ErrorRow(code=error.code, message=error.message, hint=error.hint, request_id=error.request_id)


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
