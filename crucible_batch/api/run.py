"""``run``: a manifest run by a program, in three forms."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from decimal import Decimal
from pathlib import Path

import httpx

from crucible_batch.api.draft import ManifestInput, path_of, read_value
from crucible_batch.api.features import kind_of
from crucible_batch.api.job_stream import RunningJobs
from crucible_batch.api.keywords import taking, values_of
from crucible_batch.api.plan_summary import PlanSummary
from crucible_batch.api.request import JobFilter, RunRequest, parse_shard, read_budget
from crucible_batch.api.run_parts import RunPart
from crucible_batch.api.running import RunResult, run_request
from crucible_batch.domain.progress import Observer
from crucible_batch.domain.run_options import RunOptions
from crucible_batch.settings import Settings


@dataclass(frozen=True, slots=True)
class RunCall(RunOptions):
    """The arguments of ``run``: these, and the options."""

    manifest: ManifestInput
    _: KW_ONLY
    out_dir: str | Path | None = None
    run_id: str | None = None
    budget: Decimal | int | str | None = None
    confirm: Callable[[PlanSummary], bool] | None = None
    retry_failed: bool = False
    only: Sequence[str] = ()
    variables: Mapping[str, str] | None = None
    shard: str | None = None
    handle_signals: bool = False
    observer: Observer | None = None
    settings: Settings | None = None
    transport: httpx.AsyncBaseTransport | None = None


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
    request = RunRequest(
        path_of(given.manifest),
        out_dir=None if given.out_dir is None else Path(given.out_dir),
        run_id=given.run_id,
        budget=read_budget(given.budget),
        job_filter=JobFilter(tuple(given.only), given.retry_failed),
        variables=given.variables or {},
        shard=parse_shard(given.shard),
        **values_of(given, RunOptions),
    )
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
