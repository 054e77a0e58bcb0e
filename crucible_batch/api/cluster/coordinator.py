"""What the coordinator of a run in a cluster works with: the run, its claim in the database, and commands to it.

Commands are recorded in the main journal, and performed in the runs of the coordinator itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

import httpx

from crucible_batch.api.cancellation import Deadline
from crucible_batch.api.cluster.claimed_shard import lease_clock
from crucible_batch.api.cluster.command_feed import CommandFeed
from crucible_batch.api.cluster.deadline import store_deadline
from crucible_batch.api.control_desk import Commanded
from crucible_batch.api.notifying import RunNotices
from crucible_batch.api.request import RunRequest
from crucible_batch.api.run_journal import reopened
from crucible_batch.cluster import ClusterRun, QueuedShard, ShardKey
from crucible_batch.cluster.database import ClusterDatabase, new_claim
from crucible_batch.cluster.queue import ShardQueue
from crucible_batch.domain.cluster_control import GivenControl, pause_given
from crucible_batch.domain.control import ControlEntry, pause_of
from crucible_batch.domain.credits import Credits
from crucible_batch.domain.plan import RunTerms
from crucible_batch.domain.shard_lease import LEASE_S, AllowanceAnswer, ShardState
from crucible_batch.domain.sharding import OutstandingShards
from crucible_batch.engine import Clock, SystemClock
from crucible_batch.errors import ClusterSetupError, CrucibleBatchError, RunBusyError
from crucible_batch.journal import lock_run_directory
from crucible_batch.manifest import Manifest
from crucible_batch.saved_plan import SavedPlan
from crucible_batch.settings import Settings

_RECORDED: Final = "cluster_controls"
"""The note of how many commands of the database the main journal has."""


@dataclass(frozen=True, slots=True)
class ClusterContext:
    """What the coordinator of one run works with. ``main`` is the main run directory, ``terms`` are the run's."""

    request: RunRequest
    manifest: Manifest
    settings: Settings
    transport: httpx.AsyncBaseTransport | None
    deadline: Deadline
    notices: RunNotices
    clock: Clock
    terms: RunTerms
    main: Path

    @property
    def is_late(self) -> bool:
        return self.deadline.left_s == 0

    def part(self, *, shards: int | None, retries: bool = False) -> RunRequest:
        """Return the request of a plan or a run of the coordinator, with the time that is left.

        It is a part of the run: it is neither notified nor measured as if it was the run. ``retries``: failed jobs are
        tried again. Raises ``DeadlineError`` if no time is left.
        """
        self.deadline.check()
        request = self.request
        return replace(
            request,
            shards=shards,
            job_filter=replace(request.job_filter, retry_failed=retries),
            deadline_s=self.deadline.left_s,
            notify=False,
            metrics_textfile=None,
            metrics_listen=None,
            traces=False,
        )


@dataclass(frozen=True, slots=True)
class CoordinatorPace:
    """The times of a coordinator, in seconds. Those of tests are shorter."""

    poll_s: float = 1.0
    lease_s: float = LEASE_S


