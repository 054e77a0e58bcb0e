"""Two coordinators of one run on one machine: the second is refused before it starts anything."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.errors import RunBusyError
from crucible_batch.features.machines.coordinator import run_on_machines
from crucible_batch.features.machines.run_options import MachineOptions
from crucible_batch.features.machines.shard_process import ShardEnd, ShardTask
from crucible_batch.runs.request import RunRequest
from crucible_batch.settings import Settings

MANIFEST = """\
version: 1
name: campaign
workflow: zimage-base
budget: {credits: 100, max_credits_per_job: 2}
jobs: [{name: fox, prompt: a fox}]
"""


class SlowEngine:
    """An engine that can't say how many places it has before it is closed."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def places(self) -> int:
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def run(self, _task: ShardTask) -> ShardEnd:
        raise AssertionError

    async def close(self) -> None: ...


def begun(folder: Path, engine: SlowEngine) -> asyncio.Task[Any]:
    """Start a coordinator of the run directory ``folder``."""
    request = RunRequest(
        folder.parent / "campaign.yaml",
        out_dir=folder,
        features=(MachineOptions(on="local:2"),),
    )
    given: dict[str, Any] = {"settings": Settings("key"), "engine": engine}
    ignored: Any = lambda _request: None  # noqa: E731
    return asyncio.create_task(run_on_machines(request, ignored, **given))


async def test_the_second_one_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    (tmp_path / "campaign.yaml").write_text(MANIFEST)
    main, first, second = tmp_path / "run", SlowEngine(), SlowEngine()
    running = begun(main, first)
    await first.asked.wait()
    with pytest.raises(RunBusyError) as caught:
        await begun(main, second)
    assert f"another run holds {main}: process" in str(caught.value)
    assert f"crucible-batch status {main}" in caught.value.hint
    assert not second.asked.is_set()
    other = SlowEngine()
    elsewhere = begun(tmp_path / "other", other)
    await other.asked.wait()
    for task in (running, elsewhere):
        task.cancel()
    await asyncio.gather(running, elsewhere, return_exceptions=True)
    third = SlowEngine()
    again = begun(main, third)
    await third.asked.wait()
    again.cancel()
    await asyncio.gather(again, return_exceptions=True)
    assert not main.exists()
