"""A run, put together: manifest, gateway, journal, engine, report."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, nullcontext
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import httpx

from crucible_batch.api.account import check_account
from crucible_batch.api.arguments import check_limits, check_pace
from crucible_batch.api.asked import asked
from crucible_batch.api.cleaning import clean_quietly
from crucible_batch.api.connecting import current_settings, gateway_for, require_key
from crucible_batch.api.draft import (
    check_choice,
    fill_plan,
    read_source,
    run_terms,
)
from crucible_batch.api.following import Following
from crucible_batch.api.inspecting import report_rows, way_back, write_page_of, write_report_of
from crucible_batch.api.mending import Bench
from crucible_batch.api.planning import PlanSummary, run_directory, summarise
from crucible_batch.api.saving import Grounds
from crucible_batch.api.signals import Signals
from crucible_batch.api.workflows import plan_jobs
from crucible_batch.core.answers import Workflow
from crucible_batch.core.ending import Ending
from crucible_batch.core.events import Saved
from crucible_batch.core.plan import RunTerms
from crucible_batch.core.progress import JobAdvanced, Message, Observer, Retrying
from crucible_batch.core.service_times import ServiceTimes
from crucible_batch.core.text import clean
from crucible_batch.engine import DEFAULT_KEY_TTL_S, Runner, RunOptions, Slots, SystemClock, restore
from crucible_batch.errors import ConsentError, ExitCode, GatewayError
from crucible_batch.gateway import HttpGateway, RetryNotice
from crucible_batch.journal import Binding, Journal, PlanFile, lock_run_directory
from crucible_batch.manifest import Manifest, Reading
from crucible_batch.report import JobRow, ReportHead
from crucible_batch.report.html import PAGE_FILE, Thumbnails
from crucible_batch.results import MAX_BYTES, MAX_PIXELS, OutputStore, Receipts
from crucible_batch.settings import Settings

logger = logging.getLogger(__name__)

_WARNINGS_SAID = 10


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


class Silent:
    """An observer that isn't interested."""

    def notify(self, message: Message) -> None:
        """Let it pass."""


