"""Commands to a running run: read from words, as typed or sent by a page, and performed, journalled
and shown.
"""

from __future__ import annotations

import asyncio
import pwd
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from crucible_batch.core.control import (
    ControlAction,
    ControlCommand,
    ControlEntry,
    ControlSource,
    PausedSince,
)
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.progress import Controlled, Observer
from crucible_batch.core.redaction import clean
from crucible_batch.engine import Clock, RunControl
from crucible_batch.errors import ControlError, ExitCode, UserError
from crucible_batch.journal import Journal
from crucible_batch.option_values import AUTO, MOST_AT_ONCE, parse_concurrency, parse_duration
from crucible_batch.runs.request import JobFilter

_SHOWN = 5
_FORMS = "pause, resume, stop, concurrency N, deadline DURATION, retry NAME..."
_MOST_NAMES = 1000
_LONGEST_NAME = 1000


@dataclass(frozen=True, slots=True)
class ControlAnswer:
    """The answer of a run to a command: a sentence, and its data."""

    message: str
    data: Mapping[str, str | int]


def read_command(words: Sequence[str]) -> ControlCommand:
    """Return the command that the words are. Raises ``UserError``."""
    given = "".join(words[:1])
    try:
        action = ControlAction(given)
    except ValueError:
        raise UserError(
            f"{given[:100]!r} is not a command to a run", hint=f"one of: {_FORMS}"
        ) from None
    rest = words[1:]
    match action:
        case ControlAction.CONCURRENCY:
            return ControlCommand(
                action, _read_jobs(_single(action, rest, "the number of jobs in flight"))
            )
        case ControlAction.DEADLINE:
            return ControlCommand(
                action, _read_duration(_single(action, rest, "a duration from now, such as 2h"))
            )
        case ControlAction.RETRY:
            return ControlCommand(action, names=_read_names(rest))
        case _:
            if rest:
                raise UserError(
                    f"{action} takes no arguments: {rest[0][:100]!r}", hint=f"one of: {_FORMS}"
                )
            return ControlCommand(action)


def _single(action: ControlAction, rest: Sequence[str], what: str) -> str:
    if len(rest) != 1:
        raise UserError(f"{action} requires one argument: {what}", hint=f"one of: {_FORMS}")
    return rest[0]


def _read_jobs(text: str) -> int:
    with suppress(ValueError):
        jobs = parse_concurrency(text)
        if jobs != AUTO:
            return jobs
    raise UserError(
        f"{text[:100]!r} is not a number of jobs", hint=f"a number from 1 to {MOST_AT_ONCE}"
    )


def _read_duration(text: str) -> float:
    try:
        return parse_duration(text[:100])
    except ValueError as error:
        raise UserError(str(error), hint="deadline counts from now, such as: deadline 2h") from None


def _read_names(rest: Sequence[str]) -> tuple[str, ...]:
    if not rest:
        raise UserError(
            "retry requires the names of failed jobs", hint="patterns are allowed: retry 'hero-*'"
        )
    if len(rest) > _MOST_NAMES or max(map(len, rest)) > _LONGEST_NAME:
        raise UserError(
            "there are too many names, or one is too long", hint="use patterns: retry 'hero-*'"
        )
    return tuple(rest)


