"""Credits over time: what was spent and what was held after each event that moved either."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.events import Event
from crucible_batch.core.ledger import Ledger

_MOST_POINTS = 1200


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The books from ``at`` on, in seconds since the epoch."""

    at: float
    spent: Credits
    held: Credits


def credit_curve(events: Iterable[tuple[str, Event]]) -> list[CurvePoint]:
    """Fold the events into a curve. Of a long one every n-th point is kept, and always the last."""
    ledger = Ledger()
    points: list[CurvePoint] = []
    before = (ZERO, ZERO)
    for subject, event in events:
        ledger.apply(subject, event)
        now = (ledger.spent, ledger.held)
        if now != before:
            points.append(CurvePoint(event.at, *now))
            before = now
    every = len(points) // _MOST_POINTS + 1
    kept = points[::every]
    if points and kept[-1] is not points[-1]:
        kept.append(points[-1])
    return kept
