"""Receipts: what lies beside the outputs and says whose they are, so that losing the journal alone buys nothing.

A line is written when the gateway accepts a job and one when an output is saved, or moved. From them the story of a
job can be told again without a single request that could be a purchase: the gateway is asked for its record by the job
id, what is saved and still true is done, and of what a receipt says of a price nothing is believed that would lower it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from crucible_batch.domain.credits import ZERO, Credits, StoredCredits
from crucible_batch.domain.events import (
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
from crucible_batch.domain.gateway_types import ErrorInfo, JobSnapshot, JobStatus
from crucible_batch.domain.identity import idempotency_key
from crucible_batch.domain.job import Job
from crucible_batch.domain.plan import PlannedJob
from crucible_batch.domain.prices import shape_of

_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_LATEST = 2.0**35
_MOST_ATTEMPTS = 64
_MOST_JOBS = 4


@dataclass(frozen=True, slots=True)
class Receipt:
    """One attempt that the gateway accepted, and, where ``saved`` is there, one of its ``outputs`` on disk."""

    identity: str
    attempt: int
    key: str
    job_id: str
    credits: StoredCredits
    at: float
    outputs: int | None = None
    saved: Saved | None = None


def receipt_for(job: Job, event: JobEvent) -> Receipt | None:
    """Return what is to be written down after ``event`` has made ``job`` what it is; None for most events."""
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


@dataclass(frozen=True, slots=True)
class AttemptClaim:
    """What receipts claim of one attempt: the jobs that they name, the first named first, and the highest price."""

    number: int
    key: str
    at: float
    credits: Credits
    job_ids: tuple[str, ...]
    receipts: tuple[Receipt, ...]


@dataclass(frozen=True, slots=True)
class CheckedClaim:
    """A claim beside the gateway's record of the job that it names; None where the gateway knows no such job."""

    claim: AttemptClaim
    job_id: str
    record: JobSnapshot | None

    @property
    def has_failed(self) -> bool:
        return self.record is not None and self.record.status is JobStatus.FAILED


def attempt_claims(receipts: Iterable[Receipt]) -> list[AttemptClaim]:
    """Sort one job's receipts by attempt, the first attempt first. What we can't have written is left out.

    Anybody may have added lines: a further line raises a price and never lowers it, and there is an end to how many
    attempts, and jobs of each, are believed.
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
    times = [receipt.at] + ([] if receipt.saved is None else [receipt.saved.at])
    return (
        receipt.attempt >= 1
        and receipt.key == idempotency_key(receipt.identity, receipt.attempt)
        and _JOB_ID.fullmatch(receipt.job_id) is not None
        and all(0 <= at < _LATEST for at in times)
    )


def matches_record(planned: PlannedJob, record: JobSnapshot) -> bool:
    """Whether a record can be that of a job: not where it names another workflow."""
    return record.workflow_id in {"", planned.workflow_id}


def rebuild_events(planned: PlannedJob, told: Sequence[CheckedClaim], true: Mapping[int, Saved]) -> list[JobEvent]:
    """Tell a job's story again from its attempts, the first one first: all but the last have failed.

    ``true`` are the saved outputs of the last that still stand on disk byte for byte. Where they are all that the job
    made, it is done; otherwise it was accepted, and is asked for again.
    """
    past: list[JobEvent] = []
    for each in told:
        past += _accepted(planned, each)
        if each.record is not None and each.record.status is JobStatus.FAILED:
            past.append(Failed(at=each.claim.at, error=each.record.error or ErrorInfo("JOB_FAILED", "it failed")))
    last = told[-1]
    # A list may have grown since the first of them.
    expected = max((receipt.outputs for receipt in last.claim.receipts if receipt.outputs), default=None)
    may_be_done = last.record is None or last.record.status is JobStatus.SUCCEEDED
    if may_be_done and expected is not None and set(true) == set(range(expected)):
        past.append(Succeeded(at=max(saved.at for saved in true.values()), outputs=expected))
        past.extend(true[index] for index in sorted(true))
    return past


def _accepted(planned: PlannedJob, told: CheckedClaim) -> list[JobEvent]:
    """A job is accepted at the highest price that a receipt names; what its record names besides is a difference."""
    claim, at = told.claim, told.claim.at
    shape = shape_of(planned)
    past: list[JobEvent] = [
        Held(
            at=at,
            attempt=claim.number,
            key=claim.key,
            credits=ZERO,
            price_class=shape.price_class,
            shape=shape.digest,
            images=bool(planned.images),
        ),
        Accepted(at=at, job_id=told.job_id, credits=claim.credits, reused=True),
    ]
    if planned.images:
        past.insert(1, Prepared(at=at, credits=ZERO))
    if told.record is not None and told.record.credits > claim.credits:
        past.append(Repriced(at=at, credits=told.record.credits))
    return past


def with_minimum_price(past: Sequence[Event], floor: Credits) -> list[Event]:
    """The story of a job that the gateway doesn't know, at no less than ``floor``: only its receipt says its price."""
    return [
        replace(event, credits=max(event.credits, floor)) if isinstance(event, Accepted) else event for event in past
    ]
