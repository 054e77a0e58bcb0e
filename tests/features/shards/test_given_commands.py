"""A run takes commands from elsewhere than its directory (``command_feed.py``), and buys nothing in
a pause."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

from crucible_batch.core.control import ControlAction, ControlCommand
from crucible_batch.errors import ExitCode
from crucible_batch.features.registry import kind_of
from crucible_batch.features.shards.command_feed import CommandFeed
from crucible_batch.features.shards.command_rule import GivenControl
from crucible_batch.journal import Journal
from crucible_batch.runs.parts import ReadyRun, RunPart
from crucible_batch.runs.request import RunRequest
from crucible_batch.runs.running import run_request
from tests.integration.engine.test_pausing import ANNA, Log, jobs

ASKED = 20


class FedPart(RunPart):
    """Has the run perform what a feed has read."""

    def __init__(self, feed: CommandFeed) -> None:
        self.feed = feed

    def beside(self, run: ReadyRun) -> AbstractAsyncContextManager[object]:
        return self.feed.on(run.desk)


async def test_a_run_that_was_paused_elsewhere_buys_nothing_until_it_is_resumed_there(
    start, tampered
):
    log, asked = Log(), []
    log.is_paused = True
    given = [GivenControl(1, ControlCommand(ControlAction.PAUSE), ANNA, 0.0)]

    async def take(taken: int, _in_flight: int) -> list[GivenControl]:
        asked.append(taken)
        if len(asked) == ASKED:
            given.append(GivenControl(2, ControlCommand(ControlAction.RESUME), ANNA, 0.0))
            log.is_paused = False
        return [each for each in given if each.number > taken]

    async with start(runners=8) as bench:
        feed = CommandFeed(take, monotonic=bench.clock.monotonic, sleep=bench.clock.sleep)
        await feed.ask()
        asking = asyncio.ensure_future(feed.keep())
        request = RunRequest(bench.manifest(jobs(4), budget=8), out_dir=bench.path / "out")
        result = await run_request(
            request,
            lambda request: kind_of(request, FedPart(feed)),
            settings=bench.settings,
            transport=tampered(log),
        )
        asking.cancel()
    assert result.exit_code is ExitCode.OK
    assert len(asked) >= ASKED
    assert [is_paused for _, is_paused in log.sent] == [False] * 4
    with Journal.read(bench.path / "out") as journal:
        assert [entry.command.action for entry in journal.controls()] == [
            ControlAction.PAUSE,
            ControlAction.RESUME,
        ]
