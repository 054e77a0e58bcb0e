"""A summary of a plan: what a run would do and cost, by the present state of its directory and of
the account.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from crucible_batch.core.budget import budget_for
from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.gateway_types import AssetStatus, ErrorInfo
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.plan import RunTerms
from crucible_batch.core.ports import Gateway
from crucible_batch.core.prices import Certainty, PriceBook, Shape
from crucible_batch.core.retry_rule import Remedy, remedy_for
from crucible_batch.core.saved_plan import PlannedState, PlanTotals
from crucible_batch.core.sharding import PlannedShard
from crucible_batch.journal import PlanFile
from crucible_batch.runs.later_jobs import LaterJobs, NextStage
from crucible_batch.runs.outstanding_shards import waits_for_shards
from crucible_batch.runs.plan_comparison import Comparison, compare
from crucible_batch.runs.plan_rows import (
    UPLOADS,
    PlanCounts,
    PriceLine,
    job_states,
    price_lines,
    stage_lines,
    starts_of,
)
from crucible_batch.runs.request import JobFilter
from crucible_batch.runs.run_journal import journal_of, ledger_of


@dataclass(frozen=True, slots=True)
class StagePreview:
    """A stage whose jobs are not known yet, with the prices of those that are expected."""

    stage: NextStage
    lines: tuple[PriceLine, ...]


@dataclass(frozen=True, slots=True)
class PlannedPeriod:
    """The budget that the plan's is part of: credits that several runs share until a time.

    ``words`` is the period as in "this month", ``until`` its end as local time with the name of the
    zone. ``is_limiting``: the plan's budget would be higher if the period had more left.
    """

    account: str
    per: str
    words: str
    limit: Credits
    spent: Credits
    set_aside: Credits
    left: Credits
    until: str
    is_limiting: bool


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """What a run would do and cost.

    ``states`` counts the jobs: ``new``, ``done``, ``in_flight`` (left by an earlier run),
    ``failed``. ``to_upload`` and ``reused_images`` count distinct images. ``balance`` is the amount
    that the account has available. Without an API key, ``reused_images`` and ``balance`` are None.
    ``notes`` are messages for the user. ``digest`` is that of the saved plan, if one was written or
    read. ``blocked`` is the reason if no job can start; None if one can or there is nothing to buy.
    ``enough`` is a budget that covers everything, each job at its declared ceiling, otherwise at
    the highest price seen; None if a job has neither. ``remedy`` is what to do about the failed
    jobs; None if there are none, or if they are to be retried. ``remake`` is the command that makes
    the saved plan again, if one was read. ``left_s`` is the time left of a run's deadline, in
    seconds. ``earlier_dir`` is the directory of an earlier run of this manifest in another folder.
    ``period`` is the manifest's period; ``budget`` is then what a run could set aside now, beside
    what the directory has spent. ``shards`` are those of a divided plan. ``stages`` are those whose
    jobs are made from the outputs of other jobs: a run may add these jobs. ``is_waiting``: a run is
    refused until the shards of another plan of the directory are merged. ``outputs_at`` is the URL
    of the run of a divided plan, if its outputs are in an object store.
    """

    manifest_name: str
    run_id: str
    run_dir: Path
    total: int
    states: Mapping[str, int]
    lines: tuple[PriceLine, ...]
    to_upload: int
    reused_images: int | None
    budget: Credits | None
    spent: Credits
    held: Credits
    balance: Credits | None
    notes: tuple[str, ...] = ()
    digest: str | None = None
    comparison: Comparison = field(default_factory=Comparison)
    book: PriceBook = field(default_factory=PriceBook, repr=False, compare=False)
    uploads_per_job: int = 0
    blocked: ErrorInfo | None = None
    enough: Credits | None = None
    left_s: float | None = None
    remedy: Remedy | None = None
    remake: str | None = None
    earlier_dir: Path | None = None
    period: PlannedPeriod | None = None
    shards: tuple[PlannedShard, ...] = ()
    is_waiting: bool = False
    stages: tuple[StagePreview, ...] = ()
    outputs_at: str | None = None

    @property
    def is_settled(self) -> bool:
        """Whether a run would change nothing: each job is done or failed, and no answer is
        outstanding.
        """
        return self.comparison.is_settled and not self.held

    @property
    def set_aside(self) -> Credits:
        """The sum of the allowances of the plan's shards."""
        return sum((shard.allowance for shard in self.shards), ZERO)

    @property
    def may_exceed(self) -> Credits | None:
        """The most by which the budget may be exceeded, if no price rises by more than ``SURGE``
        times in one step.

        Only jobs that can still be admitted count. 0 if both ceilings are declared, if there is no
        budget, or if the budget covers all purchases at their bounds. None if a price is unknown:
        the first job of that shape, and only that one, may cost more than is left.
        """
        jobs = [line.beyond for line in self.lines if line.what != UPLOADS and line.can_start]
        each = [line.beyond for line in self.lines if line.what == UPLOADS]
        if self.budget is None or not jobs or self._has_room_for_bounds(self.budget):
            return ZERO
        if None in jobs or None in each:
            return None
        one_job = max((beyond for beyond in jobs if beyond is not None), default=ZERO)
        return (
            one_job
            + sum((beyond for beyond in each if beyond is not None), ZERO) * self.uploads_per_job
        )

    def _has_room_for_bounds(self, budget: Credits) -> bool:
        """Return whether the budget covers all purchases at their bounds, so that no job has to be
        admitted alone."""
        bounds = [line.bound and line.bound * line.count for line in self.lines]
        return (
            None not in bounds
            and self.spent + self.held + sum(filter(None, bounds), ZERO) <= budget
        )

    @property
    def later_lines(self) -> tuple[PriceLine, ...]:
        """The price lines of the jobs that the run may add: those of all stages that don't wait for
        picks.
        """
        return tuple(
            line for preview in self.stages if preview.stage.is_counted for line in preview.lines
        )

    @property
    def later(self) -> Credits:
        """What these jobs cost, as far as their prices are known."""
        return sum((line.total for line in self.later_lines if line.total is not None), ZERO)

    @property
    def least(self) -> Credits:
        return sum((line.least_each * line.count for line in self.lines), ZERO)

    @property
    def falls_short(self) -> bool:
        """Whether even the least possible cost is more than is left of the budget."""
        if self.budget is None:
            return False
        return self.least > self.budget - self.spent - self.held

    @property
    def most(self) -> Credits | None:
        """The highest possible cost; None if a price has no declared ceiling."""
        return _most(self.lines)

    @property
    def most_with_stages(self) -> Credits | None:
        """The highest possible cost with the jobs that the run may add; None if a price has no
        declared ceiling."""
        return _most((*self.lines, *self.later_lines))

    @property
    def estimate(self) -> Credits:
        """The sum of all prices that are not unknown, lower and upper bounds mixed: see ``least``
        and ``most``.
        """
        return sum((line.total for line in self.lines if line.total is not None), ZERO)

    @property
    def certainty(self) -> Certainty:
        """The certainty of the estimate: that of its least certain line."""
        order = list(Certainty)
        return max(
            (line.certainty for line in self.lines), key=order.index, default=Certainty.KNOWN
        )

    @property
    def over_budget(self) -> Credits:
        """The amount by which the estimate exceeds what is left of the budget; 0 without a budget.

        The jobs that the run may add count.
        """
        if self.budget is None:
            return ZERO
        return max(ZERO, self.spent + self.held + self.estimate + self.later - self.budget)

    @property
    def totals(self) -> PlanTotals:
        """The totals, in the form of a saved plan."""
        states = {state.value: self.states.get(state, 0) for state in PlannedState}
        return PlanTotals(self.total, states, self.estimate, self.certainty, self.spent, self.held)


