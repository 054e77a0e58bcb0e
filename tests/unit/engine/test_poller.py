"""What the rate of requests learns from polls, and that their retries wait for it."""

from __future__ import annotations

import asyncio
import math
from contextlib import nullcontext

import pytest

from crucible_batch.core.gateway_types import JobSnapshot, JobStatus
from crucible_batch.core.ports import BeforeRetry
from crucible_batch.engine.poller import Poller
from crucible_batch.errors import GatewayError
from crucible_batch.pace.concurrency import ConcurrencyLimit
from crucible_batch.pace.polls import PollScheduler, ServiceTimes
from crucible_batch.pace.request_rate import RequestRate
from tests.unit.engine.desk import D

REFUSED = GatewayError("slow down", code="RATE_LIMITED", status=429)
BROKEN = GatewayError("broken", code="HTTP_500", status=500)


class Clock:
    def __init__(self) -> None:
        self.time, self.slept = 100.0, []

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
        await asyncio.sleep(0)


class Requests(RequestRate):
    def __init__(self) -> None:
        super().__init__()
        self.answers: list[bool] = []

    def poll_answered(self, now: float, *, is_refused: bool) -> None:
        self.answers.append(is_refused)


NOT_FOUND = GatewayError("not found", code="JOB_NOT_FOUND", status=404)


class Gateway:
    async def job(self, job_id: str, *, before_retry: BeforeRetry) -> JobSnapshot:
        await before_retry(REFUSED, 7.0)
        await before_retry(BROKEN, 9.0)
        return JobSnapshot(job_id, JobStatus.SUCCEEDED, D("1"))


def poller(per_s: float) -> tuple[Poller, Clock, Requests]:
    clock, limit = Clock(), ConcurrencyLimit(4, 4)
    limit.requests = requests = Requests()
    requests.per_s = per_s
    scheduler = PollScheduler(ServiceTimes(), requests=requests)
    return Poller(Gateway(), clock, scheduler, job_timeout_s=1000.0, limit=limit), clock, requests


async def test_the_rate_learns_which_polls_were_refused_and_each_retry_waits():
    watcher, clock, requests = poller(math.inf)
    timer = asyncio.create_task(watcher.keep_time())
    found = await watcher.until_ended("job", "w", price=D("1"), is_due_now=True)
    timer.cancel()
    await asyncio.gather(timer, return_exceptions=True)
    assert found.status is JobStatus.SUCCEEDED
    assert requests.answers == [True, False]
    assert [waited for waited in clock.slept if waited > 5] == [7.0, 9.0]


async def test_a_retry_and_a_read_outside_the_schedule_wait_for_the_rate_of_requests():
    watcher, clock, requests = poller(1 / 20)
    requests.sent(100.0)
    begin = requests.next_at(100.0)
    await watcher.read("job")
    assert begin > 119
    assert requests.answers == [True, False]
    assert clock.time == begin + 40


@pytest.mark.parametrize(
    ("unknown", "outcome"), [(4, nullcontext()), (5, pytest.raises(GatewayError))]
)
async def test_a_job_is_lost_only_if_five_polls_in_a_row_do_not_find_it(unknown, outcome):
    watcher, _, _ = poller(math.inf)
    left = [NOT_FOUND] * unknown

    async def job(job_id: str, *, before_retry: BeforeRetry) -> JobSnapshot:
        if left:
            raise left.pop()
        return JobSnapshot(job_id, JobStatus.SUCCEEDED, D("1"))

    watcher._gateway.job = job
    timer = asyncio.create_task(watcher.keep_time())
    with outcome:
        await watcher.until_ended("job", "w", price=D("1"), is_due_now=True)
    timer.cancel()
    await asyncio.gather(timer, return_exceptions=True)
    assert left == []
