"""What the attempts at a job have cost: which of their prices count."""

from __future__ import annotations

from decimal import Decimal

from crucible_batch.core.attempt import (
    Attempt,
    AttemptStatus,
    credits_committed,
    credits_paid,
)
from crucible_batch.core.events import Consumed, Refunded, RefundForgotten
from crucible_batch.core.job import Job, evolve
from tests.harness.case_table import each_case
from tests.harness.replacing import replace

ATTEMPT = Attempt(1, "k", held_at=0.0, credits=Decimal(2))


@each_case(
    "status, paid",
    [
        (AttemptStatus.HELD, 0),
        (AttemptStatus.DECLINED, 0),
        (AttemptStatus.REFUSED, 0),
        (AttemptStatus.UNKNOWN, 0),
        (AttemptStatus.ACCEPTED, 2),
        (AttemptStatus.SUCCEEDED, 2),
        (AttemptStatus.FAILED, 0),
        (AttemptStatus.VANISHED, 2),
    ],
)
def test_what_the_gateway_has_accepted_costs_unless_it_was_refunded(
    status: AttemptStatus, paid: int
) -> None:
    assert credits_paid([replace(ATTEMPT, status=status)]) == paid


def test_each_status_has_its_line_and_all_attempts_at_a_job_count() -> None:
    attempts = [replace(ATTEMPT, status=status) for status in AttemptStatus]
    assert len(attempts) == 8
    assert credits_paid(attempts) == 6
    assert credits_committed(attempts) == 8
    assert credits_paid([]) == 0


def test_a_failed_attempt_costs_what_is_held_for_its_refund_or_was_charged() -> None:
    failed = replace(ATTEMPT, status=AttemptStatus.FAILED)
    assert credits_committed([replace(failed, refunded=Decimal("0.5"))]) == Decimal("1.5")
    assert credits_committed([replace(failed, forgotten=Decimal("0.5"))]) == Decimal("1.5")
    assert credits_committed([replace(failed, forgotten=Decimal(2), consumed=Decimal(1))]) == 1
    assert credits_paid([replace(failed, consumed=Decimal(2))]) == 2
    assert credits_paid([replace(failed, consumed=Decimal(2), refunded=Decimal("0.5"))]) == Decimal(
        "1.5"
    )
    assert credits_paid([replace(failed, refunded=Decimal(2))]) == 0


def test_an_event_about_a_refund_changes_its_own_attempt_once() -> None:
    refunded = Refunded(at=1.0, attempt=1, credits=Decimal("1.5"), entry_id="r")
    consumed = Consumed(at=1.0, attempt=1, credits=Decimal("1.5"), entry_id="c")
    once = ATTEMPT.after(refunded).after(consumed)
    assert (once.refunded, once.consumed) == (Decimal("1.5"), Decimal("1.5"))
    assert (once.refunds_seen, once.charges_seen) == ({"r"}, {"c"})
    assert once.after(refunded).after(consumed) == once
    more = once.after(replace(refunded, entry_id="s")).after(replace(consumed, entry_id="d"))
    assert (more.refunded, more.consumed) == (2, 2)
    job = Job("j", attempts=(ATTEMPT, replace(ATTEMPT, number=2)))
    assert evolve(job, refunded).attempts == (ATTEMPT.after(refunded), job.current)
    forgotten = RefundForgotten(at=1.0, attempt=1, credits=Decimal(2), by="mia")
    assert ATTEMPT.after(forgotten) == replace(ATTEMPT, forgotten=Decimal(2))
