"""How a run finds the pace that the gateway takes: whole runs on gateways that ask for less."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter

import httpx
import pytest

from crucible_batch.core import events
from crucible_batch.core.progress import Throttled
from crucible_batch.errors import ExitCode
from crucible_batch.pace.concurrency import SILENCE
from tests.harness.slow_cases import quick_every

BUSY = {"success": False, "code": "RATE_LIMITED", "error": "too many"}


def jobs(count: int) -> str:
    return "\n".join(f"{{name: j{i:03}, prompt: 'picture {i}'}}" for i in range(count))


def is_submit(request: httpx.Request) -> bool:
    return request.url.path.endswith("/generate")


def is_look(request: httpx.Request) -> bool:
    return request.url.path.startswith("/api/v1/jobs/")


def busy(retry_after: str, status: int = 429) -> httpx.Response:
    return httpx.Response(status, json=BUSY, headers={"retry-after": retry_after})


class Small:
    """A gateway that has room for so many jobs at once, and says 429 to all others."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.open: set[str] = set()
        self.most = 0
        self.turned_away = 0

    async def __call__(self, request: httpx.Request, send) -> httpx.Response:
        if is_submit(request):
            key = json.loads(request.read())["idempotency_key"]
            if len(self.open) >= self.room:
                self.turned_away += 1
                return busy("1")
            self.open.add(key)
            answer = await send()
            await answer.aread()
            self.open.discard(key)
            self.open.add(answer.json()["data"]["job_id"])
            self.most = max(self.most, len(self.open))
            return answer
        answer = await send()
        if is_look(request):
            await answer.aread()
            data = answer.json()["data"]
            if data["status"] == "succeeded":
                self.open.discard(data["job_id"])
        return answer


@pytest.mark.parametrize(
    ("room", "concurrency"), quick_every(3, [(1, None), (5, None), (1, 24), (5, 24)])
)
async def test_a_gateway_with_little_room_gets_all_jobs_done(
    start, tampered, tally, room, concurrency
):
    small = Small(room)
    async with start() as bench:
        manifest = bench.manifest(jobs(20), budget=2000)
        result = await bench.run(manifest, transport=tampered(small), concurrency=concurrency)
        state = await bench.agree(result)
    assert result.exit_code == 0
    assert tally(result) == {"succeeded": 20}
    assert len(state["jobs"]) == 20
    assert small.most == room
    assert small.turned_away > 0


async def test_by_itself_a_run_begins_with_four_at_once_and_comes_to_more(start, watcher, tampered):
    roomy = Small(room=1000)
    unanswered, at_once = 0, []

    async def tamper(request: httpx.Request, send):
        nonlocal unanswered
        if not is_submit(request):
            return await roomy(request, send)
        unanswered += 1
        at_once.append(unanswered)
        await asyncio.sleep(0.01)
        answer = await roomy(request, send)
        unanswered -= 1
        return answer

    seen = watcher()
    # No job ends before all are submitted, so each answer makes room for one submit more.
    async with start(faults="generate.slow-queue:1", slow_queue_s=100.0, runners=100) as bench:
        result = await bench.run(
            bench.manifest(jobs(70), budget=None),
            yes=True,
            transport=tampered(tamper),
            observer=seen,
            polls_per_s=1,
        )
        await bench.agree(result)
    assert result.exit_code == 0
    assert max(at_once) == 4
    assert roomy.most > 64
    rises = [message.limit for message in seen.messages if isinstance(message, Throttled)]
    assert rises[:4] == [8, 16, 32, 64]


async def test_ctrl_c_in_such_a_wait_buys_nothing_more_and_does_not_wait_for_its_end(
    start, tampered, watcher, runners
):
    submits, successes = itertools.count(), itertools.count()

    async def tamper(request: httpx.Request, send):
        if is_submit(request):
            next(submits)
        return await send()

    def press(message: object) -> None:
        # Once: a second Ctrl-C would leave at once.
        if isinstance(getattr(message, "event", None), events.Succeeded) and next(successes) == 0:
            for _ in range(SILENCE):
                runners[-1].slots.limit.refused(
                    bench.clock.monotonic(), bench.clock.monotonic(), 100_000.0, 0
                )
            asyncio.get_running_loop().call_later(
                0.1, runners[-1].control.interrupt, ExitCode.SIGINT
            )

    async with start() as bench:
        manifest = bench.manifest(jobs(12), budget=24)
        result = await bench.run(
            manifest, transport=tampered(tamper), concurrency=2, observer=watcher(press)
        )
        await bench.agree(result)
        bought = next(submits)
        assert result.exit_code == 130
        assert result.report.credits.held == 0
        assert bought == result.report.counts.succeeded <= 3
        again = await bench.run(manifest)
        await bench.agree(again)
    assert again.exit_code == 0
    assert again.report.credits.spent == 24


