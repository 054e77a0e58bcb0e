"""The budget of a period: credits set aside for a run, and settled from its journal afterwards."""

from __future__ import annotations

import logging
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from crucible_batch.core.allowance import Allowance, Share, most_needed
from crucible_batch.core.budget import BUDGET_EXHAUSTED
from crucible_batch.core.budget_period import BudgetPeriod, Calendar, Per, zone_name
from crucible_batch.core.charge_times import CLOCK_TOLERANCE_S, DatedLedger
from crucible_batch.core.credits import ZERO, Credits, format_credits
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.outcome import Ending
from crucible_batch.core.plan import RunTerms
from crucible_batch.core.prices import PriceBook
from crucible_batch.engine import Clock, SystemClock
from crucible_batch.errors import BudgetAccountError, CrucibleBatchError
from crucible_batch.features.periods.account import BudgetAccount
from crucible_batch.features.periods.active_runs import is_active, noted_as_active
from crucible_batch.features.periods.manifest_keys import period_keys
from crucible_batch.features.periods.note import (
    is_journal_of,
    note_allowance,
    note_period,
    note_run_in_account,
    noted_run_in_account,
)
from crucible_batch.features.periods.records import AccountTerms, AllowanceRequest, RunUsage
from crucible_batch.journal import Journal
from crucible_batch.manifest import Manifest
from crucible_batch.runs.plan_rows import left_to_buy
from crucible_batch.runs.plan_summary import PlannedPeriod
from crucible_batch.runs.request import JobFilter
from crucible_batch.runs.run_journal import journal_of, journal_outputs_url
from crucible_batch.settings import ACCOUNTS_VARIABLE, Settings
from crucible_batch.shell_command import shell_command

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PeriodRules:
    """The rules of a manifest with ``budget.per``: its account, the limit and the periods."""

    terms: AccountTerms
    limit: Credits
    calendar: Calendar

    @classmethod
    def of(cls, manifest: Manifest, gateway: str) -> PeriodRules | None:
        """Return the rules; None if the manifest's budget is that of its run directory."""
        budget = period_keys(manifest.header.budget)
        if budget.per is None or budget.account is None or budget.credits is None:
            return None
        per: Per = budget.per
        terms = AccountTerms(
            budget.account, account_gateway(gateway), per, zone_name(manifest.zone)
        )
        return cls(terms, budget.credits, Calendar(per, manifest.zone))

    def accounts_directory(self, settings: Settings) -> Path:
        """Return the directory of the accounts' files.

        Raises ``BudgetAccountError`` if there is none.
        """
        if settings.accounts_directory is None:
            raise BudgetAccountError(
                f"there is no directory for the budget account {self.terms.account}:"
                " HOME is not set; nothing was spent",
                hint=f"set {ACCOUNTS_VARIABLE} to a directory that all runs of the account share",
            )
        return settings.accounts_directory


def account_gateway(base_url: str) -> str:
    """Return the address of a gateway in one form.

    Its accounts must not depend on how the address is written.
    """
    try:
        url = httpx.URL(base_url.strip())
    except httpx.InvalidURL:  # refused when the gateway is opened
        return base_url.rstrip("/")
    return str(url.copy_with(path=url.path.rstrip("/") or "/")).rstrip("/")


def dated(
    journal: Journal | None, prices: PriceBook, periods: Iterable[BudgetPeriod], now: float
) -> DatedLedger:
    """Return the ledger of a journal, with the times of its charges.

    It is empty without a journal.
    """
    found = DatedLedger(Ledger(prices), periods, now)
    if journal is not None:
        for subject, event in journal.events():
            found.apply(subject, event)
    return found


