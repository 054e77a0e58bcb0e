"""Clusters: runs, shards and workers of many machines in one PostgreSQL database.

Nothing here imports the drivers. ``database`` and ``queue`` do: call ``require_extra`` before they are imported.
"""

from crucible_batch.cluster.address import DSN_VARIABLE, ClusterAddress, require_extra
from crucible_batch.cluster.records import (
    AllowanceResult,
    ClaimedShard,
    ClusterRun,
    ClusterStatus,
    ControlTaker,
    DrainResult,
    PausedRun,
    QueuedShard,
    RunClaim,
    RunRow,
    ShardFigures,
    ShardKey,
    WorkerRow,
)

__all__ = [
    "DSN_VARIABLE",
    "AllowanceResult",
    "ClaimedShard",
    "ClusterAddress",
    "ClusterRun",
    "ClusterStatus",
    "ControlTaker",
    "DrainResult",
    "PausedRun",
    "QueuedShard",
    "RunClaim",
    "RunRow",
    "ShardFigures",
    "ShardKey",
    "WorkerRow",
    "require_extra",
]
