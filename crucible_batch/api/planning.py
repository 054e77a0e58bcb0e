"""What a run would do and cost: the left half alone. It uploads nothing, spends nothing and leaves nothing behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import httpx

from crucible_batch.api.asked import Asked, asked, check_saving
from crucible_batch.api.connecting import current_settings, gateway_for, require_key
from crucible_batch.api.draft import (
    Choice,
    ManifestOptions,
    check_choice,
    fill_plan,
    plan_jobs,
    read_source,
    run_terms,
)
from crucible_batch.api.following import Following
from crucible_batch.api.saving import Grounds, save_plan
from crucible_batch.api.standing import journal_of, standing, state_of
from crucible_batch.core.answers import AssetStatus
from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.job import Job
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.plan import PlannedJob, RunTerms
from crucible_batch.core.ports import Gateway
from crucible_batch.core.prices import UPLOAD_CLASS, Certainty, PriceBook, workflow_class
from crucible_batch.core.retry import RetryRule
from crucible_batch.core.saved_plan import PlannedPrice, PlannedState, PlanTotals
from crucible_batch.journal import PlanFile
from crucible_batch.manifest import Manifest
from crucible_batch.settings import Settings

DEFAULT_OUTPUTS = Path("outputs")


@dataclass(frozen=True, slots=True)
class PriceLine:
    """What one class of purchases comes to.

    ``each`` and ``total`` are exact where ``certainty`` is KNOWN, at least that where LEARNED, at most that where
    BOUNDED, and None where UNKNOWN: the price is then found with one job alone.
    """

    what: str
    count: int
    certainty: Certainty
    each: Credits | None

    @property
    def total(self) -> Credits | None:
        return None if self.each is None else self.each * self.count


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """What a run would do and cost.

    ``states`` counts the jobs: ``new``, ``done``, ``in_flight`` (an earlier run left them), ``failed``. ``to_upload``
    and ``reused_images`` count distinct images; ``reused_images`` is None where the gateway wasn't asked.
    ``balance`` is what the account has available, None where it wasn't asked. ``notes`` are for people. ``digest`` is
    that of the saved plan, where one was written or read.
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

    @property
    def estimate(self) -> Credits:
        """The sum of all prices that are not unknown."""
        return sum((line.total for line in self.lines if line.total is not None), ZERO)

    @property
    def certainty(self) -> Certainty:
        """How well the estimate is known: as well as the worst of its lines."""
        order = list(Certainty)
        return max((line.certainty for line in self.lines), key=order.index, default=Certainty.KNOWN)

    @property
    def balance_after(self) -> Credits | None:
        return None if self.balance is None else self.balance - self.estimate

    @property
    def over_budget(self) -> Credits:
        """By how much the estimate goes beyond what the budget leaves."""
        if self.budget is None:
            return ZERO
        return max(ZERO, self.spent + self.held + self.estimate - self.budget)

    @property
    def prices(self) -> tuple[PlannedPrice, ...]:
        """The lines by price class, as a saved plan has them."""
        uploads = len(self.lines) - 1 if self.to_upload else None
        classes = (UPLOAD_CLASS if at == uploads else workflow_class(line.what) for at, line in enumerate(self.lines))
        return tuple(
            PlannedPrice(price_class, line.count, line.certainty, line.each)
            for price_class, line in zip(classes, self.lines, strict=True)
        )

    @property
    def totals(self) -> PlanTotals:
        """The figures, as a saved plan has them."""
        states = {state.value: self.states.get(state, 0) for state in PlannedState}
        return PlanTotals(self.total, states, self.estimate, self.certainty, self.spent, self.held)


def run_directory(out_dir: Path | None, terms: RunTerms) -> Path:
    """Where a run's results go: ``outputs/NAME/RUN_ID`` unless the caller says otherwise."""
    return out_dir if out_dir is not None else DEFAULT_OUTPUTS / terms.manifest_name / terms.run_id


