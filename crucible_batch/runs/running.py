"""A complete run: manifest, gateway, journal, engine, report."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx

from crucible_batch.core.events import Saved
from crucible_batch.core.outcome import Ending
from crucible_batch.core.plan import RunTerms
from crucible_batch.core.progress import JobAdvanced, Message, Observer
from crucible_batch.engine import Clock, EngineOptions, Runner, RunnerPorts, SystemClock
from crucible_batch.errors import ExitCode
from crucible_batch.manifest import Manifest
from crucible_batch.option_values import AUTO
from crucible_batch.outputs import Receipts
from crucible_batch.pace.polls import ServiceTimes
from crucible_batch.report import ReportHead, RowFile
from crucible_batch.report.html import PAGE_FILE, Thumbnails
from crucible_batch.runs.cancellation import Deadline, Signals, interruptible_immediately
from crucible_batch.runs.cleaning import clean_quietly
from crucible_batch.runs.connecting import current_settings
from crucible_batch.runs.context import RunContext, reported_outage
from crucible_batch.runs.control_desk import ControlDesk, user_name
from crucible_batch.runs.directory import LockedRun
from crucible_batch.runs.draft import read_source, run_directory, with_pace_of
from crucible_batch.runs.finished_jobs import FinishedJob, finished_jobs
from crucible_batch.runs.object_runs import image_loader
from crucible_batch.runs.observers import Observers
from crucible_batch.runs.parts import Parts, ReadRun, ReadyRun, ReportedRun
from crucible_batch.runs.plan_summary import PlanSummary
from crucible_batch.runs.published_report import publish_report
from crucible_batch.runs.report_note import report_stands
from crucible_batch.runs.reporting import (
    head_of,
    row_collector,
    thumbnails_of,
    update_page,
    write_report_of,
)
from crucible_batch.runs.request import (
    RunRequest,
    check_request,
    follow_plan,
)
from crucible_batch.runs.start import RunKind, StartedRun, start_run
from crucible_batch.settings import Settings


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of a run. Failed jobs raise no exception: see ``exit_code``, ``report`` and
    ``jobs()``.

    ``remake`` is the command that makes the saved plan of the run again; None if it followed no
    saved plan. ``page`` is the path of ``report.html``; None if it was turned off or couldn't be
    written. ``merge`` is the command that merges the shards; None if the run was not that of a
    shard. ``outputs_at`` is the URL of the outputs if they are in an object store; None if they are
    in ``run_dir``. ``left_out`` are the names of the jobs that it was to leave out.
    """

    run_dir: Path
    report: ReportHead
    exit_code: ExitCode
    remake: str | None = None
    page: Path | None = None
    merge: str | None = None
    outputs_at: str | None = None
    left_out: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def ok(self) -> bool:
        """Whether every job has succeeded."""
        return self.exit_code is ExitCode.OK

    def jobs(self) -> Iterator[FinishedJob]:
        """Yield each job, in manifest order."""
        return finished_jobs(self.run_dir)


async def run_request(
    request: RunRequest,
    kind_for: Callable[[RunRequest], RunKind],
    *,
    manifest: Manifest | None = None,
    confirm: Callable[[PlanSummary], bool] | None = None,
    handle_signals: bool = False,
    observer: Observer | None = None,
    settings: Settings | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    clock: Clock | None = None,
) -> RunResult:
    """Run a request as ``run`` does. ``kind_for`` returns its kind, with the parts that take part
    in it.

    ``manifest`` is that of the request if it was read already, ``clock`` the machine's unless a
    test gives another.
    """
    check_request(request)
    deadline = Deadline(request.deadline_s)
    clock = clock or SystemClock()
    settings = settings or current_settings()
    request = follow_plan(request, os.environ)
    early = interruptible_immediately if handle_signals else nullcontext
    with early():
        manifest = manifest or read_source(request, deadline.check)
    request = with_pace_of(manifest, request)
    deadline.set(request.deadline_s)
    kind, observers = kind_for(request), Observers(observer)
    async with AsyncExitStack() as stack:
        read = ReadRun(request, manifest, settings, clock, observers, can_ask=confirm is not None)
        await kind.parts.around(stack, read)
        terms = kind.terms(manifest)
        directory = run_directory(request.out_dir, terms)
        context = RunContext(
            request=request,
            manifest=manifest,
            terms=terms,
            store=kind.store(directory),
            settings=settings,
            transport=transport,
            confirm=confirm,
            observers=observers,
            clock=clock,
            deadline=deadline,
            outage=reported_outage(observers, clock, request.wait_for_gateway_s),
        )
        with early():
            async with context.deadline.kept():
                started = await start_run(stack, context, kind.source(context), kind.parts)
        context = started.source.context
        result = await _finish(stack, context, started, kind.parts, handle_signals=handle_signals)
        read.result = result.report, result.exit_code
        return result