@dataclass(frozen=True, slots=True)
class PeriodPreview:
    """The shares of a period, with that of the run, and the run's budget.

    The budget is that of all runs in its directory, as always. ``run`` is the run's name in the
    shares. ``is_limited_by_period``: its budget would be higher if the period had more left.
    """

    rules: PeriodRules
    period: BudgetPeriod
    shares: Allowance
    budget: Credits
    is_limited_by_period: bool
    run: str = ""

    @property
    def until(self) -> str:
        """The end of the period, as local time with the name of the zone."""
        return self.rules.calendar.clock_text(self.period.end)

    @property
    def budget_name(self) -> str:
        """The budget that it is part of, such as ``studio, this month``."""
        return f"{self.rules.terms.account}, {self.period.words}"

    @property
    def planned(self) -> PlannedPeriod:
        """The period as a plan shows it."""
        return PlannedPeriod(
            account=self.rules.terms.account,
            per=self.period.per,
            words=self.period.words,
            limit=self.shares.limit,
            spent=self.shares.spent,
            set_aside=self.shares.set_aside,
            left=self.shares.left,
            until=self.until,
            is_limiting=self.is_limited_by_period,
        )

    def explain(self, error: ErrorInfo) -> ErrorInfo:
        """Return the error of a job that doesn't fit the budget.

        It has the period's figures if they are the reason.
        """
        if not self.is_limited_by_period or error.code != BUDGET_EXHAUSTED:
            return error
        shares, others = self.shares, self.shares.without(self.run).set_aside
        hint = f"more from {self.until}: run the same command again then"
        if others:
            left = "what they leave is available again"
            hint += f"; other runs have {format_credits(others)} credits set aside, and {left}"
        used = format_credits(shares.spent + shares.set_aside)
        return ErrorInfo(
            error.code,
            f"budget {self.rules.terms.account}: {used} of {format_credits(shares.limit)} credits"
            f" used or set aside {self.period.words}; in this run directory {error.message}",
            hint=hint,
        )


@dataclass(frozen=True, slots=True)
class RunAllowance:
    """What a run has set aside in an account, as it was ``granted``.

    ``committed`` is what the directory had spent and held before. ``since`` is when it was set
    aside, in seconds since the epoch.
    """

    account: BudgetAccount
    granted: PeriodPreview
    committed: Credits
    since: float

    @property
    def budget(self) -> Credits:
        return self.granted.budget

    def settle(
        self, journal: Journal, terms: RunTerms, now: float, ending: Ending | None = None
    ) -> None:
        """Replace what was set aside by what the journal has.

        An error is logged: the allowance then stays set aside. Records the period's figures in the
        journal, for the report.
        """
        rules = self.granted.rules
        with keeping_on_errors(journal, rules.terms.account):
            usage = usage_of(journal, terms, rules.calendar, self.since, now)
            is_exhausted = False
            if ending is not None and self.granted.is_limited_by_period:
                codes = {stop.code for stop in ending.stops.values()}
                is_exhausted = BUDGET_EXHAUSTED in codes
            settle_usage(self.account, journal, usage, rules, now, is_exhausted=is_exhausted)


@contextmanager
def keeping_on_errors(journal: Journal, account: str) -> Iterator[None]:
    """Settle a run in the block; log an error, after which its credits stay set aside."""
    try:
        yield
    except (CrucibleBatchError, OSError, sqlite3.Error) as error:
        logger.warning(
            "what was not spent stays set aside (%s); to release it: %s",
            error,
            shell_command("budget", "release", account, journal.path.parent.parent),
        )


def settle_usage(
    account: BudgetAccount,
    journal: Journal,
    usage: RunUsage,
    rules: PeriodRules,
    now: float,
    *,
    is_exhausted: bool,
) -> None:
    """Replace what was set aside for a run by what it has used.

    Also note the figures of the period for its report.
    """
    account.settle(usage, now)
    period = rules.calendar.at(now)
    shares = Allowance(rules.limit, {each.run: each.share for each in account.shares(period)})
    note_period(
        journal, rules.terms.account, rules.calendar, period, shares, exhausted=is_exhausted
    )


