"""Slots: how many jobs are active, who is next, and what a job does after a pushback."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from crucible_batch.core.progress import Throttled
from crucible_batch.engine import Slots
from crucible_batch.engine.shutdown import Shutdown
from crucible_batch.engine.slots import Slot
from crucible_batch.errors import GatewayError
from crucible_batch.pace.concurrency import SILENCE, ConcurrencyLimit


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = 100.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        if seconds > 0:
            future = asyncio.get_running_loop().create_future()
            self._sleepers.append((self.time + seconds, future))
            await future

    async def move(self, seconds: float) -> None:
        self.time += seconds
        for at, future in self._sleepers:
            if at <= self.time and not future.done():
                future.set_result(None)
        await settled()


class Watcher:
    def __init__(self) -> None:
        self.told: list[tuple[int, str | None]] = []

    def notify(self, message: object) -> None:
        assert isinstance(message, Throttled)
        self.told.append((message.limit, message.reason))


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def kept(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do work that ends by its cancellation beside the block."""
    task = asyncio.create_task(work)
    await settled()
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class Bench:
    def __init__(self, limit: int) -> None:
        self.clock, self.stop, self.watcher = Clock(), Shutdown(), Watcher()
        self.limit = ConcurrencyLimit(limit, limit)
        self.slots = Slots(self.limit, self.stop, self.clock, self.watcher)
        self.stop.on_change.append(self.slots.wake)
        self.tasks: list[asyncio.Task[None]] = []
        self.active: list[str] = []

    def start(self, name: str, until: asyncio.Event) -> asyncio.Task[None]:
        async def work() -> None:
            async with self.slots.slot():
                self.active.append(name)
                try:
                    await until.wait()
                finally:
                    self.active.remove(name)

        task = asyncio.create_task(work())
        self.tasks.append(task)
        return task

    def turn(self, slot: Slot) -> asyncio.Task[None]:
        task = asyncio.create_task(self.slots.wait_for_turn(slot))
        self.tasks.append(task)
        return task


@pytest.fixture
async def made():
    benches: list[Bench] = []

    def make(limit: int) -> Bench:
        benches.append(Bench(limit))
        return benches[-1]

    yield make
    for bench in benches:
        for task in bench.tasks:
            task.cancel()
        await asyncio.gather(*bench.tasks, return_exceptions=True)


async def test_no_more_are_active_than_allowed_and_the_first_to_ask_is_the_next(made):
    bench, ends = made(2), [asyncio.Event() for _ in range(4)]
    for name, end in zip("abcd", ends, strict=True):
        bench.start(name, end)
    await settled()
    assert bench.active == ["a", "b"]
    ends[1].set()
    await settled()
    assert bench.active == ["a", "c"]


async def test_a_waiter_that_is_cancelled_takes_no_slot_with_it(made):
    bench, end = made(1), asyncio.Event()
    bench.start("a", end)
    waiting = bench.start("b", asyncio.Event())
    bench.start("c", asyncio.Event())
    await settled()
    end.set()
    await asyncio.sleep(0)
    waiting.cancel()  # perhaps at the moment at which it was given the slot
    await settled()
    assert bench.active == ["c"]


async def test_a_job_that_waits_lends_its_slot_and_is_then_one_too_many(made):
    bench = made(1)
    async with bench.slots.slot():
        bench.start("b", asyncio.Event())
        await settled()
        assert bench.active == []
        lending = asyncio.create_task(bench.slots.lend(5.0))
        await settled()
        assert bench.active == ["b"]
        assert not bench.slots.too_many
        await bench.clock.move(5.0)
        await lending
        assert bench.slots.too_many


async def test_a_cancelled_wait_gives_the_slot_back_as_well(made):
    bench = made(1)
    with contextlib.suppress(asyncio.CancelledError):
        async with bench.slots.slot():
            lending = asyncio.create_task(bench.slots.lend(5.0))
            await settled()
            lending.cancel()
            await lending
    bench.start("b", asyncio.Event())
    bench.start("c", asyncio.Event())
    await settled()
    assert bench.active == ["b"]


async def test_no_more_jobs_are_at_the_gateway_than_allowed(made):
    """More may be active: one that lent its slot, and came back."""
    bench, first, second, third = made(2), Slot(), Slot(), Slot()
    await bench.slots.wait_for_turn(first)
    bench.slots.accepted(first)
    bench.slots.found_at_gateway(second)  # from an earlier run
    waiting = bench.turn(third)
    await settled()
    assert not waiting.done()
    bench.slots.left_gateway(second)
    await settled()
    assert waiting.done()


