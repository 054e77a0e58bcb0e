"""Commands to a run on several machines, which each shard asks for where they are stored.

    command                 lasts until
    pause                   the next resume, also if a coordinator or a shard is started again
    stop                    the next resume, or a coordinator is started again
    concurrency, deadline   the next one, or a coordinator is started again
    retry                   once, by the shards that run when it is given

A shard asks for new commands every ``ASK_S``. It sends a purchase only within ``HEARD_S`` of the
moment at which it sent the last question that was answered, and otherwise keeps it until the next
answer. So ``HEARD_S`` after a pause was stored, no worker buys, whether it has taken the pause or
can't: the one that can't is cut off from the store, or frozen. Who gives a pause waits until each
worker has taken it, or this time has passed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crucible_batch.core.control import ControlAction, ControlCommand, ControlSource

ASK_S = 0.5
"""The time between two questions of a worker."""
HEARD_S = 3.0
"""How long a worker may buy after it has sent a question that was answered."""


@dataclass(frozen=True, slots=True)
class GivenControl:
    """A stored command of a run. Of ``retry``, ``names`` are the identities of jobs.

    ``number`` counts the commands of the run from 1. ``age_s`` is the time since it was given, in
    seconds, when it was read. ``is_current``: it was given since the run's newest coordinator has
    begun.
    """

    number: int
    command: ControlCommand
    source: ControlSource
    age_s: float
    is_current: bool = True


def may_buy(heard_at: float, now: float) -> bool:
    """Return whether a purchase may be sent.

    ``heard_at`` is when the last question that was answered was sent.
    """
    return now - heard_at < HEARD_S


def pause_given(given: Sequence[GivenControl]) -> GivenControl | None:
    """Return the pause that a run is in after all of its commands, oldest first; else None."""
    pause: GivenControl | None = None
    for each in given:
        if each.command.action is ControlAction.PAUSE:
            pause = pause or each
        elif each.command.action is ControlAction.RESUME:
            pause = None
    return pause


def is_stopped(given: Sequence[GivenControl]) -> bool:
    """Return whether the run is to end since its newest coordinator has begun."""
    return any(each.is_current and each.command.action is ControlAction.STOP for each in given)


def due(given: Sequence[GivenControl], *, is_beginning: bool) -> list[GivenControl]:
    """Return what is to be performed of commands that were read together, oldest first.

    Only the newest of each kind counts: performed one after another, a resume between two pauses
    would permit purchases for a moment. ``is_beginning``: the run has not begun, so that it is not
    paused, and has nothing to be retried.
    """
    newest: dict[ControlAction | int, GivenControl] = {}
    for each in given:
        match each.command.action:
            case ControlAction.PAUSE:
                newest[ControlAction.PAUSE] = each
            case ControlAction.RESUME:
                newest[ControlAction.PAUSE] = each
                newest.pop(ControlAction.STOP, None)
            case ControlAction.RETRY if each.is_current and not is_beginning:
                newest[each.number] = each
            case ControlAction.STOP | ControlAction.CONCURRENCY | ControlAction.DEADLINE if (
                each.is_current
            ):
                newest[each.command.action] = each
            case _:
                pass
    last = newest.get(ControlAction.PAUSE)
    if is_beginning and last is not None and last.command.action is ControlAction.RESUME:
        del newest[ControlAction.PAUSE]
    return sorted(newest.values(), key=lambda each: each.number)
