"""Which budget is enough for what a run has left, as far as its journal tells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from crucible_batch.api.plan_rows import PlanCounts
from crucible_batch.api.status import newest_rule, newest_terms
from crucible_batch.domain.asset import AssetPhase
from crucible_batch.domain.budget import budget_for
from crucible_batch.domain.credits import Credits
from crucible_batch.domain.ledger import Ledger
from crucible_batch.domain.prices import PriceBook
from crucible_batch.journal import Journal


def budget_for_rest(
    run_dir: str | Path, *, takes: Callable[[str], bool] = lambda _: True, retry_failed: bool = False
) -> Credits | None:
    """Return the budget that has room for the jobs that are left; None where the price of one isn't known.

    ``takes`` says by its name whether a job is wanted. Images that the journal doesn't know at the gateway count as
    uploads. Raises ``RunDirectoryError`` and ``JournalError``.
    """
    with Journal.read(Path(run_dir)) as journal:
        ledger = Ledger(PriceBook.of(newest_terms(journal)))
        for subject, event in journal.events():
            ledger.apply(subject, event)
        tally = PlanCounts(retry_failed=retry_failed)
        for row in journal.jobs(newest_rule(journal)):
            if takes(row[0].name):
                tally.add(*row)
        there = {asset.sha256 for asset in journal.assets() if asset.phase is AssetPhase.READY}
    return budget_for(ledger, tally.to_buy, len(tally.digests - there))
