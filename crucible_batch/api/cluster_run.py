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
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import httpx

from crucible_batch.api.cluster_note import note_run, noted_run
from crucible_batch.api.cluster_places import NEW_WAVE, PLAN_FILE, newest_begun, publish_wave
from crucible_batch.api.cluster_run_metrics import cluster_run_metrics
from crucible_batch.api.connecting import current_settings, require_key
from crucible_batch.api.draft import read_source, run_directory, run_terms
from crucible_batch.api.merging import MergeResult, merge
from crucible_batch.api.planning import plan_request
from crucible_batch.api.probing import ProbeResult, admission_of, run_probe
from crucible_batch.api.request import RunRequest
from crucible_batch.api.run_location import url_of
from crucible_batch.api.running import RunResult, run_request
from crucible_batch.api.shard_note import noted_shards
from crucible_batch.api.sharded_plan import books_of, check_sharding
from crucible_batch.api.stored_wave import merge_stored_wave, publish_stored_wave
from crucible_batch.cluster import ClusterAddress, ClusterRun, QueuedShard, ShardFigures
from crucible_batch.cluster.database import ClusterDatabase, new_claim
from crucible_batch.cluster.queue import ShardQueue
from crucible_batch.domain.budget import BUDGET_EXHAUSTED
from crucible_batch.domain.credits import ZERO, Credits
from crucible_batch.domain.outcome import RunStatus
from crucible_batch.domain.plan import RunTerms
from crucible_batch.domain.shard_lease import LEASE_S, AllowanceAnswer, ShardState
from crucible_batch.domain.sharding import MAX_SHARDS, SHARDS_FOLDER, OutstandingShards, PlannedShard, ShardId
from crucible_batch.engine import SystemClock
from crucible_batch.errors import (
    ClusterSetupError,
    JournalError,
    NothingToDivideError,
    RunBusyError,
    UserError,
)
from crucible_batch.journal import Journal
from crucible_batch.object_url import ObjectUrl
from crucible_batch.saved_plan import SavedPlan, read_saved_plan
from crucible_batch.settings import Settings

logger = logging.getLogger(__name__)

SHARDS_PER_WORKER: Final = 4
_POLL_S = 1.0
_CLEAN_ENDINGS = frozenset({RunStatus.SUCCEEDED.value, RunStatus.PARTIAL.value, RunStatus.BLOCKED.value})
"""Endings after which another wave is of use. After the others, somebody has to see why first."""


@dataclass(frozen=True, slots=True)
class WaveProgress:
    """The progress of a wave, by its workers' last renewals."""

    wave: int
    shards: int
    running: int
    ended: int
    workers: int
    figures: ShardFigures


@dataclass(frozen=True, slots=True)
class CoordinatorPace:
    """The times of a coordinator, in seconds. Those of tests are shorter."""

    poll_s: float = _POLL_S
    lease_s: float = LEASE_S


async def run_on_cluster(
    request: RunRequest,
    address: ClusterAddress,
    *,
    settings: Settings | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    on_progress: Callable[[WaveProgress], None] = lambda _progress: None,
    pace: CoordinatorPace = CoordinatorPace(),
) -> RunResult:
    """Run a manifest on the workers of a cluster, wave by wave, until the jobs or the budget are done.

    ``request.shards`` is the number of shards of each wave; None: four for each worker that is alive. A cancelled or
    killed coordinator is continued by the same call; workers finish meanwhile what is queued.

    Raises what ``plan`` with shards and ``merge`` raise, ``ClusterSetupError``, ``ClusterUnreachableError``, and
    ``RunBusyError`` if another coordinator has the run.
    """
    settings = settings or current_settings()
    require_key(settings, request.manifest)
    database = await ClusterDatabase.opened(address, create=True, lease_s=pace.lease_s)
    # Neither the probe nor what the coordinator runs itself is the run that metrics are about.
    unmeasured = replace(request, metrics_textfile=None, metrics_listen=None, traces=False)
    try:
        with cluster_run_metrics(request) as measure:
            result = await _Coordinator(unmeasured, database, settings, transport, on_progress, pace).run()
            measure(result)
        return result
    finally:
        await database.close()


