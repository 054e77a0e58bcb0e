"""``run``: a manifest run by a program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Unpack

import httpx

from crucible_batch.api.features import kind_of
from crucible_batch.api.plan_summary import PlanSummary
from crucible_batch.api.request import RunKeywords, check_keywords, make_request, parse_shard
from crucible_batch.api.running import RunResult, run_request
from crucible_batch.domain.progress import Observer
from crucible_batch.settings import Settings


async def run(
    manifest: str | Path,
    *,
    out_dir: str | Path | None = None,
    run_id: str | None = None,
    budget: Decimal | int | str | None = None,
    confirm: Callable[[PlanSummary], bool] | None = None,
    retry_failed: bool = False,
    only: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    shard: str | None = None,
    handle_signals: bool = False,
    observer: Observer | None = None,
    settings: Settings | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    **options: Unpack[RunKeywords],
) -> RunResult:
    """Run a manifest, or resume an earlier run of it; finished jobs are neither paid for nor fetched again.

    ``out_dir`` is a directory, or the URL of an object store, such as ``s3://bucket/prefix``. ``manifest`` may be a
    saved plan: the options of planning are then taken from it, and ``StalePlanError`` lists what
    has changed since it was made. A budget, here or in the manifest, is the consent to spend; without one, either
    ``confirm`` is called with the plan, or ``yes`` must be true. ``only`` holds patterns of job names. ``shard``, such
    as "3/8", is the part of a divided plan to run; None: that of the environment. With
    ``handle_signals`` (main thread only), SIGINT, SIGTERM and SIGHUP stop the run in good order. ``options`` are those
    of ``RunKeywords``.

    Raises, before anything is spent, ``UserError`` for an invalid argument, ``ManifestError``, ``ConsentError``,
    ``EarlierRunError``, ``DeadlineError``, ``KeyRefusedError``, ``GatewayError``, ``RunDirectoryError``,
    ``RunBusyError``, ``SavedPlanError`` and ``ObjectStoreError``. Once the run has begun, raises only ``JournalError``
    for its journal and ``ReportError`` for its report.
    """
    check_keywords("run", options, RunKeywords)
    request = make_request(
        manifest,
        out_dir=out_dir,
        run_id=run_id,
        budget=budget,
        retry_failed=retry_failed,
        only=only,
        variables=variables,
        **options,
    )
    return await run_request(
        replace(request, shard=parse_shard(shard)),
        kind_of,
        confirm=confirm,
        handle_signals=handle_signals,
        observer=observer,
        settings=settings,
        transport=transport,
    )
