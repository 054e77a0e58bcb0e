"""The coordinator of a cluster: a run that is ended early, and the metrics of the complete run. No database."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from crucible_batch.api.cancellation import cancel_for
from crucible_batch.api.cluster import directories as cluster_places
from crucible_batch.api.cluster import run as cluster_run
from crucible_batch.api.cluster import stored_wave
from crucible_batch.api.cluster.coordinator import CoordinatorClaim, CoordinatorCommands, CoordinatorPace
from crucible_batch.api.notifying import _failure
from crucible_batch.api.request import RunRequest
from crucible_batch.api.run_telemetry import cluster_run_metrics
from crucible_batch.cluster import QueuedShard, ShardKey
from crucible_batch.domain.cluster_control import GivenControl
from crucible_batch.domain.shard_lease import FencedAnswer, ShardState
from crucible_batch.errors import ClusterUnreachableError, ExitCode, RunBusyError
from crucible_batch.manifest import load_manifest
from crucible_batch.object_url import ObjectUrl

DIGEST = "ab" * 32
MANIFEST = "version: 1\nname: spring\nworkflow: w\njobs: [{name: a, prompt: a fox}]\n"


def shard(number: int, state: ShardState, epoch: int, ending: str | None = None) -> QueuedShard:
    key = ShardKey("run", DIGEST, number)
    return QueuedShard(key, 5, 5, Decimal(10), state, epoch, None, 1.0, None, None, None, ending)


ROWS = [shard(1, ShardState.ENDED, 1, "succeeded"), shard(2, ShardState.WITHDRAWN, 0), shard(3, ShardState.ENDED, 1)]


def coordinator() -> Any:
    made = object.__new__(cluster_run._Coordinator)
    made._main, made._wave, made.pace = Path("/main"), 1, CoordinatorPace(poll_s=0.0)
    made.context = SimpleNamespace(request=SimpleNamespace(html=True), settings=SimpleNamespace(), is_late=False)
    made._url = None
    return made


def follows(made: Any, database: Any) -> None:
    """Claim the run of a coordinator in the database."""
    made.database = database
    commands = CoordinatorCommands(database, made._main, "run", 1)
    made._claim = CoordinatorClaim(database, made.context, made.pace, "c", "run", 1, commands=commands)


def plan() -> Any:
    return SimpleNamespace(
        digest=DIGEST, path=Path("/main/shards/abababab/plan.json"), head=SimpleNamespace(shards=ROWS)
    )


async def test_a_withdrawn_shard_is_not_awaited() -> None:
    made, seen = coordinator(), []

    class Database:
        async def renew_run(self, _run: str, _epoch: int) -> FencedAnswer:
            assert not seen, "it waits for a shard that nobody will run"
            return FencedAnswer.ACCEPTED

        async def shards(self, _run: str) -> list[QueuedShard]:
            return ROWS

        async def controls(self, _run: str) -> list[GivenControl]:
            return []

    follows(made, Database())
    made._progress = SimpleNamespace(advance=lambda _wave, rows: seen.append(rows), knows=lambda _given: True)
    assert await made._followed(plan()) == ROWS
    assert seen == [ROWS]


async def test_a_coordinator_stops_although_a_library_has_dropped_its_cancellation() -> None:
    made = coordinator()

    class Database:
        async def renew_run(self, _run: str, _epoch: int) -> FencedAnswer:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
            return FencedAnswer.ACCEPTED

        async def shards(self, _run: str) -> list[QueuedShard]:
            return [shard(1, ShardState.RUNNING, 1, None)]

        async def controls(self, _run: str) -> list[GivenControl]:
            return []

    follows(made, Database())
    made._progress = SimpleNamespace(advance=lambda _wave, _rows: None, knows=lambda _given: True)
    following = asyncio.ensure_future(made._followed(plan()))
    await asyncio.sleep(0)
    cancel_for(following, ExitCode.SIGINT)
    async with asyncio.timeout(30):
        with pytest.raises(asyncio.CancelledError) as caught:
            await following
    assert _failure(caught.value)["exit_code"] == ExitCode.SIGINT


def test_a_withdrawn_shard_is_abandoned_and_not_reported_as_a_failure(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Shard 3 was withdrawn by no one, and has no directory: that is a failure."""
    merged: dict[str, Any] = {}
    begun = {1: Path("/main/shards/abababab/1-of-3.e1")}
    monkeypatch.setattr(cluster_places, "check_plan_file", lambda _folder, _main: None)
    monkeypatch.setattr(cluster_places, "newest_begun", lambda _folder, found, **_: begun.get(found.number))
    monkeypatch.setattr(cluster_run, "merge", lambda directories, **more: merged.update(more, directories=directories))
    with caplog.at_level(logging.ERROR):
        coordinator()._merged(plan(), ROWS)
    assert (merged["directories"], merged["abandon"]) == ([begun[1]], [2, 3])
    assert [record.getMessage().partition(" could")[0] for record in caplog.records] == ["shard 3/3"]


