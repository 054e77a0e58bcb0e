"""Prices: the highest that the gateway has named, and the most that one more job or upload may
cost.

The contract has no price list: a price is known only from the gateway's answers, may depend on the
parameters, and may change. So a price is kept by *shape*, the workflow and its parameters without
prompt, seed and images, and is never certain: the bound of a job is ``SURGE`` times the highest
price seen, unless the manifest declares a ceiling.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from crucible_batch.core.credits import Credits
from crucible_batch.core.identity import canonical
from crucible_batch.core.plan import PlannedJob, RunTerms

SURGE = 16
"""The factor by which a price may rise between two answers without exceeding the budget."""

UPLOAD_CLASS = "upload"
"""The price class of uploads, different from that of any workflow (``workflow_class``)."""

_NO_PRICE = frozenset({"prompt", "seed"})
"""Words in a parameter's name by which its value doesn't affect the price."""


def workflow_class(workflow_id: str) -> str:
    return f"workflow:{workflow_id}"


@dataclass(frozen=True, slots=True)
class Shape:
    """The price class, and a digest of the parameters that the price may depend on (empty if
    unknown)."""

    price_class: str
    digest: str = ""

    @property
    def name(self) -> str:
        """The workflow's id; ``upload`` for uploads."""
        return self.price_class.partition(":")[2] or self.price_class


UPLOAD = Shape(UPLOAD_CLASS)


def with_uploads(jobs: Mapping[Shape, int], uploads: int) -> Mapping[Shape, int]:
    """Return the number of each shape, with that of uploads if there are any."""
    return {**jobs, UPLOAD: uploads} if uploads else jobs


def shape_of(planned: PlannedJob) -> Shape:
    return Shape(workflow_class(planned.workflow_id), _digest(shape_params(planned)))


def shape_params(planned: PlannedJob) -> Mapping[str, object]:
    """Return the parameters that a job's price may depend on.

    The prompt is excluded by its text, a further one (``negative_prompt.text``) and a seed by their
    names, and so are parameters whose values follow from the job's identity.
    """
    return {
        name: value
        for name, value in planned.params.items()
        if name not in planned.markers
        and _NO_PRICE.isdisjoint(name.lower().replace("_", ".").split("."))
        and (planned.prompt is None or value != planned.prompt)
    }


def _digest(params: Mapping[str, object]) -> str:
    content = canonical(params)  # type: ignore[arg-type] # a manifest's values are JSON
    return hashlib.sha256(content.encode("ascii")).hexdigest()[:16]


_Text = Annotated[str, Field(max_length=300)]


@dataclass(frozen=True, slots=True)
class PaidPrice:
    """What one purchase of a shape cost last: in a run of that name, at that time (seconds since
    the epoch).
    """

    price_class: _Text
    shape: _Text
    credits: Annotated[Credits, Field(ge=0, lt=10**12, allow_inf_nan=False)]
    at: Annotated[float, Field(ge=0, lt=1e11)]
    run: _Text
    account: _Text = field(default="", compare=False)


class Certainty(enum.StrEnum):
    """How well a price is known, best first. Only the cost of nothing is KNOWN."""

    KNOWN = "known"
    LEARNED = "learned"
    BOUNDED = "bounded"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Quote:
    """The price of one more job or upload: the highest seen if LEARNED, the ceiling if BOUNDED,
    else None.
    """

    certainty: Certainty
    credits: Credits | None


class PriceBook:
    """The highest price seen, by shape and by price class, and the declared ceilings.

    Not the newest price: a hold at a lower one would be exceeded by a price that only returns to
    its old level.
    """

    def __init__(
        self, ceiling: Credits | None = None, upload_ceiling: Credits | None = None
    ) -> None:
        self.ceiling = ceiling
        self.upload_ceiling = upload_ceiling
        self._highest: dict[Shape, Credits] = {}

    @classmethod
    def of(cls, terms: RunTerms) -> PriceBook:
        """Return a book with the ceilings of a run, and the prices that its plan brought."""
        book = cls(terms.ceiling, terms.upload_ceiling)
        for price in terms.learned:
            book.learn(Shape(price.price_class, price.shape), price.credits)
        return book

    def without_ceilings(self) -> PriceBook:
        """Return a book of the same prices without declared ceilings."""
        book = PriceBook()
        book._highest = dict(self._highest)
        return book

    def learn(self, shape: Shape, credits: Credits) -> None:
        for known in (shape, Shape(shape.price_class)):
            self._highest[known] = max(credits, self._highest.get(known, credits))

    def expected(self, shape: Shape) -> Credits | None:
        """Return the highest price seen for the shape, else for its price class; None if none was
        seen."""
        seen = self._highest.get(shape)
        if seen is not None:
            return seen
        return self._highest.get(Shape(shape.price_class))

    def seen(self, shape: Shape) -> Credits | None:
        """Return the highest price seen for exactly this shape; None if none was seen."""
        return self._highest.get(shape)

    def learned(self) -> Iterator[tuple[Shape, Credits]]:
        """Yield each shape with the highest price seen for it, in a fixed order."""
        yield from sorted(
            self._highest.items(), key=lambda item: (item[0].price_class, item[0].digest)
        )

    @property
    def highest(self) -> Credits:
        """The highest price seen of anything; 0 if none was seen."""
        return max(self._highest.values(), default=Credits(0))

    def ceiling_of(self, shape: Shape) -> Credits | None:
        """Return ``max_credits_per_job`` or ``max_credits_per_upload``, None if not declared."""
        return self.upload_ceiling if shape.price_class == UPLOAD_CLASS else self.ceiling

    def bound(self, shape: Shape) -> Credits | None:
        """Return the hold for one more until it is answered; None if nothing bounds its price.

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
        seen, ceiling = self.expected(shape), self.ceiling_of(shape)
        if seen is not None:
            return Quote(Certainty.LEARNED, seen)
        if ceiling is not None:
            return Quote(Certainty.BOUNDED, ceiling)
        return Quote(Certainty.UNKNOWN, None)
