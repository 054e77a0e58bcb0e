"""The commands that a run is given from elsewhere: asked for, and performed by its control desk.

The rules are those of ``command_rule.py``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from crucible_batch.core.control import ControlAction
from crucible_batch.errors import ControlError, CrucibleBatchError
from crucible_batch.features.shards.command_rule import (
    ASK_S,
    HEARD_S,
    GivenControl,
    due,
    may_buy,
)
from crucible_batch.runs.control_desk import ControlDesk

logger = logging.getLogger(__name__)

Take = Callable[[int, int], Awaitable[list[GivenControl]]]
"""Acknowledges all commands up to a number, with the jobs in flight, and returns those after it."""


class CommandFeed:
    """Asks for the commands of one run.

    ``ask`` has to be answered once before the run buys anything.
    """

    def __init__(
        self,
        take: Take,
        *,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._take = take
        self._monotonic = monotonic
        self._sleep = sleep
        self._taken = 0
        self._before: list[tuple[GivenControl, float]] = []
        """What was given before the run has begun, and when it was read."""
        self._desk: ControlDesk | None = None
        self._heard_at = float("-inf")
        self._turn = asyncio.Lock()

    async def ask(self) -> None:
        """Ask for new commands, perform and acknowledge them.

        Raises ``TimeoutError``, and what ``take`` raises.
        """
        async with self._turn:
            while True:
                sent_at = self._monotonic()
                given = await self._answered()
                if not given:
                    break
                if self._desk is None:
                    self._before += [(each, sent_at) for each in given]
                else:
                    await self._perform(self._desk, due(given, is_beginning=False))
                self._taken = given[-1].number
            self._heard_at = sent_at
            self._suspend_unless_heard()

    async def _answered(self) -> list[GivenControl]:
        """Return what is new.

        After the first time, an answer that would be too late to count is not awaited.
        """
        in_flight, within_s = 0, None
        if self._desk is not None:
            in_flight = self._desk.control.in_flight
        if self._heard_at > float("-inf"):
            within_s = HEARD_S
        async with asyncio.timeout(within_s):
            return await self._take(self._taken, in_flight)

    async def keep(self) -> None:
        """Ask until cancelled."""
        while True:
            await self._sleep(ASK_S)
            try:
                await self.ask()
            except CrucibleBatchError as error:
                logger.info("commands can't be asked for: %s", error.message)
            except TimeoutError:
                logger.info("commands can't be asked for: no answer within %g s", HEARD_S)

    def _suspend_unless_heard(self) -> None:
        """Suspend the run while the last answer is too old for it to buy."""
        if self._desk is not None:
            self._desk.control.pause.suspend(not may_buy(self._heard_at, self._monotonic()))

    @asynccontextmanager
    async def on(self, desk: ControlDesk) -> AsyncIterator[None]:
        """Perform commands at the desk of the run for the block.

        Those given before are performed before it begins.
        """
        async with self._turn:
            now = self._monotonic()
            given = [
                replace(each, age_s=each.age_s + now - read_at) for each, read_at in self._before
            ]
            await self._perform(desk, due(given, is_beginning=True))
            self._desk = desk
            desk.control.before_each_purchase(self._suspend_unless_heard)
        try:
            yield
        finally:
            self._desk = None

    async def _perform(self, desk: ControlDesk, given: Sequence[GivenControl]) -> None:
        for each in given:
            command = each.command
            if command.action is ControlAction.DEADLINE:
                command = replace(command, value=max(0.0, (command.value or 0.0) - each.age_s))
            try:
                await desk.perform(command, each.source)
            except ControlError as error:
                logger.info("%s has no effect here: %s", command.action, error.message)
