"""Prices: what a job or an upload costs, as far as anybody can know before the gateway's own answer.

A price class is a workflow; uploads are one more. The contract has no price list, so a price is known once an answer of
this run has named it; one that an earlier run paid is only a lower bound, since prices rise between runs.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from crucible_batch.core.credits import Credits

UPLOAD_CLASS = "upload"
"""The price class of uploads. No workflow's class can be the same: theirs are made by ``workflow_class``."""


def workflow_class(workflow_id: str) -> str:
    """Return the price class of a workflow's jobs."""
    return f"workflow:{workflow_id}"


class Certainty(enum.StrEnum):
    """How well a price is known, best first."""

    KNOWN = "known"
    LEARNED = "learned"
    BOUNDED = "bounded"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Quote:
    """What one more of a class will cost.

    ``credits`` is the price where it is KNOWN, a lower bound where LEARNED, the ceiling where BOUNDED, else None.
    """

    certainty: Certainty
    credits: Credits | None


class PriceBook:
    """Prices by class. Keeps the highest seen: a hold at a lower one could be exceeded."""

    def __init__(self, ceiling: Credits | None = None) -> None:
        self.ceiling = ceiling
        self._known: dict[str, Credits] = {}
        self._learned: dict[str, Credits] = {}

    def learn(self, price_class: str, credits: Credits, *, bought: bool) -> None:
        """Take in a figure of the gateway. One that was not bought now (a job found again) is a lower bound only."""
        book = self._known if bought else self._learned
        book[price_class] = max(credits, book.get(price_class, credits))

    def close_run(self) -> None:
        """A new run begins: what was known becomes what was learned."""
        for price_class, credits in self._known.items():
            self._learned[price_class] = max(credits, self._learned.get(price_class, credits))
        self._known.clear()

    def known(self, price_class: str) -> Credits | None:
        """The highest price that an answer of this run named; None before the first."""
        return self._known.get(price_class)

    def lower_bound(self, price_class: str) -> Credits | None:
        """The least that one more can be expected to cost: the known price, else the highest that was ever seen."""
        known = self._known.get(price_class)
        return known if known is not None else self._learned.get(price_class)

    def ceiling_of(self, price_class: str) -> Credits | None:
        """The manifest's ``max_credits_per_job``; uploads have none."""
        return None if price_class == UPLOAD_CLASS else self.ceiling

    def quote(self, price_class: str) -> Quote:
        """Say what one more of this class will cost, and how well that is known."""
        if (known := self._known.get(price_class)) is not None:
            return Quote(Certainty.KNOWN, known)
        if (learned := self._learned.get(price_class)) is not None:
            return Quote(Certainty.LEARNED, learned)
        if (ceiling := self.ceiling_of(price_class)) is not None:
            return Quote(Certainty.BOUNDED, ceiling)
        return Quote(Certainty.UNKNOWN, None)
