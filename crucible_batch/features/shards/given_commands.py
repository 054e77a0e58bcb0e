"""How ``ctl`` reaches the shards of a divided plan, on whichever machines they run."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crucible_batch.core.control import ControlAction, ControlCommand, ControlSource
from crucible_batch.core.sharding import ShardId
from crucible_batch.engine import Clock, SystemClock
from crucible_batch.features.shards.command_log import StoredCommands
from crucible_batch.features.shards.command_rule import ASK_S, HEARD_S
from crucible_batch.features.shards.log import ShardLog, ShardTail
from crucible_batch.features.shards.stored_plans import outstanding_plan
from crucible_batch.outputs import ObjectPort
from crucible_batch.runs.concurrent_work import for_each
from crucible_batch.runs.control_desk import ControlAnswer, read_command, user_name
from crucible_batch.runs.journal_log import TICK_S
from crucible_batch.saved_plan import SavedPlan

_AT_ONCE = 16
_ANSWERED_WITHIN_S = HEARD_S + TICK_S + 1
"""A shard that runs shows by then that it has taken a command."""


def give(run: Path, words: Sequence[str]) -> ControlAnswer | None:
    """Give a command to all shards of a run's divided plan; None if no plan waits for its merge.

    Blocks for up to six seconds, until the shards that run have taken it. Raises ``UserError`` if
    it is not a command, ``ControlError``, ``ObjectStoreError`` and ``RunDirectoryError``.
    """
    command = read_command(words)
    source = ControlSource(user_name(os.geteuid()), "terminal")
    return asyncio.run(_give_to_shards(run, command, source))


async def _give_to_shards(
    run: Path, command: ControlCommand, source: ControlSource
) -> ControlAnswer | None:
    place = await outstanding_plan(run)
    if place is None:
        return None
    return await Shards.of(*place, SystemClock()).give(command, source)


@dataclass(slots=True)
class Shards:
    """The shards of a plan, reached by their logs."""

    commands: StoredCommands
    tails: Sequence[ShardTail]
    clock: Clock

    @classmethod
    def of(cls, objects: ObjectPort, plan: SavedPlan, clock: Clock) -> Shards:
        count = len(plan.head.shards)
        numbers = range(1, count + 1)
        logs = (ShardLog(objects, plan.digest, ShardId(number, count)) for number in numbers)
        tails = [ShardTail(log, clock) for log in logs]
        return cls(StoredCommands(objects, plan.digest, clock), tails, clock)

    async def give(self, command: ControlCommand, source: ControlSource) -> ControlAnswer:
        """Give a command, and wait until the shards that run have taken it.

        Raises ``ControlError``, ``JournalError`` and ``ObjectStoreError``.
        """
        await for_each(self.tails, ShardTail.begin, at_once=_AT_ONCE)
        asked = [tail for tail in self.tails if tail.may_be_running]
        number = await self.commands.add(command, source)
        until = self.clock.monotonic() + _ANSWERED_WITHIN_S
        grown = set[int]()
        while self.clock.monotonic() < until and not all(
            _has_taken(each, number) for each in asked
        ):
            await self.clock.sleep(ASK_S)
            for tail in asked:
                if await tail.read():
                    grown.add(tail.log.shard.number)
        taken = sum(_has_taken(each, number) for each in asked)
        running = sum(each.log.shard.number in grown or _has_taken(each, number) for each in asked)
        return ControlAnswer(
            _answer(command.action, taken, running, len(self.tails)),
            {
                "action": command.action.value,
                "taken": taken,
                "running": running,
                "shards": len(self.tails),
            },
        )


def _has_taken(tail: ShardTail, number: int) -> bool:
    return tail.figures is not None and tail.figures.taken >= number


def _answer(action: ControlAction, taken: int, running: int, shards: int) -> str:
    """Return the sentence for the user who gave a command."""
    words = f"{action} is stored for all {shards} shards"
    if not running:
        return f"{words}; none is running: each takes it when it begins"
    words += f"; {taken} of the {running} that run have taken it"
    if taken < running and action is ControlAction.PAUSE:
        words += f", and the others buy nothing from {HEARD_S:g} s after it on"
    return words
