"""Commands to a running run, given from outside, and what the journal keeps of them."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass


class ControlAction(enum.StrEnum):
    """The commands to a running run."""

    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    CONCURRENCY = "concurrency"
    DEADLINE = "deadline"
    RETRY = "retry"


@dataclass(frozen=True, slots=True)
class ControlCommand:
    """A command. ``value`` is the number of jobs of ``concurrency``, or the seconds from now of
    ``deadline``.

    ``names`` are the names or patterns of the jobs of ``retry``.
    """

    action: ControlAction
    value: float | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ControlSource:
    """Who gave a command: ``by`` is a user at a host, ``via`` is ``terminal`` or ``page``."""

    by: str
    via: str


@dataclass(frozen=True, slots=True)
class ControlEntry:
    """A command as the journal keeps it, with the time in seconds since the epoch."""

    at: float
    command: ControlCommand
    source: ControlSource


@dataclass(frozen=True, slots=True)
class PausedSince:
    """The pause of a run: since when, in seconds since the epoch, and by whom."""

    at: float
    source: ControlSource


def pause_of(entries: Iterable[ControlEntry]) -> PausedSince | None:
    """Return the pause that a run is in after its commands, oldest first; None if it is not paused.

    The commands are those of one run: the next run of a directory is not paused.
    """
    pause: PausedSince | None = None
    for entry in entries:
        match entry.command.action:
            case ControlAction.PAUSE:
                pause = pause or PausedSince(entry.at, entry.source)
            case ControlAction.RESUME:
                pause = None
            case _:
                pass
    return pause
