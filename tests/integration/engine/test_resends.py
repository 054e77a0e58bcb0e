"""Before a submit or an upload is sent again, because the gateway asked for a wait, its hold is
looked at again."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from decimal import Decimal

import httpx
import pytest

from crucible_batch.core.events import Accepted

Send = Callable[[], Awaitable[httpx.Response]]
JOBS = "\n".join(f"{{name: j{number}, prompt: 'p {number}'}}" for number in range(3))


class Pushing:
    """The first goes alone; of the two that follow, one is told to wait, and the other turns out to
    cost ``price``."""

    def __init__(self, bench, price: str, *, is_lost: bool = False) -> None:
        self.bench, self.price, self.is_lost = bench, price, is_lost
        self.count = itertools.count(1)
        self.is_pushed_back = asyncio.Event()
        self.submits: list[bytes] = []

    def look(self, message: object) -> None:
        if isinstance(getattr(message, "event", None), Accepted):
            self.answered += 1

    answered = 0

    async def __call__(self, request: httpx.Request, send: Send) -> httpx.Response:
        if not request.url.path.endswith("/generate"):
            return await send()
        self.submits.append(await request.aread())
        number = next(self.count)
        if number == 2:
            await self.is_pushed_back.wait()
            await self.bench.configure(prices={"zimage-base": self.price})
        if number == 3:
            self.is_pushed_back.set()
            while self.answered < 2 and self.is_lost:  # it is lost once the other's price is known
                await asyncio.sleep(0.01)
            if self.is_lost:
                raise httpx.ReadError("lost")
            return httpx.Response(429, headers={"Retry-After": "60"}, request=request)
        return await send()


@pytest.mark.parametrize(("head", "price"), [("", "50"), (", max_credits_per_job: 16", "17")])
async def test_a_submit_that_was_told_to_wait_is_not_sent_on_a_hold_that_is_no_longer_enough(
    start, tampered, watcher, head, price
):
    """A price above a ceiling ends all buying, as does one that leaves too little for another."""
    async with start(prices={"zimage-base": Decimal(1)}) as bench:
        pushing = Pushing(bench, price)
        manifest = bench.manifest(JOBS, budget=None, head=f"budget: {{credits: 75{head}}}\n")
        result = await bench.run(
            manifest, transport=tampered(pushing), observer=watcher(pushing.look)
        )
        state = await bench.agree(result)
        rows = list(result.jobs())
    assert [job["price"] for job in state["jobs"]] == [1, Decimal(price)]
    assert (result.exit_code, [row.status for row in rows]) == (
        4,
        ["succeeded", "succeeded", "blocked"],
    )
    assert (result.report.credits.over_budget, len(pushing.submits)) == (0, 3)


async def test_a_submit_that_was_told_to_wait_is_sent_again_where_its_hold_is_enough(
    start, tampered, watcher, tally
):
    async with start(prices={"zimage-base": Decimal(1)}) as bench:
        pushing = Pushing(bench, "1")
        result = await bench.run(bench.manifest(JOBS, budget=75), transport=tampered(pushing))
        await bench.agree(result)
    assert (result.exit_code, tally(result)) == (0, {"succeeded": 3})
    assert len(set(pushing.submits)) == 3


async def test_a_submit_in_doubt_is_not_sent_again_on_a_hold_that_is_no_longer_enough(
    start, tampered, watcher
):
    """It stays in doubt, with its hold: the next run asks for credits before it sends it again."""
    async with start(prices={"zimage-base": Decimal(1)}) as bench:
        pushing = Pushing(bench, "50", is_lost=True)
        manifest = bench.manifest(JOBS, budget=75)
        result = await bench.run(
            manifest, transport=tampered(pushing), observer=watcher(pushing.look)
        )
        state = await bench.state()
        rows = list(result.jobs())
    assert [job["price"] for job in state["jobs"]] == [1, 50]
    assert [row.status for row in rows].count("unknown") == 1
    assert (
        result.report.credits.held,
        result.report.credits.over_budget,
        len(pushing.submits),
    ) == (16, 0, 3)
