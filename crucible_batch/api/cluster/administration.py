"""Clusters for operators: what the database has, as rows and as metrics, and asking workers to take no more shards."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from crucible_batch.cluster import ClusterAddress, ClusterStatus, DrainResult, QueuedShard, RunRow, WorkerRow
from crucible_batch.domain.credits import ZERO
from crucible_batch.domain.shard_lease import ShardState, is_stale
from crucible_batch.errors import CrucibleBatchError, UserError
from crucible_batch.telemetry.figures import ClusterFigures

_NAMED = 20
STALLED: Final = "stalled"
"""A running shard whose worker is silent, so that another worker may take it."""
ALIVE, DRAINING, SILENT = "alive", "draining", "silent"


@dataclass(frozen=True, slots=True)
class ClusterView:
    """A cluster's status and where it is; ``shown`` is the address without its secrets."""

    shown: str
    status: ClusterStatus


async def cluster_status(dsn: str | None = None, *, metrics_textfile: Path | None = None) -> ClusterView:
    """Return the runs, shards and workers of a cluster. Changes nothing in it.

    ``dsn`` is a PostgreSQL address; None takes ``CRUCIBLE_BATCH_DSN``. ``metrics_textfile`` is the directory of
    Prometheus' textfile collector: the cluster's metrics are written there, also if the database can't be read. Raises
    ``ClusterSetupError``, ``ClusterUnreachableError``, and ``UserError`` if the metrics can't be written.
    """
    address = ClusterAddress.resolve(dsn, os.environ)
    if metrics_textfile is None:
        return ClusterView(address.shown, await _status(address))
    from crucible_batch.telemetry.cluster_metrics import write_cluster_textfile  # noqa: PLC0415 - loads Prometheus
    from crucible_batch.telemetry.metrics import check_directory  # noqa: PLC0415 - likewise

    check_directory(metrics_textfile)
    try:
        status = await _status(address)
    except CrucibleBatchError:
        # Otherwise the figures of the last success would remain, and look as if nothing had changed.
        write_cluster_textfile(metrics_textfile, address.shown, None, time.time())
        raise
    write_cluster_textfile(metrics_textfile, address.shown, cluster_figures(status), time.time())
    return ClusterView(address.shown, status)


async def _status(address: ClusterAddress) -> ClusterStatus:
    from crucible_batch.cluster.database import ClusterDatabase  # noqa: PLC0415 - the drivers are an extra

    async with await ClusterDatabase.opened(address, patience_s=0.0) as database:
        return await database.status()


def shard_state(shard: QueuedShard) -> str:
    """Return the state of a shard, or ``stalled``."""
    if shard.state is ShardState.RUNNING and shard.renewed_age_s is not None and is_stale(0.0, shard.renewed_age_s):
        return STALLED
    return shard.state.value


def worker_state(worker: WorkerRow) -> str:
    """Return whether a worker takes shards (``alive``), only finishes those it has, or is silent."""
    if is_stale(0.0, worker.seen_age_s):
        return SILENT
    return ALIVE if worker.draining_age_s is None else DRAINING


def cluster_figures(status: ClusterStatus) -> ClusterFigures:
    """Count a cluster. A run whose coordinator has ended it counts only for the credits of its shards."""
    shards = Counter(map(shard_state, status.shards))
    workers = Counter(map(worker_state, status.workers))
    active = [run for run in status.runs if run.ended_age_s is None]
    running = [shard for shard in status.shards if shard.state is ShardState.RUNNING]
    return ClusterFigures(
        runs=len(active),
        shards={state: shards[state] for state in (*ShardState, STALLED)},
        workers={state: workers[state] for state in (ALIVE, DRAINING, SILENT)},
        queue_age_s=max(0.0, status.queue_age_s or 0.0),
        renewal_age_s=max((shard.renewed_age_s or 0.0 for shard in running), default=0.0),
        coordinator_age_s=max((run.renewed_age_s or 0.0 for run in active), default=0.0),
        set_aside=sum((run.set_aside for run in status.runs), ZERO),
    )


async def drain_workers(names: Sequence[str] = (), dsn: str | None = None) -> tuple[WorkerRow, ...]:
    """Ask the workers with these names, or all that are registered now, to take no further shards; return them.

    They finish the shards that they have, and end. May be repeated. Raises ``UserError`` for an unknown name, before
    any worker is asked, and as ``cluster_status`` does.
    """
    address = ClusterAddress.resolve(dsn, os.environ)
    from crucible_batch.cluster.database import ClusterDatabase  # noqa: PLC0415 - the drivers are an extra

    async with await ClusterDatabase.opened(address, patience_s=0.0) as database:
        known = sorted({worker.name for worker in await database.workers()})
        unknown = sorted(set(names) - set(known))
        if unknown:
            raise UserError(
                f"no worker of {address.shown} is named {unknown[0]}; no worker was asked to drain",
                hint=f"there are: {', '.join(known[:_NAMED])}" if known else "no worker is registered",
            )
        asked = {worker for worker, _ in await database.drain(names or None)}
        return tuple(worker for worker in await database.workers() if worker.worker in asked)


@dataclass(frozen=True, slots=True)
class DrainedRun:
    """A run that is ended early, and its shards: what was withdrawn or ended by this call, and what still runs."""

    run: RunRow
    shards: DrainResult


async def drain_run(name: str, dsn: str | None = None) -> DrainedRun:
    """End a run of the cluster early: no worker takes one of its shards any more, and those that run are finished.

    ``name`` is the path of its run directory, its manifest name, or its id in the database if others have both. The
    coordinator then merges what was done, and returns the rest of the budget. May be repeated. Raises ``UserError`` if
    there is no such run or more than one, and as ``cluster_status`` does.
    """
    address = ClusterAddress.resolve(dsn, os.environ)
    from crucible_batch.cluster.database import ClusterDatabase  # noqa: PLC0415 - the drivers are an extra

    async with await ClusterDatabase.opened(address, patience_s=0.0) as database:
        run = run_named(name, await database.status())
        return DrainedRun(run, await database.drain_run(run.run.run))


def run_named(name: str, status: ClusterStatus) -> RunRow:
    """Return the run that is meant: one with a coordinator, or with shards that workers may run.

    ``name`` is its id, its run directory, or its manifest name. Raises ``UserError`` if there isn't exactly one.
    """
    with_shards = {shard.key.run for shard in status.shards}
    open_runs = [run for run in status.runs if run.ended_age_s is None or run.run.run in with_shards]
    path = str(Path(name).resolve())
    ways = (
        [run for run in open_runs if run.run.run == name],
        [run for run in open_runs if run.run.location in {path, name}],
        [run for run in open_runs if run.run.manifest == name],
    )
    found = next(filter(None, ways), [])
    if len(found) == 1:
        return found[0]
    shown = ", ".join(f"{run.run.run} ({run.run.location})" for run in (found or open_runs)[:_NAMED])
    if found:
        raise UserError(f"{len(found)} active runs are named {name}", hint=f"give the id of one of them: {shown}")
    raise UserError(
        f"no active run is named {name}, or has this id or run directory", hint=f"there are: {shown or 'none'}"
    )
