"""How far a run that is going on has got, read from its journal: what its own display would show. One pass, no list."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from crucible_batch.core.ending import Outcome
from crucible_batch.core.job import Job, Phase
from crucible_batch.core.outcome import outcome_of
from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.prices import workflow_class

OLDEST = 8
NEWEST_ENDS = 200
_AT_WORK = {Phase.PREPARING, Phase.SUBMITTING, Phase.IN_FLIGHT, Phase.FETCHING}


@dataclass(frozen=True, slots=True)
class AtWork:
    """A job at work. ``since`` is when its credits were held, in seconds since the epoch."""

    name: str
    phase: Phase
    since: float


@dataclass(frozen=True, slots=True)
class Progress:
    """A run at one moment.

    ``oldest`` are the jobs that have been at work for longest, ``ended_at`` the moments at which this run's last jobs
    ended, oldest first; ``errors`` counts the codes of jobs that failed for good.
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
    """Sum up the plan's jobs. What earlier runs did counts as done, and for neither pace nor bytes."""
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
            # The newest of the oldest is at the heap's top, to be thrown out; the position keeps equal ages apart.
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
