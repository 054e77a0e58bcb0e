"""A pause: nothing is held or sent in it, what waits has no slot, and a stopping run does not wait
for its end.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext, suppress

import pytest

from crucible_batch.core.events import Held, HoldReleased
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Hold, Submit
from crucible_batch.engine.clock import SystemClock
from crucible_batch.engine.pause import PAUSED, Pause
from crucible_batch.engine.run_control import RunDeadline, Workers
from crucible_batch.engine.shutdown import Shutdown
from crucible_batch.errors import ExitCode, GatewayError
from crucible_batch.pace.concurrency import ConcurrencyLimit
from tests.harness.case_table import each_case
from tests.unit.engine.desk import desk, passed
from tests.unit.engine.test_slots import Bench as SlotBench
from tests.unit.engine.test_slots import Clock, settled
from tests.unit.engine.worker_bench import Bench, leave_in_doubt

WHY = ErrorInfo("X", "why")


async def waits(waiting: asyncio.Task[object]) -> bool:
    await passed()
    return not waiting.done()


async def ended(waiting: asyncio.Task[object]) -> None:
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting


# -- credits


async def test_nothing_is_held_in_a_pause_and_the_queue_continues_after_it() -> None:
    async with desk() as at:
        at.pause.begin()
        assert await at.ask("a") is None
        assert at.accounting.ledger.held == 0
        at.pause.end()
        await passed()
        assert at.tasks["a"].done()
        assert at.accounting.ledger.held > 0


async def test_a_job_that_waits_for_credits_is_not_given_them_in_a_pause() -> None:
    async with desk("5") as at:
        assert await at.ask("a") is not None  # alone, with all of the budget
        assert await at.ask("b") is None
        at.pause.begin()
        await at.answer("a", "2", "2")
        at.admission.leave("a")
        await passed()
        assert not at.tasks["b"].done()
        at.pause.end()
        await passed()
        assert at.tasks["b"].done()


async def test_a_run_that_stops_does_not_wait_for_the_end_of_its_pause() -> None:
    async with desk() as at:
        at.pause.begin()
        assert await at.ask("a") is None
        at.stop.wind_down(ExitCode.SIGINT, WHY)
        await passed()
        assert at.tasks["a"].result() is None


# -- the submit


async def held(bench: Bench) -> Held:
    event = await bench.worker.perform(bench.job, Hold())
    assert isinstance(event, Held)
    await bench.record(event)
    return event


async def test_a_pause_between_hold_and_submit_takes_the_hold_back_and_sends_nothing() -> None:
    bench = Bench()
    await held(bench)
    bench.pause.begin()
    event = await bench.worker.perform(bench.job, Submit())
    assert isinstance(event, HoldReleased)
    assert event.error.code == PAUSED
    assert bench.gateway.submitted == []


async def test_a_pause_that_comes_while_the_submit_waits_for_its_turn_keeps_it_back() -> None:
    bench = Bench()
    await held(bench)

    async def turn(_slot: object) -> None:
        bench.pause.begin()

    bench.turn = turn
    assert isinstance(await bench.worker.perform(bench.job, Submit()), HoldReleased)
    assert bench.gateway.submitted == []


async def test_a_submit_refused_with_429_is_not_sent_again_in_a_pause() -> None:
    bench = Bench()
    await held(bench)
    busy = GatewayError("busy", code="HTTP_429", status=429, operation="generate")
    assert await bench.is_tried_again(busy)
    bench.pause.begin()
    assert not await bench.is_tried_again(busy)
    bench.pause.end()
    assert await bench.is_tried_again(busy)


async def test_a_submit_without_an_answer_is_repeated_in_a_pause_to_learn_its_fate() -> None:
    bench = Bench()
    await held(bench)
    bench.pause.begin()
    lost = GatewayError("no answer", code="NO_ANSWER", operation="generate", in_doubt=True)
    assert await bench.is_tried_again(lost)


async def test_a_submit_that_an_earlier_run_left_in_doubt_is_not_sent_in_a_pause() -> None:
    bench = Bench()
    leave_in_doubt(bench, "32")
    bench.pause.begin()
    waiting = asyncio.create_task(bench.worker.perform(bench.job, Submit()))
    assert await waits(waiting)
    assert bench.gateway.submitted == []
    await ended(waiting)


async def test_a_pause_that_comes_while_a_submit_in_doubt_waits_keeps_it_back() -> None:
    bench = Bench()
    leave_in_doubt(bench, "32")

    async def turn(_slot: object) -> None:
        bench.turn = nothing
        bench.pause.begin()

    async def nothing(_slot: object) -> None:
        pass

    bench.turn = turn
    waiting = asyncio.create_task(bench.worker.perform(bench.job, Submit()))
    assert await waits(waiting)
    assert bench.gateway.submitted == []
    bench.pause.end()
    await passed()
    assert len(bench.gateway.submitted) == 1
    await ended(waiting)


# -- slots


async def test_who_waits_in_a_pause_has_no_slot_and_gets_one_again_in_order() -> None:
    bench = SlotBench(1)
    pause = Pause(bench.stop, bench.clock, bench.slots.given_back)
    order: list[str] = []
    until = asyncio.Event()

    async def paused_job(name: str) -> None:
        async with bench.slots.slot():
            await pause.wait_until_over()
            order.append(name)
            await settled()
            assert not bench.slots.too_many

    pause.begin()
    jobs = [asyncio.create_task(paused_job(name)) for name in ("a", "b")]
    await settled()
    other = bench.start("in flight", until)
    await settled()
    assert bench.active == ["in flight"]
    pause.end()
    await settled()
    assert order == []
    until.set()
    await asyncio.gather(*jobs, other)
    assert order == ["a", "b"]


async def test_a_cancelled_wait_leaves_the_slots_as_they_were() -> None:
    bench = SlotBench(1)
    pause = Pause(bench.stop, bench.clock, bench.slots.given_back)

    async def job() -> None:
        async with bench.slots.slot():
            await pause.wait_until_over()

    pause.begin()
    waiting = asyncio.create_task(job())
    await settled()
    await ended(waiting)
    assert bench.slots._in_use == 0


async def test_who_holds_credits_continues_after_a_pause_though_another_has_its_slot() -> None:
    bench = SlotBench(1)
    pause = Pause(bench.stop, bench.clock, bench.slots.given_back)
    answered = asyncio.Event()

    async def in_doubt() -> None:
        async with bench.slots.slot():
            await pause.wait_until_over(holds_credits=True)
            assert bench.slots.too_many
            answered.set()

    pause.begin()
    waiting = asyncio.create_task(in_doubt())
    await settled()
    other = bench.start("waits for credits", answered)
    await settled()
    assert bench.active == ["waits for credits"]
    pause.end()
    await settled()
    assert (waiting.done(), other.done(), bench.slots._in_use) == (True, True, 0)


@pytest.mark.parametrize("begins_at", ["before", "its turn"])
async def test_a_submit_in_doubt_waits_in_a_pause_as_one_that_holds_credits(begins_at: str) -> None:
    bench, waits_with_credits = Bench(), list[bool]()
    leave_in_doubt(bench, "32")

    async def turn(_slot: object) -> None:
        bench.pause.begin()

    def give_back(holds_credits: bool) -> AbstractAsyncContextManager[None]:
        waits_with_credits.append(holds_credits)
        return nullcontext()

    bench.pause._give_back = give_back
    if begins_at == "before":
        bench.pause.begin()
    else:
        bench.turn = turn
    waiting = asyncio.create_task(bench.worker.perform(bench.job, Submit()))
    await passed()
    await ended(waiting)
    assert waits_with_credits == [True]


# -- the rest


async def test_a_deadline_can_be_set_moved_and_passes() -> None:
    stop, clock = Shutdown(), Clock()
    deadline = RunDeadline(stop, clock, None)
    keeping = asyncio.create_task(deadline.keep())
    await clock.move(1000)
    deadline.set(50)
    await clock.move(40)
    deadline.set(50)
    await clock.move(49)
    assert not stop.leaving.is_set()
    await clock.move(2)
    assert stop.leaving.is_set()
    assert stop.stops["*"].code == "DEADLINE"
    await keeping


@each_case("fallen, ceiling, limit", [(False, 32, 32), (False, 3, 3), (True, 3, 3), (True, 32, 9)])
def test_a_new_ceiling_is_reached_at_once_except_after_pushback(
    fallen: bool, ceiling: int, limit: int
) -> None:
    rule = ConcurrencyLimit(10, 10)
    if fallen:
        rule.limit, rule._starts = 8.0, False
    rule.set_ceiling(ceiling)
    assert (rule.ceiling, rule.allowed) == (ceiling, limit)


async def test_workers_are_added_while_others_are_active() -> None:
    workers, go = Workers(), asyncio.Event()
    begun = 0

    async def work() -> None:
        nonlocal begun
        begun += 1
        await go.wait()

    running = asyncio.create_task(workers.run(work, 2))
    await settled()
    workers.raise_to(5)
    workers.raise_to(3)
    await settled()
    assert begun == 5
    go.set()
    await running
    workers.add(1)
    assert workers.active == 0


async def test_workers_are_added_while_anything_is_left_to_be_done_later() -> None:
    workers, go = Workers(), asyncio.Event()
    begun = 0

    async def later() -> None:
        await go.wait()

    async def work() -> None:
        nonlocal begun
        begun += 1
        if begun == 1:
            workers.later(later)

    running = asyncio.create_task(workers.run(work, 1))
    await settled()
    workers.add(1)
    await settled()
    assert (begun, workers.active) == (2, 1)
    go.set()
    await running
    assert workers.active == 0


async def test_a_pause_changes_nothing_while_it_is_off() -> None:
    pause = Pause(Shutdown(), SystemClock(), nullcontext)
    await pause.wait_until_over()
    assert pause.release_if_paused() is None


# -- a suspension: a worker that can't ask whether its run is paused


async def test_a_run_suspended_right_before_a_purchase_releases_its_credits_unsent() -> None:
    bench = Bench()
    await held(bench)
    bench.stop.before_purchase.append(bench.pause.suspend)
    event = await bench.worker.perform(bench.job, Submit())
    assert isinstance(event, HoldReleased)
    assert "commands can't be read" in event.error.message
    assert bench.gateway.submitted == []


async def test_a_suspension_and_a_pause_end_separately() -> None:
    async with desk() as at:
        at.pause.suspend()
        assert await at.ask("a") is None
        at.pause.begin()
        at.pause.suspend(False)
        await passed()
        assert not at.tasks["a"].done()
        at.pause.suspend()
        at.pause.end()
        await passed()
        assert not at.tasks["a"].done()
        at.pause.suspend(False)
        await passed()
        assert at.tasks["a"].done()
