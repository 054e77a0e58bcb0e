"""cron in virtual time, with the crontab that ``schedule export`` writes."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from crucible_batch.features.schedule.export.target import ExportOptions
from crucible_batch.features.schedule.export.writing import export
from crucible_batch.features.schedule.schedules import find_schedules
from crucible_batch.option_values import parse_duration
from crucible_batch.scheduled_time import times_after
from tests.verification.nights.calendar import BERLIN
from tests.verification.nights.machine import NightClock, in_the_world
from tests.verification.nights.scenario import NIGHTLIES, Nightly


@dataclass(frozen=True)
class Line:
    """A line of the crontab: when it starts the run of which manifest, and the time limit of the
    run.
    """

    cron: str
    nightly: Nightly
    deadline_s: float


Start = Callable[[Line, datetime], Coroutine[Any, Any, int | None]]


def crontab(folder: Path, now: datetime) -> list[Line]:
    """Export the manifests of a folder, and read the lines as cron and a shell do."""
    options = ExportOptions(
        directory=folder, command=("crucible-batch",), now=now, system_zone=BERLIN
    )
    (file,) = export(find_schedules([folder]).schedules, "cron", options)
    return [_read(line) for line in file.text.splitlines() if not line.startswith("#")]


def _read(line: str) -> Line:
    *fields, command = line.split(maxsplit=5)
    _, _, run = command.replace("\\%", "%").partition(" && ")
    match shlex.split(run):
        case [
            "crucible-batch",
            "run",
            path,
            "--if-running",
            "skip",
            "--deadline",
            limit,
            "--quiet",
        ]:
            nightly = next(each for each in NIGHTLIES if each.name == Path(path).stem)
            return Line(" ".join(fields), nightly, parse_duration(limit))
    raise AssertionError(f"the play knows no such command: {run}")


class Cron:
    """Starts the command of each line at its times, until it is killed."""

    def __init__(self, clock: NightClock, start: Start, lines: Sequence[Line]) -> None:
        self._clock = clock
        self._start = start
        self._tasks = [in_the_world(self._serve(line)) for line in lines]
        self._started: list[asyncio.Task[int | None]] = []

    def kill(self) -> None:
        """Kill cron alone: the runs that it has started go on."""
        for task in self._tasks:
            task.cancel()

    async def _serve(self, line: Line) -> None:
        for moment in times_after(line.cron, BERLIN, self._clock.moment()):
            await self._clock.sleep_until(moment)
            self._started.append(in_the_world(self._start(line, moment)))
