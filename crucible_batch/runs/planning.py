"""Planning: what a run would do and cost. Uploads nothing, spends nothing and leaves no files
behind.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import httpx

from crucible_batch.errors import UserError
from crucible_batch.journal import PlanFile
from crucible_batch.manifest import VALUE_PATH, Manifest
from crucible_batch.runs.cancellation import Deadline
from crucible_batch.runs.chosen_jobs import with_choice
from crucible_batch.runs.connecting import (
    current_settings,
    gateway_for,
    require_key,
    unread_env_file,
)
from crucible_batch.runs.draft import check_filter, read_source, run_directory, run_terms
from crucible_batch.runs.later_jobs import LaterJobs
from crucible_batch.runs.plan_parts import DraftedPlan, PlanParts, ReadPlan
from crucible_batch.runs.plan_rows import filled_in
from crucible_batch.runs.plan_summary import PlanSummary, summarise
from crucible_batch.runs.request import (
    RunRequest,
    check_request,
    check_saving,
    follow_plan,
)
from crucible_batch.runs.run_journal import refuse_if_pruned
from crucible_batch.runs.saved_plans import PlanBasis, check_plan, save_plan
from crucible_batch.runs.workflows import plan_jobs
from crucible_batch.settings import Settings


@dataclass(frozen=True, slots=True)
class PlanInput:
    """What a plan is made of. It is saved to ``save_to``, if that is given."""

    request: RunRequest
    manifest: Manifest
    settings: Settings
    transport: httpx.AsyncBaseTransport | None
    deadline: Deadline
    save_to: Path | None = None
    force: bool = False
    all_rows: bool = False


class PlanKind(Protocol):
    """What differs between the plans of different kinds of runs, as ``RunKind`` is for the runs
    themselves."""

    async def summary(self, stack: AsyncExitStack, call: PlanInput) -> PlanSummary:
        """Plan, save the plan if that is asked for, and return the summary.

        ``stack`` closes what is opened.
        """


async def plan_request(
    request: RunRequest,
    kind_for: Callable[[RunRequest], PlanKind],
    save_to: Path | None = None,
    *,
    force: bool = False,
    all_rows: bool = False,
    for_run: bool = False,
    settings: Settings | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    manifest: Manifest | None = None,
) -> PlanSummary:
    """Plan a request, as ``plan`` does. ``kind_for`` returns the kind of the plan.

    ``for_run``: as a run would take it, which also reads choices from the environment. ``manifest``
    is that of the request if it was read already.
    """
    check_request(request)
    if manifest is not None and manifest.path == VALUE_PATH and save_to is not None:
        raise UserError(
            "a saved plan is that of a manifest's file",
            hint="write the manifest to a file; nothing was saved",
        )
    deadline = Deadline(request.deadline_s)
    request = follow_plan(request, os.environ if for_run else None)
    settings = settings or current_settings()
    async with deadline.kept(), AsyncExitStack() as stack:
        if save_to is not None or request.plan is not None:
            check_saving(request, save_to, force=force)
            require_key(settings, request.manifest)
        manifest = manifest or read_source(request, deadline.check)
        call = PlanInput(request, manifest, settings, transport, deadline, save_to, force, all_rows)
        return await kind_for(request).summary(stack, call)


class ManifestPlan:
    """The plan of a manifest's run."""

    def __init__(self, parts: PlanParts) -> None:
        self._parts = parts

    async def summary(self, stack: AsyncExitStack, call: PlanInput) -> PlanSummary:
        request, manifest, settings, parts = call.request, call.manifest, call.settings, self._parts
        terms = run_terms(manifest, request)
        directory = run_directory(request.out_dir, terms)
        basis = PlanBasis(manifest, terms, settings.gateway)
        read = ReadPlan(request, basis, settings, directory, call.save_to, call.force)
        parts.refuse(read)
        parts.lock(stack, read)
        refuse_if_pruned(directory)
        basis = replace(basis, filled=filled_in(directory, manifest))
        read = replace(read, basis=basis)
        notes = (*_notes_of(manifest, settings), *parts.notes(read))
        gateway = None
        if settings.api_key is not None:
            gateway = await stack.enter_async_context(
                gateway_for(settings, transport=call.transport)
            )
        draft = stack.enter_context(PlanFile.temporary())
        watch = call.deadline.check
        later = await plan_jobs(draft, basis, gateway, watch, directory=directory, request=request)
        request = with_choice(request, draft)
        read = replace(read, request=request)
        check_plan(request, basis, draft)
        check_filter(draft, request.job_filter, later)
        drafted = DraftedPlan(read, draft, gateway, (*notes, *basis.notes))
        if call.save_to is not None:
            made = await parts.saved(stack, drafted, call.save_to)
            if made is not None:
                return made
        summary = await self._summarise(drafted, later, all_rows=call.all_rows)
        if call.save_to is None:
            return replace(summary, digest=terms.plan_digest, remake=request.remake)
        return replace(
            summary,
            digest=save_plan(call.save_to, request, basis, draft, summary, force=call.force),
        )

    async def _summarise(
        self, plan: DraftedPlan, later: LaterJobs | None, *, all_rows: bool
    ) -> PlanSummary:
        """Summarise a plan, with what its parts know."""
        read, parts, terms = plan.read, self._parts, plan.read.basis.terms
        notes = (*plan.notes, *parts.job_notes(read, plan.draft))
        budget = parts.budget(read)
        if budget is not None:
            terms = replace(terms, budget=budget)
        summary = await summarise(
            plan.draft,
            terms,
            read.directory,
            plan.gateway,
            choice=read.request.choice,
            notes=notes,
            all_rows=all_rows,
            later=later,
        )
        return parts.amended(summary, read.settings)


def _notes_of(manifest: Manifest, settings: Settings) -> Iterator[str]:
    """Yield what a plan notes about the manifest and the settings."""
    yield from map(str, manifest.warnings)
    if settings.ignored:
        yield settings.ignored
    if settings.api_key is None:
        yield "no API key: parameters, balance and uploaded images were not checked"
        hint = unread_env_file(settings, manifest.path)
        if hint is not None:
            yield hint
