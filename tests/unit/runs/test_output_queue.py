"""The queue of outputs that a feature works on beside the jobs of a run."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

import pytest

from crucible_batch.errors import JournalError
from crucible_batch.runs.output_queue import OutputQueue


class Work:
    """Counts what it is given, waits for ``released``, and fails where it is told to."""

    def __init__(self) -> None:
        self.began: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.errors: dict[str, Exception] = {}
        self.at_once = self.most_at_once = 0
        self.released = asyncio.Event()

    async def __call__(self, identity: str, _index: int) -> None:
        self.began[identity] += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.released.wait()
        finally:
            self.at_once -= 1
        if identity in self.errors:
            raise self.errors[identity]
        self.ended[identity] += 1


def queue(work: Work, *, again: bool = False) -> OutputQueue:
    return OutputQueue(work, workers=2, subject="a test", again=again)


async def test_each_output_is_worked_on_once_and_by_so_many_workers() -> None:
    work, never = Work(), asyncio.Event()
    outputs = queue(work)
    async with outputs.working():
        for identity in "abcabc":
            outputs.offer(identity, 0)
        while work.at_once < 2:
            await asyncio.sleep(0)
        work.released.set()
        await outputs.until_idle(never)
        outputs.offer("a", 0)
        outputs.offer("a", 1)
        await outputs.until_idle(never)
    assert work.ended == Counter("abca")  # of a, two outputs
    assert work.most_at_once == 2


async def test_an_output_that_may_be_offered_again_is_not_worked_on_twice_at_once() -> None:
    work, never = Work(), asyncio.Event()
    outputs = queue(work, again=True)
    async with outputs.working():
        outputs.offer("a", 0)
        outputs.offer("a", 0)
        work.released.set()
        await outputs.until_idle(never)
        assert work.ended == Counter("a")
        outputs.offer("a", 0)
        await outputs.until_idle(never)
    assert work.ended == Counter("aa")


async def test_an_error_of_the_work_ends_neither_a_worker_nor_the_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    work = Work()
    work.errors = {"a": JournalError("full", hint=""), "b": RuntimeError("a bug"), "c": OSError()}
    outputs = queue(work)
    with caplog.at_level(logging.WARNING):
        async with outputs.working():
            for identity in "abcd":
                outputs.offer(identity, 0)
            work.released.set()
            await outputs.until_idle(asyncio.Event())
    assert work.ended == Counter("d")
    assert caplog.messages == [
        "a test is left to the next run: RuntimeError",
        "a test is left to the next run: OSError",
    ]


async def test_a_run_that_has_to_end_does_not_wait_and_stops_what_is_in_work() -> None:
    work, leaving = Work(), asyncio.Event()
    outputs = queue(work)
    async with outputs.working():
        for identity in "abc":
            outputs.offer(identity, 0)
        waiting = asyncio.create_task(outputs.until_idle(leaving))
        while len(work.began) < 2:
            await asyncio.sleep(0)
        leaving.set()
        await waiting
        await outputs.stop()
        assert (work.at_once, work.ended) == (0, Counter())
    assert work.began == Counter("ab")
