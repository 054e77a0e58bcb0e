"""What a run's reasons to stop make of its exit code."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.outcome import EVERYTHING, Ending, Outcome, conclude
from crucible_batch.engine.run_control import RunDeadline
from crucible_batch.engine.shutdown import BUYING, Shutdown
from crucible_batch.errors import ExitCode, GatewayError, KeyRefusedError
from tests.harness.case_table import each_case


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


@each_case("is_key_refused", [True, False])
def test_one_job_that_meets_a_refused_key_ends_the_run_and_one_without_an_answer_does_not(
    is_key_refused: bool,
) -> None:
    stop = Shutdown()
    kind = KeyRefusedError if is_key_refused else GatewayError
    stop.note(kind("x", code="X", status=401 if is_key_refused else 500), "fox")
    assert (stop.leaving.is_set(), stop.no_more) == (is_key_refused, is_key_refused)
    assert stop.reasons == {ExitCode.KEY_REFUSED if is_key_refused else ExitCode.STOPPED}


@each_case("code, is_blocked", [("BUDGET_EXHAUSTED", True), ("PRICE_ABOVE_CEILING", False)])
def test_a_price_above_the_ceiling_blocks_its_shape_and_not_the_workflow(
    code: str, is_blocked: bool
) -> None:
    stop = Shutdown()
    stop.block("workflow:w", ErrorInfo(code, "x"))
    assert stop.blocked("workflow:w") is is_blocked
    assert not stop.blocked("workflow:other")


@each_case(
    "limit, count, begin_again",
    [
        (5, lambda stop: stop.refused(GatewayError("no", code="X", status=403)), Shutdown.accepted),
        (20, lambda stop: stop.failed_for_good(ErrorInfo("X", "x")), Shutdown.succeeded),
        (5, lambda stop: stop.note(GatewayError("no", code="X", status=500)), Shutdown.served),
    ],
)
def test_errors_end_the_buying_only_where_no_job_does_better_in_between(
    limit: int, count: Callable[[Shutdown], None], begin_again: Callable[[Shutdown], None]
) -> None:
    stop = Shutdown()
    for _ in range(2):
        begin_again(stop)
        for _ in range(limit - 1):
            count(stop)
    assert not stop.no_more
    count(stop)
    assert stop.no_more


def test_the_first_reason_is_kept_beside_the_one_that_stops_the_run() -> None:
    stop = Shutdown()
    first, later, signal = (
        ErrorInfo(code, "x") for code in ("PRICE_ROSE", "INSUFFICIENT_CREDITS", "SIGINT")
    )
    stop.end_buying(first)
    stop.end_buying(later)
    assert stop.stops == {EVERYTHING: first}
    stop.leave(ExitCode.SIGINT, signal)
    assert stop.stops == {EVERYTHING: signal, BUYING: first}
    stop.leave(ExitCode.SIGTERM, later)
    assert stop.stops == {EVERYTHING: signal, BUYING: first}
