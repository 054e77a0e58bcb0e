"""The metrics of a cluster: gauges of its queue and its workers, in a file for the textfile collector.

The label `database` is the address without secrets. Runs, shards and workers are not labels, since each value of a
label is a permanent time series.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, write_to_textfile

from crucible_batch.errors import UserError
from crucible_batch.telemetry.figures import ClusterFigures
from crucible_batch.telemetry.metrics import FiguresCollector, Metric, Samples, one

DATABASE: Final = "database"


@dataclass(frozen=True, slots=True)
class ClusterReading:
    """The figures of a cluster at a time in seconds since the epoch; None if the database could not be read."""

    figures: ClusterFigures | None
    at: float


def _known(read: Callable[[ClusterFigures], Samples]) -> Callable[[ClusterReading], Samples]:
    """Read a metric that is missing if the database could not be read."""
    return lambda reading: () if reading.figures is None else read(reading.figures)


CLUSTER_METRICS: Final[Sequence[Metric[ClusterReading]]] = (
    Metric(
        "crucible_batch_cluster_up", "1 if the database was read, 0 if not; all others are missing then.",
        one(lambda reading: reading.figures is not None),
    ),
    Metric(
        "crucible_batch_cluster_collected_timestamp_seconds",
        "When the metrics were written, in seconds since the epoch.", one(lambda reading: reading.at),
    ),
    Metric(
        "crucible_batch_cluster_queue_age_seconds", "Time that the oldest waiting shard has waited. 0 if none waits.",
        _known(one(lambda cluster: cluster.queue_age_s)),
    ),
    Metric(
        "crucible_batch_cluster_shards", "Shards of active runs, and of runs that have shards to be run, by state.",
        _known(lambda cluster: [((state,), count) for state, count in cluster.shards.items()]), ("state",),
    ),
    Metric(
        "crucible_batch_cluster_workers", "Workers that were seen within a day and have not ended, by state.",
        _known(lambda cluster: [((state,), count) for state, count in cluster.workers.items()]), ("state",),
    ),
    Metric(
        "crucible_batch_cluster_renewal_age_seconds",
        "Longest time since the worker of a running shard renewed its lease. 0 if none runs.",
        _known(one(lambda cluster: cluster.renewal_age_s)),
    ),
    Metric(
        "crucible_batch_cluster_runs", "Runs that a coordinator has opened and not ended.",
        _known(one(lambda cluster: cluster.runs)),
    ),
    Metric(
        "crucible_batch_cluster_coordinator_age_seconds",
        "Longest time since the coordinator of such a run was seen. 0 if there is none.",
        _known(one(lambda cluster: cluster.coordinator_age_s)),
    ),
    Metric(
        "crucible_batch_cluster_set_aside_credits",
        "Credits that shards have spent or may still spend, and that are not merged into their runs yet.",
        _known(one(lambda cluster: float(cluster.set_aside))),
    ),
)  # fmt: skip


def cluster_registry(database: str, figures: ClusterFigures | None, at: float) -> CollectorRegistry:
    """Return a registry with the metrics of one cluster; without figures, the database could not be read."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(FiguresCollector(CLUSTER_METRICS, ClusterReading(figures, at), label=DATABASE, value=database))
    return registry


def cluster_textfile_path(directory: Path, database: str) -> Path:
    """Return the file of a cluster. No file of a manifest has its name: those begin with ``crucible-batch-``."""
    return directory / f"crucible_batch_cluster-{re.sub(r'[^A-Za-z0-9.]+', '-', database).strip('-')}.prom"


def write_cluster_textfile(directory: Path, database: str, figures: ClusterFigures | None, at: float) -> None:
    """Replace the file of a cluster. Raises ``UserError``."""
    path = cluster_textfile_path(directory, database)
    try:
        write_to_textfile(str(path), cluster_registry(database, figures, at))
    except OSError as error:
        raise UserError(
            f"the metrics were not written: {path}: {error.strerror or error}",
            hint="name the directory that the node exporter reads: --metrics-textfile DIR",
        ) from error
