"""Receipts: a record of jobs and outputs beside the outputs, so that a lost journal causes no
second purchase.

A line is written when the gateway accepts a job, and when an output is saved or moved. From these
lines a job's events are rebuilt without a request that could be a purchase: the gateway's record is
read by the job id, saved outputs that are intact count as saved, and a price in a receipt can only
raise the price in the record.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from msgspec import Struct
from msgspec.structs import replace

from crucible_batch.core.credits import ZERO, Credits, StoredCredits
from crucible_batch.core.events import (
    Accepted,
    Event,
    Failed,
    Held,
    JobEvent,
    Prepared,
    Relocated,
    Repriced,
    Saved,
    Succeeded,
)
from crucible_batch.core.gateway_types import ErrorInfo, JobSnapshot, JobStatus
from crucible_batch.core.identity import idempotency_key
from crucible_batch.core.job import Job
from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.prices import shape_of

_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_LATEST = 2.0**35
_MOST_ATTEMPTS = 64
_MOST_JOBS = 4


class Receipt(Struct, frozen=True, omit_defaults=True):
    """One attempt that the gateway accepted and, unless ``saved`` is None, one of its ``outputs``
    on disk."""

    identity: str
    attempt: int
    key: str
    job_id: str
    credits: StoredCredits
    at: float
    outputs: int | None = None
    saved: Saved | None = None


def receipt_for(job: Job, event: JobEvent) -> Receipt | None:
    """Return the receipt to write after ``event``, given the ``job`` after it; None for most
    events."""
    if not isinstance(event, Accepted | Saved | Relocated):
        return None
    attempt = job.current
    return Receipt(
        identity=job.identity,
        attempt=attempt.number,
        key=attempt.key,
        job_id=attempt.job_id or "",
        credits=attempt.credits,
        at=event.at,
        outputs=job.expected,
        saved=None if isinstance(event, Accepted) else job.outputs.get(event.index),
    )


def receipts_of(job: Job, paths: Mapping[int, str]) -> Iterator[Receipt]:
    """Yield the receipts of a job by its present state: one for each accepted attempt, and for each
    output.

    ``paths`` has the paths of the outputs by index; those without one are left out.
    """
    for attempt in job.attempts:
        if attempt.job_id is None:
            continue
        accepted = Receipt(
            identity=job.identity,
            attempt=attempt.number,
            key=attempt.key,
            job_id=attempt.job_id,
            credits=attempt.credits,
            at=attempt.held_at if attempt.accepted_at is None else attempt.accepted_at,
        )
        yield accepted
        if attempt is not job.attempts[-1]:
            continue
        for index, saved in sorted(job.outputs.items()):
            if index in paths:
                output = replace(saved, path=paths[index])
                yield replace(accepted, at=saved.at, outputs=job.expected, saved=output)


@dataclass(frozen=True, slots=True)
class AttemptClaim:
    """The receipts of one attempt: job ids in the order of the lines, and the highest price."""

    number: int
    key: str
    at: float
    credits: Credits
    job_ids: tuple[str, ...]
    receipts: tuple[Receipt, ...]


@dataclass(frozen=True, slots=True)
class CheckedClaim:
    """A claim with the gateway's record of its job; None if the gateway doesn't know the job."""

    claim: AttemptClaim
    job_id: str
    record: JobSnapshot | None

    @property
    def has_failed(self) -> bool:
        return self.record is not None and self.record.status is JobStatus.FAILED


def attempt_claims(receipts: Iterable[Receipt]) -> list[AttemptClaim]:
    """Return one job's receipts by attempt, the first attempt first, without those that we can't
    have written.

    Lines are untrusted: a further line can raise a price but not lower it, and the number of
    attempts, and of jobs of each, is limited.
    """
    attempts: dict[int, list[Receipt]] = {}
    for receipt in receipts:
        if _is_possible(receipt):
            attempts.setdefault(receipt.attempt, []).append(receipt)
    return [
        AttemptClaim(
            number=number,
            key=lines[0].key,
            at=lines[0].at,
            credits=max(line.credits for line in lines),
            job_ids=tuple(dict.fromkeys(line.job_id for line in lines))[:_MOST_JOBS],
            receipts=tuple(lines),
        )
        for number, lines in sorted(attempts.items())[:_MOST_ATTEMPTS]
    ]


def _is_possible(receipt: Receipt) -> bool:
    times = [receipt.at]
    if receipt.saved is not None:
        times.append(receipt.saved.at)
    return (
        receipt.attempt >= 1
        and receipt.key == idempotency_key(receipt.identity, receipt.attempt)
        and _JOB_ID.fullmatch(receipt.job_id) is not None
        and all(0 <= at < _LATEST for at in times)
    )


def rebuild_events(
    planned: PlannedJob,
    claims: Sequence[CheckedClaim],
    intact: Mapping[int, Saved],
    *,
    is_held: bool = False,
) -> list[JobEvent]:
    """Rebuild a job's events from its attempts, the first one first: all but the last have failed,
    since another follows them.

    ``is_held``: the journal has the hold of the first attempt already, whose submit is in doubt.

    ``intact`` are the saved outputs of the last attempt that are still on disk byte for byte. If
    these are all of its outputs, the job has succeeded; otherwise it is in flight, and is polled
    again.
    """
    events: list[JobEvent] = []
    for each in claims:
        if each is not claims[0] or not is_held:
            events += _held(planned, each.claim)
        events += _accepted(each)
        if each is not claims[-1] or each.has_failed:
            events.append(failure_of(each.record, each.claim.at))
    last = claims[-1]
    # The list of outputs may have grown after the first receipt.
    expected = max(
        (receipt.outputs for receipt in last.claim.receipts if receipt.outputs), default=None
    )
    may_be_done = last.record is None or last.record.status is JobStatus.SUCCEEDED
    if may_be_done and expected is not None and set(intact) == set(range(expected)):
        events.append(Succeeded(at=max(saved.at for saved in intact.values()), outputs=expected))
        events.extend(intact[index] for index in sorted(intact))
    return events


def may_have_failed(record: JobSnapshot | None, later: Sequence[CheckedClaim]) -> bool:
    """Whether an attempt can have failed, by the gateway's record of it, and by those after it.

    An attempt is only made after one that has failed. A record may be older than that.
    """
    if record is None or record.status is JobStatus.FAILED:
        return True
    if record.status is JobStatus.SUCCEEDED:
        return False
    return any(each.record is not None for each in later)


def failure_of(record: JobSnapshot | None, at: float) -> Failed:
    """Return the event of a failed attempt, by the gateway's record if it has one."""
    error = None
    if record is not None:
        error = record.error
    return Failed(at=at, error=error or ErrorInfo("JOB_FAILED", "it failed"))


