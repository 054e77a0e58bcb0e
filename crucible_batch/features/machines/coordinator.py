"""The coordinator of a run on many machines.

    repeat   a plan of what is left is divided, and its allowances are set aside
             its shards run until the log of each has an end
             they are merged, and what they left returns to the budget
    until    nothing is left that can be divided
    then     an ordinary run buys what is left, and reports

What is durable is in the main journal and in the logs of the shards. So the same command continues
after any crash, from whatever has happened, and a second coordinator does no harm: of two that
divide the run at the same time, one is refused.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import httpx
import msgspec

from crucible_batch.core.control import ControlAction, ControlCommand, ControlSource
from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.outcome import Outcome, outcome_of
from crucible_batch.core.plan import RunTerms
from crucible_batch.core.prices import PriceBook, workflow_class
from crucible_batch.core.progress import Balance, Observer, RunBegan, ShardsAdvanced
from crucible_batch.core.redaction import clean
from crucible_batch.core.sharding import MAX_SHARDS, ShardId
from crucible_batch.engine import Clock, SystemClock
from crucible_batch.errors import (
    ExitCode,
    GatewayError,
    NothingToDivideError,
    RunBusyError,
    RunStoppedError,
    UserError,
)
from crucible_batch.features.machines.engine_port import Engine, EngineError
from crucible_batch.features.machines.engines import engine_of, options_of_shards
from crucible_batch.features.machines.run_options import MachineOptions
from crucible_batch.features.machines.shard_process import ShardEnd, ShardTask
from crucible_batch.features.registry import plan_kind_of
from crucible_batch.features.shards.command_log import StoredCommands
from crucible_batch.features.shards.command_rule import is_stopped, pause_given
from crucible_batch.features.shards.divided_plan import refuse_lower_budget
from crucible_batch.features.shards.log import ShardLog, ShardTail
from crucible_batch.features.shards.merging import MergeResult, merge
from crucible_batch.features.shards.plan_options import DivisionOptions
from crucible_batch.features.shards.probing import probe
from crucible_batch.features.shards.stored_plans import (
    fetch_stored_plan,
    list_plan,
    note_merged,
)
from crucible_batch.journal import Journal, PlanFile, lock_run_directory
from crucible_batch.manifest import Manifest
from crucible_batch.object_url import ObjectUrl
from crucible_batch.outputs import ObjectPort
from crucible_batch.runs.cancellation import Deadline, Signals
from crucible_batch.runs.chosen_jobs import with_choice
from crucible_batch.runs.concurrent_work import for_each
from crucible_batch.runs.connecting import current_settings, gateway_for
from crucible_batch.runs.control_desk import user_name
from crucible_batch.runs.draft import read_source, run_directory, run_terms, with_pace_of
from crucible_batch.runs.later_jobs import may_add_jobs
from crucible_batch.runs.object_runs import objects_at
from crucible_batch.runs.paths import coordinator_directory
from crucible_batch.runs.plan_rows import filled_in
from crucible_batch.runs.plan_summary import PlanSummary
from crucible_batch.runs.planning import plan_request
from crucible_batch.runs.request import RunRequest
from crucible_batch.runs.run_journal import ledger_of, run_outputs_url
from crucible_batch.runs.run_log import bring_journal
from crucible_batch.runs.running import RunResult, run_request
from crucible_batch.runs.saved_plans import PlanBasis, changed_jobs, changes_of_divided
from crucible_batch.runs.shard_notes import noted_in
from crucible_batch.runs.start import RunKind
from crucible_batch.runs.workflows import plan_jobs
from crucible_batch.saved_plan import SavedPlan
from crucible_batch.settings import Settings
from crucible_batch.shell_command import shell_command

logger = logging.getLogger(__name__)

_SHARDS_PER_PLACE = 4
_POLL_S = 1.0
_AT_ONCE = 16
_QUEUED_S = 120.0
"""How long a start of a silent shard may take: the engine may have no place for it."""
_MOST_STARTS = 20
"""How often a shard is started that ends without an end in its log."""
_NOT_HERE = frozenset({ExitCode.USER_ERROR, ExitCode.KEY_REFUSED})
"""A shard that ends so would end so again on this machine."""


@dataclass(frozen=True, slots=True)
class _Caller:
    """What the caller of a run has given beside its request."""

    settings: Settings
    transport: httpx.AsyncBaseTransport | None
    observer: Observer | None
    handle_signals: bool


async def run_on_machines(
    request: RunRequest,
    kind_for: Callable[[RunRequest], RunKind],
    *,
    manifest: Manifest | None = None,
    confirm: Callable[[PlanSummary], bool] | None = None,
    handle_signals: bool = False,
    observer: Observer | None = None,
    settings: Settings | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    engine: Engine | None = None,
) -> RunResult:
    """Run a request as ``run_request`` does, by shards that an engine starts.

    ``engine`` is the one that the options name, unless it is given. A budget is needed, so
    ``confirm`` is not called before the last run. Raises ``UserError`` if the run can't be divided,
    and ``RunStoppedError`` if a signal stopped it.
    """
    options = request.of(MachineOptions)
    settings = settings or current_settings()
    deadline = Deadline(request.deadline_s)
    manifest = manifest or read_source(request, deadline.check)
    engine = engine or engine_of(options.on or "", settings, options_of_shards(request, manifest))
    request = with_pace_of(manifest, request)
    deadline.set(request.deadline_s)
    caller = _Caller(settings, transport, observer, handle_signals)
    coordinator = _Coordinator(request, manifest, engine, deadline, caller)
    with coordinator.alone():
        try:
            await coordinator.run_shards(options.divide)
        finally:
            await engine.close()
        return await run_request(
            coordinator.part(),
            kind_for,
            manifest=manifest,
            confirm=confirm,
            handle_signals=handle_signals,
            observer=observer,
            settings=caller.settings,
            transport=transport,
        )


class _Coordinator:
    """The waves of one run: plans that are divided, run and merged, one after another."""

    def __init__(
        self,
        request: RunRequest,
        manifest: Manifest,
        engine: Engine,
        deadline: Deadline,
        caller: _Caller,
    ) -> None:
        self._request = request
        self._manifest = manifest
        self._engine = engine
        self._deadline = deadline
        self._caller = caller
        self._terms = run_terms(manifest, request)
        self._main = run_directory(request.out_dir, self._terms)
        url = run_outputs_url(request.out_dir, self._main)
        self._url = url or ObjectUrl.of_directory(self._main)
        self._place = self._main if url is None else str(url)
        """The run in commands."""
        self._plan_file = self._main / ".crucible" / "plan.json"
        self._objects = objects_at(self._url)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep out other coordinators of this run on this machine.

        Between its steps the run directory is not locked. On another machine, a second coordinator
        would run the same shards. Raises ``RunBusyError``.
        """
        folder = coordinator_directory(self._url)
        with ExitStack() as stack:
            try:
                stack.enter_context(lock_run_directory(folder))
            except RunBusyError as error:
                raise RunBusyError(
                    error.message.replace(str(folder), str(self._place)),
                    hint=f"wait until it ends ({shell_command('status', self._place)} shows its"
                    " progress)",
                ) from None
            yield

    def part(self, shards: int | None = None) -> RunRequest:
        """Return the request of a part of the run: a plan into ``shards``, or an ordinary run.

        Raises ``DeadlineError`` if the time is over.
        """
        self._deadline.check()
        features = tuple(
            each for each in self._request.features if not isinstance(each, MachineOptions)
        )
        if shards is not None:
            features = (*features, DivisionOptions(shards))
        return replace(self._request, features=features, deadline_s=self._deadline.left_s)

    async def run_shards(self, shards: int | None) -> None:
        """Divide into ``shards``, run and merge until nothing is left that can be divided.

        Raises ``RunStoppedError`` if a signal or ``ctl`` stopped it, and as plans, probes and
        merges do.
        """
        # What another machine has divided and bought is known before anything is decided.
        await bring_journal(self._main, self._url, SystemClock())
        while True:
            plan = await self._divided(shards or await self._shards())
            if plan is None:
                return
            before = self._committed()
            wave = _Wave(self._engine, self._url, self._objects, plan, SystemClock())
            wave.deadline_s = self._deadline.left_s
            stopped = await self._followed(wave, plan)
            if stopped is not None:
                raise RunStoppedError(stopped)
            await asyncio.to_thread(self._merge, wave)
            if wave.is_stopped:  # otherwise the ordinary run would buy what is left
                raise RunStoppedError(ExitCode.SIGINT)
            if wave.error is not None or self._committed() <= before:
                wave.warn()
                return
            if not await asyncio.to_thread(self._has_pending_jobs):
                return

    async def _shards(self) -> int:
        """Return into how many shards the run is divided: several for each place."""
        while True:
            try:
                return min(MAX_SHARDS, max(1, _SHARDS_PER_PLACE * await self._engine.places()))
            except EngineError as error:
                logger.warning("waiting for the engine: %s", error)
                self._deadline.check()
                await asyncio.sleep(2 * _POLL_S)

    async def _divided(self, shards: int) -> SavedPlan | None:
        """Return the plan whose shards are out, else that of what is left; None without one.

        Raises ``UserError`` for a budget below what these shards may still spend, and if they are
        those of another manifest or other options.
        """
        outstanding = noted_in(self._main)
        if outstanding is not None and not outstanding.missing:
            # A merge may have been killed before the store had that: it then refuses a new plan.
            await note_merged(self._objects, outstanding.plan_digest)
        if outstanding is None or not outstanding.missing:
            if self._has_rejections():
                logger.warning(
                    "outputs are rejected: the run is not divided, and this process runs the rest"
                )
                return None
            if not await self._is_probed(shards):
                return None
            try:
                await plan_request(
                    self.part(shards),
                    plan_kind_of,
                    self._plan_file,
                    force=True,
                    settings=self._caller.settings,
                    transport=self._caller.transport,
                )
            except NothingToDivideError as error:
                logger.info("%s", error.message)
                return None
            outstanding = noted_in(self._main)
            assert outstanding is not None
            return await fetch_stored_plan(self._url, outstanding.plan_digest)
        await asyncio.to_thread(self._refuse_lower_budget)
        plan = await fetch_stored_plan(self._url, outstanding.plan_digest)
        self._refuse_changes(plan)
        await self._refuse_other_jobs(plan)
        # Who divided it may have been killed before; workers find only plans that are listed.
        await list_plan(self._objects, plan.digest)
        await self._warn_of_pause(plan)
        return plan

    async def _warn_of_pause(self, plan: SavedPlan) -> None:
        """Warn that the shards buy nothing, since a pause outlasts the command that it was given
        to."""
        given = await StoredCommands(self._objects, plan.digest, SystemClock()).given()
        pause = pause_given(given)
        if pause is not None:
            logger.warning(
                "%s has paused this run: its shards buy nothing until %s",
                clean(pause.source.by),
                shell_command("ctl", self._place, "resume"),
            )

    def _refuse_lower_budget(self) -> None:
        budget = self._terms.budget
        if self._manifest.header.budget.period is not None:
            budget = self._request.budget  # the manifest's is that of several runs
        with Journal.read(self._main) as journal:
            refuse_lower_budget(journal, budget)

    def _refuse_changes(self, plan: SavedPlan) -> None:
        """Raise ``UserError`` if the shards that are out would buy what is not asked for now."""
        basis = PlanBasis(self._manifest, self._terms, self._caller.settings.gateway)
        changes = [
            str(change)
            for change in changes_of_divided(plan, basis)
            if change.name != "budget"  # a higher one is for what the shards leave
        ]
        request, options = self._request, plan.head.options
        for name, before, now in (
            ("--run-id", options.run_id, self._terms.run_id),
            ("--only", options.only, request.only),
            ("--retry-failed", options.retry_failed, request.retry_failed),
            ("--var", options.variables, request.variables),
            ("--first or --sample", options.of_features, request.of_features),
        ):
            if before != now:
                changes.append(f"{name} differs")
        if changes:
            raise self._divided_otherwise(changes)

    async def _refuse_other_jobs(self, plan: SavedPlan) -> None:
        """Raise ``UserError`` if tables, files or the time make other jobs of the same manifest."""
        settings = self._caller.settings
        request, filled = self.part(), filled_in(self._main, self._manifest)
        basis = PlanBasis(self._manifest, self._terms, settings.gateway, filled=filled)
        with PlanFile.temporary() as draft:
            try:
                async with gateway_for(settings, transport=self._caller.transport) as gateway:
                    await plan_jobs(
                        draft,
                        basis,
                        gateway,
                        self._deadline.check,
                        directory=self._main,
                        request=request,
                    )
            except GatewayError as error:
                logger.warning("the jobs were not compared with those of the shards: %s", error)
                return
            job_filter = with_choice(request, draft).job_filter
            changes = [str(change) for change in islice(changed_jobs(plan, draft, job_filter), 3)]
        if changes:
            raise self._divided_otherwise(changes)

    def _divided_otherwise(self, changes: Sequence[str]) -> UserError:
        return UserError(
            f"shards of {self._main} are out that were divided otherwise: {'; '.join(changes)}",
            hint="run them as they were divided:"
            f" {shell_command('worker', self._place)} --drain, and then"
            f" {shell_command('merge', self._place)}; or give the same manifest and options again",
        )

    def _has_rejections(self) -> bool:
        """Whether the run may add jobs beside those of stages, whose division is refused."""
        may_add = may_add_jobs(self._manifest, self._request, self._main)
        return may_add and not self._manifest.may_grow

    async def _is_probed(self, shards: int) -> bool:
        """Buy and upload what shards have to know; return whether the plan may be divided."""
        caller = self._caller
        probed = await probe(
            self.part(shards),
            self._plan_file,
            force=True,
            handle_signals=caller.handle_signals,
            observer=caller.observer,
            settings=caller.settings,
            transport=caller.transport,
        )
        return probed is None or probed.may_divide

    async def _followed(self, wave: _Wave, plan: SavedPlan) -> ExitCode | None:
        """Have the wave of a plan run to its end; return the code of a signal that stopped it."""
        if self._caller.observer is not None:
            wave.progress = _Progress(self._caller.observer, wave.clock)
            jobs = sum(shard.jobs for shard in plan.head.shards)
            wave.progress.begin(self._main, self._terms, jobs)
        stop = _Stop()
        with Signals(stop) if self._caller.handle_signals else nullcontext():
            following = asyncio.ensure_future(wave.run())
            stopping = asyncio.ensure_future(stop.asked.wait())
            await asyncio.wait({following, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if stop.code is not None:
                following.cancel()  # child processes wind down
                await asyncio.wait({following})
                return stop.code
            await following
        return None

    def _merge(self, wave: _Wave) -> MergeResult:
        """Merge the shards that have begun; the others never will. Blocking."""
        return merge(
            [str(self._url)],
            abandon=wave.not_begun,
            html=False,
            settings=self._caller.settings,
        )

    def _has_pending_jobs(self) -> bool:
        """Whether a job has no outcome yet. Blocking."""
        with Journal.read(self._main) as journal:
            return any(
                outcome_of(job, workflow_class(planned.workflow_id), {})[0] is Outcome.PENDING
                for planned, job in journal.jobs(self._terms.rule)
            )

    def _committed(self) -> Credits:
        with Journal.read(self._main) as journal:
            return ledger_of(journal, PriceBook.of(self._terms)).committed


class _Stop:
    """Receives signals. ``code`` is None until the first one."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.code: ExitCode | None = None

    def interrupt(self, code: ExitCode) -> None:
        self.code = self.code or code
        self.asked.set()


class _Progress:
    """Shows what the shards of a wave do, as the progress of one run."""

    def __init__(self, observer: Observer, clock: Clock) -> None:
        self._observer = observer
        self._clock = clock
        self._counts: Counter[Outcome] = Counter()
        self._balance = Balance(None, ZERO, ZERO)
        self._shown: object = None

    def begin(self, main: Path, terms: RunTerms, in_shards: int) -> None:
        """Show what the main run directory has. Blocking.

        ``in_shards`` are the jobs of the shards, which a journal that was made again of its log
        doesn't have yet.
        """
        with Journal.read(main) as journal:
            ledger = ledger_of(journal, PriceBook.of(terms))
            for planned, job in journal.jobs(terms.rule):
                self._counts[outcome_of(job, workflow_class(planned.workflow_id), {})[0]] += 1
        self._counts[Outcome.PENDING] = max(self._counts[Outcome.PENDING], in_shards)
        self._balance = Balance(terms.budget, ledger.spent, ledger.held)
        total, now = self._counts.total(), self._clock.now()
        self._observer.notify(
            RunBegan(now, total, self._counts, self._balance, terms.manifest_name, terms.run_id)
        )

    def advance(self, tails: Sequence[ShardTail]) -> None:
        figures = [tail.figures for tail in tails if tail.figures is not None]
        counts = self._counts.copy()
        for each in figures:
            counts.update(each.counts)
            counts[Outcome.PENDING] -= sum(each.counts.values())
        balance = msgspec.structs.replace(
            self._balance,
            spent=sum((each.spent for each in figures), self._balance.spent),
            held=sum((each.held for each in figures), self._balance.held),
        )
        ended = sum(tail.has_ended for tail in tails)
        running = sum(tail.may_be_running and not tail.is_silent for tail in tails)
        shown = (len(tails), running, ended, counts, balance)
        if shown != self._shown:
            self._shown = shown
            self._observer.notify(ShardsAdvanced(self._clock.now(), *shown))


class _Wave:
    """The shards of one plan, which an engine runs until each has an end.

    ``error`` is why a shard can't be run here.
    """

    progress: _Progress | None = None
    deadline_s: float | None = None

    def __init__(
        self, engine: Engine, url: ObjectUrl, objects: ObjectPort, plan: SavedPlan, clock: Clock
    ) -> None:
        self.clock = clock
        self.error: str | None = None
        self.is_stopped = False
        self._engine = engine
        self._url = url
        self._plan = plan
        self._commands = StoredCommands(objects, plan.digest, clock)
        count = len(plan.head.shards)
        logs = (ShardLog(objects, plan.digest, ShardId(n, count)) for n in range(1, count + 1))
        self._tails = [ShardTail(log, clock) for log in logs]

    @property
    def not_begun(self) -> list[int]:
        """The shards that never ran, also if a merge that was killed has closed their logs."""
        return [
            tail.log.shard.number
            for tail in self._tails
            if not tail.log.position or tail.log.closed == "abandoned"
        ]

    async def run(self) -> None:
        """Have each shard run until its log has an end.

        Raises ``JournalError`` and ``ObjectStoreError``.
        """
        await for_each(self._tails, ShardTail.begin, at_once=_AT_ONCE)
        if self.deadline_s is not None:  # each shard ends by itself, also without a coordinator
            source = ControlSource(user_name(os.geteuid()), "terminal")
            command = ControlCommand(ControlAction.DEADLINE, self.deadline_s)
            await self._commands.add(command, source)
        starting = [
            asyncio.ensure_future(self._have_run(tail))
            for tail in self._tails
            if not tail.has_ended
        ]
        try:
            while not self._is_over(starting):
                await self.clock.sleep(_POLL_S)
                await self._look()
        finally:
            for task in starting:
                task.cancel()
            await asyncio.gather(*starting, return_exceptions=True)
        await self._look()

    async def _look(self) -> None:
        left = [tail for tail in self._tails if not tail.has_ended]
        await for_each(left, _read, at_once=_AT_ONCE)
        self.is_stopped = is_stopped(await self._commands.given())
        if self.progress is not None:
            self.progress.advance(self._tails)

    def _is_over(self, starting: Sequence[asyncio.Future[None]]) -> bool:
        if all(tail.has_ended for tail in self._tails):
            return True
        is_ending = self.is_stopped or self.error is not None
        is_running = any(tail.may_be_running and not tail.is_silent for tail in self._tails)
        return (is_ending and not is_running) or all(task.done() for task in starting)

    async def _have_run(self, tail: ShardTail) -> None:
        """Start a shard until its log has an end: again if its process has ended or is silent."""
        running = set[asyncio.Future[ShardEnd]]()
        watched = tail.silent_at
        try:
            for start in range(_MOST_STARTS):
                if tail.has_ended or self.is_stopped or self.error is not None:
                    return
                number = tail.log.shard.number
                task = ShardTask(self._url, self._plan.digest, number, start, watched)
                tail.grown_at = self.clock.monotonic()
                running.add(asyncio.ensure_future(self._engine.run(task)))
                watched = await self._until_one_is_needed(tail, running)
            self.error = (
                f"shard {tail.log.shard} was started {_MOST_STARTS} times, and has not ended"
            )
        finally:
            for each in running:
                each.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _until_one_is_needed(
        self, tail: ShardTail, running: set[asyncio.Future[ShardEnd]]
    ) -> int:
        """Wait until no process runs a shard that has not ended, or all that do are silent.

        One that was started and has added nothing yet is not silent: it may wait for a place.
        Returns the last entry of the log if nothing is expected to follow it, else 0: then the next
        process watches the log before it takes it.
        """
        before, started = tail.log.position, len(running)
        was_killed = False
        while running:
            done, _ = await asyncio.wait(running, timeout=_POLL_S)
            running -= done
            for each in done:
                was_killed = self._note(tail, each)
            has_begun = tail.log.position > before or len(running) < started
            is_late = self.clock.monotonic() - tail.grown_at >= _QUEUED_S
            is_needed = tail.may_be_running and tail.is_silent and (has_begun or is_late)
            if tail.has_ended or is_needed:
                return tail.silent_at
        await self.clock.sleep(2 * _POLL_S)  # its end is read meanwhile
        return tail.log.position if was_killed and tail.may_be_running else tail.silent_at

    def _note(self, tail: ShardTail, ended: asyncio.Future[ShardEnd]) -> bool:
        """Note how a process has ended, and return whether it was killed: it adds nothing more."""
        try:
            end = ended.result()
        except EngineError as error:
            logger.warning("shard %s: %s", tail.log.shard, error)
            return False
        if end.exit_code in _NOT_HERE:
            self.error = f"shard {tail.log.shard} can't be run here: {end.printed}"
        return end.exit_code < 0

    def warn(self) -> None:
        if self.error is not None:
            logger.warning("%s", self.error)


async def _read(tail: ShardTail) -> None:
    await tail.read()
