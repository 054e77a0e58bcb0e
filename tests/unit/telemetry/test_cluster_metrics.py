"""The metrics of a cluster: what is counted, and the file of a database that can't be read."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from crucible_batch.api.cluster.administration import cluster_figures
from crucible_batch.cluster import ClusterRun, ClusterStatus, QueuedShard, RunRow, ShardKey, WorkerRow
from crucible_batch.domain.shard_lease import LEASE_S, ShardState
from crucible_batch.errors import UserError
from crucible_batch.telemetry.cluster_metrics import (
    CLUSTER_METRICS,
    cluster_registry,
    cluster_textfile_path,
    write_cluster_textfile,
)
from tests.case_table import each_case

D = Decimal
DATABASE = "db.example:5432/batch"
RUN = ClusterRun("one", "spring", "default", "https://gateway.test", "/mnt/spring", D(100), D(10))
ROW = RunRow(RUN, left=D(30), set_aside=D(60), epoch=1, age_s=500.0, renewed_age_s=1.0, ended_age_s=None)
SHARD = QueuedShard(
    ShardKey("one", "ab" * 32, 1), 5, 4, D(20), ShardState.WAITING, 0, None, 90.0, None, None, None, None
)  # fmt: skip
WORKER = WorkerRow("w", "host:1", "0.1.0", 500.0, 2.0, None, 0)


def shard(state: ShardState, renewed_age_s: float | None = None, waiting_age_s: float = 500.0) -> QueuedShard:
    return replace(SHARD, state=state, renewed_age_s=renewed_age_s, waiting_age_s=waiting_age_s)


def values(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert sample.labels["database"] == DATABASE
            state = sample.labels.get("state")
            name = sample.name.removeprefix("crucible_batch_cluster_")
            found[f"{name} {state}" if state else name] = sample.value
    return found


def rendered(status: ClusterStatus) -> dict[str, float]:
    return values(generate_latest(cluster_registry(DATABASE, cluster_figures(status), 1000.0)).decode())


def test_a_busy_cluster_is_counted() -> None:
    shards = (
        shard(ShardState.WAITING, waiting_age_s=40.0),
        shard(ShardState.WAITING, waiting_age_s=90.0),
        shard(ShardState.RUNNING, 3.0),
        shard(ShardState.RUNNING, LEASE_S),
        shard(ShardState.ENDED, 300.0),
    )
    workers = (WORKER, replace(WORKER, draining_age_s=5.0), replace(WORKER, draining_age_s=5.0, seen_age_s=LEASE_S))
    ended = replace(ROW, ended_age_s=50.0, renewed_age_s=5000.0, set_aside=D("2.5"))
    assert rendered(ClusterStatus(2, (ROW, ended), shards, workers)) == {
        "up": 1, "collected_timestamp_seconds": 1000, "queue_age_seconds": 90, "renewal_age_seconds": LEASE_S,
        "runs": 1, "coordinator_age_seconds": 1, "set_aside_credits": 62.5,
        "shards waiting": 2, "shards running": 1, "shards stalled": 1, "shards ended": 1, "shards merged": 0,
        "shards withdrawn": 0, "workers alive": 1, "workers draining": 1, "workers silent": 1,
    }  # fmt: skip


def test_an_idle_cluster_has_each_metric_at_0() -> None:
    found = rendered(ClusterStatus(2, (), (), ()))
    assert {name for name, value in found.items() if value} == {"up", "collected_timestamp_seconds"}
    families = {metric.name.removeprefix("crucible_batch_cluster_") for metric in CLUSTER_METRICS}
    assert {name.partition(" ")[0] for name in found} == families


def test_the_names_follow_the_conventions_and_no_label_grows() -> None:
    assert {label for metric in CLUSTER_METRICS for label in metric.labels} == {"state"}
    for metric in CLUSTER_METRICS:
        assert metric.name.startswith("crucible_batch_cluster_")
        assert not metric.name.endswith(("_total", "_count", "_sum", "_bucket"))


def test_old_figures_are_removed_if_the_database_cannot_be_read(tmp_path: Path) -> None:
    """Otherwise no alert would notice that nobody knows the queue."""
    path = cluster_textfile_path(tmp_path, DATABASE)
    write_cluster_textfile(tmp_path, DATABASE, cluster_figures(ClusterStatus(2, (ROW,), (SHARD,), (WORKER,))), 1000.0)
    assert values(path.read_text())["queue_age_seconds"] == 90
    write_cluster_textfile(tmp_path, DATABASE, None, 1060.0)
    assert values(path.read_text()) == {"up": 0, "collected_timestamp_seconds": 1060}
    assert [found.name for found in tmp_path.iterdir()] == ["crucible_batch_cluster-db.example-5432-batch.prom"]


@each_case("database", ["../../etc:5432/x", "/run/pg:5432/a b", "default host:1/ü\n"])
def test_the_file_is_in_the_directory_for_any_address(tmp_path: Path, database: str) -> None:
    path = cluster_textfile_path(tmp_path, database)
    assert path.parent == tmp_path
    assert path.name.startswith("crucible_batch_cluster-")
    assert path.suffix == ".prom"


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the metrics were not written: .*gone"):
        write_cluster_textfile(tmp_path / "gone", DATABASE, None, 1.0)
