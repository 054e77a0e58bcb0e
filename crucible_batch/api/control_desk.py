"""Performs commands to a running run: each has its effect, is journalled, and is shown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias, assert_never

from crucible_batch.api.request import JobFilter
from crucible_batch.domain.control import ControlAction, ControlCommand, ControlEntry, ControlSource, PausedSince
from crucible_batch.domain.gateway_types import ErrorInfo
from crucible_batch.domain.progress import Controlled, Observer
from crucible_batch.domain.redaction import clean
from crucible_batch.engine import Clock, RunControl
from crucible_batch.errors import ControlError, ExitCode
from crucible_batch.journal import Journal

_SHOWN = 5
Answer: TypeAlias = tuple[str, Mapping[str, str | int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlledRun:
    """The run that commands are for. ``number`` is its number in the journal; ``on_deadline`` takes a new deadline."""

    control: RunControl
    journal: Journal
    number: int
    clock: Clock
    observer: Observer
    on_deadline: Callable[[float], None]


class ControlDesk:
    """Performs commands to one run, one after another. Everything here is called from the run's event loop."""

    def __init__(self, run: ControlledRun) -> None:
        self._run = run
        self._control = run.control
        self._turn = asyncio.Lock()
        self._paused: PausedSince | None = None

    async def perform(self, command: ControlCommand, source: ControlSource) -> Answer:
        """Perform a command, and return the answer for its sender: a sentence and its data.

        Raises ``ControlError`` if it has no effect in this state of the run, and ``JournalError``.
        """
        async with self._turn:
            match command.action:
                case ControlAction.PAUSE:
                    message = await self._pause(command, source)
                case ControlAction.RESUME:
                    message = await self._resume(command, source)
                case ControlAction.STOP:
                    message = await self._stop(command, source)
                case ControlAction.CONCURRENCY:
                    message = await self._set_concurrency(command, source)
                case ControlAction.DEADLINE:
                    message = await self._set_deadline(command, source)
                case ControlAction.RETRY:
                    message = await self._retry(command, source)
                case _:
                    assert_never(command.action)
        control = self._control
        return message, {"action": command.action.value, "in_flight": control.in_flight, "saving": control.saving}

    def suspend(self, is_suspended: bool) -> None:
        """Begin or end a suspension: the run buys nothing, whatever is commanded. It is not journalled."""
        self._control.pause.suspend(is_suspended)

    def before_each_purchase(self, check: Callable[[], None]) -> None:
        """Call ``check`` right before each purchase is sent: it may ``suspend`` the run."""
        self._control.before_each_purchase(check)

    @property
    def in_flight(self) -> int:
        """How many jobs are at the gateway."""
        return self._control.in_flight

    async def _pause(self, command: ControlCommand, source: ControlSource) -> str:
        self._refuse_if_stopping()
        if (paused := self._paused) is not None:
            return f"already paused by {paused.source.by}, since {_time(paused.at)}"
        self._control.pause.begin()  # first, so that nothing is bought while it is written
        entry = await self._enter(command, source)
        self._paused = PausedSince(entry.at, source)
        return f"paused; {self._collected()}"

    async def _resume(self, command: ControlCommand, source: ControlSource) -> str:
        if (paused := self._paused) is None:
            return "the run is not paused"
        entry = await self._enter(command, source)
        self._paused = None
        self._control.pause.end()
        return f"resumed after {_duration(entry.at - paused.at)}"

    async def _stop(self, command: ControlCommand, source: ControlSource) -> str:
        if self._control.is_interrupted:
            return f"already stopping; {self._collected()}"
        await self._enter(command, source)
        by = f"stopped by {source.by} from a {source.via}"
        self._control.interrupt(
            ExitCode.SIGINT, ErrorInfo("INTERRUPTED", by, hint="run the same command again to resume")
        )
        return f"stopping; nothing more is bought; {self._collected()}"

    async def _set_concurrency(self, command: ControlCommand, source: ControlSource) -> str:
        self._refuse_if_stopping()
        jobs = round(command.value or 1)
        await self._enter(command, source)
        before = self._control.concurrency
        self._control.set_concurrency(jobs)
        return f"at most {_jobs(jobs)} in flight; it was {before}"

    async def _set_deadline(self, command: ControlCommand, source: ControlSource) -> str:
        seconds = command.value or 0.0
        entry = await self._enter(command, source)
        self._control.deadline.set(seconds)
        self._run.on_deadline(seconds)
        return f"the run stops in {_duration(seconds)}, at {_time(entry.at + seconds)}, unless it ends before"

    async def _retry(self, command: ControlCommand, source: ControlSource) -> str:
        self._refuse_if_stopping()
        found = self._control.reopen(JobFilter(only=command.names).takes)
        if not found:
            names = ", ".join(command.names[:_SHOWN])
            raise ControlError(
                f"no failed job of this run matches {clean(names, 200)}",
                hint="crucible-batch status shows the failed jobs; a job that is tried again already is not failed",
            )
        await self._enter(command, source)
        shown = ", ".join(clean(name, 80) for name in found[:_SHOWN])
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        return f"tried again: {shown}{more}"

    def _refuse_if_stopping(self) -> None:
        if self._control.is_stopping:
            raise ControlError("the run is stopping: it buys nothing more", hint="run the same command again to resume")

    def _collected(self) -> str:
        count, saving = self._control.in_flight, self._control.saving
        words = f"{_jobs(count)} in flight {'are' if count != 1 else 'is'} being collected"
        if not count:
            words = "no job is in flight"
        return f"{words}, the outputs of {_jobs(saving)} are being saved" if saving else words

    async def _enter(self, command: ControlCommand, source: ControlSource) -> ControlEntry:
        run = self._run
        entry = ControlEntry(run.clock.now(), command, source)
        await run.journal.append_control(run.number, entry)
        run.observer.notify(
            Controlled(
                entry.at,
                command.action.value,
                source.by,
                source.via,
                self._control.in_flight,
                command.value,
                command.names,
                self._control.saving,
            )
        )
        return entry


def _jobs(count: int) -> str:
    return f"{count} job{'s' if count != 1 else ''}"


Commanded: TypeAlias = Callable[[ControlDesk], AbstractAsyncContextManager[object]]
"""A context in which commands are performed at a desk."""


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
