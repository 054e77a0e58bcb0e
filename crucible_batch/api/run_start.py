"""A run's beginning: planned, held against a saved plan, consented to, locked, and with its journal open."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from crucible_batch.api.account import refuse_other_account
from crucible_batch.api.connecting import require_key
from crucible_batch.api.draft import check_filter
from crucible_batch.api.planning import PlanSummary, summarise
from crucible_batch.api.request import RunRequest
from crucible_batch.api.run_context import RunContext
from crucible_batch.api.saved_plans import PlanBasis, PlanStaleness
from crucible_batch.domain.plan import RunTerms
from crucible_batch.domain.redaction import clean
from crucible_batch.engine import restore
from crucible_batch.errors import ConsentError
from crucible_batch.gateway import HttpGateway
from crucible_batch.journal import Journal, PlanFile, lock_run_directory
from crucible_batch.manifest import Manifest, Reading
from crucible_batch.outputs import OutputStore, Receipts, check_ground

logger = logging.getLogger(__name__)

_WARNINGS_SAID = 10


@dataclass(frozen=True, slots=True)
class RunOrder:
    """What is to be run, where, and who consents: where it ``asks``, nobody has yet, and ``confirm`` may.

    ``same_account``: the user says that the key is of the directory's account, though nothing shows it.
    """

    wants: RunRequest
    source: Reading
    terms: RunTerms
    store: OutputStore
    asks: bool
    confirm: Callable[[PlanSummary], bool] | None
    same_account: bool = False

    @property
    def directory(self) -> Path:
        return self.store.directory


@dataclass(frozen=True, slots=True)
class StartedRun:
    """A run that may buy. ``after`` is the number of the last event that isn't its own."""

    gateway: HttpGateway
    journal: Journal
    grounds: PlanBasis
    after: int


async def start_run(stack: AsyncExitStack, order: RunOrder, surroundings: RunContext) -> StartedRun:
    """Do all that comes before the first purchase; what is opened and locked is given back by the stack.

    Raises what ``run`` raises before anything is spent.
    """
    directory, source = order.directory, order.source
    is_known = directory.exists() and not source.problems
    if is_known:
        # Known to be busy at once, not after the planning; but a manifest to be refused may not tell its own name.
        stack.enter_context(lock_run_directory(directory))
    draft = stack.enter_context(PlanFile.temporary())
    grounds = PlanBasis(source.manifest, order.terms, surroundings.settings.base_url.rstrip("/"))
    following = PlanStaleness(order.wants, grounds)
    with following.explaining():
        nobody_to_ask = order.asks and order.confirm is None
        gateway = await surroundings.planned(stack, draft, source, grounds, nobody_to_ask=nobody_to_ask)
    following.check(draft, directory)
    check_filter(draft, order.wants.choice)
    _say_warnings(source.manifest)
    await _ask(order, draft, gateway)
    if not is_known:
        stack.enter_context(lock_run_directory(directory))
        if Journal.exists(directory):  # another run made it in the meantime
            following.check(draft, directory)
    check_ground(directory, (planned.output for planned in draft.jobs()))
    journal = stack.enter_context(surroundings.journal(directory, order.terms))
    journal.adopt(draft)
    # What is restored belongs to this run, which follows a plan or none.
    after = journal.last_number()
    key = require_key(surroundings.settings)
    account = await refuse_other_account(journal, gateway, key, same_account=order.same_account)
    receipts, ceiling = Receipts(directory), order.terms.ceiling
    await restore(journal, receipts, order.store, gateway, ceiling=ceiling, is_ours=account.is_proven)
    journal.remember_key(account.fingerprint)
    return StartedRun(gateway, journal, grounds, after)


async def _ask(order: RunOrder, draft: PlanFile, gateway: HttpGateway) -> None:
    if not order.asks or order.confirm is None:
        return
    choice = order.wants.choice
    if not order.confirm(await summarise(draft, order.terms, order.directory, gateway, choice=choice)):
        raise ConsentError("nothing was spent", hint="name a budget with --budget, or say --yes")


def _say_warnings(manifest: Manifest) -> None:
    """Log what the manifest's author may have meant otherwise, while nothing is spent yet."""
    warnings = list(dict.fromkeys(str(warning) for warning in manifest.warnings))
    for warning in warnings[:_WARNINGS_SAID]:
        logger.warning("%s", clean(warning))
    if (more := len(warnings) - _WARNINGS_SAID) > 0:
        logger.warning("%d more like these: crucible-batch validate %s", more, clean(str(manifest.path)))
