"""Plan, jobs and ledger to a report: its head, and a row for each job. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import itemgetter

from crucible_batch.core.attempt import credits_committed
from crucible_batch.core.credits import ZERO, Credits, format_credits
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Job
from crucible_batch.core.ledger import Ledger, PriceSurprise
from crucible_batch.core.outcome import Ending, Outcome, RunStatus, outcome_of
from crucible_batch.core.plan import PlannedJob, RunTerms
from crucible_batch.core.prices import UPLOAD_CLASS, workflow_class
from crucible_batch.core.tally import Tally
from crucible_batch.report.models import (
    AttemptRow,
    CountsRow,
    CreditsRow,
    ErrorRow,
    JobRow,
    ManifestRow,
    OutputRow,
    ReportHead,
    SourceRow,
)


def notes(ledger: Ledger) -> Iterator[str]:
    """Yield a sentence for each circumstance that the figures alone don't show."""
    if ledger.repriced_jobs:
        plural = "s" if ledger.repriced_jobs > 1 else ""
        yield (
            f"the records of {ledger.repriced_jobs} job{plural} name other prices "
            "than the answers to the submits, "
            f"by {format_credits(ledger.price_differs)} credits in all: "
            "the higher figure of each counts"
        )
    for surprise in ledger.surprises:
        if not surprise.by_record:
            yield _of_surprise(surprise)
    if ledger.reused_assets:
        yield (
            f"{_count(ledger.reused_assets, 'image')} found at the gateway and used again: "
            "what an upload once cost can't be seen, so it counts 0"
        )
    if ledger.restored_with_images:
        yield (
            f"{_count(ledger.restored_with_images, 'job')} restored from receipts "
            "without what the upload of its image cost: that counts 0"
        )
    if ledger.assumed_uploads:
        yield (
            f"{_count(ledger.assumed_uploads, 'upload')} charged in an answer that never came: "
            "the highest price seen counts as spent, "
            f"and what each may have cost beyond it is held{_at_a_ceiling(ledger)}"
        )
    if ledger.lost_uploads:
        yield (
            f"{_count(ledger.lost_uploads, 'upload')} asked for whose answer never came, "
            "and not found at the gateway: held at the most that each may have cost, "
            f"since whether it was charged can't be seen{_at_a_ceiling(ledger)}"
        )


def _of_surprise(surprise: PriceSurprise) -> str:
    subject = f"a job on {_workflow(surprise.price_class)}"
    if surprise.price_class == UPLOAD_CLASS:
        subject = "an upload"
    return (
        f"{subject} cost {format_credits(surprise.charged)} credits, "
        f"more than the {format_credits(surprise.held)} held for it: "
        "no such price was known before the gateway's answer"
    )


def _at_a_ceiling(ledger: Ledger) -> str:
    if ledger.prices.upload_ceiling is not None:
        return ""
    return " (budget.max_credits_per_upload counts it at that)"


def _workflow(price_class: str) -> str:
    return price_class.partition(":")[2]


def _count(number: int, word: str) -> str:
    if number == 1:
        return f"1 {word} was"
    return f"{number} {word}s were"


def build_head(
    *,
    terms: RunTerms,
    ending: Ending | None,
    started_at: float,
    finished_at: float | None,
    ledger: Ledger,
    counts: CountsRow,
) -> ReportHead:
    """Sum up a run directory.

    ``terms`` and ``ending`` are the newest run's; None means it runs, or was killed.
    """
    status, exit_code, stops = RunStatus.RUNNING, None, dict[str, ErrorInfo]()
    if ending is not None:
        status, exit_code, stops = ending.status, ending.exit_code, dict(ending.stops)
    return ReportHead(
        run_id=terms.run_id,
        status=status.value,
        exit_code=exit_code,
        shard=None if terms.shard is None else str(terms.shard),
        manifest=ManifestRow(
            name=terms.manifest_name, path=terms.manifest_path, sha256=terms.manifest_sha256
        ),
        scheduled_at=None if terms.scheduled_at is None else _rfc3339(terms.scheduled_at),
        started_at=_timestamp(started_at),
        finished_at=None if finished_at is None else _timestamp(finished_at),
        credits=_credits(ledger, terms.budget),
        budget_source=terms.budget_source,
        notify_option=terms.notify_option,
        counts=counts,
        stops={scope: ErrorRow.model_validate(stop) for scope, stop in stops.items()},
        notes=list(notes(ledger)),
    )


