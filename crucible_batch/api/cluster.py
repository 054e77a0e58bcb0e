"""Clusters for operators: what the database has, and asking workers to take no further shards."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from crucible_batch.cluster import ClusterAddress, ClusterStatus, WorkerRow
from crucible_batch.errors import UserError


@dataclass(frozen=True, slots=True)
class ClusterView:
    """A cluster's status and where it is; ``shown`` is the address without its secrets."""

    shown: str
    status: ClusterStatus


async def cluster_status(dsn: str | None = None) -> ClusterView:
    """Return the runs, shards and workers of a cluster. Changes nothing.

    ``dsn`` is a PostgreSQL address; None takes ``CRUCIBLE_BATCH_DSN``. Raises ``ClusterSetupError`` and
    ``ClusterUnreachableError``.
    """
    address = ClusterAddress.resolve(dsn, os.environ)
    from crucible_batch.cluster.database import ClusterDatabase  # noqa: PLC0415 - the drivers are an extra

    database = await ClusterDatabase.opened(address, patience_s=0.0)
    try:
        return ClusterView(address.shown, await database.status())
    finally:
        await database.close()


async def drain_workers(names: Sequence[str] = (), dsn: str | None = None) -> tuple[WorkerRow, ...]:
    """Ask the workers with these names, or all that are registered now, to take no further shards; return them.

    They finish the shards that they have, and end. May be repeated. Raises ``UserError`` for an unknown name, before
    any worker is asked, and as ``cluster_status`` does.
    """
    address = ClusterAddress.resolve(dsn, os.environ)
    from crucible_batch.cluster.database import ClusterDatabase  # noqa: PLC0415 - the drivers are an extra

    database = await ClusterDatabase.opened(address, patience_s=0.0)
    try:
        known = sorted({worker.name for worker in await database.workers()})
        unknown = sorted(set(names) - set(known))
        if unknown:
            raise UserError(
                f"no worker of {address.shown} is named {unknown[0]}; no worker was asked to drain",
                hint=f"there are: {', '.join(known[:20])}" if known else "no worker is registered",
            )
        asked = {worker for worker, _ in await database.drain(names or None)}
        return tuple(worker for worker in await database.workers() if worker.worker in asked)
    finally:
        await database.close()
