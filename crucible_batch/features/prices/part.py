"""The prices that a run pays, noted and remembered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from crucible_batch.core.credits import Credits
from crucible_batch.core.events import (
    Accepted,
    Created,
    Failed,
    Held,
    HoldReleased,
    JobLost,
    Refused,
    Repriced,
    Settled,
    SubmitUnknown,
    Succeeded,
)
from crucible_batch.core.outcome import Ending
from crucible_batch.core.prices import UPLOAD, PaidPrice, Shape
from crucible_batch.core.progress import AssetAdvanced, JobAdvanced, Message
from crucible_batch.features.prices.price_memory import MOST_ENTRIES, recall_prices, remember_prices
from crucible_batch.runs.parts import BudgetGrant, OpenedRun, RunPart
from crucible_batch.runs.plan_parts import PlanPart
from crucible_batch.runs.plan_rows import with_paid
from crucible_batch.runs.plan_summary import PlanSummary
from crucible_batch.settings import Settings


class PriceMemoryPart(RunPart, PlanPart):
    """Notes the prices that the run pays, and remembers them.

    A plan shows those of earlier runs.
    """

    _paid: PaidPrices
    _settings: Settings

    @asynccontextmanager
    async def begin(self, run: OpenedRun) -> AsyncIterator[BudgetGrant | None]:
        context = run.context
        self._settings = context.settings
        self._paid = PaidPrices(f"{context.terms.manifest_name} · {context.terms.run_id}")
        context.observers.add(self._paid)
        yield None

    async def ended(self, ending: Ending) -> None:
        remember_prices(self._settings, self._paid.found.values())

    def amended(self, summary: PlanSummary, settings: Settings) -> PlanSummary:
        paid = recall_prices(settings)
        stages = tuple(replace(each, lines=with_paid(each.lines, paid)) for each in summary.stages)
        return replace(summary, lines=with_paid(summary.lines, paid), stages=stages)


class PaidPrices:
    """An observer that notes what each shape cost in the run that is named ``run``."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._in_flight: dict[str, Shape] = {}
        self.found: dict[Shape, PaidPrice] = {}

    def notify(self, message: Message) -> None:
        if isinstance(message, JobAdvanced):
            match message.event:
                case Held() as held:
                    self._in_flight[message.identity] = Shape(held.price_class, held.shape)
                case (
                    Accepted(reused=False, credits=credits)
                    | Repriced(settled=None, credits=credits)
                ):
                    self._note(self._in_flight.get(message.identity), credits, message.at)
                case Repriced(settled=Settled() as settled, credits=credits):
                    self._note(Shape(settled.price_class, settled.shape), credits, message.at)
                case (
                    Succeeded()
                    | Failed()
                    | Refused()
                    | HoldReleased()
                    | SubmitUnknown()
                    | JobLost()
                ):
                    self._in_flight.pop(message.identity, None)
                case _:
                    pass
        elif isinstance(message, AssetAdvanced):
            event = message.event
            if isinstance(event, Created) and not event.assumed:
                self._note(UPLOAD, event.credits, message.at)

    def _note(self, shape: Shape | None, credits: Credits, at: float) -> None:
        if shape is None:
            return
        if shape in self.found or len(self.found) < MOST_ENTRIES:
            self.found[shape] = PaidPrice(shape.price_class, shape.digest, credits, at, self._run)
