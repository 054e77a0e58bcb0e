"""Planning: what a run would do and cost. Uploads nothing, spends nothing and leaves no files behind."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Unpack

import httpx

from crucible_batch.api.cancellation import Deadline
from crucible_batch.api.connecting import current_settings, gateway_for, require_key, unread_env_file
from crucible_batch.api.draft import check_filter, read_source, run_directory, run_terms
from crucible_batch.api.earlier_runs import EarlierRun, find_earlier_run, note_earlier_run
from crucible_batch.api.notifying import notes_for_plan
from crucible_batch.api.period_budget import PeriodPreview, preview
from crucible_batch.api.plan_comparison import Comparer, Comparison, compared
from crucible_batch.api.plan_rows import (
    UPLOADS,
    PlanCounts,
    PriceLine,
    job_states,
    journal_of,
    plan_rows,
    price_lines,
    starts_of,
    with_paid,
)
from crucible_batch.api.price_memory import recall_prices
from crucible_batch.api.prune_mark import refuse_if_pruned
from crucible_batch.api.renaming import find_known_jobs
from crucible_batch.api.request import (
    JobFilter,
    ManifestKeywords,
    RunRequest,
    check_keywords,
    check_request,
    check_run_directory,
    check_saving,
    follow_plan,
    make_request,
)
from crucible_batch.api.run_location import refuse_saved_plan
from crucible_batch.api.saved_plans import PlanBasis, PlanStaleness
from crucible_batch.api.workflows import plan_jobs
from crucible_batch.domain.budget import budget_for
from crucible_batch.domain.credits import ZERO, Credits
from crucible_batch.domain.gateway_types import AssetStatus, ErrorInfo
from crucible_batch.domain.ledger import Ledger
from crucible_batch.domain.plan import RunTerms
from crucible_batch.domain.ports import Gateway
from crucible_batch.domain.prices import UPLOAD_CLASS, Certainty, PriceBook, Shape, workflow_class
from crucible_batch.domain.retry_rule import Remedy, remedy_for
from crucible_batch.domain.saved_plan import PlanHead, PlannedPrice, PlannedState, PlanOptions, PlanTotals
from crucible_batch.journal import Binding, PlanFile
from crucible_batch.manifest import Manifest
from crucible_batch.saved_plan import PLAN_VERSION, write_saved_plan
from crucible_batch.settings import Settings


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """What a run would do and cost.

    ``states`` counts the jobs: ``new``, ``done``, ``in_flight`` (left by an earlier run), ``failed``. ``to_upload`` and
    ``reused_images`` count distinct images. ``balance`` is the amount that the account has available. Without an API
    key, ``reused_images`` and ``balance`` are None. ``notes`` are messages for the user. ``digest`` is that of the
    saved plan, if one was written or read. ``blocked`` is the reason if no job can start; None if one can or there is
    nothing to buy. ``enough`` is a budget that covers everything, each job at its declared ceiling, otherwise at the
    highest price seen; None if a job has neither. ``remedy`` is what to do about the failed jobs; None if there are
    none, or if they are to be retried. ``remake`` is the command that makes the saved plan again, if one was read.
    ``left_s`` is the time left of a run's deadline, in seconds. ``earlier_dir`` is the directory of an earlier run of
    this manifest in another folder. ``period`` is the manifest's period; ``budget`` is then
    what a run could set aside now, beside what the directory has spent.
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
    period: PeriodPreview | None = None

    @property
    def is_settled(self) -> bool:
        """Whether a run would change nothing: each job is done or failed, and no answer is outstanding."""
        return self.comparison.is_settled and not self.held

    @property
    def may_exceed(self) -> Credits | None:
        """The most by which the budget may be exceeded, if no price rises by more than a factor of ``SURGE`` at once.

        Only jobs that can still be admitted count. 0 if both ceilings are declared, if there is no budget, or if the
        budget covers all purchases at their bounds. None if a price is unknown: the first job of that shape, and only
        that one, may cost more than is left.
        """
        jobs = [line.beyond for line in self.lines if line.what != UPLOADS and line.can_start]
        each = [line.beyond for line in self.lines if line.what == UPLOADS]
        if self.budget is None or not jobs or self._has_room_for_bounds(self.budget):
            return ZERO
        if None in jobs or None in each:
            return None
        one_job = max((beyond for beyond in jobs if beyond is not None), default=ZERO)
        return one_job + sum((beyond for beyond in each if beyond is not None), ZERO) * self.uploads_per_job

    def _has_room_for_bounds(self, budget: Credits) -> bool:
        """Return whether the budget covers all purchases at their bounds, so that no job has to be admitted alone."""
        bounds = [line.bound and line.bound * line.count for line in self.lines]
        return None not in bounds and self.spent + self.held + sum(filter(None, bounds), ZERO) <= budget

    @property
    def least(self) -> Credits:
        """The lowest expected cost."""
        return sum((line.least_each * line.count for line in self.lines), ZERO)

    @property
    def most(self) -> Credits | None:
        """The highest possible cost; None if a price has no declared ceiling."""
        total = ZERO
        for line in self.lines:
            if line.most_each is None:
                return None
            total += line.most_each * line.count
        return total

    @property
    def estimate(self) -> Credits:
        """The sum of all prices that are not unknown, lower and upper bounds mixed: see ``least`` and ``most``."""
        return sum((line.total for line in self.lines if line.total is not None), ZERO)

    @property
    def certainty(self) -> Certainty:
        """The certainty of the estimate: that of its least certain line."""
        order = list(Certainty)
        return max((line.certainty for line in self.lines), key=order.index, default=Certainty.KNOWN)

    @property
    def balance_after(self) -> Credits | None:
        return None if self.balance is None else self.balance - self.estimate

    @property
    def over_budget(self) -> Credits:
        """The amount by which the estimate exceeds what is left of the budget; 0 without a budget."""
        if self.budget is None:
            return ZERO
        return max(ZERO, self.spent + self.held + self.estimate - self.budget)

    @property
    def prices(self) -> tuple[PlannedPrice, ...]:
        """The price of each price class, in the form of a saved plan."""
        counts: Counter[str] = Counter()
        for line in self.lines:
            counts[UPLOAD_CLASS if line.what == UPLOADS else workflow_class(line.what)] += line.count
        quotes = ((price_class, count, self.book.quote(Shape(price_class))) for price_class, count in counts.items())
        return tuple(
            PlannedPrice(price_class, count, quote.certainty, quote.credits) for price_class, count, quote in quotes
        )

    @property
    def totals(self) -> PlanTotals:
        """The totals, in the form of a saved plan."""
        states = {state.value: self.states.get(state, 0) for state in PlannedState}
        return PlanTotals(self.total, states, self.estimate, self.certainty, self.spent, self.held)


