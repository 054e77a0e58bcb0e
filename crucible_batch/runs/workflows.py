"""The workflows of a manifest: fetching them from the gateway, and planning and checking jobs
against them.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from crucible_batch.core.gateway_types import Workflow
from crucible_batch.core.ports import Gateway
from crucible_batch.errors import GatewayError, KeyRefusedError, NotAGatewayError, Problem
from crucible_batch.journal import PlanFile
from crucible_batch.manifest import JobSpec, Manifest, expand
from crucible_batch.runs.draft import fill_plan
from crucible_batch.runs.later_jobs import LaterJobs, later_jobs, may_add_jobs
from crucible_batch.runs.request import RunRequest
from crucible_batch.runs.run_journal import journal_of, run_outputs_url
from crucible_batch.runs.saved_plans import PlanBasis


def workflows_of(manifest: Manifest) -> Mapping[str, Problem]:
    """Return the ids of the workflows that the manifest uses, each with the problem to report if it
    doesn't exist."""
    used: dict[str, Problem] = {}
    for entry in manifest.jobs:
        own = entry.job.workflow is not None
        workflow_id = entry.job.workflow or manifest.header.workflow
        if workflow_id is not None and "{{" in workflow_id:
            return _rendered_workflows(manifest)
        if workflow_id is not None and workflow_id not in used:
            where = f"jobs[{entry.index}].workflow" if own else "workflow"
            used[workflow_id] = Problem(
                manifest.place(where), where, f"there is no workflow {workflow_id!r}"
            )
    return used


def _rendered_workflows(manifest: Manifest) -> Mapping[str, Problem]:
    """Return what ``workflows_of`` does, from the expanded jobs: needed if a workflow id is a
    template.
    """
    used: dict[str, Problem] = {}
    for item in expand(manifest):
        if isinstance(item, JobSpec) and item.workflow_id not in used:
            used[item.workflow_id] = item.problem(
                "workflow", f"there is no workflow {item.workflow_id!r}"
            )
    return used


async def fetch_workflows(
    gateway: Gateway, manifest: Manifest
) -> tuple[dict[str, Workflow], list[Problem]]:
    """Read the metadata of all workflows that the manifest uses, concurrently.

    Returns the workflows, and a problem for each that the gateway doesn't have. Raises
    ``GatewayError``, and ``NotAGatewayError`` if the base URL has no list of workflows either.
    """
    used = workflows_of(manifest)
    found: dict[str, Workflow] = {}
    missing: list[str] = []
    failures: list[GatewayError] = []

    async def fetch(workflow_id: str) -> None:
        try:
            found[workflow_id] = await gateway.workflow(workflow_id)
        except GatewayError as error:
            if error.is_not_found:
                missing.append(workflow_id)
            else:
                failures.append(error)  # kept, since a group of tasks would wrap it

    async with asyncio.TaskGroup() as group:
        for workflow_id in used:
            group.create_task(fetch(workflow_id))
    if failures:
        error = next(
            (error for error in failures if isinstance(error, KeyRefusedError)), failures[0]
        )
        if error.status == 404:
            await _known_workflows(gateway)
        raise error
    return found, await _no_such_workflows(gateway, {name: used[name] for name in sorted(missing)})


async def _no_such_workflows(gateway: Gateway, missing: Mapping[str, Problem]) -> list[Problem]:
    if not missing:
        return []
    known = await _known_workflows(gateway)
    hint = "crucible-batch workflows lists those that there are"
    if known:
        hint = f"active workflows: {', '.join(known)}"
    return [
        replace(
            problem,
            nearest=next(iter(difflib.get_close_matches(name, known, n=1)), None),
            hint=hint,
        )
        for name, problem in missing.items()
    ]


async def _known_workflows(gateway: Gateway) -> list[str]:
    """Return the ids of all workflows; none if they can't be read. Raises ``NotAGatewayError``."""
    try:
        return sorted(await gateway.workflows())
    except NotAGatewayError:
        raise
    except GatewayError:
        return []


async def plan_jobs(
    plan: PlanFile,
    basis: PlanBasis,
    gateway: Gateway | None,
    watch: Callable[[], None],
    *,
    directory: Path,
    request: RunRequest,
) -> LaterJobs | None:
    """Plan every job into ``plan``, and fill ``basis`` with the workflows used, from the gateway.

    ``watch`` is called at each job, and may raise to abort. Returns the jobs that the run may add
    to the plan, by the outputs of its ``directory``, or of the object store of the ``request``;
    None if it can't add any.

    Raises ``ManifestError`` with all problems of the workflows and the jobs, even if the gateway
    can't be reached, and ``GatewayError`` if there are no such problems but it can't be reached.
    """
    failure: GatewayError | None = None
    missing: list[Problem] = []
    if gateway is not None:
        try:
            known, missing = await fetch_workflows(gateway, basis.source)
            basis.workflows.update(known)
        except GatewayError as error:
            failure = error
    manifest, run_id = basis.source, basis.terms.run_id
    may_add = may_add_jobs(manifest, request, directory)
    with journal_of(directory) if may_add else nullcontext() as journal:
        url = run_outputs_url(request.out_dir, directory) if may_add else None
        later = later_jobs(manifest, request, run_id, directory, journal=journal, url=url)
        fill_plan(
            plan,
            manifest,
            run_id,
            basis.workflows,
            note_names=basis.names.update,
            note_empty=basis.note_empty,
            found=missing,
            watch=watch,
            later=later,
            filled=basis.filled,
        )
    if failure is not None:
        raise failure
    return later
