"""The metrics of a cluster: gauges of its queue and its workers, in a file for the textfile collector.

The label `database` is the address without secrets. Runs, shards and workers are not labels, since each value of a
label is a permanent time series.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from prometheus_client import CollectorRegistry, write_to_textfile
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from crucible_batch.errors import UserError
from crucible_batch.telemetry.cluster_figures import ClusterFigures

DATABASE: Final = "database"
_Samples: TypeAlias = Iterable[tuple[tuple[str, ...], float]]


@dataclass(frozen=True, slots=True)
class ClusterMetric:
    """A gauge. ``labels`` are those beside ``database``; ``read`` yields a value for each of their values."""

    name: str
    meaning: str
    read: Callable[[ClusterFigures], _Samples]
    labels: tuple[str, ...] = ()


def _one(read: Callable[[ClusterFigures], float]) -> Callable[[ClusterFigures], _Samples]:
    return lambda figures: [((), read(figures))]


UP: Final = ClusterMetric(
    "crucible_batch_cluster_up", "1 if the database was read, 0 if not; all others are missing then.", _one(lambda _: 1)
)
COLLECTED: Final = "crucible_batch_cluster_collected_timestamp_seconds"
CLUSTER_METRICS: Final = (
    UP,
    ClusterMetric(COLLECTED, "When the metrics were written, in seconds since the epoch.", lambda _: ()),
    ClusterMetric(
        "crucible_batch_cluster_queue_age_seconds", "Time that the oldest waiting shard has waited. 0 if none waits.",
        _one(lambda cluster: cluster.queue_age_s),
    ),
    ClusterMetric(
        "crucible_batch_cluster_shards", "Shards of active runs, and of runs that have shards to be run, by state.",
        lambda cluster: [((state,), count) for state, count in cluster.shards.items()], ("state",),
    ),
    ClusterMetric(
        "crucible_batch_cluster_workers", "Workers that were seen within a day and have not ended, by state.",
        lambda cluster: [((state,), count) for state, count in cluster.workers.items()], ("state",),
    ),
    ClusterMetric(
        "crucible_batch_cluster_renewal_age_seconds",
        "Longest time since the worker of a running shard renewed its lease. 0 if none runs.",
        _one(lambda cluster: cluster.renewal_age_s),
    ),
    ClusterMetric(
        "crucible_batch_cluster_runs", "Runs that a coordinator has opened and not ended.",
        _one(lambda cluster: cluster.runs),
    ),
    ClusterMetric(
        "crucible_batch_cluster_coordinator_age_seconds",
        "Longest time since the coordinator of such a run was seen. 0 if there is none.",
        _one(lambda cluster: cluster.coordinator_age_s),
    ),
    ClusterMetric(
        "crucible_batch_cluster_set_aside_credits",
        "Credits that shards have spent or may still spend, and that are not merged into their runs yet.",
        _one(lambda cluster: float(cluster.set_aside)),
    ),
)  # fmt: skip


class _ClusterCollector(Collector):
    def __init__(self, database: str, figures: ClusterFigures | None, at: float) -> None:
        self._database = database
        self._figures = figures
        self._at = at

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for metric in CLUSTER_METRICS:
            family = GaugeMetricFamily(metric.name, metric.meaning, labels=(DATABASE, *metric.labels))
            for labels, value in self._samples(metric):
                family.add_metric((self._database, *labels), value)
            if family.samples:
                yield family

    def _samples(self, metric: ClusterMetric) -> _Samples:
        if metric.name == COLLECTED:
            return [((), self._at)]
        if self._figures is None:
            return [((), 0)] if metric is UP else []
        return metric.read(self._figures)


def cluster_registry(database: str, figures: ClusterFigures | None, at: float) -> CollectorRegistry:
    """Return a registry with the metrics of one cluster; without figures, the database could not be read."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_ClusterCollector(database, figures, at))
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