async def plan(
    manifest: str | Path,
    *,
    out_dir: str | Path | None = None,
    run_id: str | None = None,
    budget: Decimal | int | str | None = None,
    retry_failed: bool = False,
    only: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    save_to: str | Path | None = None,
    force: bool = False,
    all_rows: bool = False,
    deadline_s: float | None = None,
    settings: Settings | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    **options: Unpack[ManifestKeywords],
) -> PlanSummary:
    """Return what ``run`` with the same arguments would do and cost. Spends nothing, and writes only ``save_to``.

    With ``save_to`` the plan is saved: ``run`` of that file does exactly what was planned, or nothing. An existing
    saved plan is replaced, any other file only if ``force`` is true; links are not followed. ``manifest`` may itself be
    a saved plan, which is then compared with the present state. ``all_rows`` keeps a row of the comparison for each
    job. Without an API key, parameters are not checked against their workflows, and the account is not read.
    ``deadline_s`` is in seconds from the call. ``options`` are those of ``ManifestKeywords``.

    Raises ``UserError``, ``ManifestError`` with all problems, ``GatewayError``, ``StalePlanError``, ``DeadlineError``
    when ``deadline_s`` is over, and ``KeyRefusedError`` if the key is refused, or if there is none and ``save_to`` is
    given or ``manifest`` is a saved plan.
    """
    check_keywords("plan", options, ManifestKeywords)
    request = make_request(
        manifest,
        out_dir=out_dir,
        run_id=run_id,
        budget=budget,
        retry_failed=retry_failed,
        only=only,
        variables=variables,
        deadline_s=deadline_s,
        **options,
    )
    target = None if save_to is None else Path(save_to)
    return await plan_request(request, target, force=force, all_rows=all_rows, settings=settings, transport=transport)