def _held(planned: PlannedJob, claim: AttemptClaim) -> Iterator[JobEvent]:
    shape = shape_of(planned)
    yield Held(
        at=claim.at,
        attempt=claim.number,
        key=claim.key,
        credits=ZERO,
        price_class=shape.price_class,
        shape=shape.digest,
        images=bool(planned.images),
    )
    if planned.images:
        yield Prepared(at=claim.at, credits=ZERO)


def _accepted(checked: CheckedClaim) -> list[JobEvent]:
    """Return the events of an acceptance at the highest price in a receipt, repriced if the
    record's is higher."""
    claim, at = checked.claim, checked.claim.at
    events: list[JobEvent] = [
        Accepted(at=at, job_id=checked.job_id, credits=claim.credits, reused=True)
    ]
    if checked.record is not None and checked.record.credits > claim.credits:
        events.append(Repriced(at=at, credits=checked.record.credits))
    return events


def with_minimum_price(
    events: Sequence[Event], floor: Credits, unknown: Collection[str]
) -> list[Event]:
    """Raise the price of the attempts that the gateway doesn't know to ``floor``: receipts are the
    only evidence of them.
    """

    def raised(event: Event) -> Event:
        if isinstance(event, Accepted) and event.job_id in unknown:
            return replace(event, credits=max(event.credits, floor))
        return event

    return [raised(event) for event in events]
