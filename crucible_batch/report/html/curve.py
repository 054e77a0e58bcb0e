"""Credits over time: what was spent and what was held after each event that moved either."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.events import Event
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.plan import RunTerms
from crucible_batch.core.prices import PriceBook
from crucible_batch.report.html.thinning import Thinned

_MOST_POINTS = 1200
"""At least; at most twice as many are drawn."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The books from ``at`` on, in seconds since the epoch."""

    at: float
    spent: Credits
    held: Credits


def credit_curve(events: Iterable[tuple[str, Event]], terms: RunTerms) -> list[CurvePoint]:
    """Fold the events into a curve, by the ceilings of the newest run's ``terms``.

    Of a long one every n-th point is kept, and always the last.
    """
    ledger = Ledger(PriceBook.of(terms))
    points: Thinned[CurvePoint] = Thinned(_MOST_POINTS)
    last: CurvePoint | None = None
    before = (ZERO, ZERO)
    for subject, event in events:
        ledger.apply(subject, event)
        now = (ledger.spent, ledger.held)
        if now != before:
            last = CurvePoint(event.at, *now)
            points.add(last)
            before = now
    kept = points.kept()
    if last is not None and kept[-1] is not last:
        kept.append(last)
    return kept
