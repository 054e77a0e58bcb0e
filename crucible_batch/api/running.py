"""A run, put together: manifest, gateway, journal, engine, report."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import httpx

from crucible_batch.api.connecting import current_settings, gateway_for, require_key
from crucible_batch.api.draft import (
    Choice,
    ManifestOptions,
    Terms,
    check_choice,
    fetch_workflows,
    fill_plan,
    read_manifest,
    run_terms,
)
from crucible_batch.api.inspecting import report_rows, write_page_of, write_report_of
from crucible_batch.api.planning import PlanSummary, run_directory, summarise
from crucible_batch.core.answers import Workflow
from crucible_batch.core.credits import parse_credits
from crucible_batch.core.ending import Ending
from crucible_batch.core.events import Saved
from crucible_batch.core.plan import RunTerms
from crucible_batch.core.polling import ServiceTimes
from crucible_batch.core.progress import JobAdvanced, Message, Observer, Retrying
from crucible_batch.engine import DEFAULT_KEY_TTL_S, Runner, RunOptions, SystemClock, restore
from crucible_batch.errors import ConsentError, ExitCode, GatewayError, RunDirectoryError
from crucible_batch.gateway import HttpGateway, RetryNotice
from crucible_batch.journal import Binding, Journal, PlanFile, lock_run_directory
from crucible_batch.report import JobRow, ReportHead
from crucible_batch.report.html import PAGE_FILE, Thumbnails
from crucible_batch.results import OutputStore, Receipts
from crucible_batch.settings import Settings

DEFAULT_CONCURRENCY = 24
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended. Failed jobs are no exception: see ``exit_code``, ``report`` and ``jobs()``.

    ``page`` is where ``report.html`` is; None where it wasn't wanted or couldn't be made.
    """

    run_dir: Path
    report: ReportHead
    exit_code: ExitCode
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
    run_id: str = "default",
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
    job_timeout_s: float = 1800.0,
    deadline_s: float | None = None,
    html: bool = True,
    handle_signals: bool = False,
    observer: Observer | None = None,
    settings: Settings | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> RunResult:
    """Run a manifest, or go on with it where an earlier call stopped; what is done is neither paid nor fetched again.

    A budget, here or in the manifest, is the consent to spend; without one ``confirm`` is asked with the plan, or
    ``yes`` must be true. ``only`` holds patterns of job names. ``concurrency`` is the number of jobs at work at once.
    ``recover`` gets back what an earlier run bought and whose directory is lost, and ends at the first sign that the
    gateway doesn't remember. A submit that was never answered is sent again for ``key_ttl_s``, the time for which the
    gateway is trusted to honour its key, and after that with ``resubmit_unknown`` only.
    ``html`` is for ``report.html`` beside ``report.json``; that it can't be made is logged, and no failure of the run.
    With ``handle_signals`` SIGINT and SIGTERM stop the run in good order (from the main thread only).

    Raises before anything is spent: ``ManifestError``, ``ConsentError``, ``KeyRefusedError``, ``GatewayError``,
    ``RunDirectoryError``, ``RunBusyError``. Once a run has begun, only ``JournalError`` for its own journal.
    """
    settings = settings or current_settings()
    source = read_manifest(Path(manifest), ManifestOptions(variables or {}, allow_outside, max_jobs))
    terms = run_terms(source, Terms(run_id, None if budget is None else parse_credits(budget)))
    asks = terms.budget is None and not yes
    if asks and confirm is None:
        raise _nobody_to_ask()
    directory = run_directory(None if out_dir is None else Path(out_dir), terms)
    choice = Choice(tuple(only), retry_failed)
    options = RunOptions(
        concurrency=concurrency or DEFAULT_CONCURRENCY,
        job_timeout_s=job_timeout_s,
        deadline_s=deadline_s,
        retry_failed=retry_failed,
        recover=recover,
        resubmit_unknown=resubmit_unknown,
        key_ttl_s=key_ttl_s,
        only=choice.takes,
    )
    surroundings = _Surroundings(settings, transport, observer or Silent(), SystemClock())
    async with AsyncExitStack() as stack:
        is_known = directory.exists()
        if is_known:
            # Known to be busy at once, not after the planning.
            stack.enter_context(lock_run_directory(directory))
        gateway = await stack.enter_async_context(surroundings.gateway())
        workflows, problems = await fetch_workflows(gateway, source)
        draft = stack.enter_context(PlanFile.temporary())
        fill_plan(draft, source, terms.run_id, workflows, problems)
        check_choice(draft, choice)
        if (
            asks
            and confirm is not None
            and not confirm(await summarise(draft, terms, directory, gateway, choice=choice))
        ):
            raise ConsentError("nothing was spent", hint="name a budget with --budget, or say --yes")
        if not is_known:
            stack.enter_context(lock_run_directory(directory))
        journal = stack.enter_context(surroundings.journal(directory, terms))
        journal.adopt(draft)
        if journal.is_empty():
            await restore(journal, Receipts(directory), OutputStore(directory))
        await _check_account(journal, gateway, require_key(settings))
        thumbnails = stack.enter_context(Thumbnails(directory, journal.planned())) if html else None
        if thumbnails is not None:
            surroundings = replace(surroundings, observer=_MakingThumbnails(surroundings.observer, thumbnails))
        runner = surroundings.runner(
            gateway, journal, directory=directory, terms=terms, options=options, workflows=workflows.values()
        )
        ending = await _conduct(runner, journal, terms, surroundings.clock, handle_signals=handle_signals)
        head = write_report_of(journal, directory)
        page = _page_of(journal, directory, head, thumbnails)
    return RunResult(directory, head, ExitCode(ending.exit_code), page)


