"""A journal outlives the rules that it was written under."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.core.attempt import AttemptStatus
from crucible_batch.core.events import Failed, Held, JobEvent, Refused
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Job, Phase, evolve, replay
from crucible_batch.core.retry_rule import RetryRule
from tests.harness.histories import ERROR, lives
from tests.harness.job_events import accepted_event
from tests.harness.replacing import replace

RULES = st.builds(
    RetryRule,
    attempts=st.integers(1, 4),
    never=st.just(frozenset()) | st.just(frozenset({ERROR.code})),
)


@given(lives(), RULES)
def test_a_story_that_was_written_under_one_rule_can_be_read_under_any_other(
    life: tuple[Job, list[JobEvent]], rule: RetryRule
) -> None:
    job, events = life
    today = replay(replace(job, rule=rule), events)
    then = replay(job, events)
    # What was bought and what became of it is the same; only whether it is tried again may differ.
    assert [(one.number, one.key, one.job_id, one.credits) for one in today.attempts] == [
        (one.number, one.key, one.job_id, one.credits) for one in then.attempts
    ]
    assert today.outputs == then.outputs
    assert today.phase == then.phase or {today.phase, then.phase} == {Phase.READY, Phase.FAILED}


@given(lives())
def test_replaying_is_stepping(life: tuple[Job, list[JobEvent]]) -> None:
    job, events = life
    stepped = job
    for event in events:
        stepped = evolve(stepped, event)
    assert replay(job, events) == stepped


@pytest.mark.parametrize("attempts", [1, 3])
def test_a_job_whose_workflow_went_away_between_two_attempts_is_read_under_any_rule(
    attempts: int,
) -> None:
    """Refused before its second attempt was held: under a rule of one attempt it had failed
    already.
    """
    job = Job("a" * 64, rule=RetryRule(attempts=attempts))
    story: list[JobEvent] = [
        Held(at=1.0, attempt=1, key=job.key, credits=2, price_class="w"),  # type: ignore[arg-type]
        accepted_event(2),  # type: ignore[arg-type]
        Failed(at=1.0, error=ERROR),
        Refused(at=1.0, error=ErrorInfo("WORKFLOW_NOT_FOUND", "gone")),
    ]
    read = replay(job, story)
    assert (read.phase, read.error.code if read.error else None) == (
        Phase.FAILED,
        "WORKFLOW_NOT_FOUND",
    )
    assert [attempt.status for attempt in read.attempts] == [AttemptStatus.FAILED]
