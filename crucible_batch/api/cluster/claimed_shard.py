"""One claimed shard in a worker: its run, the renewals of its lease, and the report of its end.

    what happens                                 the run            afterwards
    it ends by itself                            -                  reported, with its status
    another worker has the shard                 winds down         nothing: a report would be refused
    no renewal was accepted for a lease's time   winds down         released if nobody has claimed it, else nothing
    the worker is to stop                        winds down         released, unless the run was done by then
    the run's deadline passes                    ends now         reported, with its status
    the deadline has passed before it            doesn't begin      reported as stopped
    the worker can't run any shard               doesn't begin      released; the worker ends with the error
    this shard can't be run                      doesn't begin      reported as refused

A run that winds down buys nothing more, and waits for jobs in flight for its grace time.

In a directory, the lease is also checked right before each purchase is sent, when its hold is in the journal. Another
worker copies the journal when the lease is over, so that the copy has each purchase that this one may still send. In an
object store, the log of the shard decides who may buy (``api/shards/log.py``). Commands to the run are taken from the
database (``api/cluster/command_feed.py``), for the first time before the run begins. A run that a command stops is
reported, as one that ends by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import glob
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

import httpx

from crucible_batch.api.cancellation import Interruptible
from crucible_batch.api.cluster.command_feed import CommandFeed
from crucible_batch.api.cluster.deadline import LATE, unread_figures
from crucible_batch.api.cluster.directories import (
    MANIFEST_FILE,
    PLAN_FILE,
    check_no_later_owner,
    check_wave_folder,
    epoch_directory,
    newest_begun,
    take_over,
)
from crucible_batch.api.cluster.stored_wave import fetch_stored_wave
from crucible_batch.api.request import RunRequest, follow_plan
from crucible_batch.api.run_paths import plan_folder
from crucible_batch.api.running import RunResult, run_request
from crucible_batch.api.shards.log import ShardTakenError
from crucible_batch.cluster import ClaimedShard, ShardFigures
from crucible_batch.cluster.database import ClusterDatabase
from crucible_batch.domain.job import Phase
from crucible_batch.domain.outcome import Outcome
from crucible_batch.domain.progress import Balance, JobAdvanced, Message, RunBegan, RunEnded
from crucible_batch.domain.shard_lease import LEASE_S, RENEW_S, is_stale
from crucible_batch.domain.sharding import ShardId
from crucible_batch.errors import (
    ClusterSetupError,
    ClusterUnreachableError,
    CrucibleBatchError,
    DeadlineError,
    ExitCode,
    KeyRefusedError,
    RunBusyError,
    RunDirectoryError,
    SavedPlanError,
)
from crucible_batch.object_url import ObjectUrl
from crucible_batch.outputs import ObjectStoreError
from crucible_batch.saved_plan import SavedPlan, read_saved_plan
from crucible_batch.settings import Settings

logger = logging.getLogger(__name__)

REFUSED: Final = "refused"
"""How a shard ended that could not be run."""
_UNFIT = (
    KeyRefusedError,
    ClusterSetupError,
    ClusterUnreachableError,
    RunDirectoryError,
    RunBusyError,
    ObjectStoreError,
    OSError,
)
"""Errors that another worker may not have: the shard is given back."""


class FigureCounter:
    """An observer that counts what a shard's run has done so far. Before the run begins, its figures are ``known``."""

    def __init__(self, known: ShardFigures) -> None:
        self.figures = known

    def notify(self, message: Message) -> None:
        match message:
            case RunBegan(total=total, counts=counts, balance=balance):
                self.figures = ShardFigures()
                succeeded, failed = (counts.get(word, 0) for word in (Outcome.SUCCEEDED, Outcome.FAILED))
                self._set(balance, succeeded=succeeded, failed=failed, pending=total - succeeded - failed)
            case JobAdvanced(before=before, phase=phase, balance=balance):
                figures = self.figures
                succeeded, failed = (_change(counted, before, phase) for counted in (Phase.SUCCEEDED, Phase.FAILED))
                self._set(
                    balance,
                    succeeded=figures.succeeded + succeeded,
                    failed=figures.failed + failed,
                    pending=figures.pending - succeeded - failed,
                )
            case RunEnded(counts=counts, balance=balance):
                self._set(balance, **{word.value: counts.get(word, 0) for word in Outcome})
            case _:
                pass

    def _set(self, balance: Balance, **counts: int) -> None:
        self.figures = replace(self.figures, spent=balance.spent, held=balance.held, **counts)


def _change(counted: Phase, before: Phase, phase: Phase) -> int:
    return int(phase is counted) - int(before is counted)


def lease_clock() -> float:
    """Return seconds on a clock that counts on while the process is frozen or the machine is suspended."""
    try:
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    except AttributeError:  # not Linux
        return time.monotonic()


