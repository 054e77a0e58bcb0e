"""How a coordinator starts the process of a shard again, by how the one before has ended."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from crucible_batch.core.sharding import ShardId
from crucible_batch.engine import SystemClock
from crucible_batch.features.machines.coordinator import _Wave
from crucible_batch.features.machines.shard_process import ShardEnd, ShardTask
from crucible_batch.features.shards.log import ShardLog
from crucible_batch.journal import JournalRows
from crucible_batch.object_url import ObjectUrl
from crucible_batch.runs.logged_figures import LoggedFigures
from tests.harness.object_fakes import DictObjects

URL = ObjectUrl("s3", "bucket", "prefix")
DIGEST = "0" * 64
KILLED, CRASHED = -9, 70


@dataclass
class OneProcess:
    """An engine whose first process ends after its entry in the log, and whose second succeeds."""

    objects: DictObjects
    first: int
    tasks: list[ShardTask] = field(default_factory=list)

    async def places(self) -> int:
        return 1

    async def run(self, task: ShardTask) -> ShardEnd:
        self.tasks.append(task)
        code = None if len(self.tasks) == 1 else 0
        log = ShardLog(self.objects, DIGEST, ShardId(1, 1))
        await log.read()
        log.figures = lambda: LoggedFigures(exit_code=code)
        await log.append(JournalRows())
        return ShardEnd(self.first if code is None else code, "")

    async def close(self) -> None: ...


async def test_a_shard_whose_log_was_closed_before_it_ran_has_not_begun() -> None:
    """A merge that abandons it was killed after that."""
    objects = DictObjects(URL)
    await ShardLog(objects, DIGEST, ShardId(1, 1)).close("abandoned")
    engine = OneProcess(objects, KILLED)
    plan: Any = SimpleNamespace(digest=DIGEST, head=SimpleNamespace(shards=[None]))
    wave = _Wave(engine, URL, objects, plan, SystemClock())
    await asyncio.wait_for(wave.run(), 20)
    assert (wave.not_begun, engine.tasks) == ([1], [])


@pytest.mark.parametrize(
    ("first", "watched"),
    [
        pytest.param(KILLED, 1, id="killed: nothing follows its last entry"),
        pytest.param(CRASHED, 0, id="crashed: the next one watches the log"),
    ],
)
async def test_the_shard_of_a_process_that_was_killed_is_taken_without_a_wait(
    first: int, watched: int
) -> None:
    objects = DictObjects(URL)
    engine = OneProcess(objects, first)
    plan: Any = SimpleNamespace(digest=DIGEST, head=SimpleNamespace(shards=[None]))
    wave = _Wave(engine, URL, objects, plan, SystemClock())
    await asyncio.wait_for(wave.run(), 20)
    assert [task.watched for task in engine.tasks] == [0, watched]
    assert wave.error is None