async def _finish(
    stack: AsyncExitStack,
    context: RunContext,
    started: StartedRun,
    parts: Parts,
    *,
    handle_signals: bool,
) -> RunResult:
    """Run the jobs, and report on them."""
    journal, grant, basis = started.journal, started.grant, started.source.basis
    terms = recorded = context.terms
    if grant is not None:
        terms, recorded = replace(terms, budget=grant.budget), replace(terms, budget=grant.recorded)
    # The time that is left is read first: what is set up for the page counts.
    options = engine_options(context.request, deadline_s=context.deadline.left_s)
    rows = stack.enter_context(RowFile(context.directory))
    thumbnails = None
    if context.request.html:
        thumbnails = stack.enter_context(thumbnails_of(context.store, journal))
        context.observers.add(ThumbnailObserver(thumbnails))
    runner = make_runner(context, started, terms, options, rows)
    signals = Signals(runner.control) if handle_signals else None
    recorded = replace(recorded, scheduled_at=basis.scheduled_at_of_jobs())
    number = journal.begin_run(recorded, now=context.clock.now())
    with signals or nullcontext():
        ending = await _run_jobs(context, started, runner, number, parts)
    head, page = await _report(context, started, rows, thumbnails, parts, signals=signals)
    return RunResult(
        context.directory,
        head,
        ExitCode(ending.exit_code),
        context.request.remake,
        page,
        merge=started.source.merge_command,
        left_out=context.request.left_out,
        outputs_at=None if context.store.url is None else str(context.store.url),
    )


async def _run_jobs(
    context: RunContext, started: StartedRun, runner: Runner, number: int, parts: Parts
) -> Ending:
    """Run the jobs while commands are taken, and record the end of the run.

    What was set aside for it is settled.
    """
    journal = started.journal
    desk = ControlDesk(
        control=runner.control,
        journal=journal,
        number=number,
        clock=context.clock,
        observer=context.observers,
        on_deadline=context.deadline.restart,
    )
    async with AsyncExitStack() as beside:
        await parts.beside(beside, ReadyRun(context, desk))
        ending = await runner.run()
    journal.end_run(number, ending, now=context.clock.now())
    await parts.ended(ending)
    if started.log is not None:
        await started.log.finish()
    return ending


async def _report(
    context: RunContext,
    started: StartedRun,
    rows: RowFile,
    thumbnails: Thumbnails | None,
    parts: Parts,
    *,
    signals: Signals | None,
) -> tuple[ReportHead, Path | None]:
    """Write the report and the page, delete the input images if the manifest asks so, and publish
    the report.

    Returns the head of the report, and the path of the page if there is one.
    """
    journal, directory, html = started.journal, context.directory, thumbnails is not None
    head = head_of(journal, rows.counts)
    unchanged = None
    if report_stands(journal, directory, head, rows, html=html):
        unchanged = head
    else:
        write_report_of(journal, directory, rows, head)
    if signals is not None:
        await signals.pass_on()
    is_cleaned = (
        context.manifest.header.assets.cleanup == "on_success" and started.source.may_delete_images
    )
    is_cleaned = is_cleaned and head.counts.succeeded == head.counts.total
    if is_cleaned:
        # The report has been written, so the run's result doesn't depend on the cleanup.
        locked_run = LockedRun(journal, started.gateway, context.clock)
        head = await clean_quietly(locked_run, directory, head, context.deadline)
    if head is unchanged:
        page = directory / PAGE_FILE if html else None
    else:
        page = update_page(journal, directory, head, rows, thumbnails)
    await parts.reported(ReportedRun(journal, directory, head, rows))
    await publish_report(journal, context.store)
    if is_cleaned and started.log is not None:
        await started.log.finish()  # with the rebates
    return head, page


@dataclass(frozen=True, slots=True)
class ThumbnailObserver:
    """An observer that starts a picture's thumbnail, in a thread, as soon as the picture is saved.

    Few thumbnails are then left to make when the page is written.
    """

    thumbnails: Thumbnails

    def notify(self, message: Message) -> None:
        if isinstance(message, JobAdvanced) and isinstance(message.event, Saved):
            self.thumbnails.begin_ahead(message.event.path, message.event.sha256)


def engine_options(request: RunRequest, *, deadline_s: float | None) -> EngineOptions:
    """Return the engine's options, with the seconds that are left until the deadline."""
    forget_refunds_by = None
    if request.forget_refunds:
        forget_refunds_by = user_name(os.geteuid())
    return EngineOptions(
        concurrency=None if request.concurrency == AUTO else request.concurrency,
        polls_per_s=request.polls_per_s,
        job_timeout_s=request.job_timeout_s,
        deadline_s=deadline_s,
        retry_failed=request.retry_failed,
        recover=request.recover,
        resubmit_unknown=request.resubmit_unknown,
        refund_patience_s=request.wait_for_gateway_s,
        forget_refunds_by=forget_refunds_by,
        key_ttl_s=request.key_ttl_s,
        only=request.job_filter.takes,
        uploads_only=request.uploads_only,
    )


def make_runner(
    context: RunContext, started: StartedRun, terms: RunTerms, options: EngineOptions, rows: RowFile
) -> Runner:
    """Make the runner of a started run. Removes the partial files of killed runs first."""
    source, grant, store = started.source, started.grant, context.store
    times = ServiceTimes()
    for workflow in source.basis.workflows.values():
        times.announce(workflow.workflow_id, workflow.expected_s)
    store.sweep()
    ports = RunnerPorts(
        gateway=started.gateway,
        history=started.journal,
        store=store,
        receipts=Receipts(context.directory),
        clock=context.clock,
        observer=context.observers,
        nonce=lambda: secrets.token_hex(16),
        outage=context.outage,
        on_counted=row_collector(started.journal, store.sidecars(), terms, rows),
        explained=source.explain if grant is None else grant.explain,
        allowance_of=None if grant is None else grant.name,
        derivation=started.derivation,
        log=started.log,
        load_image=image_loader(store),
        judged=started.parts.judged,
        freed=started.parts.freed,
    )
    return Runner(ports=ports, terms=terms, times=times, options=options)
