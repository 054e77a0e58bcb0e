"""Prices: the highest figures that the gateway has named, and what one more job or upload may cost at most.

The contract has no price list: a price is known only from the gateway's answers, may depend on the parameters, and may
change. So a price is kept by *shape*, the workflow and its parameters without prompt, seed and images, and nothing is
taken for certain: the bound of a job whose price was seen is ``SURGE`` times that price, unless the manifest declares
a ceiling.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from crucible_batch.domain.credits import Credits
from crucible_batch.domain.identity import canonical
from crucible_batch.domain.plan import PlannedJob, RunTerms

SURGE = 16
"""How many times as high a price may become between two answers without the budget being exceeded."""

UPLOAD_CLASS = "upload"
"""The price class of uploads. No workflow's class can be the same: theirs are made by ``workflow_class``."""

_NO_PRICE = frozenset({"prompt", "seed"})
"""Words in a parameter's name by which its value is one job's own and doesn't set the price."""


def workflow_class(workflow_id: str) -> str:
    """Return the price class of a workflow's jobs."""
    return f"workflow:{workflow_id}"


@dataclass(frozen=True, slots=True)
class Shape:
    """What a price may depend on: the price class, and a digest of the parameters (empty where they are not known)."""

    price_class: str
    digest: str = ""

    @property
    def name(self) -> str:
        """The workflow's id; ``upload`` for uploads."""
        return self.price_class.partition(":")[2] or self.price_class


UPLOAD = Shape(UPLOAD_CLASS)


def shape_of(planned: PlannedJob) -> Shape:
    """Return a job's shape: its workflow, and its parameters without prompt, seed and images."""
    return Shape(workflow_class(planned.workflow_id), _digest(shape_params(planned)))


def shape_params(planned: PlannedJob) -> Mapping[str, object]:
    """Return the parameters that may set a job's price.

    A prompt is found by its text, and a further one (``negative_prompt.text``) by its name, as a seed is.
    """
    return {
        name: value
        for name, value in planned.params.items()
        if _NO_PRICE.isdisjoint(name.lower().replace("_", ".").split("."))
        and (planned.prompt is None or value != planned.prompt)
    }


def _digest(params: Mapping[str, object]) -> str:
    return hashlib.sha256(canonical(params).encode("ascii")).hexdigest()[:16]  # type: ignore[arg-type]


class Certainty(enum.StrEnum):
    """How well a price is known, best first. KNOWN is the cost of nothing: no price is taken for certain."""

    KNOWN = "known"
    LEARNED = "learned"
    BOUNDED = "bounded"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Quote:
    """What one more of a shape will cost.

    ``credits`` is the highest price seen where LEARNED, the declared ceiling where BOUNDED, else None.
    """

    certainty: Certainty
    credits: Credits | None


class PriceBook:
    """The highest price seen, by shape and by price class, and the ceilings that the manifest declares.

    Never the newest price: a hold at a lower one than was seen could be exceeded by a price that only goes back.
    """

    def __init__(self, ceiling: Credits | None = None, upload_ceiling: Credits | None = None) -> None:
        self.ceiling = ceiling
        self.upload_ceiling = upload_ceiling
        self._highest: dict[Shape, Credits] = {}

    @classmethod
    def of(cls, terms: RunTerms) -> PriceBook:
        """Return an empty book with the ceilings that a run is held to."""
        return cls(terms.ceiling, terms.upload_ceiling)

    def without_ceilings(self) -> PriceBook:
        """Return a book of the same prices in which nothing is declared."""
        book = PriceBook()
        book._highest = dict(self._highest)
        return book

    def learn(self, shape: Shape, credits: Credits) -> None:
        """Take in a figure that the gateway named for a job or an upload."""
        for known in (shape, Shape(shape.price_class)):
            self._highest[known] = max(credits, self._highest.get(known, credits))

    def expected(self, shape: Shape) -> Credits | None:
        """Return the highest price seen for the shape, else for its price class; None where none was seen."""
        seen = self._highest.get(shape)
        return seen if seen is not None else self._highest.get(Shape(shape.price_class))

    def ceiling_of(self, shape: Shape) -> Credits | None:
        """Return ``max_credits_per_job`` or ``max_credits_per_upload``, where it is declared."""
        return self.upload_ceiling if shape.price_class == UPLOAD_CLASS else self.ceiling

    def bound(self, shape: Shape) -> Credits | None:
        """Return what one more is held at until it is answered; None where nothing bounds its price.

        ceiling    seen    bound
        c          -       c
        none       p > 0   SURGE x p
        none       0       none
        none       none    none
        """
        ceiling, seen = self.ceiling_of(shape), self.expected(shape)
        if ceiling is not None:
            return ceiling
        return SURGE * seen if seen else None

    def quote(self, shape: Shape) -> Quote:
        """Return what is known of the price of one more."""
        if (seen := self.expected(shape)) is not None:
            return Quote(Certainty.LEARNED, seen)
        if (ceiling := self.ceiling_of(shape)) is not None:
            return Quote(Certainty.BOUNDED, ceiling)
        return Quote(Certainty.UNKNOWN, None)
