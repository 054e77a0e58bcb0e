"""The checks of outputs, as a part of a run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any

from crucible_batch.core.events import Saved
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.progress import JobAdvanced, Message
from crucible_batch.errors import CheckCommandError
from crucible_batch.features.quality.manifest_keys import checks_of, has_own_checks
from crucible_batch.features.quality.note import forget_totals, note_totals, note_written
from crucible_batch.features.quality.rule import COMMAND, DUPLICATE, Check, Totals, checks_in
from crucible_batch.features.redo.source import rejects_file
from crucible_batch.manifest import Manifest
from crucible_batch.runs.context import RunContext
from crucible_batch.runs.output_programs import OutputPrograms
from crucible_batch.runs.parts import BudgetGrant, OpenedRun, ReadyRun, RunPart
from crucible_batch.runs.plan_parts import PlanPart, ReadPlan
from crucible_batch.runs.programs import ALLOW_COMMAND, unusable_program


class ChecksPart(RunPart, PlanPart):
    """Checks each output beside the jobs, as soon as it is saved.

    At the end of the run it waits for the rest, and the jobs that a check has failed count as
    failed.
    """

    def __init__(self) -> None:
        self._entries: Sequence[Sequence[Check]] = ()
        self._checks: Any = None
        """``OutputChecks``, whose module imports Pillow; None without checks."""

    def check(self, run: RunContext) -> None:
        self._entries = _entries(run.manifest)
        refuse_unusable_programs(run.manifest, allow_command=run.request.allow_command)

    @asynccontextmanager
    async def begin(self, run: OpenedRun) -> AsyncIterator[BudgetGrant | None]:
        self._run = run
        if not any(self._entries):
            forget_totals(run.journal)
        else:
            self._checks = _checks_of_run(run, self._entries)
            run.context.observers.add(self)
        yield None

    def beside(self, run: ReadyRun) -> AbstractAsyncContextManager[object]:
        return nullcontext() if self._checks is None else self._checks.working()

    def notify(self, message: Message) -> None:
        """Check an output that was saved."""
        if isinstance(message, JobAdvanced) and isinstance(message.event, Saved):
            assert self._checks is not None
            self._checks.offer(message.identity, message.event.index)

    async def judged(self, leaving: asyncio.Event) -> Mapping[str, ErrorInfo]:
        if self._checks is None:
            return {}
        found: tuple[Totals, Mapping[str, ErrorInfo]] = await self._checks.conclude(leaving)
        totals, failed = found
        note_totals(self._run.journal, totals)
        note_written(self._run.journal, self._checks.written)
        return failed

    def notes(self, plan: ReadPlan) -> Iterable[str]:
        manifest = plan.basis.source
        if not plan.request.allow_command and any(_commands(manifest)):
            yield f"`checks` has a command: run needs {ALLOW_COMMAND}"
        for problem in dict.fromkeys(_unusable(manifest, allow_command=True)):
            yield f"run would refuse {problem}"


def refuse_unusable_programs(manifest: Manifest, *, allow_command: bool) -> None:
    """Raise ``CheckCommandError`` if a program of the checks can't be run, or may not be."""
    problems = list(dict.fromkeys(_unusable(manifest, allow_command=allow_command)))
    if problems:
        raise CheckCommandError(problems)


def _unusable(manifest: Manifest, *, allow_command: bool) -> Iterator[str]:
    """Yield what is wrong with each program, with its place in the manifest."""
    for place, check in _commands(manifest):
        problem = unusable_program(check.words[0], manifest.directory, allow_command=allow_command)
        if problem is not None:
            yield f"{place}: {problem}"


def _commands(manifest: Manifest) -> Iterator[tuple[str, Check]]:
    """Yield the programs that entries use, each with its place."""
    for entry, checks in zip(manifest.jobs, _entries(manifest), strict=True):
        own = f"jobs[{entry.index}].checks.command"
        for check in checks:
            if check.name != COMMAND:
                continue
            is_own = has_own_checks(entry.job)
            yield str(manifest.place(own if is_own else "checks.command")), check


def _entries(manifest: Manifest) -> list[tuple[Check, ...]]:
    """Return the checks of each entry."""
    return [checks_in(checks_of(manifest.header, entry.job)) for entry in manifest.jobs]


def _checks_of_run(run: OpenedRun, entries: Sequence[Sequence[Check]]) -> Any:
    # It imports Pillow.
    from crucible_batch.features.quality.checker import OutputChecks  # noqa: PLC0415
    from crucible_batch.features.quality.judge import Judge  # noqa: PLC0415

    context = run.context

    def of_entry(index: int) -> Sequence[Check]:
        return entries[index] if index < len(entries) else ()

    compares = any(check.name == DUPLICATE for checks in entries for check in checks)
    return OutputChecks(
        run.journal,
        context.store,
        context.terms.rule,
        of_entry,
        Judge(OutputPrograms.of(context)),
        rejects_file=rejects_file(context.manifest, context.request, context.directory)[0],
        compares=compares,
    )
