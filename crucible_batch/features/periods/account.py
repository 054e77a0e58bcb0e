"""The file of an account: the shares that runs have of its budget periods, in SQLite.

Each account has one file, named after the account and the gateway. Several processes may use it
together: everything that changes it is one ``BEGIN IMMEDIATE`` transaction. The rule is in
``core/allowance.py``.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from crucible_batch.core.allowance import Allowance, Share
from crucible_batch.core.budget_period import BudgetPeriod
from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.errors import BudgetAccountError
from crucible_batch.features.periods.active_runs import is_active
from crucible_batch.features.periods.database import create_file, put, reported, transaction
from crucible_batch.features.periods.records import (
    AccountShare,
    AccountTerms,
    AllowanceRequest,
    Grant,
    RunUsage,
)

SUFFIX = ".budget.sqlite3"


def account_file(directory: Path, account: str, gateway: str) -> Path:
    """Return the path of the file of an account at a gateway, given by its base URL."""
    return directory / f"{account}.{hashlib.sha256(gateway.encode()).hexdigest()[:8]}{SUFFIX}"


def account_files(directory: Path) -> list[Path]:
    """Return the files of all accounts in a directory, sorted by name."""
    if not directory.is_dir():
        return []
    return sorted(directory.glob(f"*{SUFFIX}"))


class BudgetAccount:
    """The file of one account. Each method is one transaction; all raise ``BudgetAccountError``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, directory: Path, terms: AccountTerms) -> BudgetAccount:
        """Return the account of these terms, with a new file if there is none.

        Raises ``BudgetAccountError`` if the account has other terms or the file can't be used.
        """
        path = account_file(directory, terms.account, terms.gateway)
        if not os.path.lexists(path):
            with reported(path):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                create_file(path, terms)
        return cls._of(path, terms)

    @classmethod
    def existing(cls, directory: Path, terms: AccountTerms) -> BudgetAccount | None:
        """Return the account of these terms; None if it has no file yet. Raises as ``create``."""
        path = account_file(directory, terms.account, terms.gateway)
        if not os.path.lexists(path):
            return None
        return cls._of(path, terms)

    @classmethod
    def _of(cls, path: Path, terms: AccountTerms) -> BudgetAccount:
        account = cls(path)
        account.require(terms)
        return account

    def require(self, terms: AccountTerms) -> None:
        """Raise ``BudgetAccountError`` if the account has other terms.

        Its periods would not be the same.
        """
        found = self.terms()
        for what, ours, theirs in (
            ("name", terms.account, found.account),
            ("gateway", terms.gateway, found.gateway),
            ("budget.per", terms.per, found.per),
            ("timezone", terms.zone, found.zone),
        ):
            if ours != theirs:
                raise BudgetAccountError(
                    f"budget account {terms.account}: this manifest has {what} {ours!r},"
                    f" and the runs before had {theirs!r}; nothing was spent",
                    hint=(
                        f"use the same {what} in all manifests of the account,"
                        " or give this one another budget.account"
                    ),
                )

    def terms(self) -> AccountTerms:
        """Return the terms that the account was created with."""
        with transaction(self.path) as connection:
            meta = dict(connection.execute("SELECT key, value FROM meta"))
        return AccountTerms(meta["account"], meta["gateway"], meta["per"], meta["zone"])

    def limit(self) -> Credits | None:
        """Return the limit of the newest run; None before the first."""
        with transaction(self.path) as connection:
            row = connection.execute("SELECT value FROM meta WHERE key = 'limit'").fetchone()
        if row is None:
            return None
        return _credits(row[0])

    def shares(self, period: BudgetPeriod) -> list[AccountShare]:
        """Return the shares of a period above 0, in the order of their directories."""
        with transaction(self.path) as connection:
            found = list(_shares(connection, period))
        return sorted((each for each in found if each.share.total), key=lambda each: each.run_dir)

    def of_run(self, run: str) -> AccountShare | None:
        """Return a run, with its allowance if it is not settled; None for an unknown run."""
        with transaction(self.path) as connection:
            return next(_read_shares(connection, "WHERE run = ?", run), None)

    def of_directory(self, run_dir: str) -> list[AccountShare]:
        """Return the runs of a directory, with their allowances if they are not settled."""
        with transaction(self.path) as connection:
            return list(_read_shares(connection, "WHERE run_dir = ?", run_dir))

    def set_aside(self, usage: RunUsage, wanted: AllowanceRequest) -> Grant:
        """Set credits aside for a run, in one transaction.

        What it had set aside before is settled first.
        """
        with transaction(self.path, write=True) as connection:
            _require_newest(connection, usage.run, wanted.previous, _COPIED)
            _close_predecessors(connection, usage, wanted.period, self.path)
            _settle(connection, usage, wanted.at)
            shares = _shares(connection, wanted.period)
            standing = Allowance(wanted.limit, {each.run: each.share for each in shares})
            standing, credits = standing.granted(usage.run, wanted.request)
            share = standing.shares[usage.run]
            connection.execute(
                "UPDATE shares SET newest = ?, allowance = ?, since = ?, first = ?, spent = ?,"
                " set_aside = ?, divided = ? WHERE run = ?",
                (
                    wanted.allowance,
                    wanted.allowance,
                    wanted.at,
                    wanted.period.first,
                    str(share.spent),
                    str(share.set_aside),
                    int(wanted.is_divided),
                    usage.run,
                ),
            )
            put(connection, "limit", str(wanted.limit))
        return Grant(wanted.allowance, credits, standing)

    def settle(self, usage: RunUsage, at: float) -> None:
        """Replace a run's share by what its journal has, and return the rest. May be repeated."""
        with transaction(self.path, write=True) as connection:
            _settle(connection, usage, at)

    def release(self, usage: RunUsage, newest: str | None, at: float) -> None:
        """Settle a run that has ended.

        Raises ``BudgetAccountError`` if its newest allowance is not ``newest``.
        """
        with transaction(self.path, write=True) as connection:
            _require_newest(connection, usage.run, newest, _CONTINUED)
            _settle(connection, usage, at)

    def write_off(
        self, run: str, newest: str | None, by_period: Mapping[str, Credits], at: float
    ) -> None:
        """Settle a run whose journal is gone, with these credits in each period.

        Raises as ``release`` does.
        """
        with transaction(self.path, write=True) as connection:
            _require_newest(connection, run, newest, _CONTINUED)
            for share in _read_shares(connection, "WHERE run = ?", run):
                _write_off(connection, share, by_period, at)


