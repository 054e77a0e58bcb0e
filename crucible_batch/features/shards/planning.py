"""Making a plan that is divided into shards, in the main run directory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from crucible_batch.core.credits import format_credits
from crucible_batch.core.saved_plan import PlanAccount, PlanRow
from crucible_batch.engine import SystemClock
from crucible_batch.errors import NothingToDivideError, RunBusyError, RunDirectoryError
from crucible_batch.features.shards.divided_plan import (
    DividedPlan,
    PlanToDivide,
    division_number,
    set_aside,
)
from crucible_batch.features.shards.period_budget import DivisionLimit, division_limit
from crucible_batch.features.shards.plan_options import DivisionOptions
from crucible_batch.features.shards.shard_division import Division
from crucible_batch.features.shards.stored_plans import Listing, publish_bytes, publish_manifest
from crucible_batch.gateway import HttpGateway
from crucible_batch.journal import Journal, lock_run_directory
from crucible_batch.object_url import ObjectUrl
from crucible_batch.outputs import ObjectPort, OutputStore
from crucible_batch.runs.divided_plans import claimed_journal, read_list
from crucible_batch.runs.earlier_runs import refuse_if_run_elsewhere, remember_run
from crucible_batch.runs.object_runs import objects_of, open_store
from crucible_batch.runs.outstanding_shards import refuse_unknown
from crucible_batch.runs.paths import plan_key
from crucible_batch.runs.plan_parts import DraftedPlan
from crucible_batch.runs.plan_summary import PlanSummary, summarise
from crucible_batch.runs.run_journal import directory_outputs_url
from crucible_batch.runs.run_log import MainLog
from crucible_batch.runs.saved_plans import plan_head
from crucible_batch.runs.shard_notes import note_shards, noted_in, outstanding_shards
from crucible_batch.runs.start import restore_run
from crucible_batch.saved_plan import write_saved_plan
from crucible_batch.settings import Settings


async def plan_shards(stack: AsyncExitStack, plan: DraftedPlan, target: Path) -> PlanSummary:
    """Divide a plan, set its allowances aside, and write it to ``target``.

    The main run directory is locked by the caller if it exists. The allowances are set aside before
    the plan has its name, so that no shard can run while they could be spent elsewhere. Raises
    ``UserError`` if the plan can't be divided (``NothingToDivideError``: no job of it can), or if
    shards of another plan are outstanding.
    """
    read, gateway = plan.read, plan.gateway
    assert gateway is not None  # a plan is saved with an API key only
    request, directory, basis, settings = read.request, read.directory, read.basis, read.settings
    found = None
    refuse_unknown(noted_in(directory), directory)
    if not directory.exists():
        refuse_if_run_elsewhere(directory, basis.source.path, basis.binding, settings.api_key)
        # Refused before anything is created.
        found = await _divided(plan, DivisionLimit(basis.terms), None, gateway)
        stack.enter_context(lock_run_directory(directory))
    clock = SystemClock()
    url = ObjectUrl.parse(request.out_dir or directory) or directory_outputs_url(directory)
    store = open_store(directory, url)
    listing = await Listing.of(objects_of(store))
    journal, log = await stack.enter_async_context(claimed_journal(store, basis.binding, clock))
    await _take_back_unlisted(journal, listing)
    await _resume_earlier_runs(plan, journal, gateway, settings, store)
    async with division_limit(request, basis, journal, settings, clock) as limit:
        past = None  # without events, all jobs are new
        if journal.last_number():
            past = journal
        if found is None or past is not None or limit.account is not None:
            found = await _divided(plan, limit, past, gateway)
        summary = await _written(
            plan, found, limit, _Place(journal, log, listing), gateway, target=target
        )
    if store.url is not None:
        summary = replace(summary, outputs_at=str(store.url))
    return summary


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a plan is noted: in the journal of the main run, its log if it has one, and the list of
    plans.
    """

    journal: Journal
    log: MainLog | None
    listing: Listing

    async def add(self, digest: str) -> None:
        """Have the log know what is set aside, and then list the plan.

        In this order: a machine that doesn't know the allowances finds no shard that it could run.
        If that fails, the plan is taken back. Raises as ``MainLog.add`` and ``list_plan`` do.
        """
        try:
            if self.log is not None:
                await self.log.add(self.journal)
            await self.listing.add(digest)
        except (RunDirectoryError, RunBusyError) as error:
            await _take_back_unlisted(self.journal, self.listing)
            if self.log is not None and not isinstance(error, RunBusyError):
                await self.log.add(self.journal)
            raise


