"""``demo --on local:3``: a run in several processes, one of which is killed while it buys.

The coordinator starts another one for its shard. It finds in the shard's log what the killed one
was about to buy, and sends the same keys again, so nothing is bought twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from crucible_batch.core.progress import Message, Observer, ShardsAdvanced
from crucible_batch.errors import UserError
from crucible_batch.features.machines.coordinator import run_on_machines
from crucible_batch.features.machines.demo_options import DemoOptions
from crucible_batch.features.machines.engines import LocalProcesses, engine_of
from crucible_batch.features.machines.run_options import MachineOptions
from crucible_batch.runs.request import RunRequest
from crucible_batch.runs.running import RunResult
from crucible_batch.runs.start import RunKind
from crucible_batch.settings import Settings

logger = logging.getLogger(__name__)


async def run_and_kill_one(
    request: RunRequest,
    kind_for: Callable[[RunRequest], RunKind],
    *,
    observer: Observer | None = None,
    settings: Settings,
    **given: Any,
) -> RunResult:
    """Run as ``--on`` does, in one shard for each process, and kill the first process that buys.

    Raises ``UserError`` for an engine other than two or more local processes.
    """
    on = request.of(DemoOptions).on or ""
    engine = engine_of(on, settings, {})
    if not isinstance(engine, LocalProcesses) or engine.count < 2:
        raise UserError(
            f"the demo can't be run on {on[:100]!r}: one of its processes is killed",
            hint="run it in two or more processes on this machine: --on local:3",
        )
    others = tuple(each for each in request.features if not isinstance(each, DemoOptions))
    options = MachineOptions(on=on, divide=engine.count)
    losing = LosingOne(engine.count, settings)
    return await run_on_machines(
        replace(request, features=(*others, options)),
        kind_for,
        observer=_Killing(losing, observer),
        settings=settings,
        engine=losing,
        **given,
    )


@dataclass(slots=True)
class LosingOne(LocalProcesses):
    """Local processes, of which one can be killed."""

    killed: int | None = None
    """The shard whose process was killed."""

    def kill_one(self) -> None:
        if self.killed is None and self._running:
            self.killed, process = next(reversed(self._running.items()))
            logger.warning(
                "killed process %d, which ran shard %d of %d (SIGKILL): another one continues it",
                process.kill(),
                self.killed,
                self.count,
            )


@dataclass(slots=True)
class _Killing:
    """Passes messages on, and has a process killed once the processes have bought something."""

    engine: LosingOne
    observer: Observer | None

    def notify(self, message: Message) -> None:
        if self.observer is not None:
            self.observer.notify(message)
        if isinstance(message, ShardsAdvanced) and _all_buy(message):
            self.engine.kill_one()


def _all_buy(message: ShardsAdvanced) -> bool:
    """Whether each shard has begun, and something is bought at this moment."""
    return message.running + message.ended == message.shards and message.balance.held > 0
