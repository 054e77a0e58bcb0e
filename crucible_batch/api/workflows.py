"""The workflows of a manifest: fetching them from the gateway, and planning and checking jobs against them."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from crucible_batch.api.draft import fill_plan, ignore, ignore_file
from crucible_batch.domain.gateway_types import Workflow
from crucible_batch.domain.ports import Gateway
from crucible_batch.errors import GatewayError, KeyRefusedError, Problem
from crucible_batch.journal import PlanFile
from crucible_batch.manifest import JobSpec, Manifest, expand


def workflows_of(manifest: Manifest) -> Mapping[str, Problem]:
    """Return the ids of the workflows that the manifest uses, each with the problem to report if it doesn't exist."""
    used: dict[str, Problem] = {}
    for entry in manifest.jobs:
        own = entry.job.workflow is not None
        workflow_id = entry.job.workflow or manifest.workflow
        if workflow_id is not None and "{{" in workflow_id:
            return _rendered_workflows(manifest)
        if workflow_id is not None and workflow_id not in used:
            where = f"jobs[{entry.index}].workflow" if own else "workflow"
            used[workflow_id] = Problem(manifest.place(where), where, f"there is no workflow {workflow_id!r}")
    return used


def _rendered_workflows(manifest: Manifest) -> Mapping[str, Problem]:
    """Return what ``workflows_of`` does, from the expanded jobs: needed if a workflow id is a template."""
    used: dict[str, Problem] = {}
    for item in expand(manifest):
        if isinstance(item, JobSpec) and item.workflow_id not in used:
            used[item.workflow_id] = item.problem("workflow", f"there is no workflow {item.workflow_id!r}")
    return used


async def fetch_workflows(gateway: Gateway, manifest: Manifest) -> tuple[dict[str, Workflow], list[Problem]]:
    """Read the metadata of all workflows that the manifest uses, concurrently.

    Returns the workflows, and a problem for each that the gateway doesn't have. Raises ``GatewayError``.
    """
    used = workflows_of(manifest)
    found: dict[str, Workflow] = {}
    missing: list[str] = []

    async def fetch(workflow_id: str) -> None:
        try:
            found[workflow_id] = await gateway.workflow(workflow_id)
        except GatewayError as error:
            if error.status != 404 or not error.is_refusal:  # a 404 page of a proxy is not the gateway's answer
                raise
            missing.append(workflow_id)

    try:
        async with asyncio.TaskGroup() as group:
            for workflow_id in used:
                group.create_task(fetch(workflow_id))
    except* GatewayError as errors:
        raise _first(errors) from None
    return found, await _no_such_workflows(gateway, {name: used[name] for name in sorted(missing)})


def _first(group: BaseExceptionGroup[GatewayError]) -> GatewayError:
    errors = [error for error in group.exceptions if isinstance(error, GatewayError)]
    return next((error for error in errors if isinstance(error, KeyRefusedError)), errors[0])


async def _no_such_workflows(gateway: Gateway, missing: Mapping[str, Problem]) -> list[Problem]:
    if not missing:
        return []
    try:
        known = sorted(await gateway.workflows())
    except GatewayError:
        known = []
    hint = f"active are: {', '.join(known)}" if known else "crucible-batch workflows lists those that there are"
    return [
        replace(problem, nearest=next(iter(difflib.get_close_matches(name, known, n=1)), None), hint=hint)
        for name, problem in missing.items()
    ]


async def plan_jobs(
    plan: PlanFile,
    manifest: Manifest,
    run_id: str,
    gateway: Gateway | None,
    *,
    workflows: dict[str, Workflow],
    note: Callable[[str, Path], None] = ignore_file,
    watch: Callable[[], None] = ignore,
) -> None:
    """Plan every job into ``plan``, and add the workflows used to ``workflows``; none are added without a gateway.

    ``note`` is called for each prompt file and table that is read, ``watch`` at each job; ``watch`` may raise to abort.
    Raises ``ManifestError`` with all problems of the workflows and the jobs, even if the gateway can't be reached, and
    ``GatewayError`` if there are no such problems but it can't be reached.
    """
    failure: GatewayError | None = None
    missing: list[Problem] = []
    if gateway is not None:
        try:
            known, missing = await fetch_workflows(gateway, manifest)
            workflows.update(known)
        except GatewayError as error:
            failure = error
    fill_plan(plan, manifest, run_id, workflows, note, found=missing, watch=watch)
    if failure is not None:
        raise failure
