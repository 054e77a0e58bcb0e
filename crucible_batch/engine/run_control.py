"""What can be changed in a run while it is active: its pause, its end, its deadline, its limit of
concurrent jobs.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any

from crucible_batch.core.engine_options import EngineOptions
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Phase
from crucible_batch.engine.clock import Clock, wait_for_change
from crucible_batch.engine.pause import Pause
from crucible_batch.engine.progress_reporter import ProgressReporter
from crucible_batch.engine.reopening import Reopening
from crucible_batch.engine.runner_ports import RunnerPorts
from crucible_batch.engine.shutdown import Shutdown
from crucible_batch.engine.slots import Slots
from crucible_batch.errors import ExitCode

Work = Coroutine[Any, Any, None]
SIGNALLED = ErrorInfo(
    "INTERRUPTED", "stopped by a signal", hint="run the same command again to resume"
)
DEADLINE_PASSED = ErrorInfo(
    "DEADLINE", "the deadline has passed", hint="run the same command again to resume"
)


class RunDeadline:
    """The deadline of a run, which may be replaced. Times are seconds."""

    def __init__(self, stop: Shutdown, clock: Clock, seconds: float | None) -> None:
        self._stop = stop
        self._clock = clock
        self._at = math.inf
        self._changed = asyncio.Event()
        self.set(seconds)
        stop.before_purchase.append(self.check)

    def set(self, seconds: float | None) -> None:
        """Set the deadline, in seconds from now; None: no deadline."""
        self._at = math.inf
        if seconds is not None:
            self._at = self._clock.monotonic() + seconds
        self._changed.set()

    @property
    def is_over(self) -> bool:
        return self._clock.monotonic() >= self._at

    def check(self) -> None:
        """Stop the run if the deadline has passed: its alarm is late in a process that was frozen,
        or is busy.
        """
        if self.is_over and not self._stop.leaving.is_set():
            self._stop.leave(ExitCode.STOPPED, DEADLINE_PASSED)

    async def keep(self) -> None:
        """Stop the run when the deadline passes."""
        while not self.is_over:
            await wait_for_change(self._changed, self._clock, self._at)
        self._stop.leave(ExitCode.STOPPED, DEADLINE_PASSED)


class Workers:
    """The tasks of a run: workers that take one job after another, and what they leave to be done
    later.
    """

    def __init__(self) -> None:
        self.active = 0
        """How many tasks have not ended. While there is one, more can be started."""
        self._start: Callable[[Callable[[], Work]], None] = lambda _work: None
        self._worker: Callable[[], Work]
        self._most = 0

    async def run(self, worker: Callable[[], Work], count: int) -> None:
        """Have ``count`` workers work until all have ended, with the tasks that were started
        meanwhile."""

        async def counted(work: Callable[[], Work]) -> None:
            try:
                await work()
            finally:
                self.active -= 1

        def start(work: Callable[[], Work]) -> None:
            self.active += 1
            group.create_task(counted(work))

        async with asyncio.TaskGroup() as group:
            self._start, self._worker = start, worker
            self._most = 0
            self._add(count)

    def raise_to(self, count: int) -> None:
        """Start workers up to ``count``, those that have ended included, unless all tasks have
        ended."""
        self.add(count - self._most)

    def add(self, count: int) -> None:
        """Start workers for jobs that were added to the queue, unless all tasks have ended."""
        if self.active:
            self._add(count)

    def _add(self, count: int) -> None:
        for _ in range(count):
            self._most += 1
            self._start(self._worker)

    def later(self, work: Callable[[], Work]) -> None:
        """Start a task that is not a worker. Called by an active one."""
        self._start(work)


class RunControl:
    """Commands to a running run. Everything here is called from the event loop."""

    def __init__(
        self,
        ports: RunnerPorts,
        stop: Shutdown,
        slots: Slots,
        tell: ProgressReporter,
        reopening: Reopening,
        *,
        options: EngineOptions,
    ) -> None:
        self.pause = Pause(stop, ports.clock, slots.given_back)
        self.deadline = RunDeadline(stop, ports.clock, options.deadline_s)
        self.workers = Workers()
        self._stop = stop
        self._outage = ports.outage
        self._slots = slots
        self._tell = tell
        self._reopening = reopening
        self._grace_s = options.grace_s

    @property
    def in_flight(self) -> int:
        """How many jobs the gateway has, or may have, which a pause or a stop still collects."""
        return self._slots.at_gateway + self._reopening.waiting_in(
            Phase.SUBMITTING, Phase.IN_FLIGHT
        )

    @property
    def saving(self) -> int:
        """How many jobs have ended at the gateway, and their outputs are being saved."""
        return self._tell.saving + self._reopening.waiting_in(Phase.FETCHING)

    @property
    def is_stopping(self) -> bool:
        """Whether nothing more is bought in this run."""
        return self._stop.no_more

    @property
    def is_interrupted(self) -> bool:
        """Whether the run was interrupted: by a signal or a command."""
        return bool(self._stop.reasons & {ExitCode.SIGINT, ExitCode.SIGTERM})

    def before_each_purchase(self, check: Callable[[], None]) -> None:
        """Call ``check`` right before each purchase is sent: it may stop or suspend the run."""
        self._stop.before_purchase.append(check)

    @property
    def concurrency(self) -> int:
        """The most jobs in flight."""
        return self._slots.limit.ceiling

    def interrupt(self, code: ExitCode, error: ErrorInfo = SIGNALLED) -> None:
        """First call: buy nothing more and wait for jobs in flight, up to the grace time. Second
        call: leave.

        In an outage of the gateway nothing arrives within the grace time, so the first call leaves.
        """
        if self._outage.is_on or self.is_interrupted:
            self._stop.leave(code, error)
            return
        self._stop.wind_down(code, error)
        self._tell.stopping(error, self._grace_s)
        asyncio.get_running_loop().call_later(self._grace_s, self._stop.leave, code, error)

    def set_concurrency(self, ceiling: int) -> None:
        """Change the most jobs in flight.

        Jobs above it are not stopped; none is started until enough have ended.
        """
        self.workers.raise_to(2 * ceiling)
        self._slots.set_ceiling(ceiling)

    def reopen(self, takes: Callable[[str], bool]) -> list[str]:
        """Try the failed jobs again whose name ``takes`` accepts, and return their names; none if
        the run is ending."""
        if not self.workers.active:
            return []
        found = self._reopening.reopen(takes)
        self.workers.add(min(len(found), self.concurrency))
        return found