def values(directory: Path) -> dict[str, float]:
    text = (directory / "crucible-batch-spring.prom").read_text()
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    return {each.name.removeprefix("crucible_batch_") + each.labels.get("outcome", ""): each.value for each in samples}


@pytest.fixture
def request_of(tmp_path: Path) -> RunRequest:
    (tmp_path / "spring.yaml").write_text(MANIFEST)
    return RunRequest(tmp_path / "spring.yaml", metrics_textfile=tmp_path)


def result(code: int, succeeded: int, failed: int) -> Any:
    counts = SimpleNamespace(succeeded=succeeded, failed=failed, blocked=0, pending=0, unknown=0)
    credits = SimpleNamespace(budget=Decimal(20), spent=Decimal(9), held=Decimal(0))
    return SimpleNamespace(exit_code=code, report=SimpleNamespace(counts=counts, credits=credits, period=None))


def test_the_metrics_are_those_of_the_complete_run(request_of: RunRequest, tmp_path: Path) -> None:
    found = result(1, 7, 2)
    with cluster_run_metrics(request_of, load_manifest(request_of.manifest)) as ended:
        ended(found.report, found.exit_code)
    written = values(tmp_path)
    assert (written["exit_code"], written["jobssucceeded"], written["jobsfailed"]) == (1, 7, 2)
    assert (written["spent_credits"], written["budget_credits"], written["last_success_timestamp_seconds"]) == (
        9,
        20,
        0,
    )


def test_an_error_has_its_exit_code_and_a_busy_run_keeps_the_metrics(request_of: RunRequest, tmp_path: Path) -> None:
    manifest = load_manifest(request_of.manifest)
    with pytest.raises(ClusterUnreachableError), cluster_run_metrics(request_of, manifest):
        raise ClusterUnreachableError("gone")
    assert values(tmp_path)["exit_code"] == 5
    with pytest.raises(RunBusyError), cluster_run_metrics(request_of, manifest):
        raise RunBusyError("another")
    assert values(tmp_path)["exit_code"] == 5


async def test_neither_probe_nor_rest_writes_metrics_of_their_own(
    request_of: RunRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probe has the name of the manifest: its success would be reported as that of the run."""
    seen: list[RunRequest] = []

    class Coordinator:
        def __init__(self, context: Any, *_more: object) -> None:
            seen.append(context.part(shards=2))

        async def run(self) -> Any:
            return result(0, 9, 0)

    class Database:
        @classmethod
        async def opened(cls, *_given: object, **_more: object) -> Any:
            return cls()

        async def close(self) -> None:
            pass

    monkeypatch.setattr(cluster_run, "_Coordinator", Coordinator)
    monkeypatch.setattr(cluster_run, "ClusterDatabase", Database)
    settings: Any = SimpleNamespace(api_key="key")
    asked = replace(request_of, traces=None)
    await cluster_run.run_on_cluster(asked, SimpleNamespace(), settings=settings)  # type: ignore[arg-type]
    assert [(each.metrics_textfile, each.metrics_listen, each.traces, each.notify) for each in seen] == [
        (None, None, False, False)
    ]
    assert values(tmp_path)["jobssucceeded"] == 9


def test_the_same_holds_for_shards_in_an_object_store(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    merged: dict[str, Any] = {}
    found = plan()
    found.head.options = SimpleNamespace(run_dir="s3://bucket/run")
    monkeypatch.setattr(stored_wave, "bring_shards", lambda _main, _url, **_: None)
    monkeypatch.setattr(stored_wave, "_is_begun", lambda _main, _plan, number: number == 1)
    monkeypatch.setattr(stored_wave, "merge", lambda directories, **more: merged.update(more, directories=directories))
    found.head.shards = [SimpleNamespace(number=number) for number in (1, 2, 3)]
    made = coordinator()
    made._url = ObjectUrl("s3", "bucket", "run")
    with caplog.at_level(logging.ERROR):
        made._merged(found, ROWS)
    assert (merged["directories"], merged["abandon"], merged["unfinished"]) == ([Path("/main")], [2, 3], True)
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["shard 3 of 3 could not be run"]
