"""The start of a run: planning, comparison with a saved plan, consent, the lock and the journal."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial

from crucible_batch.api.account import refuse_other_account
from crucible_batch.api.connecting import require_key
from crucible_batch.api.derived_jobs import (
    DerivedJobs,
    RunDerivation,
    SavedOutputs,
    later_stages,
    saved_outputs,
)
from crucible_batch.api.draft import check_filter, fill_plan
from crucible_batch.api.earlier_runs import refuse_if_run_elsewhere, remember_run
from crucible_batch.api.known_jobs import find_known_jobs
from crucible_batch.api.period_budget import PeriodRules, RunAllowance, set_aside
from crucible_batch.api.plan_rows import filled_in
from crucible_batch.api.plan_summary import summarise
from crucible_batch.api.price_memory import recall_prices
from crucible_batch.api.run_context import RunContext
from crucible_batch.api.run_journal import refuse_if_pruned
from crucible_batch.api.saved_plans import PlanBasis, check_plan
from crucible_batch.api.shards.divided_plan import refuse_if_divided
from crucible_batch.api.shards.log import LoggedJournal
from crucible_batch.api.shards.stored_plans import claimed_journal
from crucible_batch.api.spend_cap import capped, check_cap
from crucible_batch.api.workflows import plan_jobs
from crucible_batch.budget_accounts import BudgetAccount, noted_as_active
from crucible_batch.domain.redaction import clean
from crucible_batch.engine import restore
from crucible_batch.errors import ConsentError, GatewayError
from crucible_batch.gateway import HttpGateway
from crucible_batch.journal import Journal, PlanFile, lock_run_directory
from crucible_batch.manifest import Manifest
from crucible_batch.outputs import OutputStore, Receipts, check_outputs_can_be_saved

logger = logging.getLogger(__name__)

_MOST_WARNINGS = 10


@dataclass(frozen=True, slots=True)
class StartedRun:
    """A run that is ready to buy. ``after`` is the number of the last journal event before its own.

    ``allowance`` is what was set aside for it; None if its budget is that of its directory only. ``derivation`` has its
    later stages; None if no entry has `from`. ``log`` has a shard's purchases before they are sent, if its journal is
    in an object store.
    """

    gateway: HttpGateway
    journal: Journal
    basis: PlanBasis
    allowance: RunAllowance | None = None
    derivation: RunDerivation | None = None
    log: LoggedJournal | None = None


async def start_run(stack: AsyncExitStack, context: RunContext) -> StartedRun:
    """Do everything that precedes the first purchase. ``stack`` closes what is opened and locked.

    Raises the errors that ``run`` raises before anything is spent.
    """
    directory, manifest = context.directory, context.manifest
    check_cap(context.cap, context.request, manifest, context.terms, directory)
    is_known = _lock_existing(stack, context)
    rules = PeriodRules.of(manifest, context.settings.base_url)
    if rules is not None:
        BudgetAccount.create(rules.accounts_directory(context.settings), rules.terms)
    draft = stack.enter_context(PlanFile.temporary())
    basis = PlanBasis(manifest, context.terms, context.settings.gateway, filled=filled_in(directory, manifest))
    gateway, derived = await _plan(stack, context, draft, basis)
    check_plan(context.request, basis, draft)
    check_filter(draft, context.request.job_filter, derived)
    if not context.request.job_filter.names:  # otherwise an earlier step of a probe has logged them
        _log_warnings(manifest, context.settings.ignored, basis.notes)
        if (known := find_known_jobs(draft, directory, basis.binding)) is not None:
            logger.warning("%s", known)
    await _ask_consent(context, draft, gateway, derived)
    if not is_known:
        stack.enter_context(lock_run_directory(directory))
        if Journal.exists(directory):  # another run created it in the meantime
            refuse_if_divided(directory)
    check_outputs_can_be_saved(directory, (planned.output for planned in draft.jobs()))
    journal = await stack.enter_async_context(claimed_journal(context.store, context.binding, now=context.clock.now()))
    journal.adopt(draft)
    remember_run(manifest.path, context.terms.run_id, directory)
    # Read before restoring: the events of ``restore`` count as this run's.
    after = journal.last_number()
    plan_again = partial(_plan_again, draft, basis, journal, context.store)
    derived = await _restore(context, journal, gateway, derived, plan_again, is_known=is_known)
    stack.enter_context(capped(context.cap, journal, context.terms, directory))
    allowance = None if rules is None else await _set_aside(context, rules, journal, after)
    if allowance is not None:
        stack.enter_context(noted_as_active(allowance.account.path, allowance.granted.run))
    derivation = None if derived is None else RunDerivation(derived, journal)
    return StartedRun(gateway, journal, basis, allowance, derivation)


def _lock_existing(stack: AsyncExitStack, context: RunContext) -> bool:
    """Lock the run directory if it exists, and return whether it does. It is refused if it can't be continued."""
    directory = context.directory
    if directory.exists():
        # Locked before planning, so that a busy directory is refused immediately.
        stack.enter_context(lock_run_directory(directory))
        refuse_if_pruned(directory)
        refuse_if_divided(directory)
        return True
    if context.request.out_dir is None:
        refuse_if_run_elsewhere(directory, context.manifest.path, context.binding, context.settings.api_key)
    return False


