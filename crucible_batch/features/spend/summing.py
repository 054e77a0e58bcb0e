"""Charges of all runs, summed up by month, workflow or tag; and prices that have changed.

Each gateway has its own sums: the credits of a sandbox are not those of production.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from itertools import groupby, pairwise
from operator import itemgetter

from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.prices import UPLOAD, Shape
from crucible_batch.features.spend.charges import Charge
from crucible_batch.features.spend.options import SpendBy
from crucible_batch.features.spend.reading import RunSpending


@dataclass(slots=True)
class Sum:
    """A sum of charges. ``jobs`` counts the jobs that were charged and not refunded completely."""

    credits: Credits = ZERO
    refunded: Credits = ZERO
    jobs: int = 0
    uploads: int = 0
    runs: set[str] = field(default_factory=set)

    def add(self, charge: Charge, run: str) -> None:
        self.credits += charge.credits
        self.refunded += charge.refunded
        self.runs.add(run)
        if charge.shape == UPLOAD:
            self.uploads += 1
        elif charge.credits or not charge.price:
            self.jobs += 1


@dataclass(frozen=True, slots=True)
class PriceChange:
    """The newest change of the price of a shape. ``changes`` counts all of them."""

    shape: Shape
    before: Credits
    after: Credits
    at: float
    run: str
    changes: int


@dataclass(slots=True)
class GatewaySums:
    """The sums of the runs of one gateway. The key of a sum is None for runs without a tag.

    With several tags, a run counts in the sum of each, and in ``total`` once.
    """

    gateway: str
    by: SpendBy
    zone: tzinfo = UTC
    total: Sum = field(default_factory=Sum)
    unanswered: Credits = ZERO
    found: Credits = ZERO
    _sums: dict[str | None, Sum] = field(default_factory=dict)
    _prices: dict[Shape, list[tuple[float, Credits, str]]] = field(default_factory=dict)
    """When each run has paid which price first and last, and after which it has paid another."""

    def add(self, run: RunSpending) -> None:
        self.unanswered += run.unanswered
        self.found += run.found
        for charge in run.charges:
            self.total.add(charge, run.location)
            for key in self._keys(run, charge):
                self._sums.setdefault(key, Sum()).add(charge, run.location)
        for shape, prices in _prices_of(run):
            self._prices.setdefault(shape, []).extend(prices)

    def _keys(self, run: RunSpending, charge: Charge) -> Iterator[str | None]:
        match self.by:
            case SpendBy.MONTH:
                yield f"{datetime.fromtimestamp(charge.at, self.zone):%Y-%m}"
            case SpendBy.WORKFLOW:
                yield charge.shape.name
            case SpendBy.TAG:
                yield from run.tags or (None,)

    def sums(self) -> list[tuple[str | None, Sum]]:
        """Return the sums: months in their order, others by their credits, the highest first."""
        if self.by is SpendBy.MONTH:
            return sorted(self._sums.items(), key=lambda each: str(each[0]))
        return sorted(self._sums.items(), key=lambda each: (-each[1].credits, each[0] or ""))

    def price_changes(self) -> list[PriceChange]:
        """Return the newest change of each price that has changed, the newest first."""
        found = []
        for shape, prices in self._prices.items():
            changes = [
                (before, after)
                for before, after in pairwise(sorted(prices))
                if before[1] != after[1]
            ]
            if changes:
                (_, before, _), (at, after, run) = changes[-1]
                found.append(PriceChange(shape, before, after, at, run, len(changes)))
        return sorted(found, key=lambda change: -change.at)


def _prices_of(run: RunSpending) -> Iterator[tuple[Shape, list[tuple[float, Credits, str]]]]:
    """Yield the prices of each shape that a run has paid, where they differ from the one before,
    and the last one."""
    paid = sorted(
        ((charge.shape, charge.at, charge.price) for charge in run.charges),
        key=lambda each: (each[0].price_class, each[0].digest, each[1]),
    )
    for shape, group in groupby(paid, key=itemgetter(0)):
        prices = [(at, price, run.name) for _, at, price in group]
        kept = [after for before, after in pairwise(prices) if before[1] != after[1]]
        yield shape, [prices[0], *kept, prices[-1]]
