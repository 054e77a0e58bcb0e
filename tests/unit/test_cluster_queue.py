"""The tasks of a cluster in Procrastinate: the end of one is recorded if it can be, and lost databases are awaited."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from procrastinate import exceptions
from procrastinate.jobs import Status
from procrastinate.manager import JobManager

from crucible_batch.cluster import ClusterAddress
from crucible_batch.cluster.queue import ShardQueue
from tests.skipped_time import TimeSkippingLoop


def tasks(monkeypatch: pytest.MonkeyPatch, error: Exception) -> Any:
    """The tasks of a queue whose database answers with an error."""

    async def refused(*_args: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(JobManager, "finish_job_by_id_async", refused)
    return ShardQueue(ClusterAddress.parse("host=nowhere"))._app.job_manager


@pytest.mark.parametrize("error", [exceptions.ConnectorException(), OSError("it is away"), TimeoutError()])
async def test_a_worker_that_was_frozen_ends_a_task_that_another_one_has_dropped(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Procrastinate awaits this in a task whose error nobody retrieves."""
    job = SimpleNamespace(id=7)
    await tasks(monkeypatch, error).finish_job(job, Status.SUCCEEDED, delete_job=True)


async def test_another_error_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError):
        await tasks(monkeypatch, RuntimeError()).finish_job(SimpleNamespace(id=7), Status.SUCCEEDED, delete_job=True)


def serve(monkeypatch: pytest.MonkeyPatch, work: Callable[[asyncio.Event], Awaitable[None]]) -> float:
    """Serve a queue whose workers do ``work`` until it sets ``stop``; return when it ended, in seconds."""

    async def served() -> float:
        stop = asyncio.Event()

        def begun(_queue: ShardQueue, _name: str) -> Awaitable[None]:
            return work(stop)

        monkeypatch.setattr(ShardQueue, "_work", begun)
        await ShardQueue(ClusterAddress.parse("host=nowhere")).serve(_unused, stop, name="host:1")
        return asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=TimeSkippingLoop) as runner:
        return runner.run(served())


async def _unused(_key: object) -> None:
    raise AssertionError


def test_a_worker_is_started_again_until_the_database_is_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The wait is at most 5 s, however often that was in vain."""
    starts: list[float] = []

    async def work(stop: asyncio.Event) -> None:
        starts.append(asyncio.get_running_loop().time())
        if len(starts) <= 2000:  # more than a power of two can be a float
            raise OSError("it is away")
        stop.set()
        await asyncio.Event().wait()

    ended = serve(monkeypatch, work)
    waits = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert (len(waits), ended) == (2000, starts[-1])
    assert all(wait <= min(5.0, 0.2 * 2**number) + 1e-9 for number, wait in enumerate(waits[:20]))
    assert 4.0 < max(waits) < 5.0 + 1e-9
    assert caplog.text.count("the queue in nowhere:5432/ is not available; trying again") == 2000


def test_a_worker_that_is_stopped_does_not_wait_for_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[float] = []
    tries = itertools.count(1)

    async def work(stop: asyncio.Event) -> None:
        def halt() -> None:
            stopped.append(asyncio.get_running_loop().time())
            stop.set()

        if next(tries) == 10:
            asyncio.get_running_loop().call_later(0.001, halt)
        raise OSError("it is away")

    ended = serve(monkeypatch, work)
    assert [ended] == stopped