async def _restore(
    context: RunContext,
    journal: Journal,
    gateway: HttpGateway,
    derived: DerivedJobs | None,
    plan_again: Callable[[], DerivedJobs | None],
    *,
    is_known: bool,
) -> DerivedJobs | None:
    """Restore what the journal has lost, and return the later stages of the plan.

    Raises ``OtherAccountError`` and ``RunDirectoryError`` as ``refuse_other_account``, before anything is restored.
    """
    key = require_key(context.settings)
    account = await refuse_other_account(journal, gateway, key, same_account=context.request.same_account)
    if derived is not None and not is_known:
        derived = plan_again()  # another run may have created the directory in the meantime
    receipts, ceiling, is_ours = Receipts(context.directory), context.terms.ceiling, account.is_proven
    while await restore(journal, receipts, context.store, gateway, ceiling=ceiling, is_ours=is_ours) and derived:
        # What was restored has outputs, and so jobs of the next stage, which may have receipts as well.
        derived = plan_again()
    journal.remember_key(account.fingerprint)
    return derived


def _plan_again(draft: PlanFile, basis: PlanBasis, journal: Journal, store: OutputStore) -> DerivedJobs | None:
    """Plan the jobs by the outputs that the journal has now, and adopt the plan."""
    draft.clear()
    saved = SavedOutputs(journal.path.parents[1], journal, store.url)
    derived = later_stages(basis.source, basis.terms.run_id, saved)
    workflows, filled = basis.workflows, basis.filled
    fill_plan(draft, basis.source, basis.terms.run_id, workflows, derived=derived, filled=filled)
    journal.adopt(draft)
    return derived


async def _set_aside(context: RunContext, rules: PeriodRules, journal: Journal, after: int) -> RunAllowance:
    return await set_aside(
        rules,
        journal,
        context.terms,
        context.settings,
        context.clock,
        own=context.request.budget,
        choice=context.request.choice,
        after=after,
        may_grow=context.manifest.has_stages,
    )


async def _plan(
    stack: AsyncExitStack, context: RunContext, draft: PlanFile, basis: PlanBasis
) -> tuple[HttpGateway, DerivedJobs | None]:
    """Plan the jobs into ``draft``, and fill ``basis`` with the workflows and files used.

    Returns the open gateway, and the later stages of the plan.

    Errors of the manifest are raised first, then missing consent, then a missing key or a gateway error.
    """
    watch = context.deadline.check
    cannot_ask = context.needs_consent and context.confirm is None

    derived: DerivedJobs | None = None

    async def plan(gateway: HttpGateway | None) -> None:
        nonlocal derived
        draft.clear()
        with saved_outputs(context.manifest, context.directory, context.request.out_dir) as saved:
            derived = await plan_jobs(draft, basis, gateway, watch, saved)

    try:
        if context.settings.api_key is None:
            await plan(None)
            require_key(context.settings, context.manifest.path)
        gateway = await awaited_gateway(stack, context, plan, waits=not cannot_ask)
    except GatewayError:
        if cannot_ask:
            raise _no_consent() from None
        raise
    if cannot_ask:
        raise _no_consent()
    return gateway, derived


async def awaited_gateway(
    stack: AsyncExitStack,
    context: RunContext,
    read: Callable[[HttpGateway], Awaitable[None]],
    *,
    waits: bool = True,
) -> HttpGateway:
    """Open the gateway and ``read`` from it, once more in an outage if ``waits``; its end is awaited from then on.

    Raises ``GatewayError``.
    """
    gateway = await stack.enter_async_context(context.gateway())
    try:
        await read(gateway)
    except GatewayError:
        is_awaited = context.request.wait_for_gateway_s > 0 and context.outage.is_on
        if not waits or not is_awaited:
            raise
        # Only now, since a mistake in the manifest has to be reported before an outage is waited for.
        context.outage.is_awaited = True
        await read(gateway)
    context.outage.is_awaited = True
    return gateway


def _no_consent() -> ConsentError:
    return ConsentError(
        "no budget is set, and there is no terminal to ask for consent",
        hint="set a budget (budget.credits in the manifest, or --budget N), or use --yes",
    )


async def _ask_consent(context: RunContext, draft: PlanFile, gateway: HttpGateway, derived: DerivedJobs | None) -> None:
    if not context.needs_consent or context.confirm is None:
        return
    choice, paid = context.request.choice, recall_prices(context.settings)
    summary = await summarise(
        draft, context.terms, context.directory, gateway, choice=choice, derived=derived, paid=paid
    )
    if not context.confirm(replace(summary, left_s=context.deadline.left_s)):
        raise ConsentError("nothing was spent", hint="set a budget with --budget, or use --yes")


def _log_warnings(manifest: Manifest, ignored: str | None, notes: Sequence[str]) -> None:
    """Log the manifest's warnings (probable mistakes), ignored settings and ``notes``, before anything is spent."""
    if ignored:
        logger.warning("%s", clean(ignored))
    warnings = list(dict.fromkeys([*map(str, manifest.warnings), *notes]))
    for warning in warnings[:_MOST_WARNINGS]:
        logger.warning("%s", clean(warning))
    if (more := len(warnings) - _MOST_WARNINGS) > 0:
        logger.warning("%d more like these: crucible-batch validate %s", more, clean(str(manifest.path)))