async def summarise(
    draft: PlanFile,
    terms: RunTerms,
    directory: Path,
    gateway: Gateway | None,
    *,
    choice: JobFilter,
    notes: tuple[str, ...] = (),
    all_rows: bool = False,
    later: LaterJobs | None = None,
) -> PlanSummary:
    """Compare a plan with the present state of the run directory and the account, and return the
    summary.

    Without a gateway, the account's assets and balance are left out. ``later`` has the jobs that
    its run may add.
    """
    stages = () if later is None else later.next_stages(choice.left_out)
    prices, tally, rule = PriceBook.of(terms), PlanCounts(choice), terms.rule
    with journal_of(directory) as journal:
        ledger = ledger_of(journal, prices)
        jobs = tally.counting(
            found for found in job_states(draft, journal, rule) if choice.takes(found[0].name)
        )
        comparison = compare(
            jobs, draft, journal, rule=rule, choice=choice, directory=directory, all_rows=all_rows
        )
    reused, balance = await _read_account(gateway, tally.digests)
    to_upload = len(tally.digests) - (reused or 0)
    starts = starts_of(tally, ledger, terms.budget, no_image_is_there=reused == 0)
    return PlanSummary(
        manifest_name=terms.manifest_name,
        run_id=terms.run_id,
        run_dir=directory,
        total=sum(tally.states.values()),
        states=tally.states,
        lines=tuple(price_lines(prices, tally, to_upload, starts.shapes)),
        to_upload=to_upload,
        reused_images=reused,
        budget=terms.budget,
        spent=ledger.spent,
        held=ledger.held,
        balance=balance,
        notes=notes,
        comparison=comparison,
        book=prices,
        uploads_per_job=tally.most_images if to_upload else 0,
        blocked=starts.blocked,
        enough=_enough(ledger, tally.to_buy, to_upload, stages),
        remedy=remedy_for(comparison.failed_codes, terms.never),
        is_waiting=waits_for_shards(directory),
        stages=tuple(
            StagePreview(each, stage_lines(prices, each.shapes, each.uploads)) for each in stages
        ),
    )


def _enough(
    ledger: Ledger, jobs: Mapping[Shape, int], uploads: int, stages: Iterable[NextStage]
) -> Credits | None:
    """Return a budget for these jobs and uploads, and for the jobs that the run may add."""
    to_buy = Counter(jobs)
    for stage in stages:
        if stage.is_counted:
            to_buy.update(stage.shapes)
            uploads += stage.uploads
    return budget_for(ledger, to_buy, uploads)


def _most(lines: Iterable[PriceLine]) -> Credits | None:
    total = ZERO
    for line in lines:
        if line.most_each is None:
            return None
        total += line.most_each * line.count
    return total


async def _read_account(
    gateway: Gateway | None, digests: set[str]
) -> tuple[int | None, Credits | None]:
    """Return how many of the images the account has, and its available credits, if it is known."""
    if gateway is None:
        return None, None
    ready = set[str | None]()
    if digests:
        assets = await gateway.assets()
        ready = {asset.sha256 for asset in assets if asset.status is AssetStatus.READY}
    return len(digests & ready), (await gateway.account()).available