@dataclass(frozen=True, slots=True)
class Generations:
    """What other generations of a job have made.

    ``others`` are these generations, without outputs that were deleted. ``current`` has the
    generation whose output counts, by the output's number, where it is not that of the job in the
    plan. ``rejected`` has the reasons of rejected outputs, by number and generation.
    """

    others: Sequence[tuple[PlannedJob, Job]] = ()
    current: Mapping[int, int] = field(default_factory=dict)
    rejected: Mapping[tuple[int, int], str] = field(default_factory=dict)


GenerationsOf = Callable[[PlannedJob], Generations]


def _only_one(_planned: PlannedJob) -> Generations:
    return Generations()


def build_rows(
    jobs: Iterable[tuple[PlannedJob, Job]],
    stops: Mapping[str, ErrorInfo],
    generations: GenerationsOf = _only_one,
) -> Iterator[JobRow]:
    """Yield a row for each job, in manifest order."""
    for planned, job in jobs:
        yield build_row(planned, job, stops, generations(planned))


def build_row(
    planned: PlannedJob,
    job: Job,
    stops: Mapping[str, ErrorInfo],
    generations: Generations = Generations(),
) -> JobRow:
    """Return the row of one job; ``stops`` are those of the newest run."""
    outputs, takes = _outputs(planned, job, generations)
    outcome, error = outcome_of(job, workflow_class(planned.workflow_id), stops)
    job_id, key = None, job.key
    if job.attempts:
        job_id, key = job.attempts[-1].job_id, job.attempts[-1].key
    source, reason = None, None
    if planned.source is not None:
        source = SourceRow.model_validate(planned.source)
    if error is not None:
        reason = ErrorRow.model_validate(error)
    return JobRow(
        name=planned.name,
        status=outcome.value,
        workflow_id=planned.workflow_id,
        prompt=planned.prompt,
        params=dict(planned.params),
        images={param: image.spec.sha256 for param, image in planned.images.items()},
        image_files={param: str(image.path) for param, image in planned.images.items()},
        axes=dict(planned.axes),
        row=dict(planned.row),
        repeat=planned.repeat,
        source=source,
        job_id=job_id,
        idempotency_key=key,
        attempts=[AttemptRow.model_validate(attempt) for attempt in job.attempts],
        credits=credits_committed(job.attempts),
        outputs=outputs,
        takes=takes,
        generation=planned.generation,
        error=reason,
    )


def _outputs(
    planned: PlannedJob, job: Job, generations: Generations
) -> tuple[list[OutputRow], list[OutputRow]]:
    """Return the outputs that count, and the others, each in the order of their numbers."""
    found = [
        (index, one.generation, saved)
        for one, state in [*generations.others, (planned, job)]
        for index, saved in state.outputs.items()
    ]
    outputs, takes = list[OutputRow](), list[OutputRow]()
    for index, generation, saved in sorted(found, key=itemgetter(0, 1)):
        row = OutputRow.model_validate(saved)
        reason = generations.rejected.get((index, generation))
        if generation or reason is not None:
            row = row.model_copy(update={"generation": generation, "rejected": reason})
        if generation == generations.current.get(index, planned.generation):
            outputs.append(row)
        else:
            takes.append(row)
    return outputs, takes


def _credits(ledger: Ledger, budget: Credits | None) -> CreditsRow:
    # What was found again after a loss may have been refunded before, and was bought within the
    # budget.
    found = sum((attempt.held for attempt in ledger.failed_attempts() if attempt.found), ZERO)
    over = ZERO
    if budget is not None:
        over = max(ZERO, ledger.committed - found - budget)
    return CreditsRow(
        budget=budget,
        spent=ledger.spent,
        held=ledger.held,
        held_for_refunds=ledger.held_for_refunds,
        forgotten_refunds=ledger.forgotten_refunds,
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


def count_jobs(jobs: Iterable[tuple[PlannedJob, Job]], stops: Mapping[str, ErrorInfo]) -> CountsRow:
    """Count jobs by outcome; ``stops`` are those of the newest run."""
    tally = Tally()
    for planned, job in jobs:
        outcome, _ = outcome_of(job, workflow_class(planned.workflow_id), stops)
        tally.add(outcome, reused=outcome is Outcome.SUCCEEDED and job.current.reused)
    return CountsRow.of(tally)


def _timestamp(seconds: float) -> str:
    return _rfc3339(datetime.fromtimestamp(seconds, UTC), "milliseconds")


def _rfc3339(moment: datetime, precision: str = "seconds") -> str:
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")