@dataclass(slots=True)
class CoordinatorClaim:
    """A coordinator's claim of its run in the database.

    ``run``, ``epoch``, ``budget`` and ``commands`` are known once it was opened, and ``id`` is that of the coordinator.
    """

    database: ClusterDatabase
    context: ClusterContext
    pace: CoordinatorPace
    id: str = field(default_factory=new_claim)
    run: str = ""
    epoch: int = 0
    budget: Credits | None = None
    commands: CoordinatorCommands | None = None

    async def open(self, run: ClusterRun) -> None:
        """Take the run, also a second time with another budget. A coordinator that was killed is awaited.

        Raises ``RunBusyError`` if another one has the run after twice the time of a lease, and ``ClusterSetupError`` if
        the database has the run otherwise.
        """
        waited = 0.0
        while True:
            claim = await self.database.open_run(run, self.id)
            if claim.is_claimed:
                self.run, self.epoch, self.budget = run.run, claim.epoch, run.budget
                self.commands = CoordinatorCommands(self.database, self.context.main, self.run, self.epoch)
                await self.store_deadline()
                return
            if claim.answer != "held":
                raise ClusterSetupError(
                    f"the cluster's database has {self.context.main} as another run",
                    hint="use the database in which the run was queued",
                )
            if waited > 2 * self.pace.lease_s:
                raise RunBusyError(
                    f"another coordinator follows the run in {self.context.main}", hint="wait for it, or end it first"
                )
            await asyncio.sleep(self.pace.poll_s)
            waited += self.pace.poll_s

    async def renew(self) -> None:
        """Renew the claim. Raises ``RunBusyError`` if another coordinator has the run."""
        if not (await self.database.renew_run(self.run, self.epoch)).counts:
            raise self._superseded()

    async def store_deadline(self) -> None:
        """Store the present deadline of the run for its workers."""
        await store_deadline(self.database, self.run, self.epoch, self.context.deadline)

    async def queue(self, plan: SavedPlan) -> None:
        """Set the allowances of the plan's shards aside, and queue those that wait. Raises ``ClusterSetupError``."""
        added = await self.database.add_shards(self.run, self.epoch, plan.digest, plan.head.shards)
        if added.answer is not AllowanceAnswer.ACCEPTED:
            raise ClusterSetupError(
                f"the cluster's database doesn't set the allowances of plan {plan.digest[:8]} aside: {added.answer}",
                hint="check that no other database or coordinator has this run; nothing was queued",
            )
        waiting = [row.key for row in await self.rows(plan) if row.state is ShardState.WAITING]
        async with ShardQueue(self.database.address, lease_s=self.pace.lease_s) as queue:
            await queue.defer(waiting)

    async def rows(self, plan: SavedPlan) -> list[QueuedShard]:
        """Return the shards of the plan, as the database has them."""
        return [row for row in await self.database.shards(self.run) if row.key.plan_digest == plan.digest]

    async def settle(self, used: Credits, outstanding: OutstandingShards | None) -> None:
        """Record what the main run directory has used, and which shards are merged into it.

        ``outstanding`` is the note of its journal. Raises ``RunBusyError`` if another coordinator has the run.
        """
        done = frozenset() if outstanding is None else outstanding.merged
        digest = "" if outstanding is None else outstanding.plan_digest
        states = (ShardState.ENDED, ShardState.MERGED)
        rows = [row for row in await self.database.shards(self.run) if row.state in states]
        # Shards of earlier plans were merged before this one was made.
        merged = [row.key for row in rows if row.key.plan_digest != digest or row.key.number in done]
        settled = await self.database.settle_run(self.run, self.epoch, used, merged)
        if settled.answer is not AllowanceAnswer.ACCEPTED:
            raise self._superseded()

    async def close(self) -> None:
        """End the claim, if it was opened."""
        if self.epoch:
            await self.database.close_run(self.run, self.epoch)

    def _superseded(self) -> RunBusyError:
        return RunBusyError(
            f"another coordinator has taken the run in {self.context.main}", hint="follow it there; nothing is lost"
        )


@dataclass(slots=True)
class CoordinatorCommands:
    """The commands to one run. ``main`` is its run directory, ``run`` and ``epoch`` are the coordinator's claim."""

    database: ClusterDatabase
    main: Path
    run: str
    epoch: int
    _recorded: int = -1

    async def read(self) -> list[GivenControl]:
        """Return all commands, oldest first, and record those that the main journal doesn't have yet."""
        given = await self.database.controls(self.run)
        newest = given[-1].number if given else 0
        if newest > max(0, self._recorded) or (given and self._recorded < 0):
            with contextlib.suppress(RunBusyError):  # the next time
                await record(self.main, given)
                self._recorded = newest
        return given

    def begin_wave(self) -> None:
        """Have the next ``read`` compare the journal: a merge has added a run, which is paused if the cluster's is."""
        self._recorded = -1


@asynccontextmanager
async def taken(commands: CoordinatorCommands | None) -> AsyncIterator[Commanded]:
    """Yield what performs commands in a run of the coordinator itself. None: the cluster doesn't know the run yet."""
    if commands is None:
        yield nullcontext
        return
    database, run, epoch = commands.database, commands.run, commands.epoch
    take = partial(database.take_controls, ShardKey(run, "", 0), epoch)
    feed = CommandFeed(take, monotonic=lease_clock, sleep=asyncio.sleep)
    await feed.ask()
    asking = asyncio.ensure_future(feed.keep())
    try:
        yield feed.on
    finally:
        asking.cancel()
        await asyncio.wait({asking})
        with contextlib.suppress(CrucibleBatchError):  # its row shows for a few seconds that it is gone
            await database.forget_taker(run, epoch)


async def record(main: Path, given: Sequence[GivenControl]) -> None:
    """Add commands to the main journal that it doesn't have yet, with the time at which they were given.

    They belong to the newest run in it. If that one was added by a merge, the present pause is added to it again.
    Raises ``RunBusyError`` if a run or a merge is active in the directory, and ``JournalError``.
    """
    now = SystemClock().now()
    with lock_run_directory(main), reopened(main, now=now) as journal:
        recorded = int(journal.noted(_RECORDED) or 0)
        new = [each for each in given if each.number > recorded]
        entries = [_entry(each, now) for each in new]
        pause = pause_given(given)
        if pause is not None and pause_of([*journal.controls(), *entries]) is None:
            entries.append(_entry(pause, now))
        for entry in entries:
            await journal.append_control(None, entry)
        journal.note(_RECORDED, str(max([recorded, *(each.number for each in given)])))


def _entry(given: GivenControl, now: float) -> ControlEntry:
    return ControlEntry(now - given.age_s, given.command, given.source)
