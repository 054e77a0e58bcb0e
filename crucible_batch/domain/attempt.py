"""One attempt at a job: an idempotency key, what became of it, and what the gateway named as its price."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from crucible_batch.domain.credits import ZERO, Credits
from crucible_batch.domain.gateway_types import ErrorInfo


class AttemptStatus(enum.StrEnum):
    """What became of one attempt."""

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
    """One idempotency key, and what became of it.

    ``credits`` is the gateway's own figure, the highest that it has given; 0 until it has given one. ``answered`` and
    ``recorded`` are those of the answer to the submit and of the job's record, where they differ.
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


def repriced(attempt: Attempt, recorded: Credits, *, has_succeeded: bool) -> Attempt:
    """Return the attempt with the price that its job's record names; the higher of the two counts.

    Raises ``ValueError`` where the price is said to be that of an attempt that ``has_succeeded``, or hasn't, wrongly:
    the books would count it twice, or not at all.
    """
    if has_succeeded is not (attempt.status is AttemptStatus.SUCCEEDED):
        raise ValueError(f"a price that {'has' if has_succeeded else 'has not'} been spent can't be that of the job")
    answered = attempt.credits if attempt.answered is None else attempt.answered
    return replace(attempt, credits=max(attempt.credits, recorded), answered=answered, recorded=recorded)


def record_differs(attempt: Attempt, record: Credits, *, is_final: bool) -> bool:
    """Whether a job's record names a price that isn't in the books yet.

    A lower one counts only where it ``is_final``: that of a job which has succeeded. Until then it may be filled in
    late, and what failed costs nothing.
    """
    return record > attempt.credits or (is_final and record < attempt.credits and attempt.recorded is None)
