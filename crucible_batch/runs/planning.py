"""Planning: what a run would do and cost. Uploads nothing, spends nothing and leaves no files behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from crucible_batch.core.run_options import ManifestOptions
from crucible_batch.errors import UserError
from crucible_batch.features.registry import plan_parts
from crucible_batch.features.shards.divided_plan import check_sharding
from crucible_batch.features.shards.planning import DraftedPlan, plan_shards
from crucible_batch.features.shards.run import plan_shard
from crucible_batch.gateway import HttpGateway
from crucible_batch.journal import PlanFile, lock_run_directory
from crucible_batch.manifest import VALUE_PATH, Manifest
from crucible_batch.runs.cancellation import Deadline
from crucible_batch.runs.connecting import current_settings, gateway_for, require_key, unread_env_file
from crucible_batch.runs.draft import (
    check_filter,
    read_source,
    read_value,
    run_directory,
    run_terms,
)
from crucible_batch.runs.keywords import taking
from crucible_batch.runs.later_jobs import LaterJobs, refuse_saving
from crucible_batch.runs.manifest_call import ManifestCall
from crucible_batch.runs.plan_parts import PlanParts, ReadPlan
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


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanCall(ManifestCall, ManifestOptions):
    """The arguments of ``plan``: these, and the options for reading a manifest."""

    save_to: str | Path | None = None
    force: bool = False
    all_rows: bool = False
    deadline_s: float | None = None
    shards: int | None = None


@taking(PlanCall)
async def plan(given: PlanCall) -> PlanSummary:
    """Return what ``run`` with the same arguments would do and cost. Spends nothing, and writes only ``save_to``.

    With ``save_to`` the plan is saved: ``run`` of that file does exactly what was planned, or nothing. An existing
    saved plan is replaced, any other file only if ``force`` is true; links are not followed. ``manifest`` may itself be
    a saved plan, which is then compared with the present state. ``all_rows`` keeps a row of the comparison for each
    job. Without an API key, parameters are not checked against their workflows, and the account is not read.
    ``deadline_s`` is in seconds from the call. The other arguments are those of ``ManifestOptions``.

    ``shards`` divides the saved plan into that many shards, each with an allowance of the budget, which ``run`` with
    ``shard`` runs on any machine. The allowances are set aside in the run directory, which is created.

    Raises ``UserError``, ``ManifestError`` with all problems, ``GatewayError``, ``StalePlanError``, ``DeadlineError``
    when ``deadline_s`` is over, and ``KeyRefusedError`` if the key is refused, or if there is none and ``save_to`` is
    given or ``manifest`` is a saved plan.
    """
    request = given.request(ManifestOptions, deadline_s=given.deadline_s, shards=given.shards)
    manifest = read_value(given.manifest, request)
    if manifest is not None and manifest.path == VALUE_PATH and given.save_to is not None:
        raise UserError(
            "a saved plan is that of a manifest's file", hint="write the manifest to a file; nothing was saved"
        )
    return await plan_request(
        request,
        None if given.save_to is None else Path(given.save_to),
        force=given.force,
        all_rows=given.all_rows,
        settings=given.settings,
        transport=given.transport,
        manifest=manifest,
    )


async def plan_request(
    request: RunRequest,
    save_to: Path | None = None,
    *,
    force: bool = False,
    all_rows: bool = False,
    for_run: bool = False,
    settings: Settings | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    manifest: Manifest | None = None,
) -> PlanSummary:
    """Plan a request, as ``plan`` does. ``for_run``: the environment may name the shard of a divided plan.

    ``manifest`` is that of the request if it was read already.
    """
    check_request(request)
    deadline = Deadline(request.deadline_s)
    request, settings = follow_plan(request, os.environ if for_run else None), settings or current_settings()
    async with deadline.kept(), AsyncExitStack() as stack:
        if save_to is not None or request.plan is not None:
            check_saving(request, save_to, force=force)
            require_key(settings, request.manifest)
        manifest = manifest or read_source(request, deadline.check)
        if request.shard is not None:
            return await plan_shard(stack, request, manifest, settings, transport, all_rows=all_rows)
        terms = run_terms(manifest, request)
        directory = run_directory(request.out_dir, terms)
        check_sharding(request, manifest, terms, save_to)
        refuse_saving(manifest, save_to)
        if request.shards is not None and directory.exists():
            stack.enter_context(lock_run_directory(directory))
        refuse_if_pruned(directory)
        basis = PlanBasis(manifest, terms, settings.gateway, filled=filled_in(directory, manifest))
        parts, read = plan_parts(), ReadPlan(request, basis, settings, directory)
        notes = (*_notes_of(manifest, settings), *parts.notes(read))
        gateway = None
        if settings.api_key is not None:
            gateway = await stack.enter_async_context(gateway_for(settings, transport=transport))
        draft = stack.enter_context(PlanFile.temporary())
        watch, out_dir = deadline.check, request.out_dir
        later = await plan_jobs(draft, basis, gateway, watch, directory=directory, out_dir=out_dir)
        check_plan(request, basis, draft)
        check_filter(draft, request.job_filter, later)
        drafted = DraftedPlan(request, basis, draft, directory, (*notes, *basis.notes))
        if request.shards is not None and gateway is not None and save_to is not None:
            return await plan_shards(stack, drafted, gateway, settings, save_to, force=force)
        summary = await _summarise(drafted, read, parts, later, gateway, all_rows=all_rows)
        if save_to is None:
            return replace(summary, digest=terms.plan_digest, remake=request.remake)
        return replace(summary, digest=save_plan(save_to, request, basis, draft, summary, force=force))


def _notes_of(manifest: Manifest, settings: Settings) -> Iterator[str]:
    """Yield what a plan notes about the manifest and the settings."""
    yield from map(str, manifest.warnings)
    if settings.ignored:
        yield settings.ignored
    if settings.api_key is None:
        yield "no API key: parameters, balance and uploaded images were not checked"
        if (hint := unread_env_file(settings, manifest.path)) is not None:
            yield hint


async def _summarise(
    plan: DraftedPlan,
    read: ReadPlan,
    parts: PlanParts,
    later: LaterJobs | None,
    gateway: HttpGateway | None,
    *,
    all_rows: bool,
) -> PlanSummary:
    """Summarise a plan, with what its parts know."""
    request, terms = plan.request, plan.basis.terms
    notes = (*plan.notes, *parts.job_notes(read, plan.draft))
    budget = parts.budget(read)
    summary = await summarise(
        plan.draft,
        terms if budget is None else replace(terms, budget=budget),
        plan.directory,
        gateway,
        choice=request.choice,
        notes=notes,
        all_rows=all_rows,
        later=later,
    )
    summary = parts.amended(summary, read.settings)
    return replace(summary, shards=() if request.plan is None else request.plan.head.shards)
