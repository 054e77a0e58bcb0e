"""Polls jobs until they end. ``domain.poll_scheduler`` decides which job is polled next, and when."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from crucible_batch.domain.credits import Credits
from crucible_batch.domain.gateway_types import JobSnapshot, JobStatus
from crucible_batch.domain.poll_scheduler import PollScheduler
from crucible_batch.domain.ports import Gateway
from crucible_batch.engine.clock import Clock


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A job that has not ended and whose record has a higher price, ``credits``, than was known."""

    credits: Credits
    began: float
    running_at: float | None


class Poller:
    """Polls jobs until they end. ``on_look`` is called after each answered poll."""

    def __init__(
        self, gateway: Gateway, clock: Clock, looks: PollScheduler, *, job_timeout_s: float, on_look: Callable[[], None]
    ) -> None:
        self._gateway = gateway
        self._clock = clock
        self._looks = looks
        self._job_timeout_s = job_timeout_s
        self._on_look = on_look
        self._turns: dict[int, asyncio.Future[None]] = {}
        self._alarms: list[float] = []
        self._sleepers: asyncio.TaskGroup | None = None

    async def until_ended(
        self, job_id: str, workflow_id: str, *, price: Credits, look_at_once: bool, earlier: Interrupted | None = None
    ) -> JobSnapshot | Interrupted | None:
        """Return the job once it has succeeded or failed; None after the job timeout.

        ``Interrupted`` if its record has more than ``price`` before it has ended; pass that as ``earlier`` to continue.
        ``look_at_once``: poll at once, for a job accepted some time ago; its duration is not learned from then.
        Raises ``GatewayError`` if the job is unknown or the gateway can't be reached.
        """
        looks, now = self._looks, self._clock.monotonic()
        began, running_at = (now, None) if earlier is None else (earlier.began, earlier.running_at)
        timeout_s = max(0.0, began + self._job_timeout_s - now)
        ticket = looks.opened(workflow_id, now, timeout_s=timeout_s, look_at_once=look_at_once or earlier is not None)
        try:
            while True:
                await self._turn(ticket)
                snapshot = await self._gateway.job(job_id)
                now = self._clock.monotonic()
                looks.saw(ticket, snapshot.status, now)
                if snapshot.status in {JobStatus.SUCCEEDED, JobStatus.FAILED}:
                    return replace(snapshot, running_at=running_at)
                if snapshot.status is JobStatus.RUNNING and running_at is None:
                    running_at = self._clock.now()
                if snapshot.credits > price:
                    return Interrupted(snapshot.credits, began, running_at)
                if now - began >= self._job_timeout_s:
                    return None
                self._on_look()
        finally:
            looks.closed(ticket)
            self._on_look()
            self._give_turns()

    async def out_of_turn(self) -> None:
        """Wait until one request outside the schedule fits into the rate of polls."""
        now = self._clock.monotonic()
        if (at := self._looks.reserve(now)) > now:
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
        while (ticket := self._looks.take(now)) is not None:
            turn = self._turns.get(ticket)
            if turn is not None and not turn.done():
                turn.set_result(None)
        at = self._looks.next_at(now)
        if self._sleepers is not None and at < min(self._alarms, default=math.inf):
            self._alarms.append(at)
            self._sleepers.create_task(self._sleep_until(at))

    async def _sleep_until(self, at: float) -> None:
        await self._clock.sleep(max(at - self._clock.monotonic(), 0.0))
        self._alarms.remove(at)
        self._give_turns()
