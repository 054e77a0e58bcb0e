"""What all jobs would cost and how long they would take, by those that were tried."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Sequence

from crucible_batch.core.asset import AssetPhase
from crucible_batch.core.attempt import Attempt, credits_committed
from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.job import Job, Phase
from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.prices import UPLOAD, Certainty, PriceBook
from crucible_batch.core.saved_plan import PlannedState
from crucible_batch.features.sample.note import Tried
from crucible_batch.journal import Journal
from crucible_batch.report import AllJobsRow
from crucible_batch.runs.plan_rows import PlanCounts, price_lines, state_of
from crucible_batch.runs.request import JobFilter
from crucible_batch.runs.run_journal import ledger_of, newest_run

_CENT = Credits("0.01")


def estimate_of(journal: Journal, tried: Tried) -> AllJobsRow | None:
    """Return what all jobs would cost, and how long those that are left would take.

    None if nothing is left to buy. Jobs that would be made from outputs count as often, and at as
    much, as those of the jobs that were tried.
    """
    terms, choice = newest_run(journal).terms, JobFilter(tried.only)
    prices = PriceBook.of(terms)
    ledger = ledger_of(journal, prices)
    tally = _Tally(choice, journal.run_starts())
    for planned, job in journal.jobs(terms.rule):
        if choice.takes(planned.name):
            tally.add(planned, job)
    if not tally.counts.to_buy:
        return None
    ready = {asset.sha256 for asset in journal.assets() if asset.phase is AssetPhase.READY}
    lines = tuple(price_lines(prices, tally.counts, len(tally.counts.digests - ready), frozenset()))
    known = [line.likely_each * line.count for line in lines if line.likely_each is not None]
    upload = prices.quote(UPLOAD)
    of_upload = ZERO
    if upload.certainty is Certainty.LEARNED and upload.credits is not None:
        of_upload = upload.credits
    more = sum(known, ZERO) + tally.made_more(of_upload)
    return AllJobsRow(
        option=tried.option,
        number=tried.number,
        jobs=tally.jobs + tally.jobs_more,
        credits=ledger.spent + ledger.held + more,
        more_credits=more,
        more_seconds=tally.more_seconds,
        unknown_prices=sorted({line.what for line in lines if line.likely_each is None}),
    )


class _Tally:
    """The jobs of a manifest: those that were tried, and what is left."""

    def __init__(self, choice: JobFilter, run_starts: Sequence[float]) -> None:
        self.counts = PlanCounts(choice)
        self.jobs = 0
        self._run_starts = run_starts
        self._names = set[str]()
        self._left = self._done = 0
        self._made = self._uploaded = 0
        self._made_for: Credits = ZERO
        """What jobs that are made from others cost, and how many of them have uploaded these."""
        self._run = 0
        """The newest run that bought something: when it did, and for how many jobs."""
        self._times: list[float] = []
        self._bought = 0

    def add(self, planned: PlannedJob, job: Job) -> None:
        self.jobs += 1
        self.counts.add(planned, job)
        self._names.add(planned.name)
        is_made = planned.source_name in self._names
        self._note_times(job.attempts, is_made=is_made)
        if is_made:
            assert planned.source is not None
            self._made += 1
            self._made_for += credits_committed(job.attempts)
            self._uploaded += planned.source.sha256 in planned.digests
        elif job.phase is Phase.SUCCEEDED:
            self._done += 1
        elif state_of(job) is PlannedState.NEW:
            self._left += 1

    def _note_times(self, attempts: Iterable[Attempt], *, is_made: bool) -> None:
        times = [
            (each.held_at, each.ended_at)
            for each in attempts
            if each.ended_at is not None and not each.reused
        ]
        if not times:
            return
        run = bisect(self._run_starts, times[-1][0])
        if run < self._run:
            return
        if run > self._run:
            self._run, self._times, self._bought = run, [], 0
        self._times += times[-1]
        self._bought += not is_made

    @property
    def jobs_more(self) -> int:
        """The number of jobs that are likely to be made from outputs of those that are left."""
        return round(self._made * self._left / self._done) if self._done else 0

    def made_more(self, of_upload: Credits) -> Credits:
        """What is likely to be paid for these jobs; an upload costs ``of_upload``."""
        if not self._done:
            return ZERO
        paid = self._made_for + of_upload * self._uploaded
        return (paid * self._left / self._done).quantize(_CENT)

    @property
    def more_seconds(self) -> float | None:
        """How long the rest takes if each job takes as long as those of the newest run that bought
        some."""
        if not self._bought:
            return None
        return (max(self._times) - min(self._times)) / self._bought * self._left
