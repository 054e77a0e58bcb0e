"""The start of a run: everything that precedes its first purchase, in the order that guards
credits.

the parts' checks, the lock, planning, consent
the journal adopts the plan
the account is checked, what was lost is restored, the key is remembered
the parts begin: a cap, the allowance of a period
a shard takes its log, and so does a run in an object store
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from crucible_batch.core.credits import Credits
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.plan import RunTerms
from crucible_batch.core.ports import Derivation
from crucible_batch.engine.journaled_ledger import EventLog
from crucible_batch.engine.restore import restore
from crucible_batch.errors import GatewayError
from crucible_batch.gateway import HttpGateway
from crucible_batch.journal import Journal, PlanFile, lock_run_directory
from crucible_batch.manifest import Manifest
from crucible_batch.outputs import OutputStore, Receipts, check_outputs_can_be_saved
from crucible_batch.runs.account import refuse_other_account
from crucible_batch.runs.connecting import require_key
from crucible_batch.runs.context import RunContext
from crucible_batch.runs.parts import BudgetGrant, OpenedRun, Parts
from crucible_batch.runs.saved_plans import PlanBasis
from crucible_batch.settings import Settings


class FinishingLog(EventLog, Protocol):
    """A log beside the journal, in which events become durable as well."""

    async def finish(self) -> None:
        """Add the end of the run. The log is complete then."""


class JobSource(Protocol):
    """Where a run has its jobs from: a manifest, or a shard of a divided plan."""

    basis: PlanBasis
    context: RunContext
    """That of the run; its request has the choice of jobs once they are planned."""
    has_restored: bool
    """Whether ``journal`` has made the journal again: the jobs were planned without it."""

    def refuse(self) -> None:
        """Raise if the directory can't be continued.

        Called before planning, and again if it was locked after it.
        """

    async def plan(self, stack: AsyncExitStack, draft: PlanFile) -> HttpGateway:
        """Plan the jobs into ``draft``, and return the open gateway.

        Creates nothing, and asks nobody.
        """

    async def agree(self, draft: PlanFile, gateway: HttpGateway) -> None:
        """Ask for consent if the run needs it. Raises ``ConsentError``."""

    def journal(self) -> AbstractAsyncContextManager[Journal]:
        """Open the journal of the locked directory, with what the store has more."""

    def plan_again(self, draft: PlanFile, journal: Journal) -> bool:
        """Plan the jobs by the outputs that the journal has now, and adopt the plan.

        False: that changes nothing.
        """

    def derivation(self, journal: Journal) -> Derivation | None:
        """Return the jobs that are made from outputs while the run is active; None if there can't
        be any."""

    async def take_log(self, journal: Journal) -> FinishingLog | None:
        """Take the log that makes purchases durable before they are sent; None without one.

        The last step.
        """

    def explain(self, error: ErrorInfo) -> ErrorInfo:
        """Return the error of a job that doesn't fit the budget, with what to do about it."""

    @property
    def may_delete_images(self) -> bool:
        """Whether no other run may need the input images at the gateway once all jobs have
        succeeded."""

    @property
    def merge_command(self) -> str | None:
        """The command that comes after all runs of this kind have ended; None if there is none."""


@dataclass(frozen=True, slots=True)
class RunKind:
    """What differs between the runs of manifests and of shards, before their jobs are known.

    ``terms`` raises ``UserError`` and ``ManifestError``. ``store`` returns the store of the
    outputs, and makes no request. ``source`` returns where the jobs are from.
    """

    parts: Parts
    terms: Callable[[Manifest], RunTerms]
    store: Callable[[Path], OutputStore]
    source: Callable[[RunContext], JobSource]


@dataclass(frozen=True, slots=True)
class StartedRun:
    """A run that is ready to buy.

    ``grant`` replaces the budget of its terms. ``derivation`` adds jobs to its plan; None if there
    can't be any. ``log`` has the purchases before they are sent, if the journal is a log in
    an object store as well.
    """

    source: JobSource
    gateway: HttpGateway
    journal: Journal
    grant: BudgetGrant | None
    derivation: Derivation | None
    log: FinishingLog | None
    parts: Parts