_COLUMNS = (
    "run, run_dir, manifest, unanswered, allowance, since, first, spent, set_aside, divided,"
    " newest, events"
)
_COPIED = "a copy of this run directory has set credits aside at the same time; nothing was spent"
_CONTINUED = "the run has set credits aside again at the same time; nothing was released"


def _require_newest(
    connection: sqlite3.Connection, run: str, previous: str | None, why: str
) -> None:
    """Raise ``BudgetAccountError`` if the newest allowance of the run is not ``previous``.

    The run has then set credits aside since the caller read it.
    """
    row = connection.execute("SELECT newest FROM shares WHERE run = ?", (run,)).fetchone()
    newest = None if row is None else row[0]
    if newest != previous:
        raise BudgetAccountError(why, hint="run the same command again")


def _shares(connection: sqlite3.Connection, period: BudgetPeriod) -> Iterator[AccountShare]:
    """Yield the share that each run has of a period.

    settled                    what it spent in the period, or else what is unanswered
    set aside now or earlier   all of it, spent or not
    set aside later            both: the clock was set back
    """
    spent = dict(
        connection.execute("SELECT run, credits FROM spent WHERE first = ?", (period.first,))
    )
    for share in _read_shares(connection):
        settled = share.unanswered
        if share.run in spent:
            settled = _credits(spent[share.run])
        if share.allowance is None:
            aside = min(share.unanswered, settled)
            yield replace(share, share=Share(settled - aside, aside))
        elif share.first is not None and share.first > period.first:
            yield replace(share, share=Share(settled, share.share.total))
        else:
            yield share


