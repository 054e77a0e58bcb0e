"""What remains to be bought in a run directory, and the budget for it."""

from __future__ import annotations

from crucible_batch.api.plan_rows import PlanCounts
from crucible_batch.api.request import JobFilter
from crucible_batch.domain.asset import AssetPhase
from crucible_batch.domain.budget import raised_budget
from crucible_batch.domain.credits import ZERO, Credits
from crucible_batch.domain.ledger import Ledger
from crucible_batch.domain.prices import PriceBook
from crucible_batch.journal import Journal


def budget_for_remaining(journal: Journal, job_filter: JobFilter = JobFilter()) -> Credits | None:  # noqa: B008 - frozen
    """Return a budget for the remaining jobs, by the terms of the newest run; None if no budget is enough.

    See ``raised_budget``. Images count as uploads unless the journal has them as ready at the gateway.
    """
    terms = journal.runs()[-1].terms
    ledger = Ledger(PriceBook.of(terms))
    for subject, event in journal.events():
        ledger.apply(subject, event)
    counts = PlanCounts(job_filter)
    for row in journal.jobs(terms.rule):
        if job_filter.takes(row[0].name):
            counts.add(*row)
    ready = {asset.sha256 for asset in journal.assets() if asset.phase is AssetPhase.READY}
    return raised_budget(ledger, counts.to_buy, len(counts.digests - ready), terms.budget or ZERO)
