"""A worker of a cluster: it claims shards of runs, one at a time, and runs them with its own API key."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from crucible_batch import __version__
from crucible_batch.api.cluster.claimed_shard import ShardClaim, WorkerTools, lease_clock
from crucible_batch.api.cluster.directories import newest_owner
from crucible_batch.api.connecting import current_settings, require_key
from crucible_batch.api.run_paths import plan_folder
from crucible_batch.cluster import ClaimedShard, ClusterAddress, ShardFigures, ShardKey
from crucible_batch.cluster.database import RESCUE_S, ClusterDatabase
from crucible_batch.cluster.queue import ShardQueue, keep_rescuing
from crucible_batch.domain.shard_lease import LEASE_S, RENEW_S, ClaimAnswer, ShardState
from crucible_batch.errors import ClusterUnreachableError, CrucibleBatchError
from crucible_batch.object_url import ObjectUrl
from crucible_batch.settings import Settings

logger = logging.getLogger(__name__)

_SEEN_S = 5.0
MOST_CLAIMS: Final = 1_000
"""How far a shard's epoch is raised at most by claiming it again. Each claim is two requests to the database."""


@dataclass(frozen=True, slots=True)
class WorkerPace:
    """The times of a worker, in seconds. Those of tests are shorter."""

    lease_s: float = LEASE_S
    renew_s: float = RENEW_S
    rescue_s: float = RESCUE_S


async def run_worker(
    address: ClusterAddress,
    stop: asyncio.Event,
    *,
    once: bool = False,
    settings: Settings | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    pace: WorkerPace = WorkerPace(),
    on_ready: Callable[[str], None] = lambda _name: None,
) -> int:
    """Run shards of the cluster until ``stop`` is set, or, with ``once``, until the queue is empty.

    Returns the number of shards that it claimed. When ``stop`` is set, the current shard buys nothing more, and is
    returned to the queue. Raises ``KeyRefusedError`` without a key, ``ClusterUnreachableError`` and
    ``ClusterSetupError``, and the error for which this worker can't run shards.
    """
    settings = settings or current_settings()
    require_key(settings)
    heartbeats = await ClusterDatabase.opened(address, create=True, patience_s=0.0, lease_s=pace.lease_s)
    reports = await ClusterDatabase.opened(address, lease_s=pace.lease_s)
    try:
        tools = WorkerTools(heartbeats, reports, settings, transport, lease_s=pace.lease_s, renew_s=pace.renew_s)
        worker = _Worker(tools, stop, once=once, pace=pace)
        await worker.serve(address, on_ready)
        return worker.claims
    finally:
        await heartbeats.close()
        await reports.close()


class _Worker:
    def __init__(self, tools: WorkerTools, stop: asyncio.Event, *, once: bool, pace: WorkerPace) -> None:
        self._tools = tools
        self._stop = stop
        self._once = once
        self._pace = pace
        self._id = uuid.uuid4().hex
        self._name = f"{socket.gethostname()}:{os.getpid()}"[:100]
        self._error: CrucibleBatchError | OSError | None = None
        self._is_busy = False
        self.claims = 0

    async def serve(self, address: ClusterAddress, on_ready: Callable[[str], None]) -> None:
        await self._tools.heartbeats.see_worker(self._id, self._name, __version__)
        async with ShardQueue(address, lease_s=self._pace.lease_s) as queue:
            rescuing = asyncio.ensure_future(keep_rescuing(self._tools.reports, queue, interval_s=self._pace.rescue_s))
            seeing = asyncio.ensure_future(self._keep_seen(queue))
            on_ready(self._name)
            try:
                await queue.serve(self._handle, self._stop, name=self._name)
            finally:
                for task in (rescuing, seeing):
                    task.cancel()
                await asyncio.wait({rescuing, seeing})
        with contextlib.suppress(CrucibleBatchError):
            await self._tools.heartbeats.forget_worker(self._id)
        if self._error is not None:
            raise self._error

    async def _keep_seen(self, queue: ShardQueue) -> None:
        """Record that this worker is alive, until cancelled. With ``once``, stop when nothing waits."""
        while True:
            with contextlib.suppress(ClusterUnreachableError):
                is_draining = await self._tools.heartbeats.see_worker(self._id, self._name, __version__)
                is_over = is_draining or (self._once and await self._nothing_waits(queue))
                if is_over and not self._is_busy:
                    self._stop.set()
            await asyncio.sleep(min(_SEEN_S, self._pace.renew_s))

    async def _nothing_waits(self, queue: ShardQueue) -> bool:
        """Whether no shard waits. One that was returned has no task until ``rescue`` queues it."""
        shards = await self._tools.heartbeats.shards()
        return all(each.state is not ShardState.WAITING for each in shards) and await queue.waiting() == 0

    async def _handle(self, key: ShardKey) -> None:
        """Claim a shard and run it. An error that concerns this worker ends it."""
        if self._stop.is_set():
            return  # queued again by ``rescue``
        self._is_busy = True
        try:
            claimed_at, claimed, known = await self._claimed(key)
            if claimed.answer is not ClaimAnswer.CLAIMED:
                logger.debug("shard %s is not to be run here: %s", key, claimed.answer)
                return
            self.claims += 1
            left_s = await self._tools.reports.deadline(key.run)
            claim = ShardClaim(claimed, self._tools, claimed_at, left_s, known)
            logger.info("%s claimed, epoch %d", claim, claimed.epoch)
            await claim.work(self._stop)
        except ClusterUnreachableError as error:
            logger.warning("%s", error.message)
        except (CrucibleBatchError, OSError) as error:
            self._error = error
            self._stop.set()
        finally:
            self._is_busy = False

    async def _claimed(self, key: ShardKey) -> tuple[float, ClaimedShard, ShardFigures]:
        """Claim a shard; returns when the claim was sent, the answer, and what an earlier owner has reported.

        If there are directories of later owners, the database is newer than they are, or was restored. The epoch is
        raised above theirs, so that this owner begins with what the newest one has bought. If more than
        ``MOST_CLAIMS`` claims were needed, the shard keeps its epoch, and ``ShardClaim`` reports that it can't be run.
        """
        reports, known, expected = self._tools.reports, ShardFigures(), 1
        while True:
            claimed_at = lease_clock()
            claimed = await reports.claim_shard(key, self._id)
            if claimed.answer is not ClaimAnswer.CLAIMED:
                return claimed_at, claimed, known
            if claimed.epoch != expected:  # it had another owner before
                known = await self._reported(key)
            missing = await asyncio.to_thread(_owners, claimed) - claimed.epoch
            if missing < 0 or missing >= MOST_CLAIMS:
                return claimed_at, claimed, known
            logger.info("shard %d has a directory of epoch %d or later: it is claimed again", key.number, claimed.epoch)
            await reports.release_shard(key, claimed.epoch, known)
            expected = claimed.epoch + 1

    async def _reported(self, key: ShardKey) -> ShardFigures:
        """Return what was reported last of a shard. After a claim, only its owner can change it."""
        rows = await self._tools.reports.shards(key.run)
        return next((row.figures for row in rows if row.key == key), ShardFigures())


def _owners(claimed: ClaimedShard) -> int:
    """Return the newest epoch of a shard that has a directory here; 0 if none has. In an object store, none counts."""
    if ObjectUrl.parse(claimed.location) is not None:
        return 0
    folder = plan_folder(Path(claimed.location), claimed.key.plan_digest)
    try:
        return newest_owner(folder, claimed.key.number)
    except OSError:
        return 0  # reported by the run of the shard
