"""The queue of shards: Procrastinate wakes workers up. What counts is in the shards' rows, and a task is only a hint.

A task contains the key of a shard and nothing else. It may be delivered twice or to a worker that is gone, since
Procrastinate has no fencing: the claim decides. ``rescue`` queues each shard that could be claimed and has no task, so
that a lost task, a killed worker and a crash between a shard's row and its task are repaired in the same way.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final

import procrastinate
import psycopg
import psycopg_pool
from procrastinate import exceptions
from procrastinate.jobs import DeleteJobCondition, Job, Status
from procrastinate.manager import JobManager
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, wait_random_exponential

from crucible_batch.cluster.address import ClusterAddress
from crucible_batch.cluster.connection import unreachable
from crucible_batch.cluster.database import RESCUE_S, ClusterDatabase
from crucible_batch.cluster.records import ShardKey
from crucible_batch.domain.shard_lease import LEASE_S
from crucible_batch.errors import ClusterUnreachableError

logger = logging.getLogger(__name__)

QUEUE: Final = "crucible_batch"
TASK: Final = "crucible_batch.shard"
_POOL = 2
_RESTART_WAIT = wait_random_exponential(multiplier=0.2, max=5.0)
"""Waits of at most 0.2, 0.4, ... 5 seconds, with full jitter, so that workers do not return together."""
_DATABASE_ERRORS = (exceptions.ConnectorException, psycopg.Error, psycopg_pool.PoolTimeout, OSError, TimeoutError)

ShardHandler = Callable[[ShardKey], Awaitable[None]]


class _Tasks(JobManager):
    """Procrastinate's tasks, of which it does not matter whether the end of one is recorded.

    Another worker drops the task of one that was frozen. When that one wakes up, the error would be raised in an
    asyncio task that nobody awaits. A task that could not be ended is dropped once its worker has no heartbeat.
    """

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:
        try:
            await super().finish_job(job, status, delete_job)
        except _DATABASE_ERRORS as error:
            logger.debug("the end of task %s was not recorded: %s", job.id, error.__cause__ or error)


class ShardQueue:
    """The tasks of a cluster, in Procrastinate. An async context manager; raises ``ClusterUnreachableError``."""

    def __init__(self, address: ClusterAddress, *, lease_s: float = LEASE_S) -> None:
        self._address = address
        self._lease_s = lease_s
        self._handler: ShardHandler | None = None
        self._app = self._new_app()

    def _new_app(self) -> procrastinate.App:
        connector = procrastinate.PsycopgConnector(
            conninfo=self._address.dsn, min_size=0, max_size=_POOL, timeout=10.0, reconnect_timeout=10.0
        )
        app = procrastinate.App(connector=connector)
        app.job_manager = _Tasks(connector)

        @app.task(name=TASK, queue=QUEUE)
        async def _run_shard(run: str, plan_digest: str, number: int) -> None:
            await self._run(ShardKey(run, plan_digest, number))

        return app

    async def __aenter__(self) -> ShardQueue:
        with self._reached():
            await self._app.open_async()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._app.close_async()

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Report an error of the database in the block as ``ClusterUnreachableError``."""
        try:
            yield
        except _DATABASE_ERRORS as error:
            raise unreachable(self._address, error) from None

    async def defer(self, keys: Iterable[ShardKey]) -> int:
        """Queue the shards that have no waiting task; return how many those were. May be repeated."""
        wanted = {_lock(key): key for key in keys}
        with self._reached():
            waiting = {job.queueing_lock for job in await self._jobs("todo")} if len(wanted) > 1 else set()
            missing = [key for lock, key in wanted.items() if lock not in waiting]
            return sum([await self._defer(key) for key in missing])

    async def _defer(self, key: ShardKey) -> bool:
        deferrer = self._app.configure_task(TASK, queue=QUEUE, queueing_lock=_lock(key))
        try:
            await deferrer.defer_async(run=key.run, plan_digest=key.plan_digest, number=key.number)
        except exceptions.AlreadyEnqueued:
            return False
        return True

    async def waiting(self) -> int:
        """Return the number of tasks that no worker has fetched."""
        with self._reached():
            return len(await self._jobs("todo"))

    async def _jobs(self, status: str) -> list[Job]:
        return list(await self._app.job_manager.list_jobs_async(queue=QUEUE, status=status))

    async def drop_stalled(self) -> None:
        """Delete the tasks of workers without a heartbeat.

        Their shards are queued again by ``rescue``, when their leases are stale.
        """
        with self._reached():
            stalled = await self._app.job_manager.get_stalled_jobs(
                queue=QUEUE, seconds_since_heartbeat=2 * self._lease_s
            )
            for job in stalled:
                await self._drop(job)

    async def _drop(self, job: Job) -> None:
        assert job.id is not None
        try:
            await self._app.job_manager.finish_job_by_id_async(job.id, Status.ABORTED, delete_job=True)
        except exceptions.ConnectorException as error:
            # Otherwise another worker has dropped it, or it has ended meanwhile.
            if not isinstance(error.__cause__, psycopg.errors.RaiseException):
                raise

    async def serve(self, handler: ShardHandler, stop: asyncio.Event, *, name: str) -> None:
        """Call the handler for each task until ``stop`` is set, one at a time; a task that has begun is awaited.

        If the database goes away, Procrastinate's worker ends after its tasks; another one is started when the database
        is back. What the handler raises is logged, and its shard remains in the queue by its lease.
        """
        self._handler = handler
        restarting = AsyncRetrying(
            retry=retry_if_result(lambda _failure: not stop.is_set()),
            wait=_RESTART_WAIT,
            before_sleep=self._log_failure,
            sleep=partial(_sleep_until_set, stop),
        )
        await restarting(self._work_until, stop, name)

    def _log_failure(self, state: RetryCallState) -> None:
        failure = state.outcome.result() if state.outcome is not None else None
        if failure is not None:
            logger.warning("the queue in %s is not available; trying again", self._address.shown)
            logger.debug("the queue's worker ended", exc_info=failure)

    async def _work_until(self, stop: asyncio.Event, name: str) -> BaseException | None:
        """Run one of Procrastinate's workers until it ends or ``stop`` is set; return why it failed, if it did."""
        if stop.is_set():
            return None
        worker = asyncio.ensure_future(self._work(name))
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({worker, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            worker.cancel()  # it ends after the tasks that have begun
            await asyncio.wait({worker, stopping})
        return None if worker.cancelled() else worker.exception()

    async def _work(self, name: str) -> None:
        await self._app.run_worker_async(
            queues=[QUEUE],
            name=name,
            concurrency=1,
            install_signal_handlers=False,
            delete_jobs=DeleteJobCondition.ALWAYS,
            update_heartbeat_interval=self._lease_s / 4,
            stalled_worker_timeout=4 * self._lease_s,
            fetch_job_polling_interval=RESCUE_S,
        )

    async def _run(self, key: ShardKey) -> None:
        assert self._handler is not None
        await self._handler(key)


def _lock(key: ShardKey) -> str:
    return f"{key.run}/{key.plan_digest}/{key.number}"


async def _sleep_until_set(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


async def rescue(database: ClusterDatabase, queue: ShardQueue, interval_s: float = RESCUE_S) -> int:
    """Queue the shards that could be claimed and have no task; return how many those were.

    Every worker calls this every few seconds: one of them has the turn, and if it stalls, another has the next.
    """
    found = await database.take_rescue_turn(interval_s)
    if not found:
        return 0
    await queue.drop_stalled()
    return await queue.defer(found)


async def keep_rescuing(database: ClusterDatabase, queue: ShardQueue, *, interval_s: float = RESCUE_S) -> None:
    """Call ``rescue`` at an interval until cancelled, with or without an error of the database.

    The interval is random, so that the workers do not ask at the same time.
    """
    while True:
        try:
            rescued = await rescue(database, queue, interval_s)
            if rescued:
                logger.info("queued %d shards without an owner", rescued)
        except ClusterUnreachableError as error:
            logger.warning("%s", error.message)
        await asyncio.sleep(interval_s * random.uniform(0.5, 1))  # noqa: S311 - not a secret
