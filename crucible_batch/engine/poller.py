"""Polls jobs until they end. ``pace.polls`` decides which job is polled next, and when."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from functools import partial

from msgspec.structs import replace

from crucible_batch.core.credits import Credits
from crucible_batch.core.gateway_types import JobSnapshot, JobStatus
from crucible_batch.core.outage import Outage
from crucible_batch.core.ports import Gateway
from crucible_batch.engine.acknowledged import read_acknowledged
from crucible_batch.engine.clock import Clock
from crucible_batch.errors import GatewayError
from crucible_batch.pace.concurrency import ConcurrencyLimit
from crucible_batch.pace.polls import PollScheduler

_NOTABLE_S = 1.0
"""A shorter outage is not worth a new place in the schedule."""


@dataclass(frozen=True, slots=True)
class PriceToCompare:
    """A job that has not ended, and whose record has a higher price than was known: ``credits``.

    The wait for its end is interrupted until the two prices were compared.
    """

    credits: Credits
    began: float
    running_at: float | None


class Poller:
    """Polls jobs until they end. ``limit`` learns from the answers."""

    def __init__(
        self,
        gateway: Gateway,
        clock: Clock,
        scheduler: PollScheduler,
        *,
        job_timeout_s: float,
        limit: ConcurrencyLimit,
        outage: Outage | None = None,
    ) -> None:
        self._gateway = gateway
        self._clock = clock
        self._scheduler = scheduler
        self._job_timeout_s = job_timeout_s
        self._limit = limit
        self._outage = outage or Outage()
        self._turns: dict[int, asyncio.Future[None]] = {}
        self._alarms: list[float] = []
        self._sleepers: asyncio.TaskGroup | None = None

    async def until_ended(
        self,
        job_id: str,
        workflow_id: str,
        *,
        price: Credits,
        is_due_now: bool,
        known: JobSnapshot | None = None,
        earlier: PriceToCompare | None = None,
    ) -> JobSnapshot | PriceToCompare | None:
        """Return the job once it has succeeded or failed; None after the job timeout.

        ``PriceToCompare`` if its record has more than ``price`` before it has ended; pass that as
        ``earlier`` to continue. ``known`` is a record that was just read: if the job has ended by
        it, it is not read again. ``is_due_now``: poll immediately, for a job accepted some time
        ago; its duration is not learned from then. An outage of the gateway does not count towards
        the timeout. Raises ``GatewayError`` if the job is unknown or the gateway can't be reached.
        """
        if known is not None and known.has_ended:
            return known
        scheduler = self._scheduler
        began, running_at = self._served_s(), None
        if earlier is not None:
            began, running_at, is_due_now = earlier.began, earlier.running_at, True

        def add(*, is_due_now: bool) -> int:
            left_s = max(0.0, began + self._job_timeout_s - self._served_s())
            return scheduler.add(
                workflow_id, self._clock.monotonic(), timeout_s=left_s, is_due_now=is_due_now
            )

        ticket, outage_s = add(is_due_now=is_due_now), self._outage_s()
        try:
            while True:
                await self._turn(ticket)
                snapshot = await self._poll(job_id)
                now = self._clock.monotonic()
                scheduler.record(ticket, snapshot.status, now)
                if snapshot.has_ended:
                    return replace(snapshot, running_at=running_at)
                if snapshot.status is JobStatus.RUNNING and running_at is None:
                    running_at = self._clock.now()
                if snapshot.credits > price:
                    return PriceToCompare(snapshot.credits, began, running_at)
                if self._served_s() - began >= self._job_timeout_s:
                    return None
                # The timeout is later by the time of an outage.
                if self._outage_s() > outage_s + _NOTABLE_S:
                    scheduler.remove(ticket)
                    ticket, outage_s = add(is_due_now=True), self._outage_s()
                self._limit.polled(snapshot.status)
        finally:
            scheduler.remove(ticket)
            self._give_turns()

    def _served_s(self) -> float:
        """Return the seconds of a clock that stands still during outages."""
        return self._clock.monotonic() - self._outage_s()

    def _outage_s(self) -> float:
        return self._outage.total_s(self._clock.monotonic())

    async def read(self, job_id: str) -> JobSnapshot | None:
        """Read a job outside the schedule, once the rates of polls and of requests permit it.

        None if the gateway doesn't know it.
        """
        await self._out_of_turn()
        try:
            return await self._poll(job_id)
        except GatewayError as error:
            if error.is_not_found:
                return None
            raise

    async def _poll(self, job_id: str) -> JobSnapshot:
        clock, requests = self._clock, self._limit.requests

        async def before_retry(error: GatewayError, wait_s: float) -> None:
            if error.is_pushback:
                requests.poll_answered(clock.monotonic(), is_refused=True)
            await self._pause(wait_s)

        read = partial(self._gateway.job, job_id, before_retry=before_retry)
        snapshot = await read_acknowledged(read, self._pause)
        requests.poll_answered(clock.monotonic(), is_refused=False)
        return snapshot

    async def _pause(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        await self._out_of_turn()

    async def _out_of_turn(self) -> None:
        now = self._clock.monotonic()
        at = self._scheduler.reserve(now)
        if at > now:
            await self._clock.sleep(at - now)

    async def keep_time(self) -> None:
        """Start polls when they are due. Runs beside the workers until cancelled."""
        async with asyncio.TaskGroup() as sleepers:
            self._sleepers = sleepers
            try:
                self._give_turns()
                await asyncio.Event().wait()
            finally:
                self._sleepers = None

    async def _turn(self, ticket: int) -> None:
        turn = self._turns[ticket] = asyncio.get_running_loop().create_future()
        try:
            self._give_turns()
            await turn
        finally:
            self._turns.pop(ticket, None)

    def _give_turns(self) -> None:
        """Start the polls that are due, and set a timer for the next."""
        now = self._clock.monotonic()
        for ticket in iter(lambda: self._scheduler.take(now), None):
            turn = self._turns.get(ticket)
            if turn is not None and not turn.done():
                turn.set_result(None)
        at = self._scheduler.next_at(now)
        if self._sleepers is not None and at < min(self._alarms, default=math.inf):
            self._alarms.append(at)
            self._sleepers.create_task(self._sleep_until(at))

    async def _sleep_until(self, at: float) -> None:
        await self._clock.sleep(max(at - self._clock.monotonic(), 0.0))
        self._alarms.remove(at)
        self._give_turns()
