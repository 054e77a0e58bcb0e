"""The rows and figures of a plan: the jobs of each shape that are to be bought, and prices."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

from crucible_batch.core.asset import AssetPhase
from crucible_batch.core.budget import (
    AdmissionState,
    Block,
    HoldRequest,
    decide_admission,
    raised_budget,
)
from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.filled_fields import FilledFields, filled_fields
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Job, Phase
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.plan import InputImage, PlannedJob, RunTerms
from crucible_batch.core.prices import (
    UPLOAD,
    Certainty,
    PaidPrice,
    PriceBook,
    Shape,
    shape_of,
    shape_params,
)
from crucible_batch.core.resuming import may_reopen
from crucible_batch.core.retry_rule import RetryRule
from crucible_batch.core.saved_plan import ImageFile, PlannedState, PlanRow
from crucible_batch.errors import CrucibleBatchError
from crucible_batch.journal import Journal, PlanFile
from crucible_batch.manifest import Manifest
from crucible_batch.runs.request import JobFilter
from crucible_batch.runs.run_journal import journal_of, ledger_of, newest_run


def filled_in(directory: Path, manifest: Manifest) -> FilledFields:
    """Return the parameters that ``prompt:`` and ``image:`` have filled in the directory's plan;
    none without one.

    That a journal can't be read is reported where it is needed; a damaged plan is replaced.
    """
    named = frozenset(name for entry in manifest.jobs for name in entry.job.images)
    try:
        with journal_of(directory) as journal:
            if journal is None or not journal.is_created():
                return {}
            return filled_fields(journal.plan(samples=True), named)
    except CrucibleBatchError:
        return {}


def job_states(
    draft: PlanFile, journal: Journal | None, rule: RetryRule
) -> Iterator[tuple[PlannedJob, Job]]:
    """Yield the draft's jobs in manifest order, each with its state from the journal."""
    for planned in draft.jobs():
        if journal is None:
            job = Job(planned.identity, has_images=bool(planned.images), rule=rule)
        else:
            job = journal.job(planned, rule)
        yield planned, job


def state_of(job: Job) -> PlannedState:
    """Return the state of a job in the terms of a plan."""
    match job.phase:
        case Phase.SUCCEEDED:
            return PlannedState.DONE
        case Phase.FAILED | Phase.BLOCKED:
            return PlannedState.FAILED
        case Phase.READY | Phase.PREPARING:
            return PlannedState.NEW
        case _:
            return PlannedState.IN_FLIGHT


def plan_rows(
    draft: PlanFile,
    journal: Journal | None,
    terms: RunTerms,
    choice: JobFilter,
    *,
    base: Path,
    prices: PriceBook,
) -> Iterator[PlanRow]:
    """Yield the row of each chosen job, in manifest order.

    ``base`` is the manifest's directory: paths of images are relative to it. ``prices`` are the
    known prices.
    """
    real = os.path.realpath(base)
    for planned, job in job_states(draft, journal, terms.rule):
        if choice.takes(planned.name):
            yield plan_row(planned, job, choice, base=real, prices=prices)


def plan_row(
    planned: PlannedJob, job: Job, choice: JobFilter, *, base: str, prices: PriceBook
) -> PlanRow:
    """Return the row of one job. ``base`` is the real path of the manifest's directory."""
    state = state_of(job)
    price: Credits | None = ZERO
    if state is PlannedState.NEW or retries(choice, job):
        price = prices.quote(shape_of(planned)).credits
    return PlanRow(
        name=planned.name,
        identity=planned.identity,
        workflow_id=planned.workflow_id,
        state=state,
        credits=price,
        params=planned.params,
        images={param: _image(image, base) for param, image in planned.images.items()},
        repeat=planned.repeat,
        markers=planned.markers,
    )


def _image(image: InputImage, base: str) -> ImageFile:
    return ImageFile(Path(os.path.relpath(image.path, base)).as_posix(), image.spec.sha256)


UPLOADS = "uploads"
SHAPES_SHOWN = 12
"""A workflow with more shapes than this has a single line in a plan, with the highest price seen
for any shape."""


