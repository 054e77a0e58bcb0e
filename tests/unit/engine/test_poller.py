"""What the limit learns from polls: the status of a job that has not ended, and which polls were refused."""

from __future__ import annotations

import asyncio

from crucible_batch.domain.concurrency_limit import ConcurrencyLimit
from crucible_batch.domain.gateway_types import JobSnapshot, JobStatus
from crucible_batch.domain.poll_scheduler import PollScheduler
from crucible_batch.domain.ports import BeforeRetry
from crucible_batch.domain.service_times import ServiceTimes
from crucible_batch.engine.poller import Poller
from crucible_batch.errors import GatewayError
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


class Polls:
    def __init__(self) -> None:
        self.refusals: list[bool] = []
        self.factor = 1.0

    def answered(self, *, is_refused: bool) -> None:
        self.refusals.append(is_refused)


class Gateway:
    async def job(self, job_id: str, *, before_retry: BeforeRetry) -> JobSnapshot:
        await before_retry(REFUSED, 7.0)
        await before_retry(BROKEN, 9.0)
        return JobSnapshot(job_id, JobStatus.SUCCEEDED, D("1"))


async def test_the_limit_learns_which_polls_were_refused_and_each_retry_waits():
    clock, limit = Clock(), ConcurrencyLimit(4, 4)
    limit.polls = polls = Polls()
    scheduler = PollScheduler(ServiceTimes())
    poller = Poller(Gateway(), clock, scheduler, job_timeout_s=1000.0, limit=limit)
    timer = asyncio.create_task(poller.keep_time())
    found = await poller.until_ended("job", "w", price=D("1"), poll_at_once=True)
    timer.cancel()
    await asyncio.gather(timer, return_exceptions=True)
    assert found.status is JobStatus.SUCCEEDED
    assert polls.refusals == [True, False]
    assert [waited for waited in clock.slept if waited > 5] == [7.0, 9.0]
