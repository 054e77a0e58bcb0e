"""A part that counts jobs as failed although their outputs are saved."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import asynccontextmanager
from typing import Any

import crucible_batch as api
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.outcome import CHECK_FAILED
from crucible_batch.errors import ExitCode
from crucible_batch.features.registry import kind_of
from crucible_batch.runs.parts import OpenedRun, RunPart
from crucible_batch.runs.request import RunRequest
from crucible_batch.runs.running import run_request

SHORT_JOBS = True
TWO = "{name: a, prompt: one}\n{name: b, prompt: two}"


class Judging(RunPart):
    """Counts the job of a name as failed, once all outputs are saved."""

    def __init__(self, name: str, *, waits: bool = False) -> None:
        self._name = name
        self._waits = waits
        self.was_left = False

    @asynccontextmanager
    async def begin(self, run: OpenedRun) -> Any:
        self._journal = run.journal
        yield None

    async def judged(self, leaving: asyncio.Event) -> Mapping[str, ErrorInfo]:
        if self._waits:
            await leaving.wait()
            self.was_left = True
        return {
            planned.identity: ErrorInfo(CHECK_FAILED, "blank")
            for planned in self._journal.plan()
            if planned.name == self._name
        }


async def run(bench: Any, part: RunPart, **options: Any) -> api.RunResult:
    request = RunRequest(bench.manifest(TWO), out_dir=bench.path / "out", html=False, **options)
    return await run_request(
        request,
        lambda request: kind_of(request, part),
        settings=bench.settings,
        clock=bench.clock,
    )


async def test_the_job_has_failed_in_every_account_of_the_run(start: Any) -> None:
    async with start() as bench:
        result = await run(bench, Judging("b"))
        await bench.agree(result)
        status = api.read_status(result.run_dir).report
    assert (result.exit_code, result.report.status) == (ExitCode.SOME_FAILED, "partial")
    assert (result.report.counts.succeeded, result.report.counts.failed) == (1, 1)
    assert (status.counts.failed, status.stops) == (1, {})
    rows = {row.name: row for row in result.jobs()}
    assert (rows["a"].status, rows["b"].status) == ("succeeded", "failed")
    assert rows["b"].error is not None
    assert rows["b"].error.code == CHECK_FAILED
    assert rows["b"].outputs[0].path.is_file()


async def test_the_next_run_judges_again_and_buys_nothing(start: Any) -> None:
    async with start() as bench:
        await run(bench, Judging("b"))
        again = await run(bench, Judging("no job"))
        assert (await bench.state())["requests"]["generate"] == 2
    assert (again.exit_code, again.report.counts.succeeded) == (0, 2)


async def test_the_deadline_of_the_run_bounds_the_wait(start: Any) -> None:
    async with start() as bench:
        part = Judging("b", waits=True)
        result = await run(bench, part, deadline_s=3600.0)
    assert part.was_left
    assert result.exit_code == ExitCode.STOPPED
    assert (result.report.counts.succeeded, result.report.counts.failed) == (1, 1)
