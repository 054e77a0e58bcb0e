"""A complete run: manifest, gateway, journal, engine, report."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Unpack

import httpx

from crucible_batch.api.cancellation import Deadline, Interruptible, Signals, interruptible_immediately
from crucible_batch.api.cleaning import clean_quietly
from crucible_batch.api.connecting import current_settings
from crucible_batch.api.control_desk import Commanded, ControlDesk
from crucible_batch.api.controlling import controlled
from crucible_batch.api.draft import read_source, run_directory, run_terms, with_pace_of
from crucible_batch.api.failed_starts import record_failed_start
from crucible_batch.api.notifying import RunNotices
from crucible_batch.api.object_runs import open_store, publish_report
from crucible_batch.api.period_budget import settled
from crucible_batch.api.period_note import forget_period
from crucible_batch.api.plan_summary import PlanSummary
from crucible_batch.api.price_memory import PaidPrices, remember_prices
from crucible_batch.api.report_note import report_stands
from crucible_batch.api.reporting import head_of, report_rows, thumbnails_of, update_page, write_report_of
from crucible_batch.api.request import (
    RunKeywords,
    RunRequest,
    check_keywords,
    check_request,
    check_run_directory,
    follow_plan,
    make_request,
    parse_shard,
)
from crucible_batch.api.run_context import NullObserver, RetryNotifier, RunContext, ThumbnailObserver
from crucible_batch.api.run_directory import LockedRun
from crucible_batch.api.run_journal import run_outputs_url
from crucible_batch.api.run_paths import plan_outputs_url
from crucible_batch.api.run_start import StartedRun, start_run
from crucible_batch.api.run_telemetry import measured
from crucible_batch.api.shards.run import explain_shard, merge_command, quiet_shard, shard_terms, start_shard
from crucible_batch.domain.outcome import Ending
from crucible_batch.domain.plan import RunTerms
from crucible_batch.domain.progress import Observer
from crucible_batch.domain.spend_cap import SpendCap
from crucible_batch.engine import Clock, Runner, SystemClock
from crucible_batch.errors import CrucibleBatchError, ExitCode
from crucible_batch.manifest import Manifest
from crucible_batch.outputs import MAX_BYTES, MAX_PIXELS, OutputStore
from crucible_batch.report import JobRow, ReportHead, RowFile
from crucible_batch.report.html import PAGE_FILE, Thumbnails
from crucible_batch.settings import Settings


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of a run. Failed jobs raise no exception: see ``exit_code``, ``report`` and ``jobs()``.

    ``remake`` is the command that makes the saved plan of the run again; None if it followed no saved plan. ``page`` is
    the path of ``report.html``; None if it was turned off or couldn't be written. ``merge`` is the command that merges
    the shards; None if the run was not that of a shard. ``outputs_at`` is the URL of the outputs if they are in an
    object store; None if they are in ``run_dir``.
    """

    run_dir: Path
    report: ReportHead
    exit_code: ExitCode
    remake: str | None = None
    page: Path | None = None
    merge: str | None = None
    outputs_at: str | None = None

    @property
    def ok(self) -> bool:
        """Whether every job has succeeded."""
        return self.exit_code is ExitCode.OK

    def jobs(self) -> Iterator[JobRow]:
        """Yield the report's row of each job, in manifest order."""
        return report_rows(self.run_dir)


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
        confirm=confirm,
        handle_signals=handle_signals,
        observer=observer,
        settings=settings,
        transport=transport,
    )


async def run_request(
    request: RunRequest,
    *,
    manifest: Manifest | None = None,
    confirm: Callable[[PlanSummary], bool] | None = None,
    handle_signals: bool = False,
    observer: Observer | None = None,
    settings: Settings | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    clock: Clock | None = None,
    on_runner: Callable[[Interruptible], None] = lambda _runner: None,
    commanded: Commanded = nullcontext,
    cap: SpendCap | None = None,
) -> RunResult:
    """Run a request, as ``run`` does; within the ``cap`` of a server, if it is one of its runs.

    ``manifest`` is that of the request if it was read already, ``clock`` the machine's unless a test gives another.
    ``on_runner`` gets what can stop the run, and ``commanded`` brings it commands.
    """
    check_request(request)
    deadline, clock, settings = Deadline(request.deadline_s), clock or SystemClock(), settings or current_settings()
    request = quiet_shard(follow_plan(request, os.environ))
    early = interruptible_immediately if handle_signals else nullcontext
    with early():
        manifest = manifest or read_source(request, deadline.check)
    request = with_pace_of(manifest, request)
    deadline.set(request.deadline_s)
    async with AsyncExitStack() as stack:
        notices = RunNotices(manifest, request, settings, clock, can_ask=confirm is not None)
        await stack.enter_async_context(notices)  # first, so that it ends last: when everything else is closed
        notices.check()
        terms = shard_terms(run_terms(manifest, request), request)
        check_run_directory(directory := run_directory(request.out_dir, terms))
        notices.name(terms, directory)
        observer = notices.observer(observer or NullObserver())
        retries = RetryNotifier(observer, clock)
        context = RunContext(
            request=request,
            manifest=manifest,
            terms=terms,
            store=_store_of(request, directory),
            settings=settings,
            transport=transport,
            confirm=confirm,
            observer=observer,
            clock=clock,
            retries=retries,
            deadline=deadline,
            outage=retries.outage(request.wait_for_gateway_s),
            cap=cap,
            commanded=commanded,
        )
        telemetry = await stack.enter_async_context(measured(context))
        context = context.observed_by(telemetry.observer)
        started = await _start(stack, context, early)
        result = await _finish(stack, context, started, notices, handle_signals=handle_signals, on_runner=on_runner)
        telemetry.ended(result.report, result.exit_code)
        return result


