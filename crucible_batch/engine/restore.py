"""Restores a lost or outdated journal from receipts: events are rebuilt for each job that the
gateway confirms.
"""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Protocol

from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.events import Event, Held, HoldReleased, JobEvent, Saved
from crucible_batch.core.gateway_types import ErrorInfo, JobSnapshot, JobStatus
from crucible_batch.core.job import Job, Phase
from crucible_batch.core.job_record import matches_record
from crucible_batch.core.output_path import is_planned_path
from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.ports import Gateway
from crucible_batch.core.prices import Shape, shape_of
from crucible_batch.core.receipts import (
    AttemptClaim,
    CheckedClaim,
    Receipt,
    attempt_claims,
    failure_of,
    rebuild_events,
    with_minimum_price,
)
from crucible_batch.core.retry_rule import RetryRule
from crucible_batch.engine.acknowledged import read_acknowledged
from crucible_batch.errors import GatewayError, OtherAccountError
from crucible_batch.outputs import ObjectStoreError, OutputStore, Receipts, ReceiptsByJob
from crucible_batch.temporary_database import room_for, temporary_database

_JOBS_AT_ONCE = 1_000
"""How many jobs are rebuilt at the same time: an unknown one takes 14 s (``acknowledged.py``)."""
_AT_ONCE = 32
"""How many of them ask the gateway, or read files."""
_IN_DOUBT = frozenset({Phase.SUBMITTING, Phase.UNKNOWN})
_MAY_LACK_ATTEMPTS = frozenset(
    {Phase.READY, Phase.FAILED, Phase.PREPARING, Phase.IN_FLIGHT, *_IN_DOUBT}
)


class RestorableJournal(Protocol):
    """A journal that may have fewer events than the receipts imply."""

    def receipted(self) -> int:
        """Return the number of receipts that its events have produced."""

    def jobs(self, rule: RetryRule) -> Iterator[tuple[PlannedJob, Job]]: ...

    def restore(self, rebuilt: Iterable[tuple[str, Sequence[Event]]]) -> None:
        """Write all events or none: a partly restored journal would look complete."""


@dataclass(frozen=True, slots=True)
class RestoredJobs:
    """``jobs``: how many were restored. ``is_ours``: the account is known to be the directory's."""

    jobs: int
    is_ours: bool


