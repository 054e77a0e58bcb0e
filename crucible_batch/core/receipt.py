"""Receipts: what lies beside the outputs and says whose they are, so that losing the journal alone buys nothing.

A line is written when the gateway accepts a job and one when an output is saved, or moved. From them the story of a
job can be told again without a single request that could be a purchase: what is saved and still true is done, what was
accepted is asked for by its job id.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from crucible_batch.core.credits import ZERO, StoredCredits
from crucible_batch.core.events import Accepted, Held, JobEvent, Moved, Prepared, Saved, Succeeded
from crucible_batch.core.identity import idempotency_key
from crucible_batch.core.job import Job
from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.prices import shape_of


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


def receipt_of(job: Job, event: JobEvent) -> Receipt | None:
    """Return what is to be written down after ``event`` has made ``job`` what it is; None for most events."""
    if not isinstance(event, Accepted | Saved | Moved):
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


def newest_attempts(receipts: Iterable[Receipt]) -> dict[str, list[Receipt]]:
    """Group receipts by job, the newest attempt's only; one whose key is not its attempt's is left out."""
    newest: dict[str, list[Receipt]] = {}
    for receipt in receipts:
        if receipt.attempt < 1 or receipt.key != idempotency_key(receipt.identity, receipt.attempt):
            continue
        known = newest.get(receipt.identity)
        if known is None or receipt.attempt > known[0].attempt:
            newest[receipt.identity] = [receipt]
        elif receipt.attempt == known[0].attempt:
            known.append(receipt)
    return newest


def story(planned: PlannedJob, receipts: Sequence[Receipt], true: Mapping[int, Saved]) -> list[JobEvent]:
    """Tell a job's story again from the receipts of its newest attempt, oldest first.

    ``true`` are the saved outputs that still stand on disk byte for byte. Where they are all that the job made, it is
    done; otherwise it was accepted, and is asked for again.
    """
    first, shape = receipts[0], shape_of(planned)
    past: list[JobEvent] = [
        Held(
            at=first.at,
            attempt=first.attempt,
            key=first.key,
            credits=ZERO,
            price_class=shape.price_class,
            shape=shape.digest,
            images=bool(planned.images),
        )
    ]
    if planned.images:
        past.append(Prepared(at=first.at, credits=ZERO))
    past.append(Accepted(at=first.at, job_id=first.job_id, credits=first.credits, reused=True))
    # A list may have grown since the first of them.
    expected = max((receipt.outputs for receipt in receipts if receipt.outputs), default=None)
    if expected is not None and set(true) == set(range(expected)):
        past.append(Succeeded(at=max(saved.at for saved in true.values()), outputs=expected))
        past.extend(true[index] for index in sorted(true))
    return past
