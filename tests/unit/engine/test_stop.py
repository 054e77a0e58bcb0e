"""What a run's reasons to stop make of its exit code."""

from __future__ import annotations

import asyncio

from crucible_batch.domain.gateway_types import ErrorInfo
from crucible_batch.domain.outcome import Ending, Outcome, conclude
from crucible_batch.engine.run_control import RunDeadline
from crucible_batch.engine.shutdown import Shutdown
from tests.case_table import each_case


def ending_of(stop: Shutdown, counts: dict[Outcome, int]) -> Ending:
    return conclude(counts, stop.stops, stop.reasons)


@each_case(
    "counts, code",
    [
        ({Outcome.SUCCEEDED: 1, Outcome.FAILED: 1}, 1),
        ({Outcome.SUCCEEDED: 1, Outcome.BLOCKED: 1}, 4),
        ({Outcome.FAILED: 1, Outcome.BLOCKED: 1}, 4),
    ],
)
def test_a_stop_for_want_of_credits_ends_with_4_only_where_a_job_is_blocked_in_the_end(
    counts: dict[Outcome, int], code: int
) -> None:
    stop = Shutdown()
    stop.block("workflow:w", ErrorInfo("BUDGET_EXHAUSTED", "too dear"))
    assert stop.blocked("workflow:w")
    assert ending_of(stop, counts).exit_code == code


class LateClock:
    """A clock that a test sets. Its alarms never ring."""

    now_s = 0.0

    def now(self) -> float:
        return self.now_s

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, _seconds: float) -> None:
        await asyncio.Event().wait()


async def test_nothing_is_bought_after_the_deadline_even_if_its_alarm_is_late() -> None:
    """In a process that was frozen, a job may come to its purchase before the alarm is heard."""
    stop, clock = Shutdown(), LateClock()
    RunDeadline(stop, clock, 10.0)
    assert stop.may_buy_now()
    clock.now_s = 9.9
    assert stop.may_buy_now()
    clock.now_s = 10.0
    assert not stop.may_buy_now()
    assert stop.leaving.is_set()
    ending = ending_of(stop, {Outcome.SUCCEEDED: 1, Outcome.PENDING: 1})
    assert (ending.exit_code, ending.stops["*"].code) == (5, "DEADLINE")


async def test_a_deadline_that_was_replaced_and_one_that_is_not_there_stop_nothing() -> None:
    stop, clock = Shutdown(), LateClock()
    deadline = RunDeadline(stop, clock, 10.0)
    clock.now_s = 9.0
    deadline.set(100.0)
    clock.now_s = 50.0
    assert stop.may_buy_now()
    deadline.set(None)
    clock.now_s = 1e9
    assert stop.may_buy_now()
