"""The budgets of accounts: what each run uses of a period, and the release of what a run left."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from crucible_batch.core.allowance import Allowance, Share
from crucible_batch.core.budget_period import BudgetPeriod, Calendar, Per
from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.errors import (
    BudgetAccountError,
    CrucibleBatchError,
    RunBusyError,
    RunDirectoryError,
)
from crucible_batch.features.periods.account import BudgetAccount, account_files
from crucible_batch.features.periods.active_runs import is_active
from crucible_batch.features.periods.note import is_journal_of
from crucible_batch.features.periods.period_budget import dated, prices_of, usage_of
from crucible_batch.features.periods.records import AccountShare, AccountTerms
from crucible_batch.journal import Journal, is_locked
from crucible_batch.object_url import ObjectUrl
from crucible_batch.runs.directory import locked
from crucible_batch.runs.outstanding_shards import refuse_outstanding
from crucible_batch.runs.paths import state_directory_of
from crucible_batch.runs.shard_notes import noted_shards, outstanding_shards
from crucible_batch.scheduled_time import read_timezone
from crucible_batch.settings import ACCOUNTS_VARIABLE, Settings

_LENGTHS: dict[str, Per] = {"day": "day", "week": "week", "month": "month"}


@dataclass(frozen=True, slots=True)
class BudgetRun:
    """A run's share of a period. ``is_active``: a run holds its directory's lock now.

    ``is_open``: credits are set aside for the run, since ``since`` (seconds since the epoch).
    ``is_gone``: there is no journal in its directory any more. ``has_shards``: they are set aside
    for shards that are not merged yet.
    """

    run_dir: Path
    manifest: str
    share: Share
    is_open: bool
    is_active: bool
    is_gone: bool
    since: float | None
    has_shards: bool


@dataclass(frozen=True, slots=True)
class BudgetState:
    """An account in its present period.

    ``limit`` is that of the newest run; None before the first.
    """

    terms: AccountTerms
    file: Path
    period: BudgetPeriod
    calendar: Calendar
    limit: Credits | None
    runs: tuple[BudgetRun, ...]

    @property
    def shares(self) -> Allowance:
        return Allowance(
            self.limit or ZERO, {str(number): run.share for number, run in enumerate(self.runs)}
        )

    @property
    def until(self) -> str:
        """The end of the period, as local time with the name of the zone."""
        return self.calendar.clock_text(self.period.end)


def budget_states(
    settings: Settings, *, now: float, account: str | None = None
) -> list[BudgetState]:
    """Return the state of each account, or of those with this name: one for each gateway.

    Changes nothing. Raises ``BudgetAccountError``, also if there is no account of this name.
    """
    found = [_state_of(each, now) for each in _accounts(settings)]
    if account is None:
        return found
    named = [each for each in found if each.terms.account == account]
    if not named:
        raise _unknown(account, (each.terms.account for each in found), settings)
    return named


def _accounts(settings: Settings) -> Iterator[BudgetAccount]:
    if settings.accounts_directory is None:
        raise BudgetAccountError(
            "there is no directory of budget accounts: HOME is not set",
            hint=f"set {ACCOUNTS_VARIABLE} to the directory that the runs use",
        )
    yield from map(BudgetAccount, account_files(settings.accounts_directory))


def _unknown(account: str, known: Iterable[str], settings: Settings) -> BudgetAccountError:
    names = ", ".join(sorted(set(known)))
    there = "no run has used one yet"
    if names:
        there = f"there are: {names}"
    return BudgetAccountError(
        f"there is no budget account {account} in {settings.accounts_directory}",
        hint=f"{there}; {ACCOUNTS_VARIABLE} names another directory",
    )


def calendar_of(terms: AccountTerms) -> Calendar:
    """Return the periods of an account. Raises ``BudgetAccountError`` if they can't be read."""
    try:
        return Calendar(_LENGTHS[terms.per], read_timezone(terms.zone))
    except (KeyError, ValueError) as error:
        raise BudgetAccountError(
            f"budget account {terms.account}: its periods can't be read: {error}",
            hint="install the time zone data of this machine, or upgrade crucible-batch",
        ) from error


def _state_of(account: BudgetAccount, now: float) -> BudgetState:
    terms = account.terms()
    calendar = calendar_of(terms)
    period = calendar.at(now)
    runs = tuple(map(_run_of, account.shares(period)))
    return BudgetState(terms, account.path, period, calendar, account.limit(), runs)


def _run_of(share: AccountShare) -> BudgetRun:
    directory = Path(share.run_dir)
    is_gone, has_shards = False, False
    try:
        with Journal.read(directory) as journal:
            is_gone = not is_journal_of(journal, share)
            has_shards = outstanding_shards(journal) is not None
    except (CrucibleBatchError, OSError):
        is_gone = True
    return BudgetRun(
        run_dir=directory,
        manifest=share.manifest,
        share=share.share,
        is_open=share.allowance is not None,
        is_active=not is_gone and is_locked(directory),
        is_gone=is_gone,
        since=share.since,
        has_shards=has_shards,
    )


