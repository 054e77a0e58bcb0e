"""A run of the MCP server is stopped once, whenever that is requested."""

from __future__ import annotations

import asyncio

from crucible_batch.errors import ExitCode
from crucible_batch.features.agents.mcp_server.active_run import ActiveRun


class Runner:
    def __init__(self) -> None:
        self.interrupts: list[ExitCode] = []

    def interrupt(self, code: ExitCode) -> None:
        self.interrupts.append(code)


def test_a_stop_before_the_run_has_begun_takes_effect_when_it_begins() -> None:
    run, runner = ActiveRun(), Runner()
    run.stop()
    run.began(runner)
    assert runner.interrupts == [ExitCode.SIGINT]


def test_a_second_stop_leaves_the_jobs_in_flight() -> None:
    run, runner = ActiveRun(), Runner()
    run.began(runner)
    assert runner.interrupts == []
    run.stop()
    run.stop()
    assert runner.interrupts == [ExitCode.SIGINT] * 2


async def cancelled(run: ActiveRun) -> None:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(run.stop_when_cancelled())
        await asyncio.sleep(0)
        task.cancel()


async def test_a_cancelled_call_stops_its_run_once() -> None:
    run, runner = ActiveRun(), Runner()
    run.began(runner)
    await cancelled(run)
    await cancelled(run)
    assert runner.interrupts == [ExitCode.SIGINT]


async def test_a_run_that_is_over_is_not_stopped() -> None:
    run, runner = ActiveRun(), Runner()
    run.began(runner)
    run.ended()
    await cancelled(run)
    assert runner.interrupts == []
