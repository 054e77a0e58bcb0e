"""The start of a run: planning, comparison with a saved plan, consent, the lock and the journal."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass

from crucible_batch.api.account import refuse_other_account
from crucible_batch.api.connecting import require_key
from crucible_batch.api.draft import check_filter, fill_plan
from crucible_batch.api.planning import summarise
from crucible_batch.api.run_context import RunContext
from crucible_batch.api.saved_plans import PlanBasis, PlanStaleness
from crucible_batch.api.workflows import plan_jobs
from crucible_batch.domain.redaction import clean
from crucible_batch.engine import restore
from crucible_batch.errors import ConsentError, GatewayError
from crucible_batch.gateway import HttpGateway
from crucible_batch.journal import Journal, PlanFile, lock_run_directory
from crucible_batch.manifest import Manifest
from crucible_batch.outputs import Receipts, check_ground

logger = logging.getLogger(__name__)

_MOST_WARNINGS = 10


@dataclass(frozen=True, slots=True)
class StartedRun:
    """A run that is ready to buy. ``after`` is the number of the last journal event before its own."""

    gateway: HttpGateway
    journal: Journal
    basis: PlanBasis
    after: int


async def start_run(stack: AsyncExitStack, context: RunContext) -> StartedRun:
    """Do everything that precedes the first purchase. ``stack`` closes what is opened and locked.

    Raises the errors that ``run`` raises before anything is spent.
    """
    directory, manifest = context.directory, context.manifest
    is_known = directory.exists()
    if is_known:
        # Locked before planning, so that a busy directory is refused at once.
        stack.enter_context(lock_run_directory(directory))
    draft = stack.enter_context(PlanFile.temporary())
    basis = PlanBasis(manifest, context.terms, context.settings.base_url.rstrip("/"))
    staleness = PlanStaleness(context.request, basis)
    with staleness.explaining():
        gateway = await _plan(stack, context, draft, basis)
    staleness.check(draft, directory)
    check_filter(draft, context.request.job_filter)
    _log_warnings(manifest)
    await _ask_consent(context, draft, gateway)
    if not is_known:
        stack.enter_context(lock_run_directory(directory))
        if Journal.exists(directory):  # another run created it in the meantime
            staleness.check(draft, directory)
    check_ground(directory, (planned.output for planned in draft.jobs()))
    journal = stack.enter_context(context.journal())
    journal.adopt(draft)
    # Read before restoring: the events of ``restore`` count as this run's.
    after = journal.last_number()
    key = require_key(context.settings)
    account = await refuse_other_account(journal, gateway, key, same_account=context.request.same_account)
    receipts, ceiling = Receipts(directory), context.terms.ceiling
    await restore(journal, receipts, context.store, gateway, ceiling=ceiling, is_ours=account.is_proven)
    journal.remember_key(account.fingerprint)
    return StartedRun(gateway, journal, basis, after)


async def _plan(stack: AsyncExitStack, context: RunContext, draft: PlanFile, basis: PlanBasis) -> HttpGateway:
    """Plan the jobs into ``draft``, fill ``basis`` with the workflows and files used, and return the open gateway.

    Errors of the manifest are raised first, then missing consent, then a missing key or a gateway error.
    """
    manifest, run_id, note, watch = context.manifest, context.terms.run_id, basis.files.note, context.deadline.check
    cannot_ask = context.needs_consent and context.confirm is None
    try:
        if context.settings.api_key is None:
            fill_plan(draft, manifest, run_id, {}, note, watch=watch)
        gateway = await stack.enter_async_context(context.gateway())
        await plan_jobs(draft, manifest, run_id, gateway, workflows=basis.workflows, note=note, watch=watch)
    except GatewayError:
        if cannot_ask:
            raise _no_consent() from None
        raise
    if cannot_ask:
        raise _no_consent()
    return gateway


def _no_consent() -> ConsentError:
    return ConsentError(
        "nobody said how much may be spent, and there is no terminal to ask",
        hint="name a budget (budget.credits in the manifest, or --budget N), or say --yes",
    )


async def _ask_consent(context: RunContext, draft: PlanFile, gateway: HttpGateway) -> None:
    if not context.needs_consent or context.confirm is None:
        return
    choice = context.request.job_filter
    if not context.confirm(await summarise(draft, context.terms, context.directory, gateway, choice=choice)):
        raise ConsentError("nothing was spent", hint="name a budget with --budget, or say --yes")


def _log_warnings(manifest: Manifest) -> None:
    """Log the manifest's warnings (probable mistakes), before anything is spent."""
    warnings = list(dict.fromkeys(str(warning) for warning in manifest.warnings))
    for warning in warnings[:_MOST_WARNINGS]:
        logger.warning("%s", clean(warning))
    if (more := len(warnings) - _MOST_WARNINGS) > 0:
        logger.warning("%d more like these: crucible-batch validate %s", more, clean(str(manifest.path)))