@dataclass(slots=True)
class _Coordinator:
    request: RunRequest
    database: ClusterDatabase
    settings: Settings
    transport: httpx.AsyncBaseTransport | None
    on_progress: Callable[[WaveProgress], None]
    pace: CoordinatorPace
    _terms: RunTerms = field(init=False)
    _main: Path = field(init=False)
    _url: ObjectUrl | None = field(init=False)
    _run: str = ""
    _epoch: int = 0
    _claim: str = field(default_factory=new_claim)
    _budget: Credits | None = None
    _wave: int = 0

    def __post_init__(self) -> None:
        manifest = read_source(self.request)
        self._terms = run_terms(manifest, self.request)
        self._main = run_directory(self.request.out_dir, self._terms)
        self._url = ObjectUrl.parse(self.request.out_dir or self._main) or url_of(self._main)
        request = replace(self.request, shards=self.request.shards or 1)
        check_sharding(request, manifest, self._terms, self._main / PLAN_FILE)

    async def run(self) -> RunResult:
        try:
            return await self._run_waves()
        finally:
            if self._epoch:
                await asyncio.shield(self.database.close_run(self._run, self._epoch))

    async def _run_waves(self) -> RunResult:
        if noted_run(self._main) is not None:
            await self._open()
        outstanding = self._outstanding()
        if outstanding is None or not outstanding.missing:
            probed = await self._probe()
            if not probed.may_divide:
                return probed.run
        while True:
            try:
                plan = await self._divided()
            except NothingToDivideError as error:
                logger.info("%s", error.message)
                return await self._finished_here()
            before = self._committed()
            result, endings = await self._finish(plan)
            if not endings <= _CLEAN_ENDINGS or self._committed() <= before or not self._may_divide_more(result):
                return self._ended(result)

    async def _probe(self) -> ProbeResult:
        request = replace(self.request, shards=await self._shards())
        return await run_probe(
            request, admission_of(request.shards or 1), settings=self.settings, transport=self.transport
        )

    async def _finished_here(self) -> RunResult:
        """Run what can't be divided on this machine: nothing new, or what the budget has room for alone."""
        request = replace(self.request, shards=None, notify=False)
        return await run_request(request, settings=self.settings, transport=self.transport)

    def _ended(self, result: MergeResult) -> RunResult:
        if result.report is None:
            raise UserError("no shard has run", hint="see the logs of the workers; then run the same command again")
        outputs_at = None if self._url is None else str(self._url)
        return RunResult(self._main, result.report, result.exit_code, None, result.page, outputs_at=outputs_at)

    # -- the plan of a wave -----------------------------------------------------------------------------------------

    def _outstanding(self) -> OutstandingShards | None:
        if not Journal.exists(self._main):
            return None
        with Journal.read(self._main) as journal:
            return noted_shards(journal) if journal.is_created() else None

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
        folder = publish_wave(self._main, digest, self.request.manifest)
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
        request = replace(self.request, shards=shards)
        await plan_request(request, target, force=True, settings=self.settings, transport=self.transport)

    def _is_named(self, digest: str) -> bool:
        return (self._main / SHARDS_FOLDER / digest[:8] / PLAN_FILE).is_file()

    async def _shards(self) -> int:
        if self.request.shards is not None:
            return self.request.shards
        alive = [each for each in await self.database.workers() if each.seen_age_s < 2 * self.pace.lease_s]
        return min(MAX_SHARDS, max(1, SHARDS_PER_WORKER * len(alive)))

    @staticmethod
    def _may_divide_more(result: MergeResult) -> bool:
        head = result.report
        stopped = head is not None and any(stop.code == BUDGET_EXHAUSTED for stop in head.stops.values())
        return head is not None and stopped and head.counts.blocked > 0

    # -- one wave ---------------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        """Take the run in the database. A coordinator that was killed is awaited until its lease is over.

        With a budget of a period, each wave has another one.
        """
        budget = self._granted()
        if self._epoch and budget == self._budget:
            return
        self._run = note_run(self._main, now=SystemClock().now())
        run = ClusterRun(
            run=self._run,
            manifest=self._terms.manifest_name,
            run_id=self._terms.run_id,
            gateway=self.settings.base_url.rstrip("/"),
            location=str(self._url or self._main.resolve()),
            budget=budget,
            used=self._committed(),
        )
        waited = 0.0
        while True:
            claim = await self.database.open_run(run, self._claim)
            if claim.is_claimed:
                self._epoch, self._budget = claim.epoch, budget
                return
            if claim.answer != "held":
                raise ClusterSetupError(
                    f"the cluster's database has {self._main} as another run",
                    hint="use the database in which the run was queued",
                )
            if waited > 2 * self.pace.lease_s:
                raise RunBusyError(
                    f"another coordinator follows the run in {self._main}", hint="wait for it, or end it first"
                )
            await asyncio.sleep(self.pace.poll_s)
            waited += self.pace.poll_s

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
        await self._queue(plan)
        rows = await self._followed(plan)
        result = await asyncio.to_thread(self._merged, plan, rows)
        await self._settle()
        return result, frozenset(row.ending or "" for row in rows)

    async def _queue(self, plan: SavedPlan) -> None:
        shards: tuple[PlannedShard, ...] = plan.head.shards
        added = await self.database.add_shards(self._run, self._epoch, plan.digest, shards)
        if added.answer is not AllowanceAnswer.ACCEPTED:
            raise ClusterSetupError(
                f"the cluster's database doesn't set the allowances of plan {plan.digest[:8]} aside: {added.answer}",
                hint="check that no other database or coordinator has this run; nothing was queued",
            )
        waiting = [row.key for row in await self._rows(plan) if row.state is ShardState.WAITING]
        async with ShardQueue(self.database.address, lease_s=self.pace.lease_s) as queue:
            await queue.defer(waiting)

    async def _rows(self, plan: SavedPlan) -> list[QueuedShard]:
        return [row for row in await self.database.shards(self._run) if row.key.plan_digest == plan.digest]

    async def _followed(self, plan: SavedPlan) -> list[QueuedShard]:
        """Wait until each shard of a plan has ended. Raises ``RunBusyError`` if another coordinator takes the run."""
        while True:
            if not (await self.database.renew_run(self._run, self._epoch)).counts:
                raise RunBusyError(
                    f"another coordinator has taken the run in {self._main}", hint="follow it there; nothing is lost"
                )
            rows = await self._rows(plan)
            workers = {row.worker for row in rows if row.state is ShardState.RUNNING}
            ended = sum(row.state not in (ShardState.WAITING, ShardState.RUNNING) for row in rows)
            self.on_progress(
                WaveProgress(
                    wave=self._wave,
                    shards=len(rows),
                    running=sum(row.state is ShardState.RUNNING for row in rows),
                    ended=ended,
                    workers=len(workers),
                    figures=_total(rows),
                )
            )
            if ended == len(rows):
                return rows
            await asyncio.sleep(self.pace.poll_s)

    def _merged(self, plan: SavedPlan, rows: list[QueuedShard]) -> MergeResult:
        """Merge the directory of each shard's last owner, else of the one before. Without any, it bought nothing."""
        if self._url is not None:
            withdrawn = {row.key.number for row in rows if row.state is ShardState.WITHDRAWN}
            html, settings = self.request.html, self.settings
            return merge_stored_wave(self._main, plan, withdrawn, html=html, settings=settings)
        directories: list[Path] = []
        abandoned: list[int] = []
        for row in rows:
            shard = ShardId(row.key.number, len(plan.head.shards))
            found = newest_begun(plan.path.parent, shard, up_to=row.epoch)
            if row.state is ShardState.WITHDRAWN:
                abandoned.append(shard.number)
            elif found is None:
                logger.error("shard %s could not be run (%s): see the logs of the workers", shard, row.ending)
                abandoned.append(shard.number)
            else:
                directories.append(found)
        return merge(
            directories or [self._main],
            out_dir=self._main,
            abandon=abandoned,
            html=self.request.html,
            settings=self.settings,
        )

    async def _settle(self) -> None:
        """Record in the database what the main run directory has used, and which shards are merged into it."""
        outstanding = self._outstanding()
        done = frozenset() if outstanding is None else outstanding.merged
        digest = "" if outstanding is None else outstanding.plan_digest
        states = (ShardState.ENDED, ShardState.MERGED)
        rows = [row for row in await self.database.shards(self._run) if row.state in states]
        # Shards of earlier plans were merged before this one was made.
        merged = [row.key for row in rows if row.key.plan_digest != digest or row.key.number in done]
        settled = await self.database.settle_run(self._run, self._epoch, self._committed(), merged)
        if settled.answer is not AllowanceAnswer.ACCEPTED:
            raise RunBusyError(
                f"another coordinator has taken the run in {self._main}", hint="follow it there; nothing is lost"
            )

    def _committed(self) -> Credits:
        with Journal.read(self._main) as journal:
            return books_of(journal, self._terms)[1].committed


def _is_plan(path: Path, digest: str) -> bool:
    return path.is_file() and read_saved_plan(path).digest == digest


def _total(rows: list[QueuedShard]) -> ShardFigures:
    found = [row.figures for row in rows]
    return ShardFigures(
        spent=sum((each.spent for each in found), ZERO),
        held=sum((each.held for each in found), ZERO),
        succeeded=sum(each.succeeded for each in found),
        failed=sum(each.failed for each in found),
        blocked=sum(each.blocked for each in found),
        pending=sum(each.pending for each in found),
        unknown=sum(each.unknown for each in found),
    )
