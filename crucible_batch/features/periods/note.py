"""What a journal notes about a period's budget: the run's id in its account, and the figures."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import ValidationError

from crucible_batch.core.allowance import Allowance
from crucible_batch.core.budget_period import BudgetPeriod, Calendar
from crucible_batch.features.periods.records import AccountShare
from crucible_batch.journal import Journal
from crucible_batch.report import PeriodRow

_RUN_ID = "budget id"
_PERIOD = "budget period"
_ALLOWANCE = "budget allowance "


def noted_run_in_account(journal: Journal) -> str | None:
    """Return the journal's id in its account; None if it has not been in one."""
    return journal.noted(_RUN_ID)


def note_run_in_account(journal: Journal, run: str) -> None:
    journal.note(_RUN_ID, run)


def note_allowance(journal: Journal, allowance: str) -> None:
    """Store the id of what is about to be set aside, beside all earlier ones."""
    journal.note(_ALLOWANCE + allowance, "")


def is_journal_of(journal: Journal, share: AccountShare, *, events: int | None = None) -> bool:
    """Whether a journal is that of a run, as it is now.

    A journal from a backup lacks what was set aside or done since.

    ``events`` is the number of its last event, before any was added that isn't counted yet; as it
    is by default.
    """
    if noted_run_in_account(journal) != share.run:
        return False
    if share.newest is not None and journal.noted(_ALLOWANCE + share.newest) is None:
        return False
    if events is None:
        events = journal.last_number()
    return share.events <= events


def noted_period(journal: Journal) -> PeriodRow | None:
    """Return the figures of the newest run's period; None without a readable one."""
    try:
        return PeriodRow.model_validate_json(journal.noted(_PERIOD) or "")
    except ValidationError:
        return None


def note_period(
    journal: Journal,
    account: str,
    calendar: Calendar,
    period: BudgetPeriod,
    shares: Allowance,
    *,
    exhausted: bool,
) -> None:
    """Store the figures of a period, by the shares of its runs."""
    figures = PeriodRow(
        account=account,
        per=period.per,
        limit=shares.limit,
        spent=shares.spent,
        set_aside=shares.set_aside,
        until=calendar.clock_text(period.end),
        ends_at=datetime.fromtimestamp(period.end, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        exhausted=exhausted,
    )
    journal.note(_PERIOD, figures.model_dump_json())


def forget_period(journal: Journal) -> None:
    """Remove the figures: the newest run has no period."""
    if journal.noted(_PERIOD):
        journal.note(_PERIOD, "")
