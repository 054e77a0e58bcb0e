"""A complete run: manifest, gateway, journal, engine, report; and the budget for its remaining jobs."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, nullcontext
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Unpack

import httpx

from crucible_batch.api.cancellation import Deadline, Signals, at_once
from crucible_batch.api.cleaning import clean_quietly
from crucible_batch.api.connecting import current_settings
from crucible_batch.api.draft import read_source, run_terms
from crucible_batch.api.plan_rows import PlanCounts
from crucible_batch.api.planning import PlanSummary, run_directory
from crucible_batch.api.reporting import note_report, report_stands
from crucible_batch.api.request import (
    JobFilter,
    RunKeywords,
    RunRequest,
    check_keywords,
    check_request,
    check_run_directory,
    follow_plan,
    make_request,
)
from crucible_batch.api.run_context import NullObserver, RetryNotifier, RunContext, ThumbnailObserver
from crucible_batch.api.run_directory import LockedRun
from crucible_batch.api.run_start import StartedRun, start_run
from crucible_batch.api.status import (
    newest_rule,
    newest_terms,
    report_rows,
    restore_hint,
    write_page_of,
    write_report_of,
)
from crucible_batch.domain.asset import AssetPhase
from crucible_batch.domain.budget import budget_for
from crucible_batch.domain.credits import Credits
from crucible_batch.domain.ledger import Ledger
from crucible_batch.domain.outcome import Ending
from crucible_batch.domain.prices import PriceBook
from crucible_batch.domain.progress import Observer
from crucible_batch.engine import Runner, SystemClock
from crucible_batch.errors import ExitCode
from crucible_batch.journal import Journal
from crucible_batch.outputs import MAX_BYTES, MAX_PIXELS, OutputStore
from crucible_batch.report import JobRow, ReportHead, RowFile
from crucible_batch.report.html import PAGE_FILE, Thumbnails
from crucible_batch.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of a run. Failed jobs raise no exception: see ``exit_code``, ``report`` and ``jobs()``.

    ``remake`` is the command that makes the saved plan of the run again; None if it followed no saved plan. ``page`` is
    the path of ``report.html``; None if it was turned off or couldn't be written.
    """

    run_dir: Path
    report: ReportHead
    exit_code: ExitCode
    remake: str | None = None
    page: Path | None = None

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
    handle_signals: bool = False,
    observer: Observer | None = None,
    settings: Settings | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    **options: Unpack[RunKeywords],
) -> RunResult:
    """Run a manifest, or resume an earlier run of it; finished jobs are neither paid for nor fetched again.

    ``manifest`` may be a saved plan: the options of planning are then taken from it, and ``StalePlanError`` lists what
    has changed since it was made. A budget, here or in the manifest, is the consent to spend; without one, either
    ``confirm`` is called with the plan, or ``yes`` must be true. ``only`` holds patterns of job names. With
    ``handle_signals`` (main thread only), SIGINT, SIGTERM and SIGHUP stop the run in good order. ``options`` are those
    of ``RunKeywords``.

    Raises, before anything is spent, ``UserError`` for an invalid argument, ``ManifestError``, ``ConsentError``,
    ``DeadlineError``, ``KeyRefusedError``, ``GatewayError``, ``RunDirectoryError``, ``RunBusyError`` and
    ``SavedPlanError``. Once the run has begun, raises only ``JournalError`` for its journal and ``ReportError`` for its
    report.
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
        request,
        confirm=confirm,
        handle_signals=handle_signals,
        observer=observer,
        settings=settings,
        transport=transport,
    )


async def run_request(
    request: RunRequest,
    *,
    confirm: Callable[[PlanSummary], bool] | None = None,
    handle_signals: bool = False,
    observer: Observer | None = None,
    settings: Settings | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> RunResult:
    """Run a request, as ``run`` does."""
    check_request(request)
    deadline = Deadline(request.deadline_s)
    settings = settings or current_settings()
    request = follow_plan(request)
    early = at_once if handle_signals else nullcontext
    with early():
        manifest = read_source(request, deadline.check)
    terms = run_terms(manifest, request)
    directory = run_directory(request.out_dir, terms)
    check_run_directory(directory)
    clock = SystemClock()
    observer = observer or NullObserver()
    context = RunContext(
        request=request,
        manifest=manifest,
        terms=terms,
        store=OutputStore(
            directory,
            max_bytes=request.max_output_bytes or MAX_BYTES,
            max_pixels=request.max_pixels or MAX_PIXELS,
        ),
        settings=settings,
        transport=transport,
        confirm=confirm,
        observer=observer,
        clock=clock,
        retries=RetryNotifier(observer, clock),
        deadline=deadline,
    )
    async with AsyncExitStack() as stack:
        with early():
            async with deadline.kept():
                started = await start_run(stack, context)
        return await _finish(stack, context, started, handle_signals=handle_signals)


async def _finish(
    stack: AsyncExitStack, context: RunContext, started: StartedRun, *, handle_signals: bool
) -> RunResult:
    """Run the jobs, write the report and the page, and delete the input images if the manifest asks for that."""
    # The time that is left is read first: what is set up for the page counts.
    options, html, directory, journal = context.options(), context.request.html, context.directory, started.journal
    rows = stack.enter_context(RowFile(directory))
    thumbnails = stack.enter_context(Thumbnails(directory, journal.planned())) if html else None
    if thumbnails is not None:
        context = replace(context, observer=ThumbnailObserver(context.observer, thumbnails))
    runner = context.runner(started.gateway, journal, rows, options=options, workflows=started.basis.workflows.values())
    signals = Signals(runner) if handle_signals else None
    ending = await _conduct(runner, journal, context, after=started.after, signals=signals)
    current = report_stands(journal, directory, rows, html=html)
    head = current or write_report_of(journal, directory, rows)
    if signals is not None:
        await signals.pass_on()
    if context.manifest.assets.cleanup == "on_success" and head.counts.succeeded == head.counts.total:
        # The report has been written, so the run's result doesn't depend on the cleanup.
        locked_run = LockedRun(journal, started.gateway, context.clock)
        head = await clean_quietly(locked_run, directory, head, context.deadline)
    page = _page_of(journal, directory, head, rows, thumbnails, is_current=head is current)
    return RunResult(directory, head, ExitCode(ending.exit_code), context.request.remake, page)


def _page_of(
    journal: Journal,
    directory: Path,
    head: ReportHead,
    rows: RowFile,
    thumbnails: Thumbnails | None,
    *,
    is_current: bool,
) -> Path | None:
    """Write the page and return its path, or remove an earlier run's page, which would be out of date.

    ``is_current`` is true if the report, and so the page, is unchanged: then nothing is written. Errors are logged.
    """
    page = directory / PAGE_FILE if thumbnails is not None else None
    if is_current:
        return page
    try:
        if page is None:
            (directory / PAGE_FILE).unlink(missing_ok=True)
        else:
            write_page_of(journal, directory, head, rows, thumbnails=thumbnails)
    except Exception as error:  # noqa: BLE001 - the run is over and reported; the page must not make it fail
        logger.warning("%s was not made (%s); to have it: %s", PAGE_FILE, error, restore_hint(head, directory))
        return None
    with contextlib.suppress(sqlite3.Error):  # the next run then rewrites the report needlessly
        note_report(journal, directory, head, rows, html=page is not None)
    return page


async def _conduct(
    runner: Runner, journal: Journal, context: RunContext, *, after: int, signals: Signals | None
) -> Ending:
    number = journal.begin_run(context.terms, now=context.clock.now(), after=after)
    with signals or nullcontext():
        ending = await runner.run()
        journal.end_run(number, ending, now=context.clock.now())
    return ending


def budget_for_rest(run_dir: str | Path, job_filter: JobFilter = JobFilter()) -> Credits | None:  # noqa: B008 - frozen
    """Return a budget that covers the remaining jobs of a run directory; None if the price of one isn't known.

    Images count as uploads unless the journal has them as ready at the gateway. Raises ``RunDirectoryError`` and
    ``JournalError``.
    """
    with Journal.read(Path(run_dir)) as journal:
        ledger = Ledger(PriceBook.of(newest_terms(journal)))
        for subject, event in journal.events():
            ledger.apply(subject, event)
        counts = PlanCounts(retry_failed=job_filter.retry_failed)
        for row in journal.jobs(newest_rule(journal)):
            if job_filter.takes(row[0].name):
                counts.add(*row)
        ready = {asset.sha256 for asset in journal.assets() if asset.phase is AssetPhase.READY}
    return budget_for(ledger, counts.to_buy, len(counts.digests - ready))
