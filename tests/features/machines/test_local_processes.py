"""Local processes: a shard that is started again takes the place of its silent process."""

from __future__ import annotations

import asyncio

import pytest

from crucible_batch.features.machines import engines, shard_process
from crucible_batch.features.machines.engines import LocalProcesses
from crucible_batch.features.machines.shard_process import ShardEnd, ShardProcess, ShardTask
from crucible_batch.object_url import ObjectUrl
from crucible_batch.settings import Settings

URL = ObjectUrl("s3", "bucket", "prefix")


class FrozenProcess:
    """A process that ends when it is killed, and not before."""

    started: list[FrozenProcess]

    def __init__(self, task: ShardTask, _settings: Settings, _options: object) -> None:
        self.number = task.number
        self.killed = asyncio.Event()
        self.started.append(self)

    def kill(self) -> int:
        self.killed.set()
        return 1

    async def ended(self) -> ShardEnd:
        await self.killed.wait()
        return ShardEnd(-9, "")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[FrozenProcess]:
    FrozenProcess.started = []
    monkeypatch.setattr(engines, "ShardProcess", FrozenProcess)
    return FrozenProcess.started


async def steps() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_frozen_process_keeps_no_place_from_the_next_one_of_its_shard(
    started: list[FrozenProcess],
) -> None:
    engine = LocalProcesses(1, Settings("key"))
    first = asyncio.ensure_future(engine.run(ShardTask(URL, "0" * 64, 3)))
    other = asyncio.ensure_future(engine.run(ShardTask(URL, "0" * 64, 4)))
    await steps()
    assert [process.number for process in started] == [3]
    again = asyncio.ensure_future(engine.run(ShardTask(URL, "0" * 64, 3, start=1, watched=7)))
    await steps()
    assert first.done()
    assert started[0].killed.is_set()
    # The place that it had is given in turn.
    assert [process.number for process in started] == [3, 4]
    started[1].kill()
    await steps()
    assert [process.number for process in started] == [3, 4, 3]
    assert not started[2].killed.is_set()
    for task in (other, again):
        task.cancel()


async def test_a_process_that_does_not_wind_down_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shard_process, "_WINDING_DOWN_S", 0.01)
    process = ShardProcess.__new__(ShardProcess)
    killed = asyncio.Event()
    loop = asyncio.get_running_loop()
    steps: list[str] = []

    def kill() -> int:
        steps.append("killed")
        loop.call_soon_threadsafe(killed.set)
        return 1

    def wait() -> ShardEnd:
        asyncio.run_coroutine_threadsafe(killed.wait(), loop).result()
        return ShardEnd(-9, "")

    monkeypatch.setattr(process, "wind_down", lambda: steps.append("winds down"))
    monkeypatch.setattr(process, "kill", kill)
    monkeypatch.setattr(process, "wait", wait)
    ending = asyncio.ensure_future(process.ended())
    await asyncio.sleep(0)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert steps == ["winds down", "killed"]
