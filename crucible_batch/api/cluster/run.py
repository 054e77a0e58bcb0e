"""The coordinator of a run in a cluster. Each wave is a divided plan: its shards are queued, awaited, and merged.

    crash between                         the same command again
    set aside, and plan.json named        makes the same plan, since its digest is noted
    plan.json named, and queued           queues the shards: those that are known are unchanged
    queued, and merged                    waits for the same shards
    merged, and settled                   settles what the journal notes as merged

Workers don't need the coordinator: they finish what is queued.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from crucible_batch.api.cancellation import Deadline, check_cancelled
from crucible_batch.api.cluster.coordinator import ClusterContext, CoordinatorClaim, CoordinatorPace, taken
from crucible_batch.api.cluster.deadline import end_late
from crucible_batch.api.cluster.directories import NEW_WAVE, PLAN_FILE, choose_directories, publish_wave
from crucible_batch.api.cluster.end import ended, stopped, wave_ended
from crucible_batch.api.cluster.note import note_run_in_cluster, noted_run_in_cluster
from crucible_batch.api.cluster.progress import RunProgress
from crucible_batch.api.cluster.stored_wave import merge_stored_wave, publish_stored_wave
from crucible_batch.api.connecting import current_settings, require_key
from crucible_batch.api.draft import read_source, run_directory, run_terms, with_pace_of
from crucible_batch.api.notifying import RunNotices
from crucible_batch.api.period_budget import PeriodRules
from crucible_batch.api.planning import plan_request
from crucible_batch.api.request import RunRequest
from crucible_batch.api.run_context import NullObserver
from crucible_batch.api.run_journal import journal_of, ledger_of, run_outputs_url
from crucible_batch.api.run_paths import plan_folder
from crucible_batch.api.run_telemetry import cluster_run_metrics
from crucible_batch.api.running import RunResult, run_request
from crucible_batch.api.shards.divided_plan import check_sharding, refuse_lower_budget
from crucible_batch.api.shards.merging import MergeResult, merge
from crucible_batch.api.shards.note import noted_in
from crucible_batch.api.shards.probing import ProbeResult, admission_of, run_probe
from crucible_batch.cluster import ClusterAddress, ClusterRun, QueuedShard
from crucible_batch.cluster.database import ClusterDatabase
from crucible_batch.domain.budget import BUDGET_EXHAUSTED
from crucible_batch.domain.cluster_control import GivenControl, deadline_given, is_stopped
from crucible_batch.domain.credits import ZERO, Credits
from crucible_batch.domain.outcome import RunStatus
from crucible_batch.domain.plan import RunTerms
from crucible_batch.domain.prices import PriceBook
from crucible_batch.domain.progress import Observer
from crucible_batch.domain.shard_lease import ShardState
from crucible_batch.domain.sharding import MAX_SHARDS, SHARDS_FOLDER, OutstandingShards
from crucible_batch.engine import SystemClock
from crucible_batch.engine.run_control import DEADLINE_PASSED
from crucible_batch.errors import (
    DeadlineError,
    JournalError,
    NothingToDivideError,
    UserError,
)
from crucible_batch.journal import Journal
from crucible_batch.object_url import ObjectUrl
from crucible_batch.saved_plan import SavedPlan, read_saved_plan
from crucible_batch.settings import Settings

logger = logging.getLogger(__name__)

SHARDS_PER_WORKER: Final = 4
_CLEAN_ENDINGS = frozenset({RunStatus.SUCCEEDED.value, RunStatus.PARTIAL.value, RunStatus.BLOCKED.value})
"""Endings after which another wave is started. After any other, the user has to find the cause first."""


async def run_on_cluster(
    request: RunRequest,
    address: ClusterAddress,
    *,
    settings: Settings | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    observer: Observer | None = None,
    pace: CoordinatorPace = CoordinatorPace(),  # noqa: B008 - frozen
) -> RunResult:
    """Run a manifest on the workers of a cluster, wave by wave, until the jobs, the budget or the time are done.

    ``request.shards`` is the number of shards of each wave; None: four for each worker that is alive. A cancelled or
    killed coordinator is continued by the same call; workers finish meanwhile what is queued.

    Raises what ``plan`` with shards and ``merge`` raise, ``ClusterSetupError``, ``ClusterUnreachableError``, and
    ``RunBusyError`` if another coordinator has the run.
    """
    deadline, settings, clock = Deadline(request.deadline_s), settings or current_settings(), SystemClock()
    manifest = read_source(request, deadline.check)
    request = with_pace_of(manifest, request)
    deadline.set(request.deadline_s)
    async with RunNotices(manifest, request, settings, clock, can_ask=False) as notices:
        notices.check()
        require_key(settings, request.manifest)
        terms = run_terms(manifest, request)
        main = run_directory(request.out_dir, terms)
        notices.name(terms, main)
        with journal_of(main) as journal:
            if journal is not None:
                refuse_lower_budget(journal, request.budget if manifest.budget.per else terms.budget)
        context = ClusterContext(request, manifest, settings, transport, deadline, notices, clock, terms, main)
        database = await ClusterDatabase.opened(address, create=True, lease_s=pace.lease_s)
        try:
            with cluster_run_metrics(request, manifest) as measure:
                result = await _Coordinator(context, database, notices.observer(observer or NullObserver()), pace).run()
                measure(result.report, result.exit_code)
            return result
        finally:
            await database.close()


@dataclass(slots=True)
class _Coordinator:
    context: ClusterContext
    database: ClusterDatabase
    observer: Observer
    pace: CoordinatorPace
    _terms: RunTerms = field(init=False)
    _main: Path = field(init=False)
    _progress: RunProgress = field(init=False)
    _url: ObjectUrl | None = field(init=False)
    _claim: CoordinatorClaim = field(init=False)
    _wave: int = 0
    _has_probed: bool = False
    _is_stopped: bool = False

    def __post_init__(self) -> None:
        context = self.context
        self._terms, self._main = context.terms, context.main
        self._url = run_outputs_url(context.request.out_dir, self._main)
        self._claim = CoordinatorClaim(self.database, context, self.pace)
        rules = PeriodRules.of(context.manifest, context.settings.base_url)
        self._progress = RunProgress(
            self.observer, self._main, self._terms, context.request.job_filter, context.clock, rules
        )
        request = context.part(shards=context.request.shards or 1)
        check_sharding(request, context.manifest, self._terms, self._main / PLAN_FILE)

    async def run(self) -> RunResult:
        try:
            try:
                result = await self._run_waves()
            except DeadlineError:
                if not self._progress.has_begun:
                    raise
                result = await asyncio.to_thread(stopped, self.context)
            self._progress.end()
            return await ended(self.context, result)
        finally:
            await asyncio.shield(self._claim.close())

    async def _run_waves(self) -> RunResult:
        if noted_run_in_cluster(self._main) is not None:
            await self._open()
        outstanding = self._outstanding()
        if outstanding is not None and outstanding.missing:
            self._progress.begin()
        elif not (probed := await self._probe()).may_divide:
            return probed.run
        while True:
            try:
                plan = await self._divided()
            except NothingToDivideError as error:
                logger.info("%s", error.message)
                return await self._finished_here()
            before = self._committed()
            result, endings = await self._finish(plan)
            if self._is_stopped or not endings <= _CLEAN_ENDINGS:
                return await wave_ended(self.context, result)
            if self._retries and not self._has_probed:  # the shards of an earlier command are merged now
                if not (probed := await self._probe()).may_divide:
                    return probed.run
            elif self._committed() <= before or not self._may_divide_more(result):
                return await wave_ended(self.context, result)

    @property
    def _retries(self) -> bool:
        return self.context.request.job_filter.retry_failed

    async def _probe(self) -> ProbeResult:
        """Buy and upload what the shards have to know, and try failed jobs again, once."""
        shards, retries = await self._shards(), self._retries and not self._has_probed
        self._has_probed = True
        async with taken(self._claim.commands) as commanded:
            return await run_probe(
                self.context.part(shards=shards, retries=retries),
                admission_of(shards),
                observer=self._progress,
                settings=self.context.settings,
                transport=self.context.transport,
                commanded=commanded,
            )

    async def _finished_here(self) -> RunResult:
        """Run what can't be divided on this machine: nothing new, or what the budget has room for alone."""
        async with taken(self._claim.commands) as commanded:
            return await run_request(
                self.context.part(shards=None),
                observer=self._progress,
                settings=self.context.settings,
                transport=self.context.transport,
                commanded=commanded,
            )

    # -- the plan of a wave -----------------------------------------------------------------------------------------

    def _outstanding(self) -> OutstandingShards | None:
        return noted_in(self._main)

    async def _divided(self) -> SavedPlan:
        """Return the plan whose shards are outstanding, else a new one. Raises ``NothingToDivideError``."""
        target = self._main / SHARDS_FOLDER / NEW_WAVE / PLAN_FILE
        outstanding = self._outstanding()
        if outstanding is None or not outstanding.missing:
            await self._plan_new(target, await self._shards())
            outstanding = self._outstanding()
            assert outstanding is not None
        digest = outstanding.plan_digest
        if not self._is_named(digest) and not _is_plan(target, digest):
            await self._plan(target, len(outstanding.allowances))  # refused unless it is the same plan
        folder = publish_wave(self._main, digest, self.context.request.manifest)
        plan = read_saved_plan(folder / PLAN_FILE)
        if plan.digest != digest:
            raise JournalError(
                f"{plan.path} is not the plan whose shards are outstanding in {self._main}",
                hint=f"its digest has to be {digest[:8]}: restore it from a backup",
            )
        if self._url is not None:
            await publish_stored_wave(self._main, self._url, plan)
        self._wave += 1
        return plan

    async def _plan_new(self, target: Path, shards: int) -> None:
        try:
            await self._plan(target, shards)
        except NothingToDivideError:
            raise
        except UserError:  # a later wave has jobs whose price or images nobody has bought yet
            if not self._wave or not (await self._probe()).may_divide:
                raise
            await self._plan(target, shards)

    async def _plan(self, target: Path, shards: int) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        settings, transport = self.context.settings, self.context.transport
        request = self.context.part(shards=shards)
        await plan_request(request, target, force=True, of_cluster=True, settings=settings, transport=transport)

    def _is_named(self, digest: str) -> bool:
        return (plan_folder(self._main, digest) / PLAN_FILE).is_file()

    async def _shards(self) -> int:
        if self.context.request.shards is not None:
            return self.context.request.shards
        alive = [each for each in await self.database.workers() if each.seen_age_s < 2 * self.pace.lease_s]
        return min(MAX_SHARDS, max(1, SHARDS_PER_WORKER * len(alive)))

    @staticmethod
    def _may_divide_more(result: MergeResult) -> bool:
        head = result.report
        stopped = head is not None and any(stop.code == BUDGET_EXHAUSTED for stop in head.stops.values())
        return head is not None and stopped and head.counts.blocked > 0

    # -- one wave ---------------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        """Take the run in the database. With a budget of a period, each wave has another one."""
        budget = self._granted()
        if self._claim.budget == budget:
            return
        await self._claim.open(
            ClusterRun(
                run=note_run_in_cluster(self._main, now=SystemClock().now()),
                manifest=self._terms.manifest_name,
                run_id=self._terms.run_id,
                gateway=self.context.settings.gateway,
                location=str(self._url or self._main.resolve()),
                budget=budget,
                used=self._committed(),
            )
        )

    def _granted(self) -> Credits:
        """Return the run's budget; with one of a period, what was set aside for the present wave and what was spent."""
        outstanding = self._outstanding()
        is_of_period = outstanding is not None and outstanding.account is not None
        granted = outstanding.budget if outstanding is not None and is_of_period else None
        return granted or self._terms.budget or ZERO

    async def _finish(self, plan: SavedPlan) -> tuple[MergeResult, frozenset[str]]:
        """Queue the shards of a wave, wait for their ends, and merge them. Returns the result and how they ended."""
        await self._open()
        await self._settle()
        await self._claim.queue(plan)
        await asyncio.to_thread(self._progress.read)
        rows = await self._followed(plan)
        result = await asyncio.to_thread(self._merged, plan, rows)
        await self._settle()
        return result, frozenset(row.ending or "" for row in rows)

    async def _followed(self, plan: SavedPlan) -> list[QueuedShard]:
        """Wait until each shard of a plan has ended. Raises ``RunBusyError`` if another coordinator takes the run."""
        commands = self._claim.commands
        assert commands is not None
        commands.begin_wave()
        while True:
            check_cancelled()
            await self._claim.renew()
            await self._take(await commands.read())
            rows = await self._claim.rows(plan)
            self._progress.advance(self._wave, rows)
            if not any(row.state in (ShardState.WAITING, ShardState.RUNNING) for row in rows):
                return rows
            if self.context.is_late:
                await end_late(self.database, rows, self._claim.id)
            await asyncio.sleep(self.pace.poll_s)

    async def _take(self, given: list[GivenControl]) -> None:
        """Show commands to the run, and keep those that concern the coordinator. Workers ask for theirs themselves."""
        self._is_stopped = is_stopped(given)
        if self._progress.knows(given):
            return
        takers = await self.database.takers(self._claim.run) if given else []
        self._progress.show(given, in_flight=sum(each.in_flight for each in takers))
        if (left_s := deadline_given(given)) is not None:
            self.context.deadline.restart(left_s)
            await self._claim.store_deadline()

    def _merged(self, plan: SavedPlan, rows: list[QueuedShard]) -> MergeResult:
        """Merge what the last owner of each shard has done. Blocking."""
        reason = DEADLINE_PASSED if self.context.is_late else None
        html, settings = self.context.request.html, self.context.settings
        if self._url is not None:
            return merge_stored_wave(self._main, plan, rows, reason=reason, html=html, settings=settings)
        chosen = choose_directories(self._main, plan, rows)
        return merge(
            chosen.directories or [self._main],
            out_dir=self._main,
            abandon=chosen.abandoned,
            reason=reason,
            html=html,
            settings=settings,
        )

    async def _settle(self) -> None:
        await self._claim.settle(self._committed(), self._outstanding())

    def _committed(self) -> Credits:
        with Journal.read(self._main) as journal:
            return ledger_of(journal, PriceBook.of(self._terms)).committed


def _is_plan(path: Path, digest: str) -> bool:
    return path.is_file() and read_saved_plan(path).digest == digest
