"""``run`` and ``plan``: a manifest run by a program, in three forms, and what that would do and
cost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from crucible_batch.core.progress import Observer
from crucible_batch.core.run_options import ManifestOptions, RunOptions
from crucible_batch.features.registry import complete_runner_of, kind_of, plan_kind_of, runner_of
from crucible_batch.runs.draft import read_value
from crucible_batch.runs.job_stream import RunningJobs
from crucible_batch.runs.keywords import OfFeature, taking
from crucible_batch.runs.manifest_call import ManifestCall
from crucible_batch.runs.parts import RunPart
from crucible_batch.runs.plan_summary import PlanSummary
from crucible_batch.runs.planning import plan_request
from crucible_batch.runs.running import RunResult


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCall(ManifestCall, RunOptions):
    """The arguments of ``run``: these, and the options."""

    confirm: Callable[[PlanSummary], bool] | None = None
    shard: Annotated[str | None, OfFeature("shards")] = None
    rejects: Annotated[str | Path | None, OfFeature("redo")] = None
    handle_signals: bool = False
    observer: Observer | None = None


@taking(RunCall)
async def run(given: RunCall) -> RunResult:
    """Run a manifest, or resume an earlier run of it; finished jobs are neither paid for nor
    fetched again.

    ``out_dir`` is a directory, or the URL of an object store, such as ``s3://bucket/prefix``, or of
    a directory that machines share, such as ``file:///shared/winter``.
    ``manifest`` may be a saved plan: the options of planning are then taken from it, and
    ``StalePlanError`` lists what has changed since it was made. A budget, here or in the manifest,
    is the consent to spend; without one, either ``confirm`` is called with the plan, or ``yes``
    must be true. ``only`` holds patterns of job names; ``first`` and ``sample`` choose so many of
    these jobs, the first ones or a stable sample. ``shard``, such as "3/8", is the part of a
    divided plan to run; None: that of the environment. ``rejects`` is the file of rejected outputs,
    which are bought again; None: that of the manifest. With ``handle_signals`` (main thread only),
    SIGINT, SIGTERM and SIGHUP stop the run in good order. The other arguments are those of
    ``RunOptions``. What checks reject is bought again, within the budget, before it returns.

    Raises, before anything is spent, ``UserError`` for an invalid argument, ``ManifestError``,
    ``ConsentError``, ``EarlierRunError``, ``DeadlineError``, ``KeyRefusedError``, ``GatewayError``,
    ``RunDirectoryError``, ``RunBusyError``, ``SavedPlanError`` and ``ObjectStoreError``. Once the
    run has begun, raises only ``JournalError`` for its journal and ``ReportError`` for its report.
    """
    return await _run(given)


@taking(RunCall)
def run_sync(given: RunCall) -> RunResult:
    """Run as ``run`` does, in an event loop of its own, and return when the run has ended.

    Raises ``RuntimeError`` in a thread that has a running event loop: ``await run(...)`` there.
    """
    return asyncio.run(_run(given))


@taking(RunCall)
def run_jobs(given: RunCall) -> RunningJobs:
    """Return the jobs of a run, which begins with ``async for``. Takes the arguments of ``run``,
    and raises as it does.

    Each job comes once: when it has succeeded or failed, and at the end those that did not, and
    those of earlier runs. Only a run that finds a rejected output again, after the loss of its
    directory, may give that job twice: with this output, and then, of a higher ``generation``, with
    what was bought instead. ``result`` is that of the run, once it has ended. A loop over
    ``aclosing(aiter(jobs))`` that is left early stops the run in good order, as Ctrl-C does. It is
    one run: what checks reject is bought by the next.
    """
    return RunningJobs(lambda part: _run(given, part))


async def _run(given: RunCall, *parts: RunPart) -> RunResult:
    request = given.request(RunOptions, "run_options")
    # A stream of jobs is of one run: each job comes once.
    runner = runner_of(request) if parts else complete_runner_of(request)
    return await runner(
        request,
        lambda request: kind_of(request, *parts),
        manifest=read_value(given.manifest, request),
        confirm=given.confirm,
        handle_signals=given.handle_signals,
        observer=given.observer,
        settings=given.settings,
        transport=given.transport,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanCall(ManifestCall, ManifestOptions):
    """The arguments of ``plan``: these, and the options for reading a manifest."""

    save_to: str | Path | None = None
    force: bool = False
    all_rows: bool = False
    deadline_s: float | None = None
    shards: Annotated[int | None, OfFeature("shards")] = None
    rejects: Annotated[str | Path | None, OfFeature("redo")] = None


@taking(PlanCall)
async def plan(given: PlanCall) -> PlanSummary:
    """Return what ``run`` with the same arguments would do and cost. Spends nothing, and writes
    only ``save_to``.

    With ``save_to`` the plan is saved: ``run`` of that file does exactly what was planned, or
    nothing. An existing saved plan is replaced, any other file only if ``force`` is true; links are
    not followed. ``manifest`` may itself be a saved plan, which is then compared with the present
    state. ``all_rows`` keeps a row of the comparison for each job. Without an API key, parameters
    are not checked against their workflows, and the account is not read. ``deadline_s`` is in
    seconds from the call. ``rejects`` is that of ``run``. The other arguments are those of
    ``ManifestOptions``.

    ``shards`` divides the saved plan into that many shards, each with an allowance of the budget,
    which ``run`` with ``shard`` runs on any machine. The allowances are set aside in the run
    directory, which is created.

    Raises ``UserError``, ``ManifestError`` with all problems, ``GatewayError``, ``StalePlanError``,
    ``DeadlineError`` when ``deadline_s`` is over, and ``KeyRefusedError`` if the key is refused, or
    if there is none and ``save_to`` is given or ``manifest`` is a saved plan.
    """
    request = given.request(ManifestOptions, "plan_options", deadline_s=given.deadline_s)
    return await plan_request(
        request,
        plan_kind_of,
        None if given.save_to is None else Path(given.save_to),
        force=given.force,
        all_rows=given.all_rows,
        settings=given.settings,
        transport=given.transport,
        manifest=read_value(given.manifest, request),
    )
