"""Two thousand jobs under faults: on workers that are killed and frozen, and in shards without a server.

The judge is the gateway's own ledger.
"""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.cluster import QueuedShard
from crucible_batch.domain.shard_lease import ShardState
from tests.integration.cli.conftest import KEY, clean_environment
from tests.preloaded import COMMAND
from tests.verification.cluster.postgres import PostgresServer, running_server
from tests.verification.cluster.scene import PRICE, Process, Scene, playing

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

JOBS = 2000
BUDGET = int(JOBS * PRICE)
"""What the jobs cost, and nothing more: credits that are lost on the way leave a job unbought."""
FAULTS = (
    "429:0.03,503-before:0.02,500-after:0.01,generate.drop-after:0.02,drop-before:0.01,download.drop-after:0.01,"
    "short-body:0.01"
)
GATEWAY = ("--time-scale", "0.1", "--runners", "40", "--credits", "10000", "--faults", FAULTS)
MANIFEST = f"""\
version: 1
name: spring
workflow: zimage-base
concurrency: 16
budget: {{credits: {BUDGET}, max_credits_per_job: {PRICE}}}
jobs:
  - name: fox
    prompt: "a fox, number {{{{ repeat }}}}"
    params: {{size.width: 64, size.height: 64, sampler.seed: "{{{{ repeat | int }}}}"}}
    repeat: {JOBS}
"""


@contextmanager
def prepared(folder: Path, dsn: str) -> Iterator[Scene]:
    folder.mkdir()
    with playing(folder, dsn, BUDGET, *GATEWAY) as scene:
        (folder / "spring.yaml").write_text(MANIFEST, encoding="utf-8")
        yield scene


async def until_succeeded(scene: Scene, jobs: int) -> None:
    await scene.until_shards(lambda rows: sum(row.figures.succeeded for row in rows) >= jobs)


async def frozen_with_a_shard(worker: Process) -> None:
    """Freeze a worker at a moment at which it has a shard."""
    worker.send(signal.SIGSTOP)
    while worker.log.count("claimed, epoch") == worker.log.count("has ended"):
        worker.send(signal.SIGCONT)
        await asyncio.sleep(0.2)
        worker.send(signal.SIGSTOP)


async def on_a_cluster(scene: Scene, server: PostgresServer) -> None:
    """Kill one of three workers, freeze another, and restart PostgreSQL; then wake the frozen one up."""
    workers = [scene.worker() for _ in range(3)]
    coordinator = scene.coordinator("--shards", "12")
    await until_succeeded(scene, JOBS // 8)
    await frozen_with_a_shard(workers[0])
    workers[0].kill()
    await until_succeeded(scene, JOBS // 4)
    await frozen_with_a_shard(workers[1])
    await until_succeeded(scene, JOBS // 2)
    server.stop(immediately=True)
    server.start()
    await until_succeeded(scene, 5 * JOBS // 8)
    await scene.until_shards(lambda rows: sum(row.epoch > 1 for row in rows) >= 2)
    workers[1].send(signal.SIGCONT)
    await workers[1].says("buys nothing more")
    assert await coordinator.ended() == 0, coordinator.log
    assert workers[2].process.poll() is None, workers[2].log
    rows: list[QueuedShard] = await scene.until_shards(bool)
    assert all(row.state is ShardState.MERGED for row in rows)
    await asyncio.to_thread(scene.check_all_done, JOBS)


async def in_shards(scene: Scene) -> None:
    """Run four shards without a server, one after another, and merge them."""
    environment = clean_environment(MOLTAZINE_API_KEY=KEY, CRUCIBLE_API_BASE=scene.gateway)

    async def command(*words: str) -> None:
        done = await asyncio.to_thread(
            subprocess.run, [COMMAND, *words], cwd=scene.folder, env=environment, capture_output=True, text=True
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    await command("plan", "spring.yaml", "--shards", "4", "--probe", "-o", "plan.json")
    for number in range(1, 5):
        await command("run", "plan.json", "--shard", f"{number}/4")
    await command("merge", "outputs/spring/default")
    await asyncio.to_thread(scene.check_all_done, JOBS)


def lasting(report: dict[str, Any]) -> dict[str, Any]:
    """Return a report without its times, and the ids that the gateway has given."""
    dropped = re.compile(r".*_at|job_id")

    def cleaned(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: cleaned(each) for name, each in value.items() if not dropped.fullmatch(name)}
        return [cleaned(each) for each in value] if isinstance(value, list) else value

    return dict(cleaned(report))


async def test_two_thousand_jobs_are_bought_once_and_four_shards_have_the_same_report(tmp_path: Path) -> None:
    with running_server() as server, prepared(tmp_path / "cluster", server.dsn(server.create_database())) as scene:
        await on_a_cluster(scene, server)
        clustered = lasting(scene.report)
    with prepared(tmp_path / "shards", "") as scene:
        await in_shards(scene)
        divided = lasting(scene.report)
    assert [job["name"] for job in divided["jobs"]] == [job["name"] for job in clustered["jobs"]]
    assert divided == clustered