async def plan_request(
    request: RunRequest,
    save_to: Path | None = None,
    *,
    force: bool = False,
    all_rows: bool = False,
    settings: Settings | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> PlanSummary:
    """Plan a request, as ``plan`` does."""
    check_request(request)
    deadline = Deadline(request.deadline_s)
    request = follow_plan(request)
    settings = settings or current_settings()
    async with deadline.kept(), AsyncExitStack() as stack:
        if save_to is not None:
            refuse_saved_plan(request.out_dir)
        if save_to is not None or request.plan is not None:
            check_saving(request, save_to, force=force)
            require_key(settings, request.manifest)
        manifest = read_source(request, deadline.check)
        terms = run_terms(manifest, request)
        directory = run_directory(request.out_dir, terms)
        check_run_directory(directory)
        refuse_if_pruned(directory)
        notes = [*map(str, manifest.warnings), *notes_for_plan(manifest, request, settings)]
        notes += _notes_of(settings, manifest)
        earlier: EarlierRun | None = None
        if request.out_dir is None:
            binding = Binding(terms.manifest_name, terms.run_id, settings.base_url.rstrip("/"))
            earlier = find_earlier_run(directory, manifest.path, binding, settings.api_key)
            if earlier is not None:
                notes.append(note_earlier_run(earlier, directory))
        gateway: Gateway | None = None
        if settings.api_key is not None:
            gateway = await stack.enter_async_context(gateway_for(settings, transport=transport))
        draft = stack.enter_context(PlanFile.temporary())
        basis = PlanBasis(manifest, terms, settings.base_url.rstrip("/"))
        staleness = PlanStaleness(request, basis)
        with staleness.explaining():
            await plan_jobs(draft, basis, gateway, deadline.check)
        staleness.check(draft, directory)
        check_filter(draft, request.job_filter)
        if (known := find_known_jobs(draft, directory, basis.binding)) is not None:
            notes.append(str(known))
        period = preview(manifest, settings, directory, terms, request.budget)
        terms = terms if period is None else replace(terms, budget=period.budget)
        summary = await summarise(
            draft, terms, directory, gateway, choice=request.job_filter, notes=tuple(notes), all_rows=all_rows
        )
        summary = _with_period(summary, period)
        earlier_dir = None if earlier is None else earlier.directory
        lines = with_paid(summary.lines, recall_prices(settings))
        summary = replace(summary, lines=lines, earlier_dir=earlier_dir)
        if save_to is None:
            return replace(summary, digest=terms.plan_digest, remake=request.remake)
        return replace(summary, digest=_save(save_to, request, basis, draft, summary, force=force))


def _notes_of(settings: Settings, manifest: Manifest) -> Iterator[str]:
    """Yield what a plan notes about the settings."""
    if settings.ignored:
        yield settings.ignored
    if settings.api_key is None:
        yield "no API key: parameters, balance and uploaded images were not checked"
        if (hint := unread_env_file(settings, manifest.path)) is not None:
            yield hint


def _with_period(summary: PlanSummary, period: PeriodPreview | None) -> PlanSummary:
    if period is None:
        return summary
    blocked = None if summary.blocked is None else period.explain(summary.blocked)
    return replace(summary, period=period, blocked=blocked)


def _save(
    target: Path, request: RunRequest, basis: PlanBasis, draft: PlanFile, summary: PlanSummary, *, force: bool
) -> str:
    """Write the plan and return its digest. Raises as ``write_saved_plan`` does."""
    source, run_dir = basis.source, summary.run_dir
    base = os.path.dirname(os.path.realpath(target))  # noqa: PTH120 - realpath gives text
    with journal_of(run_dir) as journal:
        head = PlanHead(
            schema_version=PLAN_VERSION,
            manifest=basis.manifest_at(_relative(source.directory / source.path.name, base)),
            gateway=basis.gateway,
            options=PlanOptions(
                run_id=basis.terms.run_id,
                run_dir=_relative(run_dir, base),
                budget=request.budget,
                retry_failed=request.job_filter.retry_failed,
                only=request.job_filter.only,
                variables=dict(request.variables),
                allow_outside=request.allow_outside,
                max_jobs=request.max_jobs,
                max_manifest_bytes=request.max_manifest_bytes,
                scheduled_at=basis.scheduled_at_of(request),
            ),
            terms=basis.held_to,
            workflows=basis.lists,
            prices=summary.prices,
            totals=summary.totals,
            # Read before the jobs: events that a run adds meanwhile may already be in the states, but none is missed.
            events=0 if journal is None else journal.last_number(),
        )
        rows = plan_rows(draft, journal, basis.terms, request.job_filter, base=source.directory, prices=summary.book)
        return write_saved_plan(target, head, rows, force=force)


def _relative(path: Path, base: str) -> str:
    directory = os.path.realpath(path.parent)
    return Path(os.path.relpath(Path(directory, path.name), base)).as_posix()


async def summarise(
    draft: PlanFile,
    terms: RunTerms,
    directory: Path,
    gateway: Gateway | None,
    *,
    choice: JobFilter = JobFilter(),  # noqa: B008 - frozen
    notes: tuple[str, ...] = (),
    all_rows: bool = False,
) -> PlanSummary:
    """Compare a plan with the present state of the run directory and the account, and return the summary.

    Without a gateway, the account's assets and balance are left out.
    """
    with ExitStack() as stack:
        journal = stack.enter_context(journal_of(directory))
        prices = PriceBook.of(terms)
        ledger = Ledger(prices)
        for subject, event in journal.events() if journal is not None else ():
            ledger.apply(subject, event)
        tally = PlanCounts(retry_failed=choice.retry_failed)
        comparer = Comparer(all_rows=all_rows)
        chosen = (found for found in job_states(draft, journal, terms.rule) if choice.takes(found[0].name))
        for row in compared(
            tally.counting(chosen), draft, journal, rule=terms.rule, choice=choice, directory=directory
        ):
            comparer.take(row)
    comparison = comparer.comparison()
    ready = await _ready_digests(gateway, tally.digests)
    to_upload = len(tally.digests - (ready or set()))
    starts = starts_of(tally, ledger, terms.budget, no_image_is_there=ready is not None and not ready)
    return PlanSummary(
        manifest_name=terms.manifest_name,
        run_id=terms.run_id,
        run_dir=directory,
        total=sum(tally.states.values()),
        states=tally.states,
        lines=tuple(price_lines(prices, tally, to_upload, starts.shapes)),
        to_upload=to_upload,
        reused_images=None if ready is None else len(tally.digests & ready),
        budget=terms.budget,
        spent=ledger.spent,
        held=ledger.held,
        balance=(await gateway.account()).available if gateway is not None else None,
        notes=notes,
        comparison=comparison,
        book=prices,
        uploads_per_job=tally.most_images if to_upload else 0,
        blocked=starts.blocked,
        enough=budget_for(ledger, tally.to_buy, to_upload),
        remedy=remedy_for(comparison.failed_codes, terms.never),
    )


async def _ready_digests(gateway: Gateway | None, wanted: set[str]) -> set[str] | None:
    if gateway is None:
        return None
    if not wanted:
        return set()
    return {
        asset.sha256
        for asset in await gateway.assets()
        if asset.sha256 is not None and asset.sha256 in wanted and asset.status is AssetStatus.READY
    }