async def test_a_limit_that_falls_to_one_while_jobs_wait_for_credits_stops_nobody_forever(
    start, tampered, tally
):
    """Every first attempt fails, so that each job asks for its credits twice, and there are credits
    for two at once."""
    asked = itertools.count()
    refused: Counter[str] = Counter()

    async def tamper(request: httpx.Request, send):
        # Of each job no more than a few polls: one that is refused in all its tries ends the run.
        if is_look(request) and next(asked) % 3 == 0 and refused[request.url.path] < 4:
            refused[request.url.path] += 1
            return busy("3")
        return await send()

    async with start(credits=20, faults="generate.fail=10") as bench:
        manifest = bench.manifest(jobs(10), budget=20)
        result = await bench.run(manifest, transport=tampered(tamper), concurrency=8)
        await bench.agree(result)
    assert result.exit_code == 0
    assert tally(result) == {"succeeded": 10}
    assert result.report.credits.refunded == 20


async def test_jobs_of_an_earlier_run_come_first_even_through_a_single_slot(start, tampered, tally):
    taken: list[str] = []

    async def hang(request: httpx.Request, send):
        # From the sixth submit on, whatever poll comes next: on a loaded machine none may fall
        # between two submits.
        if is_look(request) and len(taken) >= 6:
            task.cancel()
            await asyncio.sleep(5)
        answer = await send()
        if is_submit(request):
            taken.append(request.url.path)
        return answer

    looked: Counter[str] = Counter()

    async def tamper(request: httpx.Request, send):
        if is_submit(request) or is_look(request):
            looked[request.url.path] += 1
            # Of each job no more than a few: one that is turned away in all its tries ends the run.
            if looked.total() < 8 and looked[request.url.path] < 4:
                return busy("2")
        return await send()

    async with start() as bench:
        manifest = bench.manifest(jobs(9), budget=18)
        task = asyncio.ensure_future(bench.run(manifest, transport=tampered(hang), concurrency=6))
        with pytest.raises(asyncio.CancelledError):
            await task
        result = await bench.run(manifest, transport=tampered(tamper), concurrency=1)
        await bench.agree(result)
    assert result.exit_code == 0
    assert tally(result) == {"succeeded": 9}


async def test_a_gateway_that_says_429_forever_ends_the_run_with_5_and_fails_no_job(
    start, tampered, tally
):
    submits = itertools.count()

    async def tamper(request: httpx.Request, send):
        if is_submit(request):
            next(submits)
            return busy("1")
        return await send()

    async with start() as bench:
        manifest = bench.manifest(jobs(12), budget=24)
        result = await bench.run(manifest, transport=tampered(tamper))
        await bench.agree(result)
        assert result.exit_code == 5
        assert tally(result) == {"pending": 12}
        assert {stop.code for stop in result.report.stops.values()} == {"RATE_LIMITED"}
        assert next(submits) <= 6 * 12
        again = await bench.run(manifest)
    assert again.exit_code == 0


async def test_a_job_that_was_turned_away_in_all_its_tries_comes_again_and_the_run_is_a_success(
    start, tampered, tally
):
    submits = itertools.count()

    async def tamper(request: httpx.Request, send):
        if is_submit(request) and 3 <= next(submits) < 12:
            return busy("0")
        return await send()

    async with start() as bench:
        result = await bench.run(
            bench.manifest(jobs(6), budget=12), transport=tampered(tamper), concurrency=1
        )
        state = await bench.agree(result)
    assert result.exit_code == 0
    assert tally(result) == {"succeeded": 6}
    assert len(state["jobs"]) == 6


async def test_a_job_in_flight_counts_before_a_submit_in_doubt_is_sent_again(start, tampered):
    """The third submit lent its slot to the fourth, which was in flight when the run was killed."""
    submits: list[httpx.Request] = []
    under_way: set[str] = set()
    most: list[int] = []

    async def tamper(request: httpx.Request, send):
        if is_submit(request):
            submits.append(request)
            if len(submits) == 3:
                return busy("60", 503)
        if is_look(request) and len(submits) == 4 and not task.done():
            task.cancel()
            await asyncio.sleep(5)
        answer = await send()
        if is_submit(request) or is_look(request):
            await answer.aread()
            data = answer.json()["data"]
            (under_way.discard if data["status"] == "succeeded" else under_way.add)(data["job_id"])
            most.append(len(under_way))
        return answer

    async with start(faults="generate.slow-queue:1", slow_queue_s=30.0) as bench:
        head = "budget: {credits: 200, max_credits_per_job: 2}\n"
        manifest = bench.manifest(jobs(5), budget=None, head=head)
        task = asyncio.ensure_future(bench.run(manifest, transport=tampered(tamper), concurrency=1))
        with pytest.raises(asyncio.CancelledError):
            await task
        result = await bench.run(manifest, transport=tampered(tamper), concurrency=1)
        await bench.agree(result)
    assert result.exit_code == 0
    assert max(most) == 1