async def start_run(
    stack: AsyncExitStack, context: RunContext, source: JobSource, parts: Parts
) -> StartedRun:
    """Do everything that precedes the first purchase. ``stack`` closes what is opened and locked.

    Raises the errors that ``run`` raises before anything is spent.
    """
    directory = context.directory
    parts.check(context)
    is_known = directory.exists()
    if is_known:  # locked before planning, so that a busy directory is refused immediately
        stack.enter_context(lock_run_directory(directory))
    source.refuse()
    draft = stack.enter_context(PlanFile.temporary())
    gateway = await source.plan(stack, draft)
    context = source.context
    parts.planned(context, draft)
    await source.agree(draft, gateway)
    if not is_known:  # not created before, so that a refused plan leaves nothing behind
        stack.enter_context(lock_run_directory(directory))
        source.refuse()  # another run may have created it in the meantime
    check_outputs_can_be_saved(directory, (planned.output for planned in draft.jobs()))
    journal = await stack.enter_async_context(source.journal())
    journal.adopt(draft)
    # The number is read before restoring: restored events count as this run's.
    opened = OpenedRun(context, journal, after=journal.last_number())
    parts.opened(opened)
    if not is_known or source.has_restored:
        source.plan_again(draft, journal)
    await restore_run(
        journal,
        context.store,
        gateway,
        context.settings,
        ceiling=context.terms.ceiling,
        same_account=context.request.same_account,
        plan_again=lambda: source.plan_again(draft, journal),
    )
    grant = await parts.begin(stack, replace(opened, context=source.context))
    log = await source.take_log(journal)
    derivation = source.derivation(journal)
    return StartedRun(source, gateway, journal, grant, derivation, log, parts)


async def restore_run(
    journal: Journal,
    store: OutputStore,
    gateway: HttpGateway,
    settings: Settings,
    *,
    ceiling: Credits | None,
    same_account: bool = False,
    is_restored: bool = True,
    plan_again: Callable[[], bool] = lambda: False,
) -> None:
    """Check that the key is of the directory's account, restore what its journal has lost, and
    remember the key.

    In this order, before anything is bought: what is restored counts as spent, and only the right
    account can prove it. ``plan_again`` adopts the jobs that what was restored makes possible,
    which may have receipts as well.

    Raises ``OtherAccountError`` and ``RunDirectoryError`` as ``refuse_other_account``, before
    anything is restored.
    """
    account = await refuse_other_account(
        journal, gateway, require_key(settings), same_account=same_account
    )
    if is_restored:
        receipts = Receipts(store.directory)
        is_ours = account.is_proven or same_account
        while True:
            restored = await restore(
                journal, receipts, store, gateway, ceiling=ceiling, is_ours=is_ours
            )
            if not restored.jobs or not plan_again():
                break
            is_ours = restored.is_ours
    journal.remember_key(account.fingerprint)


async def awaited_gateway(
    stack: AsyncExitStack,
    context: RunContext,
    read: Callable[[HttpGateway], Awaitable[None]],
    *,
    waits: bool = True,
) -> HttpGateway:
    """Open the gateway and ``read`` from it, once more in an outage if ``waits``; its end is
    awaited from then on.

    Raises ``GatewayError``.
    """
    gateway = await stack.enter_async_context(context.gateway())
    try:
        await read(gateway)
    except GatewayError:
        is_awaited = context.request.wait_for_gateway_s > 0 and context.outage.is_on
        if not waits or not is_awaited:
            raise
        # Only now, since a mistake in the manifest has to be reported before an outage is waited
        # for.
        context.outage.is_awaited = True
        await read(gateway)
    context.outage.is_awaited = True
    return gateway