@contextmanager
def settled(
    allowance: RunAllowance, journal: Journal, terms: RunTerms, clock: Clock
) -> Iterator[Callable[[Ending], None]]:
    """Yield a function that settles the allowance at the end of the run.

    If the block fails, it is settled as well.
    """
    is_open = True

    def settle(ending: Ending | None = None) -> None:
        nonlocal is_open
        if is_open:
            is_open = False
            allowance.settle(journal, terms, clock.now(), ending)

    try:
        yield settle
    finally:
        settle()


def usage_of(
    journal: Journal, terms: RunTerms | None, calendar: Calendar, since: float, now: float
) -> RunUsage:
    """Return what a run directory's journal has used in each period from ``since`` to ``now``."""
    charges = dated(journal, prices_of(terms), _periods(calendar, since, now), now)
    return _usage(journal, terms, charges)


def _periods(calendar: Calendar, since: float, now: float) -> list[BudgetPeriod]:
    """Return the periods in which charges between two moments may be."""
    return list(calendar.between(min(since, now), max(since, now) + CLOCK_TOLERANCE_S))


def prices_of(terms: RunTerms | None) -> PriceBook:
    """Return an empty price book with the ceilings of a run, if it has begun."""
    if terms is None:
        return PriceBook()
    return PriceBook.of(terms)


def _usage(journal: Journal, terms: RunTerms | None, charges: DatedLedger) -> RunUsage:
    return RunUsage(
        run=noted_run_in_account(journal) or "",
        run_dir=os.path.realpath(journal.path.parent.parent),
        manifest="" if terms is None else terms.manifest_path,
        events=journal.last_number(),
        by_period={period.first: charges.used_in(period) for period in charges.periods},
        unanswered=charges.unanswered + charges.ledger.held_for_refunds,
    )


def _most_needed(
    journal: Journal, terms: RunTerms, prices: PriceBook, choice: JobFilter
) -> Credits | None:
    """Return the most that the remaining jobs may cost; None if one has no bound."""
    if prices.ceiling is None and not prices.highest:
        return None
    return most_needed(prices, *left_to_buy(journal, terms, choice))


def preview(
    manifest: Manifest, settings: Settings, directory: Path, terms: RunTerms, own: Credits | None
) -> PeriodPreview | None:
    """Return what a run could set aside now; None if the manifest has no period. Changes nothing.

    ``own`` is the run's own budget, if it has one. Raises ``BudgetAccountError``.
    """
    rules = PeriodRules.of(manifest, settings.base_url)
    if rules is None:
        return None
    with journal_of(directory) as journal:
        return preview_at(rules, settings, journal, terms, own=own, now=SystemClock().now())


def preview_at(
    rules: PeriodRules,
    settings: Settings,
    journal: Journal | None,
    terms: RunTerms,
    *,
    own: Credits | None,
    now: float,
) -> PeriodPreview:
    """Return what a run could set aside at a time in seconds since the epoch, as ``preview``."""
    period = rules.calendar.at(now)
    account = BudgetAccount.existing(rules.accounts_directory(settings), rules.terms)
    shares: dict[str, Share] = {}
    if account is not None:
        for each in account.shares(period):
            if journal is None or not is_journal_of(journal, each):
                shares[each.run] = each.share
    charges = dated(journal, prices_of(terms), [period], now)
    request = charges.request(period, own=own, need=None)
    _, credits = Allowance(rules.limit, shares).granted("", request)
    used = Share(request.certain, max(ZERO, request.used - request.certain))
    return PeriodPreview(
        rules,
        period,
        Allowance(rules.limit, {**shares, "": used}),
        charges.certain + credits,
        is_limited_by_period=request.wanted is None or credits < request.wanted,
    )


