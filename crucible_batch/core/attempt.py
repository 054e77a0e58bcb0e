"""One attempt at a job: an idempotency key, its status, and the price that the gateway named."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, replace

from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.events import Consumed, Refunded, RefundForgotten
from crucible_batch.core.gateway_types import ErrorInfo


class AttemptStatus(enum.StrEnum):
    HELD = "held"
    DECLINED = "declined"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    ACCEPTED = "accepted"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    VANISHED = "vanished"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One idempotency key and its status.

    ``credits`` is the highest price that the gateway has named for it, 0 until it has named one.
    ``answered`` and ``recorded`` are the prices in the answer to the submit and in the job's
    record, if they differ. ``refunded`` and ``consumed`` are what the gateway's ledger has shown of
    an attempt that failed, in the entries ``refunds_seen`` and ``charges_seen``. ``forgotten`` is
    what a person has released of it.
    """

    number: int
    key: str
    held_at: float
    status: AttemptStatus = AttemptStatus.HELD
    job_id: str | None = None
    credits: Credits = ZERO
    reused: bool = False
    error: ErrorInfo | None = None
    accepted_at: float | None = None
    ended_at: float | None = None
    prepared_at: float | None = None
    running_at: float | None = None
    answered: Credits | None = None
    recorded: Credits | None = None
    refunded: Credits = ZERO
    consumed: Credits = ZERO
    forgotten: Credits = ZERO
    refunds_seen: frozenset[str] = frozenset()
    charges_seen: frozenset[str] = frozenset()


def repriced(attempt: Attempt, recorded: Credits, *, has_succeeded: bool) -> Attempt:
    """Return the attempt with the price in its job's record, if that is higher.

    Raises ``ValueError`` if ``has_succeeded`` contradicts the attempt's status: the ledger would
    count the price twice, or not at all.
    """
    if has_succeeded is not (attempt.status is AttemptStatus.SUCCEEDED):
        spent = "has" if has_succeeded else "has not"
        raise ValueError(f"a price that {spent} been spent can't be that of the job")
    answered = attempt.credits if attempt.answered is None else attempt.answered
    return replace(
        attempt, credits=max(attempt.credits, recorded), answered=answered, recorded=recorded
    )


def record_differs(attempt: Attempt, record: Credits, *, is_final: bool) -> bool:
    """Whether a job's record names a price that isn't in the ledger yet.

    A lower price counts only if it ``is_final``, as for a job that has succeeded: before that the
    gateway may fill it in late, and a failed job costs nothing.
    """
    return record > attempt.credits or (
        is_final and record < attempt.credits and attempt.recorded is None
    )


def after_refund(attempt: Attempt, event: Refunded | Consumed | RefundForgotten) -> Attempt:
    """Return the attempt after an event about the refund of one of its job's attempts."""
    if event.attempt != attempt.number:
        return attempt
    match event:
        case Refunded(credits=amount, entry_id=entry_id) if entry_id not in attempt.refunds_seen:
            refunded = max(ZERO, min(attempt.credits, attempt.refunded + amount))
            forgotten = min(attempt.forgotten, attempt.credits - refunded)
            seen = attempt.refunds_seen | {entry_id}
            return replace(attempt, refunded=refunded, forgotten=forgotten, refunds_seen=seen)
        case Consumed(credits=amount, entry_id=entry_id) if entry_id not in attempt.charges_seen:
            consumed = min(attempt.credits, attempt.consumed + amount)
            return replace(
                attempt, consumed=consumed, charges_seen=attempt.charges_seen | {entry_id}
            )
        case RefundForgotten(credits=amount):
            return replace(attempt, forgotten=attempt.forgotten + amount)
        case _:
            return attempt


_PAID = {AttemptStatus.ACCEPTED, AttemptStatus.SUCCEEDED, AttemptStatus.VANISHED}


def credits_paid(attempts: Iterable[Attempt]) -> Credits:
    """Return the credits that the attempts at a job have cost, one in flight included, net of
    refunds.

    A failed attempt has cost what the gateway's ledger shows as charged and not refunded.
    """
    return sum(map(_paid, attempts), ZERO)


def credits_committed(attempts: Iterable[Attempt]) -> Credits:
    """Return what the attempts at a job have cost, and what is held for the refunds of those that
    failed."""
    return sum((max(_paid(attempt), _held_for_refund(attempt)) for attempt in attempts), ZERO)


def _paid(attempt: Attempt) -> Credits:
    if attempt.status is AttemptStatus.FAILED:
        return min(attempt.consumed, attempt.credits - attempt.refunded)
    if attempt.status in _PAID:
        return attempt.credits
    return ZERO


def _held_for_refund(attempt: Attempt) -> Credits:
    if attempt.status is not AttemptStatus.FAILED:
        return ZERO
    return attempt.credits - attempt.refunded - attempt.forgotten
