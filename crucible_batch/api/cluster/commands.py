"""Commands to a run of a cluster by its id: given through the database, and answered when its workers have them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from crucible_batch.api.cluster.administration import run_named
from crucible_batch.api.cluster.directories import PLAN_FILE
from crucible_batch.api.control_desk import ControlAnswer, read_command
from crucible_batch.api.controlling import TERMINAL, user_name
from crucible_batch.api.request import JobFilter
from crucible_batch.api.run_paths import plan_folder
from crucible_batch.cluster import ClusterAddress, ControlTaker, RunRow
from crucible_batch.cluster.database import ClusterDatabase
from crucible_batch.domain.cluster_control import HEARD_S, is_stopped, pause_given
from crucible_batch.domain.control import ControlAction, ControlCommand, ControlSource
from crucible_batch.errors import ControlError
from crucible_batch.saved_plan import read_saved_plan

_LOOK_S = 0.05
_MARGIN_S = 0.5
"""Added to ``HEARD_S``, for clocks that don't run equally fast."""
_NAMED = 5


async def control_cluster_run(name: str, words: Sequence[str], dsn: str | None = None) -> ControlAnswer:
    """Give a command to a run of a cluster, and return what its workers do.

    ``name`` is the id of the run in the database, its run directory, or its manifest name. ``dsn`` is a PostgreSQL
    address; None takes ``CRUCIBLE_BATCH_DSN``. Returns when each worker has taken the command, after 3.5 seconds at the
    latest: a worker that has not taken it by then, although it can, buys nothing until it has.

    Raises ``UserError`` if it is not a command or there is no such run, ``ControlError`` if it has no effect now, or a
    worker of an earlier release doesn't take it, ``ClusterSetupError`` and ``ClusterUnreachableError``.
    """
    command = read_command(words)
    address = ClusterAddress.resolve(dsn, os.environ)
    source = ControlSource(user_name(os.geteuid()), TERMINAL)
    async with await ClusterDatabase.opened(address, patience_s=0.0) as database:
        run = run_named(name, await database.status())
        return await _Given(database, run, command, source).answer()


@dataclass(frozen=True, slots=True)
class _Given:
    """One command, from the database's point of view."""

    database: ClusterDatabase
    run: RunRow
    command: ControlCommand
    source: ControlSource
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def answer(self) -> ControlAnswer:
        command = self.command
        given = await self.database.controls(self.run.run.run)
        pause, number = pause_given(given), max((each.number for each in given), default=0)
        if command.action is ControlAction.RESUME and pause is None:
            return self._answered("the run is not paused", [], number)
        if command.action is ControlAction.PAUSE and pause is not None:
            since = timedelta(seconds=round(pause.age_s))
            return await self._taken(f"already paused by {pause.source.by} for {since}", number)
        if is_stopped(given) and command.action not in (ControlAction.STOP, ControlAction.RESUME):
            raise ControlError("the run is stopping: it buys nothing more", hint="run the same command again to resume")
        done = _DONE[command.action](command)
        if command.action is ControlAction.RETRY:
            command, done = await asyncio.to_thread(self._with_identities, await self.database.takers(self.run.run.run))
        stored = await self.database.give_control(self.run.run.run, command, self.source)
        if stored is None:
            raise ControlError(f"the run {self.run.run.run} is not in the database any more")
        return await self._taken(done, stored)

    async def _taken(self, done: str, number: int) -> ControlAnswer:
        """Wait until each worker has taken the command with this number, or can't buy without having taken it."""
        waited = 0.0
        while True:
            takers = await self.database.takers(self.run.run.run)
            if waited >= HEARD_S + _MARGIN_S or all(_has(each, number) for each in takers):
                return self._answered(done, takers, number)
            await self.sleep(_LOOK_S)
            waited += _LOOK_S

    def _answered(self, done: str, takers: list[ControlTaker], number: int) -> ControlAnswer:
        deaf = [each for each in takers if each.taken is None]
        silent = [each for each in takers if each.taken is not None and not _has(each, number)]
        have = len(takers) - len(deaf) - len(silent)
        in_flight = sum(each.in_flight for each in takers if _has(each, number))
        if deaf:
            raise ControlError(
                f"{done}, on {have} of {_workers(len(takers))}, but not on {_names(deaf)}: it does not ask for"
                " commands, and continues as before",
                hint="workers of earlier releases take no commands: stop them; their shards are continued by others",
            )
        parts = [done]
        if takers:
            parts.append(f"taken by {have} of {_workers(len(takers))}")
        elif number:
            parts.append("no worker runs a shard of it now")
        if silent:
            verb = "is" if len(silent) == 1 else "are"
            parts.append(f"{_names(silent)} {verb} silent, and can buy nothing before taking it")
        if in_flight and self.command.action in (ControlAction.PAUSE, ControlAction.STOP):
            parts.append(f"{in_flight} job{'' if in_flight == 1 else 's'} in flight being collected")
        return ControlAnswer(
            "; ".join(parts),
            {
                "action": self.command.action.value,
                "run": self.run.run.run,
                "workers": len(takers),
                "taken": have,
                "in_flight": in_flight,
            },
        )

    def _with_identities(self, takers: Sequence[ControlTaker]) -> tuple[ControlCommand, str]:
        """Return the command with the identities of jobs in running shards. Raises ``ControlError`` if none matches."""
        takes = JobFilter(only=self.command.names).takes
        found: list[str] = []
        shards = {(each.plan_digest, each.number) for each in takers if each.number}
        for digest in sorted({digest for digest, _ in shards}):
            path = plan_folder(Path(self.run.run.location), digest) / PLAN_FILE
            if not path.is_file():
                raise ControlError(
                    f"{path} is not on this machine: jobs are looked up in it",
                    hint="give this command where the run directory is",
                )
            plan = read_saved_plan(path)
            for number in sorted(number for of, number in shards if of == digest):
                found += [row.identity for row in plan.shard_rows(number) if takes(row.name)]
        if not found:
            raise ControlError(
                "no shard that is running has a job of this name",
                hint="jobs of other shards are tried again after the run: run --retry-failed",
            )
        jobs = "the job is" if len(found) == 1 else f"{len(found)} jobs are"
        return replace(self.command, names=tuple(found)), f"{jobs} tried again if failed, which only the workers know"


def _has(taker: ControlTaker, number: int) -> bool:
    return taker.taken is not None and taker.taken >= number


_DONE: dict[ControlAction, Callable[[ControlCommand], str]] = {
    ControlAction.PAUSE: lambda _: "paused",
    ControlAction.RESUME: lambda _: "resumed",
    ControlAction.STOP: lambda _: "stopping, and no further shard is started",
    ControlAction.CONCURRENCY: lambda command: f"at most {command.value:g} jobs in flight on each worker",
    ControlAction.DEADLINE: lambda command: f"the run stops in {timedelta(seconds=round(command.value or 0))}",
    ControlAction.RETRY: lambda _: "",
}


def _workers(count: int) -> str:
    return f"{count} worker{'' if count == 1 else 's'}"


def _names(takers: Sequence[ControlTaker]) -> str:
    names = [
        each.name or ("the coordinator" if not each.number else f"the worker of shard {each.number}") for each in takers
    ]
    shown = ", ".join(names[:_NAMED])
    return shown + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
