"""The jobs of a run as they finish, for ``async for``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from crucible_batch.core.job import Phase
from crucible_batch.core.progress import JobAdvanced, Message
from crucible_batch.engine import RunControl
from crucible_batch.errors import ExitCode
from crucible_batch.report import build_row
from crucible_batch.runs.finished_jobs import FinishedJob, finished_job
from crucible_batch.runs.generations import generations_of
from crucible_batch.runs.parts import BudgetGrant, OpenedRun, ReadyRun, RunPart
from crucible_batch.runs.running import RunResult

_FINISHED = {Phase.SUCCEEDED, Phase.FAILED, Phase.UNAVAILABLE, Phase.VANISHED}


class RunningJobs:
    """The jobs of a run: iterate over them once. ``result`` is None until the run has ended."""

    def __init__(self, start: Callable[[RunPart], Awaitable[RunResult]]) -> None:
        self._start = start
        self.result: RunResult | None = None

    async def __aiter__(self) -> AsyncGenerator[FinishedJob, None]:
        finished: asyncio.Queue[FinishedJob | None] = asyncio.Queue()
        part = FinishedJobsPart(finished.put_nowait)
        running = asyncio.ensure_future(self._start(part))
        running.add_done_callback(lambda _: finished.put_nowait(None))
        seen: set[tuple[str, int]] = set()
        try:
            job = await finished.get()
            while job is not None:
                if (job.name, job.generation) not in seen:
                    seen.add((job.name, job.generation))
                    yield job
                job = await finished.get()
            self.result = await running
            for job in self.result.jobs():
                if (job.name, job.generation) not in seen:
                    yield job
        finally:
            if not running.done():
                part.stop(running)
                self.result = await running


class FinishedJobsPart(RunPart):
    """Passes on the row of each job that has succeeded or failed while it is in the plan."""

    def __init__(self, put: Callable[[FinishedJob], None]) -> None:
        self._put = put
        self._control: RunControl | None = None

    @asynccontextmanager
    async def begin(self, run: OpenedRun) -> AsyncIterator[BudgetGrant | None]:
        self._journal, self._context = run.journal, run.context
        run.context.observers.add(self)
        yield None

    def beside(self, run: ReadyRun) -> AbstractAsyncContextManager[object]:
        self._control = run.desk.control
        return nullcontext()

    def notify(self, message: Message) -> None:
        if isinstance(message, JobAdvanced) and message.phase in _FINISHED and not message.beside:
            known = self._journal.known(message.identity, self._context.terms.rule)
            if known is None:
                return
            planned, job, has_left_plan = known
            # Another generation has taken its place, and comes by itself, before it or after it.
            if not has_left_plan:
                row = build_row(planned, job, {}, generations_of(self._journal)(planned))
                self._put(finished_job(row, self._context.directory))

    def stop(self, running: asyncio.Future[RunResult]) -> None:
        """Stop the run in good order; before it can buy, immediately."""
        if self._control is None:
            running.cancel()
        else:
            self._control.interrupt(ExitCode.SIGINT)