@dataclass(frozen=True, slots=True)
class ReleasedBudget:
    """What a release changed: the share of the account's present period before and after."""

    terms: AccountTerms
    run_dir: Path
    before: Share
    after: Share

    @property
    def released(self) -> Credits:
        """The credits that are available again in this period."""
        return max(ZERO, self.before.total - self.after.total)


def release_budget(
    settings: Settings,
    account: str,
    run_dir: str | Path,
    *,
    now: float,
    forget_unanswered: bool = False,
) -> list[ReleasedBudget]:
    """Return what a run that has ended set aside and did not spend. May be repeated.

    ``run_dir`` is the run's directory, or its URL if this machine was the last one to run it.

    The run's journal has what was spent. Credits that it holds for unanswered requests, and for
    refunds that were not seen, stay set aside, unless ``forget_unanswered``. If the directory's
    journal is gone, all that was set aside counts as spent in each period since then: the directory
    may only be renamed, and its run may continue and spend all of it.

    Raises ``RunBusyError`` if a run is active in the directory, ``ShardsOutstandingError`` until
    its shards are merged, ``BudgetAccountError``, ``RunDirectoryError``, ``JournalError``, and
    ``UserError`` for an invalid URL.
    """
    url = ObjectUrl.parse(run_dir)
    real = os.path.realpath(run_dir if url is None else state_directory_of(url))
    found = [(each, each.terms()) for each in _accounts(settings)]
    named = [(each, terms) for each, terms in found if terms.account == account]
    if not named:
        raise _unknown(account, (terms.account for _, terms in found), settings)
    released = []
    for each, terms in named:
        shares = each.of_directory(real)
        if not shares:
            continue
        releasing = _Releasing(each, calendar_of(terms), Path(real), now, forget_unanswered)
        before, after = releasing.release(shares)
        released.append(ReleasedBudget(terms, Path(real), before, after))
    if not released:
        raise BudgetAccountError(
            f"budget account {account} has nothing of {url or run_dir}",
            hint=f"crucible-batch budget show {account}",
        )
    return released


@dataclass(frozen=True, slots=True)
class _Releasing:
    account: BudgetAccount
    calendar: Calendar
    directory: Path
    now: float
    forget_unanswered: bool

    def release(self, shares: list[AccountShare]) -> tuple[Share, Share]:
        """Settle the runs of the directory.

        Return its share of the present period before and after.
        """
        before = self._total()
        if any(is_active(self.account.path, each.run) for each in shares):
            raise RunBusyError(
                f"a run of {self.directory} is active, there or where the directory was moved",
                hint="wait until it ends, then run the same command again",
            )
        if self._has_journal():
            with locked(self.directory), Journal.read(self.directory) as journal:
                # What its shards have spent is not in its journal yet.
                refuse_outstanding(noted_shards(journal), self.directory)
                ours = [each for each in shares if is_journal_of(journal, each)]
                for each in ours:
                    self._settle(journal, each)
                self._write_off([each for each in shares if each not in ours])
        else:
            self._write_off(shares)
        return before, self._total()

    def _has_journal(self) -> bool:
        try:
            return Journal.exists(self.directory)
        except RunDirectoryError:
            if self.directory.exists():
                raise
            return False

    def _settle(self, journal: Journal, share: AccountShare) -> None:
        runs = journal.runs()
        terms = None
        if runs:
            terms = runs[-1].terms
        since = self._since(share)
        usage = usage_of(journal, terms, self.calendar, since, self.now)
        if self.forget_unanswered:
            periods = self.calendar.between(min(since, self.now), self.now + 60)
            charges = dated(journal, prices_of(terms), periods, self.now)
            forgotten = {
                each.first: charges.unanswered_in(each) + charges.refunds_in(each)
                for each in charges.periods
            }
            by_period = {
                first: used - forgotten.get(first, ZERO) for first, used in usage.by_period.items()
            }
            usage = replace(usage, by_period=by_period, unanswered=ZERO)
        self.account.release(usage, share.newest, self.now)

    def _write_off(self, shares: Sequence[AccountShare]) -> None:
        if any(each.is_divided for each in shares) and not self.forget_unanswered:
            raise BudgetAccountError(
                f"shards of {self.directory} may still spend what is set aside,"
                " and their run directory is not there",
                hint=(
                    "put it back and merge them;"
                    " if no shard will run any more, add --forget-unanswered"
                ),
            )
        for share in shares:
            if share.allowance is None and not (share.unanswered and self.forget_unanswered):
                continue
            by_period: dict[str, Credits] = {}
            if share.allowance is not None:
                periods = self.calendar.between(min(self._since(share), self.now), self.now)
                by_period = {each.first: share.share.total for each in periods}
            self.account.write_off(share.run, share.newest, by_period, self.now)

    def _since(self, share: AccountShare) -> float:
        return self.now if share.since is None else share.since

    def _total(self) -> Share:
        period = self.calendar.at(self.now)
        shares = [
            each.share
            for each in self.account.shares(period)
            if each.run_dir == str(self.directory)
        ]
        found = Allowance(ZERO, {str(number): share for number, share in enumerate(shares)})
        return Share(found.spent, found.set_aside)
