"""``run``: a manifest run by a program, in three forms."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from crucible_batch.core.progress import Observer
from crucible_batch.core.run_options import RunOptions
from crucible_batch.features.registry import kind_of
from crucible_batch.runs.draft import read_value
from crucible_batch.runs.job_stream import RunningJobs
from crucible_batch.runs.keywords import taking
from crucible_batch.runs.manifest_call import ManifestCall
from crucible_batch.runs.parts import RunPart
from crucible_batch.runs.plan_summary import PlanSummary
from crucible_batch.runs.request import parse_shard
from crucible_batch.runs.running import RunResult, run_request


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCall(ManifestCall, RunOptions):
    """The arguments of ``run``: these, and the options."""

    confirm: Callable[[PlanSummary], bool] | None = None
    shard: str | None = None
    handle_signals: bool = False
    observer: Observer | None = None


@taking(RunCall)
async def run(given: RunCall) -> RunResult:
    """Run a manifest, or resume an earlier run of it; finished jobs are neither paid for nor fetched again.

    ``out_dir`` is a directory, or the URL of an object store, such as ``s3://bucket/prefix``. ``manifest`` may be a
    saved plan: the options of planning are then taken from it, and ``StalePlanError`` lists what
    has changed since it was made. A budget, here or in the manifest, is the consent to spend; without one, either
    ``confirm`` is called with the plan, or ``yes`` must be true. ``only`` holds patterns of job names. ``shard``, such
    as "3/8", is the part of a divided plan to run; None: that of the environment. With
    ``handle_signals`` (main thread only), SIGINT, SIGTERM and SIGHUP stop the run in good order. The other arguments
    are those of ``RunOptions``.

    Raises, before anything is spent, ``UserError`` for an invalid argument, ``ManifestError``, ``ConsentError``,
    ``EarlierRunError``, ``DeadlineError``, ``KeyRefusedError``, ``GatewayError``, ``RunDirectoryError``,
    ``RunBusyError``, ``SavedPlanError`` and ``ObjectStoreError``. Once the run has begun, raises only ``JournalError``
    for its journal and ``ReportError`` for its report.
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
    """Return the jobs of a run, which begins with ``async for``. Takes the arguments of ``run``, and raises as it does.

    Each job comes once: when it has succeeded or failed, and at the end those that did not, and those of earlier runs.
    ``result`` is that of the run, once it has ended. A loop that is left early, with ``aclosing``, stops the run in
    good order, as Ctrl-C does.
    """
    return RunningJobs(lambda part: _run(given, part))


async def _run(given: RunCall, *parts: RunPart) -> RunResult:
    request = given.request(RunOptions, shard=parse_shard(given.shard))
    return await run_request(
        request,
        lambda request: kind_of(request, *parts),
        manifest=read_value(given.manifest, request),
        confirm=given.confirm,
        handle_signals=given.handle_signals,
        observer=given.observer,
        settings=given.settings,
        transport=given.transport,
    )
