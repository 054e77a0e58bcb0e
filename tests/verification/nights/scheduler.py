"""The schedulers in virtual time: cron, and ``schedule serve`` with its processes replaced."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from crucible_batch.scheduled_time import times_after
from crucible_batch.scheduling.schedules import ManifestFolder, ScheduledManifest
from crucible_batch.scheduling.serve.decision import Start as DueStart
from crucible_batch.scheduling.serve.scheduler import Scheduler as Server
from tests.verification.nights.calendar import BERLIN
from tests.verification.nights.machine import Computer, NightClock, Process, in_the_world
from tests.verification.nights.scenario import NIGHTLIES, Nightly

Start = Callable[[Nightly, datetime, str, int], Coroutine[Any, Any, int | None]]
"""Runs a manifest for a time, started by a name, with a limit of missed times. None: it was killed."""

_LOOK_S = 30.0
"""Between two looks at what is due; ``schedule serve`` looks each second, which would take a play minutes."""
_KILLED = -9


class Scheduler(Protocol):
    """A scheduler that is up until it is killed."""

    async def serve(self) -> None: ...

    def kill(self) -> None: ...


class Cron:
    """Starts ``run MANIFEST --if-running skip --catch-up N`` at its times, as ``schedule export`` writes it."""

    def __init__(self, clock: NightClock, start: Start, catch_up: int) -> None:
        self._clock = clock
        self._start = start
        self._catch_up = catch_up
        self._tasks = [in_the_world(self._serve(nightly)) for nightly in NIGHTLIES]
        self._started: list[asyncio.Task[int | None]] = []

    async def serve(self) -> None:
        """Return at once: each manifest has a task of its own."""

    def kill(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _serve(self, nightly: Nightly) -> None:
        for moment in times_after(nightly.cron, BERLIN, self._clock.moment()):
            await self._clock.sleep_until(moment)
            self._started.append(in_the_world(self._start(nightly, moment, "cron", self._catch_up)))


class Serve:
    """``schedule serve`` in a process of its own. Its runs survive it, as they do when only the scheduler is killed."""

    def __init__(self, computer: Computer, clock: NightClock, start: Start, catch_up: int, state: Path) -> None:
        self._computer = computer
        self._start = start
        self._catch_up = catch_up
        self._process = Process("schedule serve")
        self._server = Server(
            ManifestFolder([Path()]),
            self._launch,
            lambda _message: None,
            now=clock.moment,
            monotonic=clock.monotonic,
            pause=lambda _seconds: clock.sleep(_LOOK_S),
            most_running=4,
            state=state,
        )

    async def serve(self) -> None:
        await self._computer.run(self._process, self._server.run)

    def kill(self) -> None:
        self._process.kill()

    async def _launch(self, schedule: ScheduledManifest, start: DueStart) -> int:
        nightly = next(each for each in NIGHTLIES if each.name == schedule.name)
        # Without the option, the manifest's own limit applies.
        catch_up = start.catch_up or self._catch_up
        code = await asyncio.shield(in_the_world(self._start(nightly, start.scheduled_at, "serve", catch_up)))
        return _KILLED if code is None else code
