"""Rejections, as a part of runs and plans."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from crucible_batch.core.redaction import clean
from crucible_batch.errors import UserError
from crucible_batch.features.redo.places import Places
from crucible_batch.features.redo.rejections import Rejection
from crucible_batch.features.redo.run_options import RejectsOption
from crucible_batch.features.redo.source import note_file, rejections_of, rejects_file
from crucible_batch.features.redo.unmatched import unmatched_note
from crucible_batch.journal import PlanFile
from crucible_batch.runs.context import RunContext
from crucible_batch.runs.parts import OpenedRun, ReadyRun, RunPart
from crucible_batch.runs.plan_parts import PlanPart, ReadPlan
from crucible_batch.runs.run_journal import journal_of

logger = logging.getLogger(__name__)


class RedoPart(RunPart, PlanPart):
    """Gives the outputs that count their paths, and refuses saved plans of runs with rejections:

    what is bought may depend on what the run finds.
    """

    def check(self, run: RunContext) -> None:
        if run.request.is_of_divided_plan:
            if run.request.of(RejectsOption).rejects is not None:
                raise UserError(
                    "--rejects can't be used for a shard: it runs what its plan has",
                    hint="merge the shards, and run the manifest",
                )
            return
        lines = rejections_of(run.manifest, run.request, run.directory)
        if run.request.plan is not None and lines:
            raise UserError(
                f"{run.request.plan.path} can't be run: outputs were rejected, and a saved plan"
                " has no jobs that buy them again",
                hint="run the manifest itself; a budget limits what that costs",
            )

    def refuse(self, plan: ReadPlan) -> None:
        if plan.save_to is None:
            return
        if rejections_of(plan.basis.source, plan.request, plan.directory):
            raise UserError(
                "a plan with rejections can't be saved: its run may add jobs that are not known"
                " yet",
                hint="plan without -o, and run the manifest; a budget limits what that costs",
            )

    def planned(self, run: RunContext, draft: PlanFile) -> None:
        if run.request.is_of_divided_plan:
            return
        lines = rejections_of(run.manifest, run.request, run.directory)
        for note in _notes(lines, draft, run.directory):
            logger.warning("%s", clean(note, 1000))

    def job_notes(self, plan: ReadPlan, draft: PlanFile) -> Iterable[str]:
        return _notes(
            rejections_of(plan.basis.source, plan.request, plan.directory), draft, plan.directory
        )

    def opened(self, run: OpenedRun) -> None:
        self._journal = run.journal
        context = run.context
        if not context.request.is_of_divided_plan:
            path, _ = rejects_file(context.manifest, context.request, context.directory)
            note_file(run.journal, context.directory, path)

    @asynccontextmanager
    async def beside(self, run: ReadyRun) -> AsyncIterator[None]:
        context = run.context
        places = Places(self._journal, context.store, context.clock)
        await places.settle()
        yield
        await places.tidy()


def _notes(lines: Sequence[Rejection], draft: PlanFile, directory: Path) -> Iterable[str]:
    if not lines:
        return ()
    with journal_of(directory) as journal:
        note = unmatched_note(lines, draft, journal)
    return () if note is None else (note,)