async def _written(
    plan: DraftedPlan,
    divided: DividedPlan,
    limit: DivisionLimit,
    place: _Place,
    gateway: HttpGateway,
    *,
    target: Path,
) -> PlanSummary:
    """Write a divided plan.

    Before it has its name, the allowances are set aside, and the plan is listed beside the outputs.
    """
    journal, listing = place.journal, place.listing
    read, division = plan.read, divided.division
    basis, choice = read.basis, read.request.job_filter
    summary = await summarise(
        plan.draft, limit.terms, read.directory, gateway, choice=choice, notes=plan.notes
    )
    account = _account_of(journal)
    head = replace(
        plan_head(target, read.request, basis, summary),
        shards=division.shards,
        learned=divided.learned,
        division=division_number(journal),
        account=account,
    )

    def before(digest: str) -> None:
        budget, fingerprint = limit.terms.budget, account.fingerprint
        set_aside(journal, division, digest, budget, fingerprint=fingerprint, account=limit.account)

    def rows() -> Iterator[PlanRow]:
        return divided.rows(basis.source.directory)

    if not await _runs_without_logs(journal, listing.objects):
        with TemporaryDirectory() as folder:
            written = Path(folder, "plan.json")
            digest = write_saved_plan(written, head, rows())
            content = await asyncio.to_thread(written.read_bytes)
        # A plan that is listed can be read, so that any machine can merge or abandon its shards.
        await publish_bytes(listing.objects, plan_key(digest), content)
        await publish_manifest(listing.objects, digest, basis.source)
        before(digest)
        await place.add(digest)
    digest = write_saved_plan(target, head, rows(), force=read.force, before=before)
    return replace(summary, shards=division.shards, digest=digest)


async def _runs_without_logs(journal: Journal, objects: ObjectPort) -> bool:
    """Whether the plan whose shards are outstanding is of an earlier release, which stored none."""
    outstanding = outstanding_shards(journal)
    if outstanding is None:
        return False
    return await objects.info(plan_key(outstanding.plan_digest)) is None


async def _take_back_unlisted(journal: Journal, listing: Listing) -> None:
    """Forget a plan that was stored and noted, and never listed.

    No shard of it can run, and another machine may have divided. Raises ``RunDirectoryError`` and
    ``ObjectStoreError``.
    """
    outstanding, objects = outstanding_shards(journal), listing.objects
    if outstanding is None or await _runs_without_logs(journal, objects):
        return
    if (await read_list(objects)).of(outstanding.plan_digest) is None:
        note_shards(journal, outstanding.before)


def _account_of(journal: Journal) -> PlanAccount:
    """Return the account of the plan.

    The key may have been renewed since its shards were set aside.
    """
    outstanding = outstanding_shards(journal)
    fingerprint = journal.remembered_key() or ""
    if outstanding is not None:
        fingerprint = outstanding.fingerprint or fingerprint
    return PlanAccount(fingerprint, journal.newest_gateway_job(), journal.newest_gateway_asset())


async def _resume_earlier_runs(
    plan: DraftedPlan,
    journal: Journal,
    gateway: HttpGateway,
    settings: Settings,
    store: OutputStore,
) -> None:
    """Store the plan's jobs in the main run directory, and restore what its journal has lost."""
    read, terms = plan.read, plan.read.basis.terms
    is_free = outstanding_shards(journal) is None  # otherwise the jobs of that plan have to stay
    if is_free:
        journal.adopt(plan.draft)
    await restore_run(journal, store, gateway, settings, ceiling=terms.ceiling, is_restored=is_free)
    remember_run(read.basis.source.path, terms.run_id, read.directory)


async def _divided(
    plan: DraftedPlan, limit: DivisionLimit, journal: Journal | None, gateway: HttpGateway
) -> DividedPlan:
    request = plan.read.request
    choice = request.job_filter
    to_divide = PlanToDivide(plan.draft, journal, limit.terms, choice, request.out_dir)
    found = await to_divide.divided(gateway, request.of(DivisionOptions).shards or 1)
    if not any(found.division.is_admitted):
        summary = await summarise(
            plan.draft, limit.terms, plan.read.directory, gateway, choice=choice
        )
        raise _nothing_to_run(found.division, summary, limit)
    return found


def _nothing_to_run(
    division: Division, summary: PlanSummary, limit: DivisionLimit
) -> NothingToDivideError:
    if not len(division.numbers):
        return NothingToDivideError(
            "there is nothing to divide: no job is new",
            hint="run MANIFEST shows what is left to do",
        )
    if summary.blocked is not None:
        blocked = limit.explain(summary.blocked)
        return NothingToDivideError(
            f"no job can start: {blocked.message}", hint=blocked.hint or "raise the budget"
        )
    return NothingToDivideError(
        f"the budget is not enough for any job beside the {format_credits(summary.held)} credits"
        " that are held",
        hint="raise the budget: --budget N; or add --probe, which waits for refunds of failed jobs",
    )
