"""The budget of a period for a run that is divided into shards.

What the run may spend is set aside in the account before the plan is divided, and its shards get
their allowances out of that. Shards and workers don't use the account. The merge settles it, by the
charges of all shards and their times.

    killed between                       credits of the period       the same command again
    set aside, and the shards noted      set aside, for nobody       settles, and sets aside again
    shards noted, and the plan named     set aside for the shards    writes the plan
    plan named, and the events merged    set aside for the shards    merges
    events merged, and settled           set aside, and spent in it  settles, by the journal

While shards are outstanding, the journal doesn't have what they spend, so nothing else may settle
the run: a run and ``budget release`` are refused.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from crucible_batch.core.credits import ZERO
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.plan import RunTerms
from crucible_batch.engine import Clock
from crucible_batch.errors import BudgetAccountError
from crucible_batch.features.periods.account import BudgetAccount, account_file
from crucible_batch.features.periods.budgets import calendar_of
from crucible_batch.features.periods.note import is_journal_of, noted_run_in_account
from crucible_batch.features.periods.period_budget import (
    PeriodRules,
    account_gateway,
    keeping_on_errors,
    set_aside,
    settle_usage,
    usage_of,
)
from crucible_batch.features.shards.divided_plan import refuse_lower_budget
from crucible_batch.journal import Journal
from crucible_batch.runs.request import RunRequest
from crucible_batch.runs.saved_plans import PlanBasis
from crucible_batch.runs.shard_notes import outstanding_shards
from crucible_batch.settings import Settings


@dataclass(frozen=True, slots=True)
class DivisionLimit:
    """What a plan may be divided within. ``account`` is that of its period, if it has one.

    ``explain`` adds the figures of the period to the error of a job that doesn't fit, if they are
    the reason.
    """

    terms: RunTerms
    account: str | None = None
    explain: Callable[[ErrorInfo], ErrorInfo] = lambda error: error


@asynccontextmanager
async def division_limit(
    request: RunRequest, basis: PlanBasis, journal: Journal, settings: Settings, clock: Clock
) -> AsyncIterator[DivisionLimit]:
    """Set credits of the period aside for a plan that is divided in the block.

    Yields its terms with that budget. They are settled at the end unless the block has noted the
    shards. If shards are outstanding already, nothing is set aside: the plan has the budget that it
    had. Raises ``BudgetAccountError``. The caller holds the directory's lock.
    """
    rules = PeriodRules.of(basis.source, settings.base_url)
    outstanding = outstanding_shards(journal)
    if rules is None:
        yield DivisionLimit(basis.terms)
        return
    if outstanding is not None:
        refuse_lower_budget(journal, request.budget)
        yield DivisionLimit(replace(basis.terms, budget=outstanding.budget), outstanding.account)
        return
    choice = request.choice
    with ExitStack() as active:
        allowance = await set_aside(
            rules,
            journal,
            basis.terms,
            settings,
            clock,
            own=request.budget,
            choice=choice,
            is_divided=True,
            active=active,
        )
        try:
            terms = replace(basis.terms, budget=allowance.budget)
            yield DivisionLimit(terms, rules.terms.account, allowance.granted.explain)
        finally:
            if outstanding_shards(journal) is None:
                allowance.settle(journal, basis.terms, clock.now())


def settle_merged(journal: Journal, account: str, settings: Settings, now: float) -> None:
    """Settle a run whose shards are all merged, and note the figures for the report.

    May be repeated. An error is logged: the credits then stay set aside. The caller holds the
    directory's lock.
    """
    with keeping_on_errors(journal, account):
        _settle(journal, _account_of(journal, account, settings), now)


def _account_of(journal: Journal, name: str, settings: Settings) -> BudgetAccount:
    directory = settings.accounts_directory
    if directory is not None:
        file = account_file(directory, name, account_gateway(journal.binding().gateway))
        if file.exists():
            return BudgetAccount(file)
    raise BudgetAccountError(
        f"there is no budget account {name} in {directory}",
        hint="merge on the machine on which it was divided",
    )


def _settle(journal: Journal, account: BudgetAccount, now: float) -> None:
    terms = account.terms()
    share = account.of_run(noted_run_in_account(journal) or "")
    if share is None or not is_journal_of(journal, share):
        raise BudgetAccountError(
            f"budget account {terms.account} doesn't know this journal, or a newer one of this"
            " directory",
            hint=None,
        )
    calendar, run_terms = calendar_of(terms), None
    if journal.is_begun():
        run_terms = journal.runs()[-1].terms
    usage = usage_of(journal, run_terms, calendar, share.since or now, now)
    usage = replace(usage, manifest=usage.manifest or share.manifest)
    rules = PeriodRules(terms, account.limit() or ZERO, calendar)
    settle_usage(account, journal, usage, rules, now, is_exhausted=False)