async def run(
    manifest: str | Path,
    *,
    out_dir: str | Path | None = None,
    run_id: str | None = None,
    budget: Decimal | int | str | None = None,
    yes: bool = False,
    confirm: Callable[[PlanSummary], bool] | None = None,
    concurrency: int | None = None,
    retry_failed: bool = False,
    recover: bool = False,
    resubmit_unknown: bool = False,
    key_ttl_s: float = DEFAULT_KEY_TTL_S,
    only: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    allow_outside: bool = False,
    max_jobs: int = 100_000,
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
    work at once; None finds out how many the gateway takes and has use for.
    ``recover`` gets back what an earlier run bought and whose directory is lost, and ends at the first sign that the
    gateway doesn't remember. A submit that was never answered is sent again for ``key_ttl_s``, the time for which the
    gateway is trusted to honour its key, and after that with ``resubmit_unknown`` only.
    An output of more than ``max_output_bytes`` or ``max_pixels`` isn't saved (``OUTPUT_UNAVAILABLE``).
    ``html`` is for ``report.html`` beside ``report.json``; that it can't be made is logged, and no failure of the run.
    Without ``sidecars``, here or in the manifest, no file is written beside an output that says what made it.
    With ``handle_signals`` SIGINT and SIGTERM stop the run in good order (from the main thread only).

    Raises before anything is spent: ``UserError`` for an argument that can't be meant, ``ManifestError``,
    ``ConsentError``, ``KeyRefusedError``, ``GatewayError``, ``RunDirectoryError``, ``RunBusyError`` and
    ``SavedPlanError``. Once a run has begun, only ``JournalError`` for its own journal and ``ReportError`` for its
    report.
    """
    check_pace(concurrency=concurrency, job_timeout_s=job_timeout_s, deadline_s=deadline_s, key_ttl_s=key_ttl_s)
    check_limits(max_output_bytes=max_output_bytes, max_pixels=max_pixels)
    settings = settings or current_settings()
    wants = asked(
        manifest,
        out_dir=out_dir,
        run_id=run_id,
        budget=budget,
        retry_failed=retry_failed,
        only=only,
        variables=variables,
        allow_outside=allow_outside,
        max_jobs=max_jobs,
    )
    source = read_source(wants.manifest, wants.reading)
    terms = run_terms(source.manifest, wants.terms)
    terms = replace(terms, sidecars=terms.sidecars and sidecars)
    asks = terms.budget is None and not yes
    directory = run_directory(wants.out_dir, terms)
    choice = wants.choice
    options = RunOptions(
        concurrency=concurrency,
        job_timeout_s=job_timeout_s,
        deadline_s=deadline_s,
        retry_failed=wants.retry_failed,
        recover=recover,
        resubmit_unknown=resubmit_unknown,
        key_ttl_s=key_ttl_s,
        only=choice.takes,
    )
    clock = SystemClock()
    observer = observer or Silent()
    store = OutputStore(directory, max_bytes=max_output_bytes, max_pixels=max_pixels)
    surroundings = _Surroundings(settings, transport, observer, clock, _RetryTeller(observer, clock))
    async with AsyncExitStack() as stack:
        is_known = directory.exists() and not source.problems
        if is_known:
            # Known to be busy at once, not after the planning; but a manifest to be refused may not tell its own name.
            stack.enter_context(lock_run_directory(directory))
        draft = stack.enter_context(PlanFile.temporary())
        grounds = Grounds(source.manifest, terms, settings.base_url.rstrip("/"))
        following = Following(wants, grounds)
        with following.explaining():
            gateway = await surroundings.planned(stack, draft, source, grounds, nobody_to_ask=asks and confirm is None)
        following.check(draft, directory)
        check_choice(draft, choice)
        _say_warnings(source.manifest)
        if asks and confirm is not None:
            _ask(confirm, await summarise(draft, terms, directory, gateway, choice=choice))
        if not is_known:
            stack.enter_context(lock_run_directory(directory))
            if Journal.exists(directory):  # another run made it in the meantime
                following.check(draft, directory)
        journal = stack.enter_context(surroundings.journal(directory, terms))
        before = await _take_up(journal, draft, store)
        await check_account(journal, gateway, require_key(settings))
        thumbnails = stack.enter_context(Thumbnails(directory, journal.planned())) if html else None
        if thumbnails is not None:
            surroundings = replace(surroundings, observer=_MakingThumbnails(surroundings.observer, thumbnails))
        runner = surroundings.runner(
            gateway, journal, store=store, terms=terms, options=options, workflows=grounds.workflows.values()
        )
        signals = Signals(runner) if handle_signals else None
        ending = await _conduct(runner, journal, terms, clock, after=before, signals=signals)
        head = write_report_of(journal, directory)
        if signals is not None:
            await signals.pass_on()
        if source.manifest.assets.cleanup == "on_success" and head.counts.succeeded == head.counts.total:
            # The report stands already: whatever becomes of the cleaning, the run is told as it ended.
            head = await clean_quietly(Bench(journal, gateway, clock), directory, head)
        page = _page_of(journal, directory, head, thumbnails)
    return RunResult(directory, head, ExitCode(ending.exit_code), wants.remake, page)


def _ask(confirm: Callable[[PlanSummary], bool], summary: PlanSummary) -> None:
    if not confirm(summary):
        raise ConsentError("nothing was spent", hint="name a budget with --budget, or say --yes")


async def _take_up(journal: Journal, draft: PlanFile, store: OutputStore) -> int:
    """Adopt the plan, and restore what a lost journal has forgotten; returns the last event before that.

    What is restored belongs to this run, which follows a plan or none.
    """
    journal.adopt(draft)
    before = journal.last_number()
    await restore(journal, Receipts(store.directory), store)
    return before


def _say_warnings(manifest: Manifest) -> None:
    """Log what the manifest's author may have meant otherwise, while nothing is spent yet."""
    warnings = list(dict.fromkeys(str(warning) for warning in manifest.warnings))
    for warning in warnings[:_WARNINGS_SAID]:
        logger.warning("%s", clean(warning))
    if (more := len(warnings) - _WARNINGS_SAID) > 0:
        logger.warning("%d more like these: crucible-batch validate %s", more, clean(str(manifest.path)))


class _MakingThumbnails:
    """Has each picture's thumbnail made, in a thread, as soon as the picture is saved: the page then waits for few."""

    def __init__(self, observer: Observer, thumbnails: Thumbnails) -> None:
        self._observer = observer
        self._thumbnails = thumbnails

    def notify(self, message: Message) -> None:
        if isinstance(message, JobAdvanced) and isinstance(message.event, Saved):
            self._thumbnails.begin_ahead(message.event.path, message.event.sha256)
        self._observer.notify(message)


def _page_of(journal: Journal, directory: Path, head: ReportHead, thumbnails: Thumbnails | None) -> Path | None:
    """Make the page, or remove that of an earlier run, which would tell what is no longer so."""
    try:
        if thumbnails is None:
            (directory / PAGE_FILE).unlink(missing_ok=True)
            return None
        return write_page_of(journal, directory, head, thumbnails=thumbnails)
    except Exception as error:  # noqa: BLE001 - the run is over and well reported; nothing about a page may undo that
        logger.warning("%s was not made (%s); to have it: %s", PAGE_FILE, error, way_back(head, directory))
        return None


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """What a run takes from outside, and what is made of it."""

    settings: Settings
    transport: httpx.AsyncBaseTransport | None
    observer: Observer
    clock: SystemClock
    retries: _RetryTeller

    def gateway(self) -> AbstractAsyncContextManager[HttpGateway]:
        return gateway_for(self.settings, transport=self.transport, on_retry=self.retries.tell)

    async def planned(
        self, stack: AsyncExitStack, draft: PlanFile, source: Reading, grounds: Grounds, *, nobody_to_ask: bool
    ) -> HttpGateway:
        """Plan the jobs into ``draft``, fill the grounds with what they are made on, and return the gateway, open.

        What is wrong with the manifest is raised before a missing consent, that before a missing key or gateway.
        """
        try:
            if self.settings.api_key is None:
                fill_plan(draft, source, grounds.terms.run_id, {}, grounds.files.note)
            gateway = await stack.enter_async_context(self.gateway())
            await plan_jobs(
                draft,
                source,
                grounds.terms.run_id,
                gateway,
                workflows=grounds.workflows,
                note=grounds.files.note,
            )
        except GatewayError:
            if nobody_to_ask:
                raise _nobody_to_ask() from None
            raise
        if nobody_to_ask:
            raise _nobody_to_ask()
        return gateway

    def journal(self, directory: Path, terms: RunTerms) -> AbstractContextManager[Journal]:
        binding = Binding(terms.manifest_name, terms.run_id, self.settings.base_url.rstrip("/"))
        return Journal.open(directory, binding, now=self.clock.now())

    def runner(
        self,
        gateway: HttpGateway,
        journal: Journal,
        *,
        store: OutputStore,
        terms: RunTerms,
        options: RunOptions,
        workflows: Iterable[Workflow],
    ) -> Runner:
        """Make the runner, and let it hear of pushbacks; what killed runs left half written is removed first."""
        times = ServiceTimes()
        for workflow in workflows:
            times.announce(workflow.workflow_id, workflow.expected_s)
        store.sweep()
        runner = Runner(
            gateway=gateway,
            history=journal,
            store=store,
            receipts=Receipts(store.directory),
            terms=terms,
            times=times,
            options=options,
            clock=self.clock,
            nonce=lambda: secrets.token_hex(16),
            observer=self.observer,
        )
        self.retries.slots = runner.slots
        return runner


async def _conduct(
    runner: Runner, journal: Journal, terms: RunTerms, clock: SystemClock, *, after: int, signals: Signals | None
) -> Ending:
    number = journal.begin_run(terms, now=clock.now(), after=after)
    with signals or nullcontext():
        ending = await runner.run()
        journal.end_run(number, ending, now=clock.now())
    return ending


class _RetryTeller:
    """Tells the observer of retries, and the run's slots, once there are any, of those that ask for less."""

    def __init__(self, observer: Observer, clock: SystemClock) -> None:
        self._observer = observer
        self._clock = clock
        self.slots: Slots | None = None

    def tell(self, notice: RetryNotice) -> None:
        now = self._clock.now()
        self._observer.notify(Retrying(now, notice.operation.value, notice.attempt, notice.wait_s, notice.reason))
        if self.slots is not None and notice.is_pushback:
            self.slots.pushed_back(notice.asked_s, notice.reason)


def _nobody_to_ask() -> ConsentError:
    return ConsentError(
        "nobody said how much may be spent, and there is no terminal to ask",
        hint="name a budget (budget.credits in the manifest, or --budget N), or say --yes",
    )
