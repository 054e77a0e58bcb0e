"""The status of a cluster, counted for metrics."""

from __future__ import annotations

from collections import Counter
from typing import Final

from crucible_batch.cluster import ClusterStatus, QueuedShard, WorkerRow
from crucible_batch.domain.credits import ZERO
from crucible_batch.domain.shard_lease import ShardState, is_stale
from crucible_batch.telemetry.figures import ClusterFigures

STALLED: Final = "stalled"
"""A running shard whose worker is silent, so that another worker may take it."""
ALIVE, DRAINING, SILENT = "alive", "draining", "silent"


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
