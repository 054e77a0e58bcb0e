"""The tasks of a cluster in Procrastinate: the end of one is recorded if it can be."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from procrastinate import exceptions
from procrastinate.jobs import Status
from procrastinate.manager import JobManager

from crucible_batch.cluster import ClusterAddress
from crucible_batch.cluster.queue import ShardQueue


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