async def set_aside(
    rules: PeriodRules,
    journal: Journal,
    terms: RunTerms,
    settings: Settings,
    clock: Clock,
    *,
    own: Credits | None,
    choice: JobFilter,
    after: int | None = None,
    may_grow: bool = False,
    is_divided: bool = False,
    active: ExitStack,
) -> RunAllowance:
    """Set credits aside for a run, which is noted as active in ``active`` before that.

    The caller holds the lock of its directory, and nothing was bought by it yet. It closes
    ``active`` once the allowance is settled, or once the journal shows that shards have it.

    ``after`` is the number of the last event before the run, by default the newest event's.
    ``may_grow``: the run may add jobs to its plan, so that what it needs isn't known.
    ``is_divided``: its shards may spend all of it.

    What an earlier run of the directory has set aside and not spent is returned in the same step.
    Waits until ``CLOCK_TOLERANCE_S`` after the start of a period. Raises ``BudgetAccountError``.
    """
    account = BudgetAccount.create(rules.accounts_directory(settings), rules.terms)
    now = await _begin_in_period(rules.calendar, clock)
    if after is None:
        after = journal.last_number()
    run, previous = _identify(journal, account, after)
    # Before the account has the allowance: a process that is frozen in between may continue at
    # any time, and no copy of its directory may take its place meanwhile.
    active.enter_context(noted_as_active(account.path, run))
    period = rules.calendar.at(now)
    since = _set_aside_since(account, period, run) or now
    charges = dated(journal, prices_of(terms), _periods(rules.calendar, since, now), now)
    need = None
    if not may_grow:
        need = _most_needed(journal, terms, charges.ledger.prices, choice)
    request = charges.request(period, own=own, need=need)
    # In the journal first: if the process is killed in between, the journal has it and the account
    # doesn't.
    token = secrets.token_hex(8)
    note_allowance(journal, token)
    wanted = AllowanceRequest(token, previous, period, rules.limit, request, now, is_divided)
    grant = account.set_aside(_usage(journal, terms, charges), wanted)
    note_period(
        journal, rules.terms.account, rules.calendar, period, grant.standing, exhausted=False
    )
    granted = PeriodPreview(
        rules,
        period,
        grant.standing,
        charges.certain + grant.credits,
        is_limited_by_period=request.wanted is None or grant.credits < request.wanted,
        run=run,
    )
    return RunAllowance(account, granted, charges.ledger.committed, now)


def _set_aside_since(account: BudgetAccount, period: BudgetPeriod, run: str) -> float | None:
    """Return when a run has set aside what is not settled yet; None if there is no such credit."""
    shares = account.shares(period)
    return next((each.since for each in shares if each.run == run), None)


async def _begin_in_period(calendar: Calendar, clock: Clock) -> float:
    """Wait until ``CLOCK_TOLERANCE_S`` after the start of a period; return the time."""
    while True:
        now = clock.now()
        early_s = calendar.at(now).start + CLOCK_TOLERANCE_S - now
        if early_s <= 0:
            return now
        await clock.sleep(early_s)


def _identify(journal: Journal, account: BudgetAccount, events: int) -> tuple[str, str | None]:
    """Return the journal's id in its account, and its newest allowance there.

    A copy of a directory that is still there, or in which a run is active, gets an id of its own,
    and so does a journal from a backup: the former journal then is one that is gone. The journal of
    a run in an object store is the same one on each machine.
    """
    run = noted_run_in_account(journal)
    here = os.path.realpath(journal.path.parent.parent)
    share = None
    if run is not None:
        share = account.of_run(run)
    if share is not None and is_journal_of(journal, share, events=events):
        is_same = (
            share.run_dir == here
            or journal_outputs_url(journal) is not None
            or not _has_id(Path(share.run_dir), share.run)
        )
        if is_same and not is_active(account.path, share.run):
            return share.run, share.newest
    elif run is not None and share is None:
        return run, None
    run = secrets.token_hex(16)
    note_run_in_account(journal, run)
    return run, None


def _has_id(directory: Path, run: str) -> bool:
    try:
        if not Journal.exists(directory):
            return False
        with Journal.read(directory) as journal:
            return noted_run_in_account(journal) == run
    except (CrucibleBatchError, OSError):
        return False