@dataclass(frozen=True, slots=True)
class PriceLine:
    """The purchases of one shape: a workflow with certain parameters, or uploads.

    ``params`` are the parameters that distinguish the workflow's shapes, empty if it has only one.
    ``each`` is the highest price seen if ``certainty`` is LEARNED, the declared ceiling if BOUNDED,
    and None if UNKNOWN: the price is then learned from one job that runs alone. ``total`` is
    ``each`` times ``count``. ``ceiling`` is ``max_credits_per_job`` or ``max_credits_per_upload``,
    if declared. ``bound`` is the amount held for one purchase until it is answered. ``can_start``
    is false if the budget or the declared ceiling admits no purchase. ``paid`` is what an earlier
    run of the account paid, if this directory knows no price: an estimate that nothing is decided
    by.
    """

    what: str
    count: int
    certainty: Certainty
    each: Credits | None
    ceiling: Credits | None = None
    bound: Credits | None = None
    params: Mapping[str, object] = field(default_factory=dict)
    can_start: bool = True
    shape: Shape = UPLOAD
    paid: PaidPrice | None = None

    @property
    def total(self) -> Credits | None:
        if self.each is None:
            return None
        return self.each * self.count

    @property
    def least_each(self) -> Credits:
        """The lowest expected cost of one purchase."""
        if self.each is None or self.certainty is Certainty.BOUNDED:
            return ZERO
        return self.each

    @property
    def most_each(self) -> Credits | None:
        """The highest possible cost of one purchase; None if no ceiling is declared."""
        if self.ceiling is None:
            return None
        return max(self.each or ZERO, self.ceiling)

    @property
    def likely_each(self) -> Credits | None:
        """The highest price seen of one purchase, else what an earlier run paid; None if neither is
        known."""
        if self.certainty is Certainty.LEARNED:
            return self.each
        return None if self.paid is None else self.paid.credits

    @property
    def beyond(self) -> Credits | None:
        """The most by which a purchase that is admitted alone may exceed what is left; None if that
        has no bound."""
        if self.ceiling is not None:
            return ZERO
        if self.bound is None or self.each is None:
            return None
        return self.bound - self.each


@dataclass(frozen=True, slots=True)
class Starts:
    """The shapes of which a job may be admitted.

    If there is no such shape, ``blocked`` is the first job's reason.
    """

    shapes: Set[Shape]
    blocked: ErrorInfo | None = None


def starts_of(
    tally: PlanCounts, ledger: Ledger, budget: Credits | None, *, no_image_is_there: bool
) -> Starts:
    """Return the shapes of which a job may be admitted, by the rule that a run follows.

    Held credits count as left, since all of them may be released. An image is uploaded with any one
    of the jobs that need it: if one job can start with its uploads, the others may not need any.
    """
    first: ErrorInfo | None = None
    for shape, images in tally.least_images.items():
        uploads = images if no_image_is_there else 0
        error = _blocked(shape, uploads, ledger, budget)
        if error is None:
            break
        first = first or error
    else:
        return Starts(frozenset(), first)
    return Starts({shape for shape in tally.to_buy if _blocked(shape, 0, ledger, budget) is None})


def _blocked(
    shape: Shape, uploads: int, ledger: Ledger, budget: Credits | None
) -> ErrorInfo | None:
    request = HoldRequest(shape, uploads, held=ledger.held)
    decision = decide_admission(request, ledger, budget, AdmissionState(others_active=False))
    return decision.error if isinstance(decision, Block) else None


def price_lines(
    prices: PriceBook, tally: PlanCounts, to_upload: int, startable: Set[Shape]
) -> Iterator[PriceLine]:
    """Yield the price lines of a plan.

    ``startable`` are the shapes of which a job may be admitted.
    """
    for price_class, shapes in tally.by_class().items():
        apart = _apart([tally.params[shape] for shape in shapes])
        if len(shapes) > SHAPES_SHOWN:
            count = sum(tally.to_buy[shape] for shape in shapes)
            starts = not startable.isdisjoint(shapes)
            yield replace(_line(prices, Shape(price_class), count, {}), can_start=starts)
            continue
        for shape in shapes:
            params = {name: value for name, value in tally.params[shape].items() if name in apart}
            yield replace(
                _line(prices, shape, tally.to_buy[shape], params), can_start=shape in startable
            )
    if to_upload:
        yield _line(prices, UPLOAD, to_upload, {})


def stage_lines(
    prices: PriceBook, shapes: Mapping[Shape, int], uploads: int
) -> tuple[PriceLine, ...]:
    """Return the price lines of jobs that are only expected, by workflow."""
    counts: Counter[str] = Counter()
    for shape, count in shapes.items():
        counts[shape.price_class] += count
    if len(shapes) == 1:
        lines = [_line(prices, shape, count, {}) for shape, count in shapes.items()]
    else:
        lines = [_line(prices, Shape(each), count, {}) for each, count in counts.items()]
    if uploads:
        lines.append(_line(prices, UPLOAD, uploads, {}))
    return tuple(lines)


