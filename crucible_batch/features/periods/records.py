"""What an account's file holds, and what runs ask of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from crucible_batch.core.allowance import Allowance, Share, ShareRequest
from crucible_batch.core.budget_period import BudgetPeriod
from crucible_batch.core.credits import Credits


@dataclass(frozen=True, slots=True)
class AccountTerms:
    """What all runs of an account have in common. ``zone`` is the name of its time zone."""

    account: str
    gateway: str
    per: str
    zone: str


@dataclass(frozen=True, slots=True)
class RunUsage:
    """What one run directory has used, by its journal.

    ``run`` is the journal's id for this purpose. ``events`` is the number of its last event.
    ``by_period`` has the credits that it used in each period (key: ``BudgetPeriod.first``),
    ``unanswered`` included: what it holds for requests without an answer, and for refunds that were
    not seen.
    """

    run: str
    run_dir: str
    manifest: str
    events: int
    by_period: Mapping[str, Credits]
    unanswered: Credits


@dataclass(frozen=True, slots=True)
class AccountShare:
    """The share that a run has of one period.

    ``allowance`` identifies what it has set aside; None if it is settled. ``since`` is when it was
    set aside, in seconds since the epoch, in the period ``first``. ``is_divided``: it is set aside
    for shards, which may spend it without the account's knowledge. ``newest`` identifies the newest
    that it has set aside, also if it is settled, and ``events`` is the number of its journal's last
    event that is counted: a journal without them is older.
    """

    run: str
    run_dir: str
    manifest: str
    share: Share
    allowance: str | None
    since: float | None
    first: str | None
    unanswered: Credits
    is_divided: bool
    newest: str | None
    events: int


@dataclass(frozen=True, slots=True)
class Grant:
    """The credits that were set aside for a run, and the shares of the account's period with it."""

    allowance: str
    credits: Credits
    standing: Allowance


@dataclass(frozen=True, slots=True)
class AllowanceRequest:
    """A request of a run to set credits aside in ``period`` of at most ``limit``.

    ``allowance`` identifies what is set aside, and ``previous`` is the run's newest one before.
    ``is_divided``: it is for shards.
    """

    allowance: str
    previous: str | None
    period: BudgetPeriod
    limit: Credits
    request: ShareRequest
    at: float
    is_divided: bool = False