async def restore(
    journal: RestorableJournal,
    receipts: Receipts,
    store: OutputStore,
    gateway: Gateway,
    *,
    ceiling: Credits | None = None,
    is_ours: bool = True,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> RestoredJobs:
    """Write the missing events of the plan's jobs into the journal.

    Jobs of which the journal may lack attempts are those without any, and those that have failed or
    may have failed since: another machine may have tried them again. For these the gateway is asked
    by job id, which is free, before anything is written, since a receipt is only a claim. Events
    are kept in a temporary database until the end. An attempt that the gateway doesn't know counts
    at the highest price known for its shape, else at ``ceiling``. If there is neither, its job is
    left out: its key is sent again, which is free if the gateway knows it.

    ``is_ours``: the account is known to be this directory's. Raises ``OtherAccountError`` if it is
    not and the gateway knows no job of them, ``GatewayError``, ``ObjectStoreError``,
    ``JournalError``, and ``UserError`` if the temporary directory is full.
    """
    if await asyncio.to_thread(receipts.count) <= journal.receipted():
        return RestoredJobs(0, is_ours)
    with (
        closing(await asyncio.to_thread(ReceiptsByJob, receipts.read())) as by_job,
        closing(_RebuiltJobs()) as rebuilt,
        closing(_RebuiltJobs()) as unknown,
    ):
        rebuilder = _Rebuilder(gateway, by_job, store, pause)
        lost = (
            found for found in journal.jobs(RetryRule()) if found[1].phase in _MAY_LACK_ATTEMPTS
        )
        for some in iter(lambda: list(islice(lost, _JOBS_AT_ONCE)), []):
            for job in await rebuilder.rebuild(some):
                events = rebuilt
                if job.unknown:
                    events = unknown
                events.add(job)
        is_ours = is_ours or bool(rebuilder.highest)
        if unknown.count and not is_ours:
            raise OtherAccountError(store.directory, may_be_forgotten=True)
        for job in unknown:
            floor = rebuilder.least_price(job.events, ceiling)
            if floor is not None:
                events_at_least = with_minimum_price(job.events, floor, job.unknown)
                rebuilt.add(replace(job, events=events_at_least))
        journal.restore((job.identity, job.events) for job in rebuilt)
    return RestoredJobs(rebuilt.count, is_ours)


@dataclass(frozen=True, slots=True)
class _RebuiltJob:
    """The events of a job. ``unknown``: the ids of its attempts that the gateway doesn't know."""

    identity: str
    events: Sequence[Event]
    unknown: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Rebuilder:
    """Asks the gateway for the jobs that receipts name.

    ``highest``: the highest price seen, by shape.
    """

    gateway: Gateway
    by_job: ReceiptsByJob
    store: OutputStore
    pause: Callable[[float], Awaitable[None]]
    highest: dict[Shape, Credits] = field(default_factory=dict)
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def rebuild(self, some: Sequence[tuple[PlannedJob, Job]]) -> list[_RebuiltJob]:
        """Return the rebuilt events of the jobs that have receipts of attempts which the journal
        does not have.

        Raises ``GatewayError`` and ``ObjectStoreError``.
        """
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._rebuild_job(planned, job)) for planned, job in some]
        found = [task.result() for task in tasks]
        for each in found:
            if isinstance(each, GatewayError | ObjectStoreError):
                raise each
        return [each for each in found if isinstance(each, _RebuiltJob)]

    def least_price(self, events: Sequence[Event], ceiling: Credits | None) -> Credits | None:
        """The least price of a job that the gateway doesn't know; None if its receipt is the only
        evidence."""
        shapes = {
            Shape(event.price_class, event.shape) for event in events if isinstance(event, Held)
        }
        return max((self.highest[shape] for shape in shapes & self.highest.keys()), default=ceiling)

    async def _rebuild_job(
        self, planned: PlannedJob, job: Job
    ) -> _RebuiltJob | GatewayError | ObjectStoreError | None:
        known = max(
            (attempt.number for attempt in job.attempts if attempt.job_id is not None), default=0
        )
        claims = [
            claim
            for claim in attempt_claims(self.by_job.of(planned.identity))
            if claim.number > known
        ]
        try:
            checked = await self._checked(planned, claims)
            if not checked:
                return None
            end = await self._end_of_attempt(job, checked)
            if end is None:
                return None
            outputs = _intact_outputs(planned, checked[-1].claim.receipts, self.store)
            async with self._turns:
                intact = {saved.index: saved async for saved in outputs}
        except (GatewayError, ObjectStoreError) as error:
            return error  # not raised, since a group of tasks would wrap it
        rebuilt = rebuild_events(planned, checked, intact, is_held=job.phase in _IN_DOUBT)
        unknown = frozenset(each.job_id for each in checked if each.record is None)
        return _RebuiltJob(planned.identity, [*end, *rebuilt], unknown)

    async def _end_of_attempt(
        self, job: Job, checked: Sequence[CheckedClaim]
    ) -> Sequence[JobEvent] | None:
        """Return the events that end the attempt which the journal has open, as far as the checked
        ones don't.

        None if these can't follow it: then its outcome is found by the run itself.
        """
        first = checked[0]
        match job.phase:
            case Phase.PREPARING:
                error = ErrorInfo(
                    "INTERRUPTED", "another machine continued while its images were uploaded"
                )
                return [HoldReleased(at=first.claim.at, error=error)]
            case Phase.IN_FLIGHT:
                record = await self._record(job.current.job_id or "")
                if record is not None and record.status is not JobStatus.FAILED:
                    return None
                return [failure_of(record, first.claim.at)]
            case phase if phase in _IN_DOUBT:
                is_unproven = first.record is None and len(checked) == 1
                if first.claim.number != job.attempt or is_unproven:
                    return None
        return []

    async def _checked(
        self, planned: PlannedJob, claims: Sequence[AttemptClaim]
    ) -> list[CheckedClaim]:
        """Return the attempts up to the first that the gateway knows and that has not failed.

        One that it doesn't know has failed as well, if another follows it.
        """
        checked: list[CheckedClaim] = []
        for claim in claims:
            found = await self._found(planned, claim)
            if found is None:
                continue
            checked.append(found)
            if found.record is not None and not found.has_failed:
                break
        return checked

    async def _found(self, planned: PlannedJob, claim: AttemptClaim) -> CheckedClaim | None:
        """Return the gateway's record of the job that a claim names; None if it names other jobs
        only."""
        unknown: CheckedClaim | None = None
        for job_id in claim.job_ids:
            if self.by_job.owner(job_id) != planned.identity:
                continue
            record = await self._record(job_id)
            if record is None:
                unknown = unknown or CheckedClaim(claim, job_id, None)
            elif matches_record(planned, record):
                shape = shape_of(planned)
                self.highest[shape] = max(record.credits, self.highest.get(shape, ZERO))
                return CheckedClaim(claim, job_id, record)
        return unknown

    async def _record(self, job_id: str) -> JobSnapshot | None:
        async def read() -> JobSnapshot:
            async with self._turns:
                return await self.gateway.job(job_id)

        try:
            return await read_acknowledged(read, self.pause)
        except GatewayError as error:
            if error.is_not_found:
                return None
            raise


class _RebuiltJobs:
    """Keeps rebuilt jobs in a temporary database.

    Raises ``UserError`` if there is no room for it.
    """

    def __init__(self) -> None:
        self._connection = temporary_database("CREATE TABLE rebuilt (job BLOB NOT NULL)")
        self.close = self._connection.close
        self.count = 0

    def add(self, job: _RebuiltJob) -> None:
        with room_for("what is to be restored"):
            self._connection.execute("INSERT INTO rebuilt VALUES (?)", (pickle.dumps(job),))
        self.count += 1

    def __iter__(self) -> Iterator[_RebuiltJob]:
        for (job,) in self._connection.execute("SELECT job FROM rebuilt ORDER BY rowid"):
            # Written above, in a file that no other process can open.
            yield pickle.loads(job)  # noqa: S301


async def _intact_outputs(
    planned: PlannedJob, receipts: Sequence[Receipt], store: OutputStore
) -> AsyncIterator[Saved]:
    for receipt in receipts:
        saved = receipt.saved
        if saved is None or not 0 <= saved.index < (receipt.outputs or 0):
            continue
        # A receipt may have been edited: it can only name the file that the plan itself would
        # write, there or aside.
        is_ours = is_planned_path(planned.output, saved.index, saved.sha256, saved.path)
        if is_ours and await store.is_true(saved):
            yield saved