async def _start(
    stack: AsyncExitStack, context: RunContext, early: Callable[[], AbstractContextManager[None]]
) -> StartedRun:
    start = start_run if context.request.shard is None else start_shard
    try:
        with early():
            async with context.deadline.kept():
                return await start(stack, context)
    except CrucibleBatchError as error:
        record_failed_start(
            context.request,
            error,
            context.clock.now(),
            manifest=context.manifest,
            terms=context.terms,
            directory=context.directory,
            can_ask=context.confirm is not None,
        )
        raise


def _store_of(request: RunRequest, directory: Path) -> OutputStore:
    max_bytes, max_pixels = request.max_output_bytes or MAX_BYTES, request.max_pixels or MAX_PIXELS
    is_shard = request.shard is not None and request.plan is not None
    url = (
        plan_outputs_url(request.plan)
        if request.plan is not None and is_shard
        else run_outputs_url(request.out_dir, directory)
    )
    return open_store(directory, url, max_bytes=max_bytes, max_pixels=max_pixels, is_shard=is_shard)


async def _finish(
    stack: AsyncExitStack,
    context: RunContext,
    started: StartedRun,
    notices: RunNotices,
    *,
    handle_signals: bool,
    on_runner: Callable[[Interruptible], None],
) -> RunResult:
    """Run the jobs, and report on them."""
    allowance, journal = started.allowance, started.journal
    if allowance is None:
        forget_period(journal)
    else:
        context = replace(
            context, terms=replace(context.terms, budget=allowance.budget), allowance_of=allowance.granted.budget_name
        )
    # The time that is left is read first: what is set up for the page counts.
    options, html = context.options(), context.request.html
    rows = stack.enter_context(RowFile(context.directory))
    thumbnails = stack.enter_context(thumbnails_of(context.store, journal)) if html else None
    if thumbnails is not None:
        context = replace(context, observer=ThumbnailObserver(context.observer, thumbnails))
    paid = PaidPrices(context.observer, f"{context.terms.manifest_name} · {context.terms.run_id}")
    context = replace(context, observer=paid, derivation=started.derivation, log=started.log)
    explained = explain_shard(context.request) if allowance is None else allowance.explain
    workflows = started.basis.workflows.values()
    runner = context.runner(started.gateway, journal, rows, options=options, workflows=workflows, explained=explained)
    signals = Signals(runner.control) if handle_signals else None
    number = journal.begin_run(_recorded(context.terms, started), now=context.clock.now())
    on_runner(runner.control)
    with signals or nullcontext():
        ending = await _run_jobs(context, started, runner, number)
        remember_prices(context.settings, paid.found.values())
    head, page = await _report(context, started, rows, thumbnails, signals=signals, notices=notices)
    return RunResult(
        context.directory,
        head,
        ExitCode(ending.exit_code),
        context.request.remake,
        page,
        merge=merge_command(context.request),
        outputs_at=None if context.store.url is None else str(context.store.url),
    )


async def _run_jobs(context: RunContext, started: StartedRun, runner: Runner, number: int) -> Ending:
    """Run the jobs while commands are taken, record the end of the run, and settle what was set aside for it."""
    journal = started.journal
    with settled(started.allowance, journal, context.terms, context.clock) as settle:
        desk = ControlDesk(
            control=runner.control,
            journal=journal,
            number=number,
            clock=context.clock,
            observer=context.observer,
            on_deadline=context.deadline.restart,
        )
        async with controlled(desk, context.directory), context.commanded(desk):
            ending = await runner.run()
        journal.end_run(number, ending, now=context.clock.now())
        settle(ending)
        if started.log is not None:
            await started.log.finish()
    return ending


async def _report(
    context: RunContext,
    started: StartedRun,
    rows: RowFile,
    thumbnails: Thumbnails | None,
    *,
    signals: Signals | None,
    notices: RunNotices,
) -> tuple[ReportHead, Path | None]:
    """Write the report and the page, delete the input images if the manifest asks so, and notify the end.

    Returns the head of the report, and the path of the page if there is one.
    """
    journal, directory, html = started.journal, context.directory, thumbnails is not None
    head = head_of(journal, rows.counts)
    unchanged = head if report_stands(journal, directory, head, rows, html=html) else None
    if unchanged is None:
        write_report_of(journal, directory, rows, head)
    if signals is not None:
        await signals.pass_on()
    is_cleaned = context.manifest.assets.cleanup == "on_success" and context.request.shard is None
    if is_cleaned and head.counts.succeeded == head.counts.total:
        # The report has been written, so the run's result doesn't depend on the cleanup.
        locked_run = LockedRun(journal, started.gateway, context.clock)
        head = await clean_quietly(locked_run, directory, head, context.deadline)
    if head is unchanged:
        page = directory / PAGE_FILE if html else None
    else:
        page = update_page(journal, directory, head, rows, thumbnails)
    await notices.end(journal, directory, head, rows)
    await publish_report(journal, context.store)
    return head, page


def _recorded(terms: RunTerms, started: StartedRun) -> RunTerms:
    """Return the terms for the journal. A budget below what was held for jobs in flight before was not exceeded."""
    terms = replace(terms, scheduled_at=started.basis.scheduled_at_of_jobs())
    allowance = started.allowance
    return terms if allowance is None else replace(terms, budget=max(allowance.budget, allowance.committed))
