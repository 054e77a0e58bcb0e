"""Commands that processes of a seed are given while they run, at times that the seed decides."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from crucible_batch.core.control import ControlAction, ControlCommand, ControlSource
from crucible_batch.errors import ControlError
from crucible_batch.runs.control_desk import ControlDesk
from tests.verification.simulation.pauses import Pauses

_SOMEBODY = ControlSource("somebody@host", "terminal")


@dataclass(frozen=True, slots=True)
class Order:
    """A command, so many seconds after the one before, or after the run has begun."""

    after_s: float
    command: ControlCommand


def invent_orders(chance: random.Random) -> tuple[Order, ...]:
    """Draw the commands of one process. One that is paused is resumed, stopped or out of time in
    the end.

    A third of them is paused and resumed again and again, so that pauses begin between any two
    steps of a job.
    """
    pace_s = chance.choice((0.02, 0.5, 5.0, 60.0))
    actions = chance.choices(tuple(_MAKERS), weights=(4, 3, 1, 2, 1, 2), k=chance.randrange(1, 7))
    if chance.random() < 0.35:
        pace_s = chance.choice((0.03, 0.3, 3.0))
        actions = [ControlAction.PAUSE, ControlAction.RESUME] * chance.randrange(5, 40)
    orders = [_order(chance, action, pace_s) for action in actions]
    if chance.random() < 0.3:  # while it takes up what an earlier run has left
        orders.insert(0, Order(0.0, ControlCommand(ControlAction.PAUSE)))
    last = chance.choice(
        (ControlAction.RESUME, ControlAction.RESUME, ControlAction.STOP, ControlAction.DEADLINE)
    )
    return (
        *orders,
        Order(chance.choice((1.0, 60.0, 900.0)) * chance.random(), _MAKERS[last](chance)),
    )


def _order(chance: random.Random, action: ControlAction, pace_s: float) -> Order:
    return Order(pace_s * chance.random(), _MAKERS[action](chance))


_MAKERS: Mapping[ControlAction, Callable[[random.Random], ControlCommand]] = {
    ControlAction.PAUSE: lambda _chance: ControlCommand(ControlAction.PAUSE),
    ControlAction.RESUME: lambda _chance: ControlCommand(ControlAction.RESUME),
    ControlAction.STOP: lambda _chance: ControlCommand(ControlAction.STOP),
    ControlAction.CONCURRENCY: lambda chance: ControlCommand(
        ControlAction.CONCURRENCY, float(chance.choice((1, 1, 2, 6, 24)))
    ),
    ControlAction.DEADLINE: lambda chance: ControlCommand(
        ControlAction.DEADLINE, chance.choice((0.5, 20.0, 600.0))
    ),
    ControlAction.RETRY: lambda chance: ControlCommand(
        ControlAction.RETRY, names=(chance.choice(("*", "*", "*-1", "job-2", "edit-*")),)
    ),
}


class Told(Protocol):
    """The judge, as far as it is told of commands."""

    pauses: Pauses

    def deadline_moved(self, seconds: float) -> None: ...

    def retried(self) -> None: ...


async def give(orders: Sequence[Order], desk: ControlDesk, judge: Told) -> None:
    """Give the commands of one process, and tell the judge when each is answered."""
    for order in orders:
        await asyncio.sleep(order.after_s)
        action = order.command.action
        if action is ControlAction.RESUME:
            judge.pauses.end()
        try:
            await desk.perform(order.command, _SOMEBODY)
        except ControlError:  # such as a pause of a run that stops
            continue
        match action:
            case ControlAction.PAUSE | ControlAction.STOP:
                judge.pauses.begin(is_final=action is ControlAction.STOP)
            case ControlAction.DEADLINE:
                judge.deadline_moved(order.command.value or 0.0)
            case ControlAction.RETRY:
                judge.retried()
            case _:
                pass
