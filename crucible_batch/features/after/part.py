"""The program of ``after``, as a part of a run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from crucible_batch.core.events import Saved
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.progress import JobAdvanced, Message
from crucible_batch.errors import AfterCommandError
from crucible_batch.features.after.manifest_keys import after_of
from crucible_batch.features.after.note import note_counts
from crucible_batch.features.after.outputs import AfterOutputs
from crucible_batch.manifest import Manifest
from crucible_batch.runs.context import RunContext
from crucible_batch.runs.output_programs import OutputPrograms
from crucible_batch.runs.parts import BudgetGrant, OpenedRun, ReadyRun, RunPart
from crucible_batch.runs.plan_parts import PlanPart, ReadPlan
from crucible_batch.runs.programs import ALLOW_COMMAND, unusable_program


class AfterPart(RunPart, PlanPart):
    """Runs the program for each output beside the jobs, as soon as it is saved.

    At the end of the run it waits for the rest.
    """

    def __init__(self) -> None:
        self._outputs: AfterOutputs | None = None

    def check(self, run: RunContext) -> None:
        problem = _problem(run.manifest, allow_command=run.request.allow_command)
        if problem is not None:
            raise AfterCommandError(problem)

    @asynccontextmanager
    async def begin(self, run: OpenedRun) -> AsyncIterator[BudgetGrant | None]:
        self._run = run
        context = run.context
        command = after_of(context.manifest.header)
        if command is None:
            note_counts(run.journal, None)
        else:
            programs = OutputPrograms.of(context)
            self._outputs = AfterOutputs(run.journal, context.terms.rule, programs, command)
            context.observers.add(self)
        yield None

    def beside(self, run: ReadyRun) -> AbstractAsyncContextManager[object]:
        return nullcontext() if self._outputs is None else self._outputs.working()

    def notify(self, message: Message) -> None:
        """Run the program for an output that was saved."""
        if isinstance(message, JobAdvanced) and isinstance(message.event, Saved):
            assert self._outputs is not None
            self._outputs.offer(message.identity, message.event.index)

    async def judged(self, leaving: asyncio.Event) -> Mapping[str, ErrorInfo]:
        if self._outputs is not None:
            note_counts(self._run.journal, await self._outputs.conclude(leaving))
        return {}

    def notes(self, plan: ReadPlan) -> Iterable[str]:
        manifest = plan.basis.source
        if after_of(manifest.header) is None:
            return
        if not plan.request.allow_command:
            yield f"`after` has a command: run needs {ALLOW_COMMAND}"
        problem = _problem(manifest, allow_command=True)
        if problem is not None:
            yield f"run would refuse {problem}"


def _problem(manifest: Manifest, *, allow_command: bool) -> str | None:
    """Return why the program can't be run, or may not be, with its place in the manifest."""
    command = after_of(manifest.header)
    if command is None:
        return None
    problem = unusable_program(command.run[0], manifest.directory, allow_command=allow_command)
    return None if problem is None else f"{manifest.place('after')}: {problem}"
