"""One attempt at a job: an idempotency key, its status, and the price that the gateway named."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Self

from msgspec import Struct
from msgspec.structs import replace

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


RefundEvent = Refunded | Consumed | RefundForgotten


class Refundable(Struct, frozen=True, kw_only=True):
    """The price of an attempt and, if it has failed, what is known of its refund.

    ``credits`` is the highest price that the gateway has named for it, 0 until it has named one.
    ``refunded`` and ``consumed`` are what the gateway's ledger has shown, in the entries
    ``refunds_seen`` and ``charges_seen``. ``forgotten`` is what a person has released. At any time,
    the price is the sum of what is held, spent, refunded and forgotten (``core/refunds.py``).
    """

    credits: Credits = ZERO
    refunded: Credits = ZERO
    consumed: Credits = ZERO
    forgotten: Credits = ZERO
    refunds_seen: frozenset[str] = frozenset()
    charges_seen: frozenset[str] = frozenset()

    @property
    def spent(self) -> Credits:
        return min(self.consumed, self.credits - self.refunded)

    @property
    def held(self) -> Credits:
        return max(ZERO, self.credits - self.refunded - self.spent - self.forgotten)

    def after(self, event: RefundEvent) -> Self:
        """Return the attempt after an event about it; an entry that counts changes nothing."""
        seen = self
        match event:
            case RefundForgotten(credits=amount):
                seen = replace(self, forgotten=self.forgotten + amount)
            case Refunded(credits=amount, entry_id=entry_id) if entry_id not in self.refunds_seen:
                refunded = max(ZERO, min(self.credits, self.refunded + amount))
                seen = replace(self, refunded=refunded, refunds_seen=self.refunds_seen | {entry_id})
            case Consumed(credits=amount, entry_id=entry_id) if entry_id not in self.charges_seen:
                consumed = min(self.credits, self.consumed + amount)
                seen = replace(self, consumed=consumed, charges_seen=self.charges_seen | {entry_id})
            case _:
                return self
        most = seen.credits - seen.refunded - seen.spent
        return replace(seen, forgotten=min(seen.forgotten, most))


class Attempt(Refundable, frozen=True):
    """One idempotency key and its status.

    ``answered`` and ``recorded`` are the prices in the answer to the submit and in the job's
    record, if they differ.
    """

    number: int
    key: str
    held_at: float
    status: AttemptStatus = AttemptStatus.HELD
    job_id: str | None = None
    reused: bool = False
    error: ErrorInfo | None = None
    accepted_at: float | None = None
    ended_at: float | None = None
    prepared_at: float | None = None
    running_at: float | None = None
    answered: Credits | None = None
    recorded: Credits | None = None


def repriced(attempt: Attempt, recorded: Credits, *, has_succeeded: bool) -> Attempt:
    """Return the attempt with the price in its job's record, if that is higher.

    Raises ``ValueError`` if ``has_succeeded`` contradicts the attempt's status: the ledger would
    count the price twice, or not at all.
    """
    if has_succeeded is not (attempt.status is AttemptStatus.SUCCEEDED):
        spent = "has" if has_succeeded else "has not"
        raise ValueError(f"a price that {spent} been spent can't be that of the job")
    answered = attempt.answered
    if answered is None:
        answered = attempt.credits
    highest = max(attempt.credits, recorded)
    return replace(attempt, credits=highest, answered=answered, recorded=recorded)


def record_differs(attempt: Attempt, record: Credits, *, is_final: bool) -> bool:
    """Whether a job's record names a price that isn't in the ledger yet.

    A lower price counts only if it ``is_final``, as for a job that has succeeded: before that the
    gateway may fill it in late, and a failed job costs nothing.
    """
    return record > attempt.credits or (
        is_final and record < attempt.credits and attempt.recorded is None
    )


_PAID = {AttemptStatus.ACCEPTED, AttemptStatus.SUCCEEDED, AttemptStatus.VANISHED}


def credits_paid(attempts: Iterable[Attempt]) -> Credits:
    """Return what the attempts at a job have cost, net of refunds, one in flight included.

    A failed attempt has cost what the gateway's ledger shows as charged and not refunded.
    """
    return sum(map(_paid, attempts), ZERO)


def credits_committed(attempts: Iterable[Attempt]) -> Credits:
    """Return what the attempts at a job have cost, and what is held for refunds of failed ones."""
    return sum((_paid(each) + _held_for_refund(each) for each in attempts), ZERO)


def _paid(attempt: Attempt) -> Credits:
    if attempt.status is AttemptStatus.FAILED:
        return attempt.spent
    if attempt.status in _PAID:
        return attempt.credits
    return ZERO


def _held_for_refund(attempt: Attempt) -> Credits:
    if attempt.status is AttemptStatus.FAILED:
        return attempt.held
    return ZERO