@dataclass(frozen=True, slots=True)
class WorkerTools:
    """What a worker gives to each of its shards. ``heartbeats`` has no patience, ``reports`` waits for the database."""

    heartbeats: ClusterDatabase
    reports: ClusterDatabase
    settings: Settings
    transport: httpx.AsyncBaseTransport | None = None
    lease_s: float = LEASE_S
    renew_s: float = RENEW_S
    monotonic: Callable[[], float] = lease_clock
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass(slots=True)
class ShardClaim:
    """A shard that this worker has claimed. ``claimed_at`` is when the claim was sent, on the monotonic clock.

    ``left_s`` is the time until the run's deadline, from then at the latest; None without one. ``known`` is what an
    earlier owner has reported: it counts until this one has read the journal, and if it can't run the shard.
    """

    claimed: ClaimedShard
    tools: WorkerTools
    claimed_at: float
    left_s: float | None = None
    known: ShardFigures = field(default_factory=ShardFigures)
    is_lost: bool = False
    is_stopped: bool = False
    _runner: Interruptible | None = None
    _run: asyncio.Task[RunResult] | None = None
    _plan: SavedPlan | None = None
    _counter: FigureCounter = field(init=False)
    _renewed_at: float = field(init=False)
    _feed: CommandFeed = field(init=False)

    def __post_init__(self) -> None:
        self._renewed_at = self.claimed_at
        self._counter = FigureCounter(self.known)
        tools = self.tools
        take = partial(tools.heartbeats.take_controls, self.claimed.key, self.claimed.epoch)
        self._feed = CommandFeed(take, monotonic=tools.monotonic, sleep=tools.sleep, names=self._names)

    def __str__(self) -> str:
        return f"shard {self.claimed.key.number} of plan {self.claimed.key.plan_digest[:8]}"

    async def work(self, stop: asyncio.Event) -> None:
        """Run the shard until it ends, ``stop`` is set, or another worker has it; then report or release it.

        Raises ``CrucibleBatchError`` or ``OSError`` if this worker can't run any shard, and
        ``ClusterUnreachableError`` if its end could not be reported.
        """
        keeping = asyncio.ensure_future(self._keep())
        stopping = asyncio.ensure_future(self._stop_with(stop))
        asking = asyncio.ensure_future(self._feed.keep())
        try:
            ending = await self._ran()
        except _UNFIT:
            await self._release()
            raise
        finally:
            for task in (keeping, stopping, asking):
                task.cancel()
            await asyncio.wait({keeping, stopping, asking})
        if self.is_lost:
            logger.warning("%s was taken over by another worker; this one has stopped it", self)
        elif ending is None:
            await self._release()
        else:
            await self._report(ending)

    async def _ran(self) -> str | None:
        """Run the shard. Returns how it ended; None if it was stopped before it was done."""
        try:
            await self._feed.ask()
            self._time_left()
            request = await asyncio.to_thread(self._prepared)
            self._run = asyncio.ensure_future(self._running(request))
            if self.is_stopped or self.is_lost:
                self._run.cancel()
            result = await self._run
        except asyncio.CancelledError:
            worker = asyncio.current_task()
            if (worker is not None and worker.cancelling()) or not (self.is_stopped or self.is_lost):
                raise  # not the run was cancelled, but the worker
            return None
        except ShardTakenError as error:
            logger.warning("%s: %s", self, error.message)
            self.is_lost = True
            return None
        except _UNFIT:
            raise
        except DeadlineError:
            logger.warning("%s is not begun: the deadline of its run has passed", self)
            return self._unread(LATE)
        except CrucibleBatchError as error:
            logger.warning("%s can't be run: %s; %s", self, error.message, error.hint)
            return self._unread(REFUSED)
        was_cut = self.is_stopped and result.exit_code in {ExitCode.SIGTERM, ExitCode.SIGINT}
        return None if was_cut else result.report.status

    def _unread(self, ending: str) -> str:
        """Return the ending of a run that has not begun. The journals of earlier owners were not read."""
        self._counter.figures = unread_figures(self.claimed, self._counter.figures)
        return ending

    def _time_left(self) -> float | None:
        """Return the time that is left of the run's deadline. Raises ``DeadlineError`` if none is."""
        if self.left_s is None:
            return None
        left_s = self.left_s - (self.tools.monotonic() - self.claimed_at)
        if left_s <= 0:
            raise DeadlineError
        return left_s

    async def _running(self, request: RunRequest) -> RunResult:
        left_s = self._time_left()
        return await run_request(
            request if left_s is None else replace(request, deadline_s=left_s),
            observer=self._counter,
            settings=self.tools.settings,
            transport=self.tools.transport,
            on_runner=self._began,
            commanded=self._feed.on,
        )

    def _began(self, runner: Interruptible) -> None:
        self._runner = runner
        runner.before_each_purchase(self._check_lease)
        if self.is_stopped or self.is_lost:
            runner.interrupt(ExitCode.SIGTERM)

    def _prepared(self) -> RunRequest:
        """Check the plan, take over what an earlier owner left, and return the request of the run. Blocking."""
        claimed, settings = self.claimed, self.tools.settings
        if settings.gateway != claimed.gateway:
            raise ClusterSetupError(
                f"the run is at {claimed.gateway}, and this worker is set to {settings.base_url}",
                hint="set CRUCIBLE_API_BASE or --api-base of the worker to that gateway",
            )
        if (url := ObjectUrl.parse(claimed.location)) is not None:
            plan = fetch_stored_wave(url, claimed.key.plan_digest)
        else:
            folder = plan_folder(Path(claimed.location), claimed.key.plan_digest)
            check_wave_folder(folder, Path(claimed.location))
            plan = read_saved_plan(folder / PLAN_FILE)
        self._plan, folder, shard = plan, plan.path.parent, self._shard_of(plan)
        directory = epoch_directory(folder, shard, claimed.epoch)
        if url is None:
            check_no_later_owner(folder, shard, claimed.epoch)
        if url is None and (source := newest_begun(folder, shard, up_to=claimed.epoch - 1)) is not None:
            take_over(source, directory)
        request = follow_plan(RunRequest(plan.path, out_dir=directory, shard=shard, html=False), {})
        if url is not None or not request.manifest.is_file():
            request = replace(request, manifest=folder / MANIFEST_FILE)
        return request

    def _shard_of(self, plan: SavedPlan) -> ShardId:
        key, shards = self.claimed.key, plan.head.shards
        if plan.digest != key.plan_digest:
            raise SavedPlanError(
                f"{plan.path} is not the plan that was queued: its digest is {plan.digest[:8]}",
                hint="saved plans can't be edited; restore it, or abandon its shards with merge",
            )
        if key.number > len(shards) or shards[key.number - 1].allowance != self.claimed.allowance:
            raise SavedPlanError(
                f"{plan.path} states another allowance of shard {key.number} than the cluster's database",
                hint="check that the database is the one that the run was queued in",
            )
        return ShardId(key.number, len(shards))

    def _names(self, identities: Sequence[str]) -> tuple[str, ...]:
        """Return the names of the shard's jobs with these identities, as patterns that match nothing else."""
        wanted = set(identities)
        rows = () if self._plan is None else self._plan.shard_rows(self.claimed.key.number)
        return tuple(glob.escape(row.name) for row in rows if row.identity in wanted)

    async def _keep(self) -> None:
        """Renew the lease until cancelled. What ends the run is noted, and the run winds down."""
        while True:
            await self.tools.sleep(self.tools.renew_s)
            sent_at = self.tools.monotonic()
            # Before the database is asked: a process that was frozen must stop even if nobody has claimed the shard.
            self._check_lease()
            try:
                answer = await self.tools.heartbeats.renew_shard(
                    self.claimed.key, self.claimed.epoch, self._counter.figures
                )
            except CrucibleBatchError as error:
                logger.warning("%s: %s", self, error.message)
                continue
            if not answer.counts:
                self.is_lost = True
                self._stop("another worker has it")
                return
            self._renewed_at = sent_at

    def _check_lease(self) -> None:
        """Stop the run if another worker may have the shard by now."""
        if is_stale(self._renewed_at, self.tools.monotonic(), self.tools.lease_s):
            self._stop("its lease was not renewed in time")

    async def _stop_with(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._stop("the worker is stopping")

    def _stop(self, why: str) -> None:
        if self.is_stopped:
            return
        self.is_stopped = True
        logger.warning("%s: %s, so its run buys nothing more", self, why)
        if self._runner is not None:
            self._runner.interrupt(ExitCode.SIGTERM)
        elif self._run is not None:
            self._run.cancel()

    async def _report(self, ending: str) -> None:
        answer = await self.tools.reports.report_shard(
            self.claimed.key, self.claimed.epoch, ending, self._counter.figures
        )
        if answer.counts:
            logger.info("%s has ended: %s", self, ending)
        else:
            logger.warning("%s was taken over by another worker: the report of this one is refused", self)

    async def _release(self) -> None:
        if self.is_lost:
            return
        with contextlib.suppress(ClusterUnreachableError):  # its lease ends by itself
            answer = await self.tools.reports.release_shard(self.claimed.key, self.claimed.epoch, self._counter.figures)
            if answer.counts:
                logger.info("%s was returned to the queue", self)
            else:
                logger.warning("%s was taken over by another worker; this one has stopped it", self)