async def test_a_full_gateway_that_refuses_everything_is_asked_once_at_a_time(made):
    bench, slots = made(64), [Slot() for _ in range(SILENCE + 2)]
    for slot in slots[:SILENCE]:
        await bench.slots.wait_for_turn(slot)
    for slot in slots[:SILENCE]:
        bench.slots.refused(slot, 30.0, "RATE_LIMITED")
    turns = [bench.turn(slot) for slot in slots[SILENCE:]]
    await bench.clock.move(29.0)
    assert not any(turn.done() for turn in turns)
    await bench.clock.move(1.0)
    assert [turn.done() for turn in turns] == [True, False]
    bench.slots.accepted(slots[SILENCE])
    bench.slots.left_gateway(slots[SILENCE])
    await settled()
    assert turns[1].done()


async def test_a_submit_that_was_not_sent_counts_as_answered(made):
    bench, slots = made(64), [Slot() for _ in range(SILENCE + 2)]
    for slot in slots[:SILENCE]:
        bench.slots.refused(slot, None, "RATE_LIMITED")
    await bench.clock.move(2.0)
    await bench.slots.wait_for_turn(slots[-1])
    waiting = bench.turn(slots[-2])
    await settled()
    assert not waiting.done()
    bench.slots.left_gateway(slots[-1])
    await settled()
    assert waiting.done()


async def test_a_run_that_stops_waits_for_no_turn(made):
    bench, slots = made(64), [Slot() for _ in range(SILENCE + 1)]
    for slot in slots[:SILENCE]:
        bench.slots.refused(slot, 3600.0, "RATE_LIMITED")
    waiting = bench.turn(slots[-1])
    await settled()
    assert not waiting.done()
    bench.stop.failed(GatewayError("no", code="X"))
    await settled()
    assert waiting.done()


async def test_a_fall_is_told_with_its_reason_and_small_ones_are_not(made):
    bench, slot = made(64), Slot()
    for _ in range(3):
        bench.slots.refused(slot, None, "RATE_LIMITED")
    assert bench.limit.allowed < 64
    assert bench.watcher.told == []
    for _ in range(SILENCE):
        bench.slots.refused(slot, None, "BUSY")
    assert bench.watcher.told[-1] == (1, "BUSY")
    assert len(bench.watcher.told) <= 3


async def test_the_time_of_a_job_is_from_its_submit_to_its_slot(made):
    bench = made(1)
    async with bench.slots.slot() as slot:
        await bench.clock.move(3.0)
        await bench.slots.wait_for_turn(slot)
        bench.slots.accepted(slot)
        await bench.clock.move(7.0)
        bench.slots.left_gateway(slot)
        await bench.clock.move(1.0)
    bench.limit._starts = False
    bench.limit.submitted(0.0)
    assert bench.limit.next_submit_at(0.0, 0) == pytest.approx(8.0 / (9 / 8 * bench.limit.limit))


async def test_a_second_attempt_that_is_refused_is_not_taken_for_the_end_of_a_job(made):
    bench, ended = made(64), []
    bench.limit.ended = lambda sent_at, job_s: ended.append(job_s)
    async with bench.slots.slot() as slot:
        await bench.slots.wait_for_turn(slot)
        bench.slots.accepted(slot)
        bench.slots.left_gateway(slot)  # it has failed
        await bench.slots.wait_for_turn(slot)
        bench.slots.refused(slot, None, "X")
    assert ended == []


async def test_the_limit_learns_when_each_answered_submit_was_sent(made):
    bench, sent = made(64), []
    bench.limit.accepted = lambda: sent.append("accepted")
    bench.limit.refused = lambda now, sent_at, retry_after_s, in_flight: sent.append((now, sent_at))
    bench.limit.ended = lambda sent_at, job_s: sent.append((sent_at, job_s))
    async with bench.slots.slot() as slot:
        await bench.clock.move(3.0)
        await bench.slots.wait_for_turn(slot)
        await bench.clock.move(2.0)
        bench.slots.refused(slot, None, "X")
        await bench.slots.wait_for_turn(slot)
        await bench.clock.move(4.0)
        bench.slots.accepted(slot)
    assert sent == [(105.0, 103.0), "accepted", (105.0, 4.0)]