class _MakingThumbnails:
    """Has each picture's thumbnail made, in a thread, as soon as the picture is saved: the page then waits for few."""

    def __init__(self, observer: Observer, thumbnails: Thumbnails) -> None:
        self._observer = observer
        self._thumbnails = thumbnails

    def notify(self, message: Message) -> None:
        if isinstance(message, JobAdvanced) and isinstance(message.event, Saved):
            self._thumbnails.begin(message.event.path, message.event.sha256)
        self._observer.notify(message)


def _page_of(journal: Journal, directory: Path, head: ReportHead, thumbnails: Thumbnails | None) -> Path | None:
    """Make the page, or remove that of an earlier run, which would tell what is no longer so."""
    try:
        if thumbnails is None:
            (directory / PAGE_FILE).unlink(missing_ok=True)
            return None
        return write_page_of(journal, directory, head, thumbnails=thumbnails)
    except Exception as error:  # noqa: BLE001 - the run is over and well reported; nothing about a page may undo that
        logger.warning("%s was not made (%s); crucible-batch report %s makes it", PAGE_FILE, error, directory)
        return None


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """What a run takes from outside, and what is made of it."""

    settings: Settings
    transport: httpx.AsyncBaseTransport | None
    observer: Observer
    clock: SystemClock

    def gateway(self) -> AbstractAsyncContextManager[HttpGateway]:
        tell = _retry_teller(self.observer, self.clock)
        return gateway_for(self.settings, transport=self.transport, on_retry=tell)

    def journal(self, directory: Path, terms: RunTerms) -> AbstractContextManager[Journal]:
        binding = Binding(terms.manifest_name, terms.run_id, self.settings.base_url.rstrip("/"))
        return Journal.open(directory, binding, now=self.clock.now())

    def runner(
        self,
        gateway: HttpGateway,
        journal: Journal,
        *,
        directory: Path,
        terms: RunTerms,
        options: RunOptions,
        workflows: Iterable[Workflow],
    ) -> Runner:
        """Make the runner; what killed runs left half written is removed first."""
        times = ServiceTimes()
        for workflow in workflows:
            times.announce(workflow.workflow_id, workflow.expected_s)
        store = OutputStore(directory)
        store.sweep()
        return Runner(
            gateway=gateway,
            history=journal,
            store=store,
            receipts=Receipts(directory),
            terms=terms,
            times=times,
            options=options,
            clock=self.clock,
            nonce=lambda: secrets.token_hex(16),
            observer=self.observer,
        )


async def _conduct(
    runner: Runner, journal: Journal, terms: RunTerms, clock: SystemClock, *, handle_signals: bool
) -> Ending:
    number = journal.begin_run(terms, now=clock.now())
    with _signals_to(runner) if handle_signals else _no_signals():
        ending = await runner.run()
    journal.end_run(number, ending, now=clock.now())
    return ending


@contextmanager
def _signals_to(runner: Runner) -> Iterator[None]:
    """Route the signals that ask a run to end. Without a handler SIGTERM and SIGHUP would run no clean-up at all."""
    loop = asyncio.get_running_loop()
    routes = {
        signal.SIGINT: ExitCode.SIGINT,
        signal.SIGTERM: ExitCode.SIGTERM,
        signal.SIGHUP: ExitCode.SIGTERM,
    }
    for number, code in routes.items():
        loop.add_signal_handler(number, runner.interrupt, code)
    try:
        yield
    finally:
        for number in routes:
            loop.remove_signal_handler(number)


@contextmanager
def _no_signals() -> Iterator[None]:
    yield


async def _check_account(journal: Journal, gateway: HttpGateway, key: str) -> None:
    """Refuse a directory of another account: its keys count for nothing here, and every job would be bought again.

    A renewed key of the same account still finds the jobs of that account.
    """
    fingerprint = hashlib.sha256(b"crucible-batch:" + key.encode()).hexdigest()[:16]
    known_job = journal.newest_gateway_job()
    if not journal.knows_key(fingerprint) and known_job is not None:
        try:
            await gateway.job(known_job)
        except GatewayError as error:
            if error.status != 404:
                raise
            raise RunDirectoryError(
                f"{journal.path.parent.parent} belongs to another account: this key doesn't find its jobs",
                hint="use that account's key, or choose another --out-dir",
            ) from error
    journal.remember_key(fingerprint)


def _retry_teller(observer: Observer, clock: SystemClock) -> Callable[[RetryNotice], None]:
    def tell(notice: RetryNotice) -> None:
        observer.notify(Retrying(clock.now(), notice.operation.value, notice.attempt, notice.wait_s, notice.reason))

    return tell


def _nobody_to_ask() -> ConsentError:
    return ConsentError(
        "nobody said how much may be spent, and there is no terminal to ask",
        hint="name a budget (budget.credits in the manifest, or --budget N), or say --yes",
    )
