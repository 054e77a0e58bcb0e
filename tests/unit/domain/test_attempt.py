"""What the attempts at a job have cost: which of their prices count."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from crucible_batch.domain.attempt import Attempt, AttemptStatus, credits_paid
from tests.case_table import each_case

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
def test_what_the_gateway_has_accepted_costs_unless_it_was_refunded(status: AttemptStatus, paid: int) -> None:
    assert credits_paid([replace(ATTEMPT, status=status)]) == paid


def test_each_status_has_its_line_and_all_attempts_at_a_job_count() -> None:
    attempts = [replace(ATTEMPT, status=status) for status in AttemptStatus]
    assert len(attempts) == 8
    assert credits_paid(attempts) == 6
    assert credits_paid([]) == 0
