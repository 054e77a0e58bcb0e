"""A run, put together: manifest, gateway, journal, engine, report."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, nullcontext
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import httpx

from crucible_batch.api.cleaning import clean_quietly
from crucible_batch.api.connecting import current_settings
from crucible_batch.api.deadline import Deadline
from crucible_batch.api.draft import read_source, run_terms
from crucible_batch.api.planning import PlanSummary, run_directory
from crucible_batch.api.reporting import note_report, report_stands
from crucible_batch.api.request import check_limits, check_pace, check_run_directory, make_request
from crucible_batch.api.run_context import MakingThumbnails, NullObserver, RetryTeller, RunContext
from crucible_batch.api.run_directory import LockedRun
from crucible_batch.api.run_start import RunOrder, start_run
from crucible_batch.api.signals import Signals, at_once
from crucible_batch.api.status import report_rows, restore_hint, row_collector, write_page_of, write_report_of
from crucible_batch.domain.outcome import Ending
from crucible_batch.domain.plan import RunTerms
from crucible_batch.domain.progress import Observer
from crucible_batch.domain.saved_plan import DEFAULT_MAX_MANIFEST_BYTES
from crucible_batch.engine import DEFAULT_KEY_TTL_S, Runner, RunOptions, SystemClock
from crucible_batch.errors import ExitCode
from crucible_batch.journal import Journal
from crucible_batch.outputs import MAX_BYTES, MAX_PIXELS, OutputStore
from crucible_batch.report import JobRow, ReportHead, RowFile
from crucible_batch.report.html import PAGE_FILE, Thumbnails
from crucible_batch.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended. Failed jobs are no exception: see ``exit_code``, ``report`` and ``jobs()``.

    ``remake`` is the command that makes the saved plan anew that the run followed; None where it followed none.
    ``page`` is where ``report.html`` is; None where it wasn't wanted or couldn't be made.
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
    yes: bool = False,
    confirm: Callable[[PlanSummary], bool] | None = None,
    concurrency: int | None = None,
    polls_per_s: float | None = None,
    retry_failed: bool = False,
    recover: bool = False,
    resubmit_unknown: bool = False,
    same_account: bool = False,
    key_ttl_s: float = DEFAULT_KEY_TTL_S,
    only: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    allow_outside: bool = False,
    max_jobs: int = 100_000,
    max_manifest_bytes: int = DEFAULT_MAX_MANIFEST_BYTES,
    max_output_bytes: int = MAX_BYTES,
    max_pixels: int = MAX_PIXELS,
    job_timeout_s: float = 1800.0,
    deadline_s: float | None = None,
    html: bool = True,
    sidecars: bool = True,
    handle_signals: bool = False,
    observer: Observer | None = None,
    settings: Settings | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> RunResult:
    """Run a manifest, or go on with it where an earlier call stopped; what is done is neither paid nor fetched again.

    ``manifest`` may be a saved plan: then it says all the rest, and what moved since it was made is ``StalePlanError``.
    A budget, here or in the manifest, is the consent to spend; without one ``confirm`` is asked with the plan, or
    ``yes`` must be true. ``only`` holds patterns of job names. ``concurrency`` is the most jobs at
    work at once; None finds out how many the gateway takes and has use for. ``polls_per_s`` is the most questions about
    jobs in a second, all together; None leaves it to how many are in flight.
    ``recover`` gets back what an earlier run bought and whose directory is lost, and ends at the first sign that the
    gateway doesn't remember. A submit that was never answered is sent again for ``key_ttl_s``, the time for which the
    gateway is trusted to honour its key, and after that with ``resubmit_unknown`` only.
    ``same_account`` says of an API key that it is a renewed one of the directory's account, where nothing shows that.
    An output of more than ``max_output_bytes`` or ``max_pixels`` isn't saved (``OUTPUT_UNAVAILABLE``).
    ``html`` is for ``report.html`` beside ``report.json``; that it can't be made is logged, and no failure of the run.
    Without ``sidecars``, here or in the manifest, no file is written beside an output that says what made it.
    ``deadline_s`` counts from the call: it ends what comes before the run with ``DeadlineError``, and the run in good
    order. With ``handle_signals`` SIGINT and SIGTERM stop the run in good order (from the main thread only).

    Raises before anything is spent: ``UserError`` for an argument that can't be meant, ``ManifestError``,
    ``ConsentError``, ``DeadlineError``, ``KeyRefusedError``, ``GatewayError``, ``RunDirectoryError``, ``RunBusyError``
    and ``SavedPlanError``. Once a run has begun, only ``JournalError`` for its own journal and ``ReportError`` for its
    report.
    """
    check_pace(
        concurrency=concurrency,
        polls_per_s=polls_per_s,
        job_timeout_s=job_timeout_s,
        deadline_s=deadline_s,
        key_ttl_s=key_ttl_s,
    )
    deadline = Deadline(deadline_s)
    check_limits(max_output_bytes=max_output_bytes, max_pixels=max_pixels)
    settings = settings or current_settings()
    wants = make_request(
        manifest,
        out_dir=out_dir,
        run_id=run_id,
        budget=budget,
        retry_failed=retry_failed,
        only=only,
        variables=variables,
        allow_outside=allow_outside,
        max_jobs=max_jobs,
        max_manifest_bytes=max_manifest_bytes,
    )
    early = at_once if handle_signals else nullcontext
    with early():
        source = read_source(wants.manifest, wants.reading, deadline.check)
    terms = run_terms(source.manifest, wants.terms)
    terms = replace(terms, sidecars=terms.sidecars and sidecars)
    directory = run_directory(wants.out_dir, terms)
    check_run_directory(directory)
    options = RunOptions(
        concurrency=concurrency,
        polls_per_s=polls_per_s,
        job_timeout_s=job_timeout_s,
        retry_failed=wants.retry_failed,
        recover=recover,
        resubmit_unknown=resubmit_unknown,
        key_ttl_s=key_ttl_s,
        only=wants.choice.takes,
    )
    clock = SystemClock()
    observer = observer or NullObserver()
    store = OutputStore(directory, max_bytes=max_output_bytes, max_pixels=max_pixels)
    surroundings = RunContext(settings, transport, observer, clock, RetryTeller(observer, clock), deadline)
    order = RunOrder(wants, source, terms, store, terms.budget is None and not yes, confirm, same_account)
    async with AsyncExitStack() as stack:
        with early():
            async with deadline.kept():
                begun = await start_run(stack, order, surroundings)
        rows = stack.enter_context(RowFile(directory))
        collect = row_collector(directory, terms, rows)
        options = replace(options, deadline_s=deadline.left_s, on_counted=collect)
        journal = begun.journal
        thumbnails = stack.enter_context(Thumbnails(directory, journal.planned())) if html else None
        if thumbnails is not None:
            surroundings = replace(surroundings, observer=MakingThumbnails(surroundings.observer, thumbnails))
        workflows = begun.grounds.workflows.values()
        runner = surroundings.runner(
            begun.gateway, journal, store=store, terms=terms, options=options, workflows=workflows
        )
        signals = Signals(runner) if handle_signals else None
        ending = await _conduct(runner, journal, terms, clock, after=begun.after, signals=signals)
        standing = report_stands(journal, directory, rows, html=html)
        head = standing or write_report_of(journal, directory, rows)
        if signals is not None:
            await signals.pass_on()
        if source.manifest.assets.cleanup == "on_success" and head.counts.succeeded == head.counts.total:
            # The report stands already: whatever becomes of the cleaning, the run is told as it ended.
            head = await clean_quietly(LockedRun(journal, begun.gateway, clock), directory, head, deadline)
        page = _page_of(journal, directory, head, rows, thumbnails, stands=head is standing)
    return RunResult(directory, head, ExitCode(ending.exit_code), wants.remake, page)


def _page_of(
    journal: Journal, directory: Path, head: ReportHead, rows: RowFile, thumbnails: Thumbnails | None, *, stands: bool
) -> Path | None:
    """Make the page, or remove that of an earlier run, which would tell what is no longer so.

    Where the report ``stands`` as it was, so does the page.
    """
    page = directory / PAGE_FILE if thumbnails is not None else None
    if stands:
        return page
    try:
        if page is None:
            (directory / PAGE_FILE).unlink(missing_ok=True)
        else:
            write_page_of(journal, directory, head, rows, thumbnails=thumbnails)
    except Exception as error:  # noqa: BLE001 - the run is over and well reported; nothing about a page may undo that
        logger.warning("%s was not made (%s); to have it: %s", PAGE_FILE, error, restore_hint(head, directory))
        return None
    with contextlib.suppress(sqlite3.Error):  # it costs the next run a report that it needn't write
        note_report(journal, directory, head, rows, html=page is not None)
    return page


async def _conduct(
    runner: Runner, journal: Journal, terms: RunTerms, clock: SystemClock, *, after: int, signals: Signals | None
) -> Ending:
    number = journal.begin_run(terms, now=clock.now(), after=after)
    with signals or nullcontext():
        ending = await runner.run()
        journal.end_run(number, ending, now=clock.now())
    return ending