@dataclass(slots=True, kw_only=True)
class ControlDesk:
    """Performs commands to one run, one after another. Everything here is called from the run's
    event loop.

    ``number`` is that of the run in the journal; ``on_deadline`` takes a new deadline, in seconds
    from now.
    """

    control: RunControl
    journal: Journal
    number: int
    clock: Clock
    observer: Observer
    on_deadline: Callable[[float], None]
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _paused: PausedSince | None = field(default=None, init=False)

    async def perform(self, command: ControlCommand, source: ControlSource) -> ControlAnswer:
        """Perform a command, and return the answer for its sender.

        Raises ``ControlError`` if it has no effect in this state of the run, and ``JournalError``.
        """
        perform = {
            ControlAction.PAUSE: self._pause,
            ControlAction.RESUME: self._resume,
            ControlAction.STOP: self._stop,
            ControlAction.CONCURRENCY: self._set_concurrency,
            ControlAction.DEADLINE: self._set_deadline,
            ControlAction.RETRY: self._retry,
        }
        async with self._turn:
            message = await perform[command.action](command, source)
        in_flight, saving = self.control.in_flight, self.control.saving
        return ControlAnswer(
            message, {"action": command.action.value, "in_flight": in_flight, "saving": saving}
        )

    async def _pause(self, command: ControlCommand, source: ControlSource) -> str:
        self._refuse_if_stopping()
        paused = self._paused
        if paused is not None:
            return f"already paused by {paused.source.by}, since {_time(paused.at)}"
        self.control.pause.begin()  # first, so that nothing is bought while it is written
        entry = await self._enter(command, source)
        self._paused = PausedSince(entry.at, source)
        return f"paused; {self._collected()}"

    async def _resume(self, command: ControlCommand, source: ControlSource) -> str:
        paused = self._paused
        if paused is None:
            return "the run is not paused"
        entry = await self._enter(command, source)
        self._paused = None
        self.control.pause.end()
        return f"resumed after {_duration(entry.at - paused.at)}"

    async def _stop(self, command: ControlCommand, source: ControlSource) -> str:
        if self.control.is_interrupted:
            return f"already stopping; {self._collected()}"
        await self._enter(command, source)
        by = f"stopped by {source.by} from a {source.via}"
        self.control.interrupt(
            ExitCode.SIGINT,
            ErrorInfo("INTERRUPTED", by, hint="run the same command again to resume"),
        )
        return f"stopping; nothing more is bought; {self._collected()}"

    async def _set_concurrency(self, command: ControlCommand, source: ControlSource) -> str:
        self._refuse_if_stopping()
        jobs = round(command.value or 1)
        await self._enter(command, source)
        before = self.control.concurrency
        self.control.set_concurrency(jobs)
        return f"at most {_jobs(jobs)} in flight; it was {before}"

    async def _set_deadline(self, command: ControlCommand, source: ControlSource) -> str:
        seconds = command.value or 0.0
        entry = await self._enter(command, source)
        self.control.deadline.set(seconds)
        self.on_deadline(seconds)
        left, until = _duration(seconds), _time(entry.at + seconds)
        return f"the run stops in {left}, at {until}, unless it ends before"

    async def _retry(self, command: ControlCommand, source: ControlSource) -> str:
        self._refuse_if_stopping()
        found = self.control.reopen(JobFilter(only=command.names).takes)
        if not found:
            names = ", ".join(command.names[:_SHOWN])
            raise ControlError(
                f"no failed job of this run matches {clean(names, 200)}",
                hint=(
                    "crucible-batch status shows the failed jobs; "
                    "a job that is tried again already is not failed"
                ),
            )
        await self._enter(command, source)
        shown = ", ".join(clean(name, 80) for name in found[:_SHOWN])
        if len(found) > _SHOWN:
            shown += f" and {len(found) - _SHOWN} more"
        return f"tried again: {shown}"

    def _refuse_if_stopping(self) -> None:
        if self.control.is_stopping:
            raise ControlError(
                "the run is stopping: it buys nothing more",
                hint="run the same command again to resume",
            )

    def _collected(self) -> str:
        count, saving = self.control.in_flight, self.control.saving
        words = f"{count} jobs in flight are being collected"
        if count == 0:
            words = "no job is in flight"
        elif count == 1:
            words = "1 job in flight is being collected"
        if saving:
            words += f", the outputs of {_jobs(saving)} are being saved"
        return words

    async def _enter(self, command: ControlCommand, source: ControlSource) -> ControlEntry:
        entry = ControlEntry(self.clock.now(), command, source)
        await self.journal.append_control(self.number, entry)
        self.observer.notify(
            Controlled(
                entry.at,
                command.action.value,
                source.by,
                source.via,
                self.control.in_flight,
                command.value,
                command.names,
                self.control.saving,
            )
        )
        return entry


def user_name(user: int) -> str:
    """Return ``name@host`` of a user of this machine."""
    try:
        name = pwd.getpwuid(user).pw_name
    except KeyError:  # in containers
        name = f"uid {user}"
    return f"{name}@{socket.gethostname()}"


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