async def plan(
    manifest: str | Path,
    *,
    out_dir: str | Path | None = None,
    run_id: str | None = None,
    budget: Decimal | int | str | None = None,
    retry_failed: bool = False,
    only: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    allow_outside: bool = False,
    max_jobs: int = 100_000,
    save_to: str | Path | None = None,
    settings: Settings | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> PlanSummary:
    """Say what ``run`` with the same arguments would do and cost. Spends nothing, and writes nothing but ``save_to``.

    With ``save_to`` the plan is saved: ``run`` of that file does what it says or nothing. ``manifest`` may be a saved
    plan itself, which is then held against what is there now.
    Without a key it works as far as it can: parameters are then not checked against their workflows. Raises
    ``UserError``, ``ManifestError`` with all that is wrong, ``GatewayError``, ``StalePlanError``, and for a plan to be
    saved ``KeyRefusedError`` where there is no key.
    """
    wants = asked(
        manifest,
        out_dir=out_dir,
        run_id=run_id,
        budget=budget,
        retry_failed=retry_failed,
        only=only,
        variables=variables,
        allow_outside=allow_outside,
        max_jobs=max_jobs,
    )
    return await _plan(wants, None if save_to is None else Path(save_to), settings or current_settings(), transport)


async def _plan(
    wants: Asked, save_to: Path | None, settings: Settings, transport: httpx.AsyncBaseTransport | None
) -> PlanSummary:
    if save_to is not None or wants.plan is not None:
        check_saving(wants, save_to)
        require_key(settings)
    source = read_source(wants.manifest, wants.reading)
    terms = run_terms(source.manifest, wants.terms)
    directory = run_directory(wants.out_dir, terms)
    notes = [str(warning) for warning in source.manifest.warnings]
    if settings.ignored:
        notes.append(settings.ignored)
    async with AsyncExitStack() as stack:
        gateway: Gateway | None = None
        if settings.api_key is None:
            notes.append("no API key: parameters, balance and uploaded images were not checked")
        else:
            gateway = await stack.enter_async_context(gateway_for(settings, transport=transport))
        draft = stack.enter_context(PlanFile.temporary())
        grounds = Grounds(source.manifest, terms, settings.base_url.rstrip("/"))
        following = Following(wants, grounds)
        with following.explaining():
            await plan_jobs(draft, source, terms.run_id, gateway, workflows=grounds.workflows, note=grounds.files.note)
        following.check(draft, directory)
        check_choice(draft, wants.choice)
        summary = await summarise(draft, terms, directory, gateway, choice=wants.choice, notes=tuple(notes))
        if save_to is None:
            return replace(summary, digest=terms.plan_digest)
        digest = save_plan(
            save_to, wants, grounds, draft, run_dir=directory, prices=summary.prices, totals=summary.totals
        )
        return replace(summary, digest=digest)


async def summarise(
    draft: PlanFile,
    terms: RunTerms,
    directory: Path,
    gateway: Gateway | None,
    *,
    choice: Choice = Choice(),  # noqa: B008 - frozen
    notes: tuple[str, ...] = (),
) -> PlanSummary:
    """Hold a plan against what the run directory and the account have already."""
    with ExitStack() as stack:
        journal = stack.enter_context(journal_of(directory))
        prices = PriceBook(terms.ceiling)
        ledger = Ledger(prices)
        for subject, event in journal.events() if journal is not None else ():
            ledger.apply(subject, event)
        prices.close_run()
        tally = _Tally.of(standing(draft, journal, RetryRule(terms.attempts, terms.never)), choice)
    ready = await _ready_digests(gateway, tally.digests)
    to_upload = len(tally.digests - (ready or set()))
    classes = [(workflow_id, workflow_class(workflow_id), count) for workflow_id, count in tally.to_buy.items()]
    if to_upload:
        classes.append(("uploads", UPLOAD_CLASS, to_upload))
    lines = []
    for what, price_class, count in classes:
        quote = prices.quote(price_class)
        lines.append(PriceLine(what, count, quote.certainty, quote.credits))
    return PlanSummary(
        manifest_name=terms.manifest_name,
        run_id=terms.run_id,
        run_dir=directory,
        total=sum(tally.states.values()),
        states=tally.states,
        lines=tuple(lines),
        to_upload=to_upload,
        reused_images=None if ready is None else len(tally.digests & ready),
        budget=terms.budget,
        spent=ledger.spent,
        held=ledger.held,
        balance=(await gateway.account()).available if gateway is not None else None,
        notes=notes,
    )


def validate(
    manifest: str | Path,
    *,
    variables: Mapping[str, str] | None = None,
    allow_outside: bool = False,
    max_jobs: int = 100_000,
) -> tuple[Manifest, int]:
    """Check a manifest without a gateway, and return it with the number of jobs that it asks for.

    Parameters are not checked against their workflows. Raises ``ManifestError`` with all that is wrong.
    """
    source = read_source(Path(manifest), ManifestOptions(variables or {}, allow_outside, max_jobs))
    with PlanFile.temporary() as draft:
        fill_plan(draft, source, "default", {})
        return source.manifest, len(draft)


@dataclass(frozen=True, slots=True)
class _Tally:
    states: Counter[str]
    to_buy: Counter[str]
    digests: set[str]

    @classmethod
    def of(cls, jobs: Iterator[tuple[PlannedJob, Job]], choice: Choice) -> _Tally:
        tally = cls(Counter(), Counter(), set())
        for planned, job in jobs:
            if not choice.takes(planned.name):
                continue
            state = state_of(job)
            if state is PlannedState.FAILED and choice.retry_failed:
                state = PlannedState.NEW
            tally.states[state] += 1
            if state is PlannedState.NEW:
                tally.to_buy[planned.workflow_id] += 1
                tally.digests.update(planned.digests)
        return tally


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
