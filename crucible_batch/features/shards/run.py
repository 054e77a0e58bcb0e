"""The run of one shard of a divided plan, in a directory of its own.

Its budget is the shard's allowance.

The jobs are those of the plan: tables and prompts aren't read again, and an input image only to be
uploaded.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from crucible_batch.core.asset import ASSET_PREFIX
from crucible_batch.core.budget import BUDGET_EXHAUSTED
from crucible_batch.core.events import Found
from crucible_batch.core.gateway_types import AssetSpec, ErrorInfo
from crucible_batch.core.identity import job_identity
from crucible_batch.core.output_path import may_hold_output, output_path
from crucible_batch.core.plan import InputImage, PlannedJob, RunTerms
from crucible_batch.core.saved_plan import ImageFile, ShardRow
from crucible_batch.core.sharding import ShardId, ShardOf
from crucible_batch.errors import GatewayError, RunDirectoryError, SavedPlanError
from crucible_batch.features.shards.followed_plan import shard_of
from crucible_batch.features.shards.log import ShardLog, WatchedLog
from crucible_batch.features.shards.log_part import ShardLogPart
from crucible_batch.features.shards.stored_shard import log_of_shard, read_open
from crucible_batch.gateway import HttpGateway
from crucible_batch.journal import Journal, PlanFile
from crucible_batch.outputs import OutputStore
from crucible_batch.runs.account import refuse_account_of_shard
from crucible_batch.runs.connecting import gateway_for, require_key
from crucible_batch.runs.context import RunContext
from crucible_batch.runs.draft import run_directory, run_terms
from crucible_batch.runs.journal_log import LoggedJournal, LogState
from crucible_batch.runs.log_copy import (
    has_all_of,
    restore_rows,
    set_stale_journal_aside,
    take_log,
)
from crucible_batch.runs.log_tail import refuse_while_it_runs
from crucible_batch.runs.object_runs import limits_of, open_store
from crucible_batch.runs.parts import Parts
from crucible_batch.runs.paths import (
    logs_at,
    main_directory,
    main_location,
    shard_directory,
)
from crucible_batch.runs.plan_summary import PlanSummary, summarise
from crucible_batch.runs.planning import PlanInput
from crucible_batch.runs.request import RunRequest
from crucible_batch.runs.saved_plans import PlanBasis, check_plan_of_shard
from crucible_batch.runs.shard_notes import note_shard, noted_in, noted_shard
from crucible_batch.runs.start import RunKind, awaited_gateway
from crucible_batch.saved_plan import SavedPlan
from crucible_batch.shell_command import shell_command


def shard_terms(terms: RunTerms, plan: SavedPlan, shard: ShardId) -> RunTerms:
    """Return the terms of a shard's run: its allowance is the budget."""
    head = plan.head
    return replace(
        terms,
        budget=head.shards[shard.number - 1].allowance,
        shard=shard,
        learned=head.learned,
        scheduled_at=head.options.scheduled_at,
    )


def shard_run(request: RunRequest, parts: Parts) -> RunKind:
    """Return the kind of a shard's run."""
    plan, shard = shard_of(request)

    def store(directory: Path) -> OutputStore:
        return open_store(directory, logs_at(plan), **limits_of(request), is_shard=True)

    log_part = ShardLogPart(plan.digest)
    return RunKind(
        parts.and_last(log_part),
        lambda manifest: shard_terms(run_terms(manifest, request), plan, shard),
        store,
        lambda context: ShardJobs(context, log_part),
    )