def _line(prices: PriceBook, shape: Shape, count: int, params: Mapping[str, object]) -> PriceLine:
    quote = prices.quote(shape)
    what = UPLOADS if shape == UPLOAD else shape.name
    ceiling, bound = prices.ceiling_of(shape), prices.bound(shape)
    return PriceLine(
        what, count, quote.certainty, quote.credits, ceiling, bound, params, shape=shape
    )


def with_paid(lines: Iterable[PriceLine], paid: Mapping[Shape, PaidPrice]) -> tuple[PriceLine, ...]:
    """Return the lines with the prices that earlier runs paid, if this directory has no price of
    its own."""

    def completed(line: PriceLine) -> PriceLine:
        if line.certainty is Certainty.LEARNED:
            return line
        price = paid.get(line.shape) or paid.get(Shape(line.shape.price_class))
        return replace(line, paid=price)

    return tuple(map(completed, lines))


def _apart(every: Sequence[Mapping[str, object]]) -> set[str]:
    """Return the names of the parameters whose values are not all equal."""
    names = set().union(*every)
    return {
        name for name in names if any(params.get(name) != every[0].get(name) for params in every)
    }


class PlanCounts:
    """The number of jobs in each state, the purchases to be made, and the images that they need."""

    def __init__(self, choice: JobFilter) -> None:
        self._choice = choice
        self.states: Counter[str] = Counter()
        self.to_buy: Counter[Shape] = Counter()
        self.params: dict[Shape, Mapping[str, object]] = {}
        self.digests: set[str] = set()
        self.most_images = 0
        self.least_images: dict[Shape, int] = {}
        """The smallest number of images that a job of each shape needs."""

    def by_class(self) -> dict[str, list[Shape]]:
        """Return the shapes that are to be bought, by price class, in the order of their first
        jobs."""
        found: dict[str, list[Shape]] = {}
        for shape in self.to_buy:
            found.setdefault(shape.price_class, []).append(shape)
        return found

    def _count(self, planned: PlannedJob) -> None:
        shape = shape_of(planned)
        self.to_buy[shape] += 1
        if shape not in self.params:
            self.params[shape] = shape_params(planned)
        self.digests.update(planned.digests)
        images = len(planned.digests)
        self.most_images = max(self.most_images, images)
        self.least_images[shape] = min(images, self.least_images.get(shape, images))

    def counting(self, jobs: Iterable[tuple[PlannedJob, Job]]) -> Iterator[tuple[PlannedJob, Job]]:
        """Count the jobs, and yield each unchanged."""
        for planned, job in jobs:
            self.add(planned, job)
            yield planned, job

    def add(self, planned: PlannedJob, job: Job) -> None:
        state = state_of(job)
        if retries(self._choice, job):
            state = PlannedState.NEW
        self.states[state] += 1
        if state is PlannedState.NEW:
            self._count(planned)


def retries(choice: JobFilter, job: Job) -> bool:
    """Whether a run of this choice makes another attempt at a failed job."""
    return choice.retry_failed and may_reopen(job, buys_again=choice.buys_again)


def left_to_buy(
    journal: Journal, terms: RunTerms, choice: JobFilter
) -> tuple[Mapping[Shape, int], int]:
    """Return the purchases that remain in a run directory: how many jobs of each shape, and how
    many uploads.

    Images count as uploads unless the journal has them as ready at the gateway.
    """
    counts = PlanCounts(choice)
    for planned, job in journal.jobs(terms.rule):
        if choice.takes(planned.name, planned.source_name):
            counts.add(planned, job)
    ready = {asset.sha256 for asset in journal.assets() if asset.phase is AssetPhase.READY}
    return counts.to_buy, len(counts.digests - ready)


def budget_for_remaining(journal: Journal, choice: JobFilter) -> Credits | None:
    """Return a budget for the jobs that remain, by the terms of the newest run; None if no budget
    is enough.

    See ``raised_budget`` and ``left_to_buy``.
    """
    terms = newest_run(journal).terms
    jobs, uploads = left_to_buy(journal, terms, choice)
    return raised_budget(
        ledger_of(journal, PriceBook.of(terms)), jobs, uploads, terms.budget or ZERO
    )
