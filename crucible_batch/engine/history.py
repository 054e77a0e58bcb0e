"""The journal as the engine sees it, and the survey of what earlier runs left unfinished."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from crucible_batch.core.asset import Asset
from crucible_batch.core.events import Accepted, Event
from crucible_batch.core.job import Job, Phase
from crucible_batch.core.outcome import Outcome, outcome_of
from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.prices import workflow_class
from crucible_batch.core.resuming import resume_job
from crucible_batch.core.retry_rule import RetryRule
from crucible_batch.engine.journaled_ledger import EventLog, JournaledLedger
from crucible_batch.engine.ledger_reader import LedgerStore


class History(EventLog, LedgerStore, Protocol):
    """The journalled events and plan that a run works on, and its readings of the ledger."""

    async def append_planned(self, planned: PlannedJob) -> None:
        """Add a job at its position of the plan, and return once it is durable.

        A job that has this position leaves the plan. Raises ``JournalError``.
        """

    async def drain(self) -> None:
        """Return once every event given to ``append`` is durable; raise ``JournalError`` if one
        can't be."""

    def events(self) -> Iterator[tuple[str, Event]]:
        """Yield every event with its subject, in the order in which they happened."""

    def jobs(self, rule: RetryRule) -> Iterator[tuple[PlannedJob, Job]]:
        """Yield the plan's jobs in manifest order, each in its current state."""

    def started_jobs(self, rule: RetryRule) -> Iterator[tuple[PlannedJob, Job]]:
        """As ``jobs``, but only those with at least one event."""

    def unstarted_jobs(self) -> Iterator[tuple[str, bool]]:
        """The plan's jobs without any event: the name of each, and whether it has input images."""

    def run_starts(self) -> Sequence[float]:
        """Return when each run in this directory began, in their order."""

    def sent_elsewhere(self) -> frozenset[str]:
        """Return the nonces of uploads that another process may still send."""

    def retired(self) -> Iterator[tuple[PlannedJob, Job]]:
        """Yield jobs that have events but are no longer in the plan, with a retry rule that allows
        no other attempt."""

    def saved_at(self, path: str) -> list[str]:
        """Return the identities of the jobs that ever saved an output at this path, or moved one to
        it."""

    def accepted_as(self, job_id: str) -> list[str]:
        """Return the identities of the jobs ever accepted as this gateway job.

        ``job_id`` is in lower case.
        """

    def known(self, identity: str, rule: RetryRule = ...) -> tuple[PlannedJob, Job, bool] | None:
        """Return one job in its current state, and whether it is retired; None if it was never
        planned.

        By default, with a retry rule that allows no other attempt.
        """

    def asset(self, sha256: str) -> Asset:
        """Return an asset in its current state."""


class JobIdOwners:
    """Which of our jobs each gateway job belongs to.

    Only acceptances that are not durable yet are kept in memory.
    """

    def __init__(self, history: History, accounting: JournaledLedger) -> None:
        self._history = history
        self._fresh: dict[str, str] = {}
        accounting.on_entry(self._on_event)

    def claim(self, job: Job, job_id: str) -> bool:
        """Record a gateway job for the newest attempt; return False if it belongs to another
        attempt or job."""
        known = job_id.lower()
        earlier = (attempt.job_id for attempt in job.attempts if attempt.key != job.current.key)
        owners = {*self._history.accepted_as(known), self._fresh.get(known, job.identity)}
        if owners != {job.identity} or any(
            each is not None and each.lower() == known for each in earlier
        ):
            return False
        self._fresh[known] = job.identity
        return True

    def _on_event(self, _subject: str, event: Event) -> None:
        if isinstance(event, Accepted):
            self._fresh.pop(event.job_id.lower(), None)


_NOT_IN_FLIGHT = frozenset({Phase.READY, Phase.UNAVAILABLE, Phase.UNREADABLE})


@dataclass(frozen=True, slots=True)
class Survey:
    """The jobs that earlier runs left. ``in_flight`` are resumed first; ``forgotten`` are submits
    in doubt whose keys are too old to be sent again.

    Jobs with only outputs missing are in neither list: there may be very many, nothing is held for
    them, and they are handled with the rest of the plan. ``retired``: identities of jobs in flight
    that are no longer in the plan. ``counts``: the plan's jobs by outcome at the start of this run.
    ``has_images``: whether any planned job has one. ``planned``: the number of jobs in the plan.
    """

    in_flight: list[tuple[PlannedJob, Job]]
    forgotten: list[tuple[PlannedJob, Job]]
    retired: frozenset[str]
    counts: Counter[Outcome]
    has_images: bool
    planned: int

    @property
    def most_workers(self) -> int:
        """How many workers can have something to do, without those for jobs that are added to the
        run.

        One more than there are jobs: it reads the queue to its end, which closes its read of the
        journal immediately.
        """
        return self.planned + len(self.retired) + 1

    @property
    def taken(self) -> frozenset[str]:
        """The jobs that are not part of the queue of new ones."""
        return frozenset(job.identity for _, job in (*self.in_flight, *self.forgotten))

    @property
    def is_finished(self) -> bool:
        """Whether every job has succeeded already."""
        return (
            not self.in_flight
            and not self.forgotten
            and self.counts.total() == self.counts[Outcome.SUCCEEDED]
        )


def survey(
    history: History,
    rule: RetryRule,
    *,
    missed: Callable[[Job], Sequence[int]],
    is_forgotten: Callable[[Job], bool],
    includes: Callable[[str], bool],
) -> Survey:
    """Sort the jobs by what this run has to do for them.

    ``missed`` lists the saved outputs of a job that are no longer on disk; ``includes`` returns,
    for a job's name, whether the run includes it.
    """
    in_flight: list[tuple[PlannedJob, Job]] = []
    forgotten: list[tuple[PlannedJob, Job]] = []
    counts: Counter[Outcome] = Counter()
    has_images = False
    number = 0
    for name, needs_images in history.unstarted_jobs():
        number += 1
        has_images = has_images or needs_images
        counts[Outcome.PENDING] += includes(name)
    for planned, job in history.started_jobs(rule):
        number += 1
        has_images = has_images or bool(planned.images)
        if includes(planned.name):
            # Counted as resumed: a job whose outputs were unavailable is tried again, so it has not
            # failed yet.
            outcome, _ = outcome_of(resume_job(job), workflow_class(planned.workflow_id), {})
            if missed(job):
                outcome = Outcome.PENDING
            counts[outcome] += 1
        if is_forgotten(job):
            forgotten.append((planned, job))
        elif job.phase not in _NOT_IN_FLIGHT and not job.is_settled:
            in_flight.append((planned, resume_job(job)))
    # A job that left the manifest is not bought again, but what is in flight is settled and its
    # outputs are saved.
    retired = [(planned, resume_job(job)) for planned, job in history.retired() if _is_open(job)]
    identities = frozenset(job.identity for _, job in retired)
    # Accepted jobs first: until it is resumed, a job at the gateway does not count towards the
    # limit, and a submit in doubt that is sent again may be one more.
    in_flight = sorted(in_flight + retired, key=lambda found: found[1].in_doubt)
    return Survey(in_flight, forgotten, identities, counts, has_images, number)


def _is_open(job: Job) -> bool:
    """Whether a retired job has a hold to release or outputs to save.

    An unanswered submit keeps its hold and is not sent again: that could buy a job that is no
    longer wanted.
    """
    return job.phase in {Phase.PREPARING, Phase.IN_FLIGHT, Phase.FETCHING}