def _read_shares(
    connection: sqlite3.Connection, where: str = "", *values: str
) -> Iterator[AccountShare]:
    """Yield the runs that an SQL condition chooses; all runs without one."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM shares {where} ORDER BY run",  # noqa: S608 - constants
        values,
    )
    yield from map(_share, rows.fetchall())


def _share(row: tuple[Any, ...]) -> AccountShare:
    run, run_dir, manifest, unanswered, allowance, since, first, spent, aside, divided, *rest = row
    share = Share()
    if allowance is not None:
        share = Share(_credits(spent), _credits(aside))
    newest, events = rest
    return AccountShare(
        run=run,
        run_dir=run_dir,
        manifest=manifest,
        share=share,
        allowance=allowance,
        since=since,
        first=first,
        unanswered=_credits(unanswered),
        is_divided=bool(divided),
        newest=newest,
        events=events,
    )


def _settle(connection: sqlite3.Connection, usage: RunUsage, at: float) -> None:
    """Replace the run's share.

    Figures are never lowered by a journal with fewer events, such as one from a backup.
    """
    row = connection.execute(
        "SELECT events, unanswered FROM shares WHERE run = ?", (usage.run,)
    ).fetchone()
    is_older = row is not None and usage.events < int(row[0])
    unanswered = usage.unanswered
    if is_older:
        unanswered = max(unanswered, _credits(row[1]))
    connection.execute(
        "INSERT INTO shares (run, run_dir, manifest, events, unanswered, changed_at)"
        " VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (run) DO UPDATE SET run_dir = excluded.run_dir, manifest = excluded.manifest,"
        " events = max(events, excluded.events), unanswered = excluded.unanswered,"
        " changed_at = excluded.changed_at, allowance = NULL, since = NULL, first = NULL,"
        " spent = NULL, set_aside = NULL, divided = NULL",
        (usage.run, usage.run_dir, usage.manifest, usage.events, str(unanswered), at),
    )
    for first, credits in usage.by_period.items():
        _put_spent(connection, usage.run, first, max(ZERO, credits), keep_higher=is_older)


def _close_predecessors(
    connection: sqlite3.Connection, usage: RunUsage, period: BudgetPeriod, account: Path
) -> None:
    """Count what earlier journals of the same directory hold or have set aside as spent.

    These journals are gone. Not what may be spent later: by shards, or by a run that is active
    where its directory was moved.
    """
    for share in _shares(connection, period):
        is_former = share.run_dir == usage.run_dir and share.run != usage.run
        if not is_former or not (share.allowance or share.unanswered):
            continue
        if _may_be_spent(share, account):
            continue
        firsts = {share.first or period.first, period.first}
        by_period = dict.fromkeys(firsts, share.share.total)
        _write_off(connection, share, by_period, share.since or 0.0)


def _may_be_spent(share: AccountShare, account: Path) -> bool:
    return share.is_divided or is_active(account, share.run)


def _write_off(
    connection: sqlite3.Connection, share: AccountShare, by_period: Mapping[str, Credits], at: float
) -> None:
    connection.execute(
        "UPDATE shares SET unanswered = '0', changed_at = ?, allowance = NULL, since = NULL,"
        " first = NULL, spent = NULL, set_aside = NULL, divided = NULL WHERE run = ?",
        (at, share.run),
    )
    for first, credits in by_period.items():
        _put_spent(connection, share.run, first, credits, keep_higher=False)


def _put_spent(
    connection: sqlite3.Connection, run: str, first: str, credits: Credits, *, keep_higher: bool
) -> None:
    row = connection.execute(
        "SELECT credits FROM spent WHERE run = ? AND first = ?", (run, first)
    ).fetchone()
    if keep_higher and row is not None:
        credits = max(credits, _credits(row[0]))
    connection.execute(
        "INSERT OR REPLACE INTO spent (run, first, credits) VALUES (?, ?, ?)",
        (run, first, str(credits)),
    )


def _credits(value: object) -> Credits:
    """Return a stored amount. Raises ``ValueError`` if the file doesn't hold one."""
    if isinstance(value, str) and len(value) <= 60:
        amount = Decimal(value)
        if amount.is_finite() and amount >= 0:
            return amount
    raise ValueError("an amount of credits is not readable")
