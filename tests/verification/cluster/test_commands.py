"""``cluster status`` and ``cluster drain`` on a real database."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from crucible_batch.cluster import ClusterAddress, ClusterRun, ShardFigures, ShardKey
from crucible_batch.cluster.database import ClusterDatabase
from crucible_batch.domain.sharding import PlannedShard
from tests.verification.cluster.forks import run_command
from tests.verification.cluster.postgres import PostgresServer

D = Decimal
RUN = ClusterRun("spring-1", "spring", "2026-11-28", "https://gateway.test", "/mnt/outputs/spring", D(100), D(0))
DIGEST = "ef" * 32


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """A function that runs ``cluster`` with the DSN and words that it is given."""
    folder = tmp_path_factory.mktemp("command")

    def command(dsn: str, *words: str) -> subprocess.CompletedProcess[str]:
        env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "CRUCIBLE_BATCH_DSN": dsn, "COLUMNS": "160"}
        return run_command("cluster", *words, cwd=folder, env=env)

    return command


def data(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])["data"]


def prepared(address: ClusterAddress, steps: Callable[[ClusterDatabase], Awaitable[None]]) -> None:
    async def prepare() -> None:
        database = await ClusterDatabase.opened(address)
        await steps(database)
        await database.close()

    asyncio.run(prepare())


@pytest.fixture
def busy(address: ClusterAddress) -> str:
    """The DSN of a cluster with three shards and two workers, one of which is silent."""

    async def steps(database: ClusterDatabase) -> None:
        epoch = (await database.open_run(RUN)).epoch
        planned = [PlannedShard(number, 50, 40, D(20)) for number in (1, 2, 3)]
        await database.add_shards(RUN.run, epoch, DIGEST, planned)
        for worker in ("one", "two"):
            await database.see_worker(worker, f"host-{worker}:1", "0.1.0")
            await database.claim_shard(ShardKey(RUN.run, DIGEST, 1 if worker == "one" else 2), worker)
        await database.renew_shard(ShardKey(RUN.run, DIGEST, 1), 1, ShardFigures(D("3.5"), D(2), 11, 1))

    prepared(address, steps)
    with psycopg.connect(address.dsn, autocommit=True) as connection:
        for table, column in (("shards", "renewed_at"), ("workers", "seen_at")):
            # The other's time is in the future, so that the machine's load doesn't make it silent.
            connection.execute(
                f"UPDATE {table} SET {column} = {column}"
                f" + CASE worker WHEN 'two' THEN interval '-90 min' ELSE interval '1 day' END".encode()
            )
        connection.execute("UPDATE shards SET waiting_since = waiting_since - interval '5 h' WHERE state = 'waiting'")
    return address.dsn


def test_the_status_has_runs_shards_workers_and_ages(command: Command, busy: str) -> None:
    text = " ".join(command(busy, "status").stdout.split())
    for part in (
        "1 shard waiting, the oldest for 5 h", "run spring (2026-11-28) /mnt/outputs/spring",
        "100 credits: 5.5 spent or held, 54.5 more set aside for shards, 40 left",
        "3 shards: 1 waiting, 1 running, 1 stalled 11 of 150 jobs succeeded, 1 failed", "begun ",
        "shard 1 of 3, spring efefefef", "12 of 50 jobs, 3.5 of 20 credits", "stalled for 1 h 30 min",
        "worker host-one:1", "silent for 1 h 30 min",
    ):  # fmt: skip
        assert part in text, (part, text)
    found = data(command(busy, "status", "--json"))
    assert found["queue_age_s"] >= 5 * 3600
    assert [(run["set_aside"], run["left"]) for run in found["runs"]] == [("60", "40")]
    shards = {shard["number"]: shard for shard in found["shards"]}
    assert [shards[number]["state"] for number in (1, 2, 3)] == ["running", "running", "waiting"]
    assert [shards[number]["stalled"] for number in (1, 2, 3)] == [False, True, False]
    assert [worker["shards"] for worker in found["workers"]] == [1, 1]


def test_a_run_whose_coordinator_has_ended_is_shown_while_workers_may_run_its_shards(
    command: Command, busy: str, address: ClusterAddress
) -> None:
    async def close(database: ClusterDatabase) -> None:
        await database.close_run(RUN.run, 1)

    prepared(address, close)
    with psycopg.connect(busy, autocommit=True) as connection:
        connection.execute("UPDATE crucible_batch.workers SET seen_at = seen_at - interval '2 days'")
    text = " ".join(command(busy, "status").stdout.split())
    assert "1 shard waiting, the oldest for 5 h; no worker is alive to take them" in text
    assert "ago, and the same command continues it" in text


def test_the_metrics_are_written_from_the_database_and_say_if_it_is_away(
    command: Command, busy: str, tmp_path: Path
) -> None:
    done = command(busy, "status", "--metrics-textfile", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.iterdir()
    found = samples(file)
    assert found["queue_age_seconds", ""] >= 5 * 3600
    assert {state: found["shards", state] for state in ("waiting", "running", "stalled")} == {
        "waiting": 1, "running": 1, "stalled": 1,
    }  # fmt: skip
    assert (found["workers", "alive"], found["workers", "silent"]) == (1, 1)
    assert (found["renewal_age_seconds", ""], found["set_aside_credits", ""]) == (pytest.approx(5400, abs=600), 60)
    file.rename(tmp_path / "old")
    away = busy.replace("dbname=", "dbname=no_")
    done = command(away, "status", "--metrics-textfile", str(tmp_path))
    assert done.returncode == 5
    (file,) = tmp_path.glob("*.prom")
    assert samples(file)["up", ""] == 0
    assert ("queue_age_seconds", "") not in samples(file)
    done = command(busy, "status", "--metrics-textfile", str(tmp_path / "gone"))
    assert done.returncode == 2


def samples(file: Path) -> dict[tuple[str, str], float]:
    """Return each value by the name of its metric, without the prefix, and its state."""
    found = [each for family in text_string_to_metric_families(file.read_text()) for each in family.samples]
    return {
        (each.name.removeprefix("crucible_batch_cluster_"), each.labels.get("state", "")): each.value for each in found
    }


def test_workers_are_drained_by_name_or_all(command: Command, busy: str) -> None:
    done = command(busy, "drain", "host-nobody:1", "host-one:1")
    assert done.returncode == 2
    assert "there are: host-one:1, host-two:1" in " ".join(done.stderr.split())
    assert [each["draining_age_s"] for each in data(command(busy, "status", "--json"))["workers"]] == [None, None]
    done = command(busy, "drain", "host-one:1")
    assert done.returncode == 0
    assert "host-one:1 takes no further shards; it ends after 1 shard" in done.stdout
    assert [each["name"] for each in data(command(busy, "drain", "--json"))["workers"]] == ["host-one:1", "host-two:1"]
    assert "draining since" in command(busy, "status").stdout


def test_an_idle_cluster_is_shown(command: Command, address: ClusterAddress) -> None:
    text = " ".join(command(address.dsn, "status").stdout.split())
    assert "no shard waits" in text
    assert "no worker was seen within a day" in text
    assert "no worker is registered" in command(address.dsn, "drain").stdout


def test_a_database_without_a_cluster_and_a_newer_schema_are_exit_2(
    command: Command, empty_address: ClusterAddress, address: ClusterAddress, server: PostgresServer
) -> None:
    for words in (("status",), ("drain",)):
        done = command(empty_address.dsn, *words)
        assert done.returncode == 2
        assert "has no cluster yet" in " ".join(done.stderr.split())
    with psycopg.connect(address.dsn, autocommit=True) as connection:
        connection.execute("INSERT INTO migrations (level, file, oldest_code) VALUES (99, 'later', 99)")
    done = command(address.dsn, "status")
    assert done.returncode == 2
    assert "upgrade crucible-batch on this machine" in " ".join(done.stderr.split())
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
        connection.execute("CREATE ROLE stranger LOGIN")
    done = command(address.dsn.replace("user=tester", "user=stranger"), "status")
    assert done.returncode == 2


def test_a_run_is_ended_early_by_its_directory_or_its_name(
    command: Command, busy: str, address: ClusterAddress
) -> None:
    async def more(database: ClusterDatabase) -> None:
        epoch = (await database.open_run(replace(RUN, run="autumn-1", location="/mnt/outputs/autumn"))).epoch
        await database.add_shards("autumn-1", epoch, DIGEST, [PlannedShard(1, 5, 5, D(10))])
        await database.release_shard(ShardKey(RUN.run, DIGEST, 2), 1, ShardFigures())

    prepared(address, more)
    done = command(busy, "drain", "--run", "spring")
    assert done.returncode == 2
    assert "2 active runs are named spring" in " ".join(done.stderr.split())
    done = command(busy, "drain", "--run", "winter")
    assert done.returncode == 2
    assert "there are: autumn-1 (/mnt/outputs/autumn), spring-1 (/mnt/outputs/spring)" in " ".join(done.stderr.split())
    assert command(busy, "drain", "--run", "spring", "host-one:1").returncode == 2
    done = command(busy, "drain", "--run", "/mnt/outputs/spring")
    text = " ".join(done.stdout.split())
    assert "spring (2026-11-28) starts no further shard" in text
    assert "1 withdrawn, 1 ended that a worker had returned" in text
    assert "running 1, finished first" in text
    found = data(command(busy, "status", "--json"))
    states = {(shard["run"], shard["number"]): shard["state"] for shard in found["shards"]}
    assert states == {
        ("spring-1", 1): "running", ("spring-1", 2): "ended", ("spring-1", 3): "withdrawn", ("autumn-1", 1): "waiting",
    }  # fmt: skip
    # What shard 2 has spent is not known for sure: its allowance is kept, and that of shard 3 is returned.
    assert {run["run"]: run["left"] for run in found["runs"]}["spring-1"] == "60"
    again = data(command(busy, "drain", "--run", "spring-1", "--json"))
    assert (again["withdrawn"], again["ended"], again["running"]) == (0, 0, 1)
    assert [worker["draining_age_s"] for worker in found["workers"]] == [None, None]