class ShardJobs:
    """The jobs of one shard, as ``JobSource`` describes: those of the plan."""

    may_delete_images = False
    has_restored = False  # its jobs don't depend on it

    def __init__(self, context: RunContext, log_part: ShardLogPart) -> None:
        self.context = context
        self._log_part = log_part
        self._plan, self._shard = shard_of(context.request)
        self.basis = PlanBasis(
            context.manifest, run_terms(context.manifest, context.request), context.binding.gateway
        )
        self._rows = ShardRows(self._plan, self._shard, context.manifest.directory)
        self._log: ShardLog | None = None
        self._state = LogState()

    def refuse(self) -> None:
        """Raise ``RunDirectoryError`` if a merge has ended the shard.

        That may be while the gateway was awaited.
        """
        _refuse_if_merged(self._plan, self._shard)

    async def plan(self, stack: AsyncExitStack, draft: PlanFile) -> HttpGateway:
        context, plan = self.context, self._plan
        key = require_key(context.settings, context.manifest.path)
        gateway = await awaited_gateway(
            stack, context, lambda gateway: _read_workflows(gateway, plan, self.basis)
        )
        check_plan_of_shard(context.request, self.basis)
        if plan.head.account is not None:
            same_account = context.request.same_account
            await refuse_account_of_shard(
                plan.head.account, gateway, key, same_account=same_account
            )
        draft.fill(self._rows.jobs())
        return gateway

    async def agree(self, draft: PlanFile, gateway: HttpGateway) -> None:
        """Ask nobody: the allowance was agreed to when the plan was divided."""

    @asynccontextmanager
    async def journal(self) -> AsyncIterator[Journal]:
        """Open the journal.

        One in an object store is made again of its log if another machine has continued it.
        """
        context, plan, shard = self.context, self._plan, self._shard
        directory = context.directory
        _check_directory(directory, plan, shard)
        self._log = await log_of_shard(context.store, plan, shard, context.binding)
        if self._log is not None:
            self._state = await read_open(self._log)
            if not has_all_of(directory, self._state):
                watched = context.request.of(WatchedLog).position
                await refuse_while_it_runs(self._log, self._state, context.clock, watched=watched)
            set_stale_journal_aside(directory, self._log, self._state)
        with Journal.open(directory, context.binding, now=context.clock.now()) as journal:
            restore_rows(journal, self._state)
            _begin(journal, plan, shard, self._rows, context.clock.now())
            yield journal

    def plan_again(self, draft: PlanFile, journal: Journal) -> bool:
        return False

    def derivation(self, journal: Journal) -> None:
        return None

    async def take_log(self, journal: Journal) -> LoggedJournal | None:
        if self._log is None:
            return None
        log = await take_log(journal, self._log, self._state, self.context.store)
        self._log_part.take(log)
        return log

    def explain(self, error: ErrorInfo) -> ErrorInfo:
        return explain_shard(self.context.request, error)

    @property
    def merge_command(self) -> str:
        return merge_command(self.context.request)


async def _read_workflows(gateway: HttpGateway, plan: SavedPlan, basis: PlanBasis) -> None:
    for workflow_id in plan.head.workflows:
        try:
            basis.workflows[workflow_id] = await gateway.workflow(workflow_id)
        except GatewayError as error:
            if not error.is_not_found:  # its jobs will be refused
                raise


def _refuse_if_merged(plan: SavedPlan, shard: ShardId) -> None:
    """Raise ``RunDirectoryError`` if the shard's allowance was returned.

    That is known where the main run directory is. One that is shared has it in its logs.
    """
    directory, url = main_directory(plan), logs_at(plan)
    if url is not None and url.directory is not None:
        return
    outstanding = noted_in(directory)
    if outstanding is None:
        return
    if outstanding.plan_digest != plan.digest:
        why = f"{directory} was divided again since {plan.path} was made, so its shards are over"
    elif shard.number in outstanding.merged:
        why = (
            f"shard {shard} was merged into {directory} already, and what is left of its allowance"
            " was returned"
        )
    else:
        return
    raise RunDirectoryError(
        why, hint="make a new plan for the jobs that are left: crucible-batch plan MANIFEST"
    )


def _check_directory(directory: Path, plan: SavedPlan, shard: ShardId) -> None:
    """Raise ``RunDirectoryError`` if the directory is that of another run than the shard's."""
    if not Journal.exists(directory):
        return
    with Journal.read(directory) as journal:
        if not journal.is_created():
            return
        own = noted_shard(journal)
        is_fresh = not (journal.planned() or journal.last_number() or journal.is_begun())
    if own == ShardOf(plan.digest, shard) or (own is None and is_fresh):
        return
    other = "a run that is not of a shard"
    if own is not None:
        other = f"shard {own.shard}"
        if own.plan_digest != plan.digest:
            other += " of another plan"
    raise RunDirectoryError(
        f"{directory} is the directory of {other}",
        hint="omit --out-dir, or give each shard a directory of its own",
    )


def _begin(journal: Journal, plan: SavedPlan, shard: ShardId, rows: ShardRows, now: float) -> None:
    """Note the shard and the images at the gateway: the first events of its journal, once."""
    if journal.last_number():
        return
    note_shard(journal, ShardOf(plan.digest, shard))
    journal.restore(
        (ASSET_PREFIX + digest, [Found(at=now, asset_id=asset_id)])
        for digest, asset_id in sorted(rows.ready.items())
    )


class ShardRows:
    """The jobs of a shard, as its plan has them.

    ``ready`` is filled by ``jobs``: asset ids of images, by digest.
    """

    def __init__(self, plan: SavedPlan, shard: ShardId, base: Path) -> None:
        self._plan = plan
        self._shard = shard
        self._base = base
        self._real = os.path.realpath(base)
        self.ready: dict[str, str] = {}

    def jobs(self) -> Iterator[PlannedJob]:
        """Yield the jobs, in manifest order.

        Raises ``SavedPlanError`` if they are not what the plan's head states.
        """
        count, last = 0, -1
        for row in self._plan.shard_rows(self._shard.number):
            if row.position <= last:
                raise self._broken(row, "is not in the order of the manifest")
            count, last = count + 1, row.position
            yield self._planned(row)
        if count != self._plan.head.shards[self._shard.number - 1].jobs:
            raise SavedPlanError(
                f"{self._plan.path} has {count} jobs of shard {self._shard}, and its head states"
                " another number",
                hint="create it again; saved plans can't be edited",
            )

    def _planned(self, row: ShardRow) -> PlannedJob:
        head = self._plan.head
        identity = job_identity(
            manifest=head.manifest.name,
            run_id=head.options.run_id,
            workflow_id=row.workflow_id,
            params={**row.params, **row.markers},  # type: ignore[dict-item] # a plan has JSON
            images={param: image.sha256 for param, image in row.images.items()},
            repeat=row.repeat,
        )
        if identity != row.identity:
            raise self._broken(row, "has another identity than its content")
        if not may_hold_output(output_path(row.output, 0, ".png").as_posix()):
            why = "would be saved outside of the run directory or as one of its own files"
            raise self._broken(row, f"{why}: {row.output!r}")
        return PlannedJob(
            position=row.position,
            identity=row.identity,
            name=row.name,
            workflow_id=row.workflow_id,
            params=row.params,
            images={param: self._image(row, image) for param, image in row.images.items()},
            prompt=row.prompt,
            axes=row.axes,
            repeat=row.repeat,
            output=row.output,
            row=row.row,
            markers=row.markers,
        )

    def _image(self, row: ShardRow, image: ImageFile) -> InputImage:
        path = Path(os.path.normpath(self._base / image.path))
        is_inside = Path(os.path.realpath(path)).is_relative_to(self._real)
        if not is_inside and not self._plan.head.options.allow_outside:
            raise self._broken(
                row, f"needs an image outside of the manifest's directory: {image.path!r}"
            )
        if image.byte_size is None or image.mime_type is None:
            raise self._broken(row, f"has an image without its size or type: {image.path!r}")
        if image.asset_id is not None:
            self.ready[image.sha256] = image.asset_id
        return InputImage(
            AssetSpec(image.sha256, image.byte_size, image.mime_type, path.name), path
        )

    def _broken(self, row: ShardRow, why: str) -> SavedPlanError:
        return SavedPlanError(
            f"{self._plan.path} is not a valid saved plan: job {row.name!r} {why}",
            hint="create it again with crucible-batch plan MANIFEST --shards N -o PLAN; saved plans"
            " can't be edited",
        )


def merge_command(request: RunRequest) -> str:
    """Return the command that merges the shards of the plan that a shard is of."""
    plan, shard = shard_of(request)
    main, own = main_location(plan), shard_directory(plan, shard)
    chosen = request.out_dir or own
    if logs_at(plan) is not None or os.path.realpath(chosen) == os.path.realpath(own):
        return shell_command("merge", main)
    return shell_command("merge", chosen, "--out-dir", main)


def explain_shard(request: RunRequest, error: ErrorInfo) -> ErrorInfo:
    """Return the error of a job of a shard: its allowance can't be raised."""
    if error.code != BUDGET_EXHAUSTED:
        return error
    _, shard = shard_of(request)
    hint = (
        f"this is the allowance of shard {shard}; what it leaves is admitted by the next plan of"
        f" the run, once all shards have ended and are merged: {merge_command(request)}"
    )
    return replace(error, hint=hint)


class ShardPlan:
    """The plan of a shard's run, as ``PlanKind`` describes.

    It is refused as the run is before anything is spent.
    """

    async def summary(self, stack: AsyncExitStack, call: PlanInput) -> PlanSummary:
        request, manifest, settings = call.request, call.manifest, call.settings
        plan, shard = shard_of(request)
        terms = run_terms(manifest, request)
        directory = run_directory(request.out_dir, terms)
        _refuse_if_merged(plan, shard)
        _check_directory(directory, plan, shard)
        basis = PlanBasis(manifest, terms, settings.gateway)
        require_key(settings, manifest.path)
        gateway = await stack.enter_async_context(gateway_for(settings, transport=call.transport))
        await _read_workflows(gateway, plan, basis)
        check_plan_of_shard(request, basis)
        draft = stack.enter_context(PlanFile.temporary())
        draft.fill(ShardRows(plan, shard, manifest.directory).jobs())
        of_shard = shard_terms(terms, plan, shard)
        summary = await summarise(
            draft, of_shard, directory, gateway, choice=request.choice, all_rows=call.all_rows
        )
        # No other budget is possible, so none is proposed.
        summary = replace(summary, digest=plan.digest, enough=None)
        if summary.blocked is not None:
            summary = replace(summary, blocked=explain_shard(request, summary.blocked))
        return summary
