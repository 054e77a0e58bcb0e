"""Prices that change: by size, steps, rises and chance, and what the answers state instead.

base=7           what one costs, in place of the table's price
size=512x512     so many pixels cost the base price, twice as many twice as much
steps=20         so many steps cost the base price, twice as many twice as much
rise-after=10x16 from the eleventh on, sixteen times as much
rise-at=60x16    from 60 s after the start on, sixteen times as much
free=1           the first costs nothing
jitter=0.5       up to half as much again, by chance
answer=1         the answer to the submit states 1 credit, whatever the ledger takes
record=1         the job's record states 1 credit, whatever the ledger takes
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any

from crucible_batch.sandbox.workflows import BY_ID

UPLOAD = "upload"
"""The scope of a rule about uploads; all other scopes are workflow ids."""
ONE = Decimal(1)

_ONLY_OF_JOBS = frozenset({"size", "steps", "answer", "record"})
_RULE = re.compile(r"(?:(?P<scope>[a-z0-9-]+)\.)?(?P<name>[a-z-]+)=(?P<value>[0-9.x]+)")


@dataclass(frozen=True, slots=True)
class Rise:
    """A rise of a price to `factor` times as much.

    It is due once `after` were bought and `after_s` seconds have passed since the start.
    """

    factor: Decimal
    after: int = 0
    after_s: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Purchase:
    """What a price depends on.

    It is the number of earlier purchases, the time, a chance from 0 to 1, and what is asked for.
    """

    earlier: int
    elapsed_s: float
    luck: float
    pixels: int = 0
    steps: int = 0


@dataclass(frozen=True, slots=True)
class Pricing:
    """How the price of one workflow, or of uploads, is made.

    The head of this file describes each field.
    """

    base: Decimal | None = None
    size: int | None = None
    steps: int | None = None
    rises: tuple[Rise, ...] = ()
    free: int = 0
    jitter: Decimal = Decimal(0)
    answer: Decimal | None = None
    record: Decimal | None = None

    def price(self, base: Decimal, purchase: Purchase) -> Decimal:
        """Make a price of `base`, unless a base of its own is set.

        Of the rises that are due the last one counts.
        """
        if self == FIXED:
            return base
        if purchase.earlier < self.free:
            return Decimal(0)
        price = base
        if self.base is not None:
            price = self.base
        if self.size is not None:
            price = price * purchase.pixels / self.size
        if self.steps is not None:
            price = price * purchase.steps / self.steps
        factor = ONE
        for rise in self.rises:
            if purchase.earlier >= rise.after and purchase.elapsed_s >= rise.after_s:
                factor = rise.factor
        return round(price * factor * (ONE + self.jitter * Decimal(purchase.luck)), 6)


FIXED = Pricing()
"""The price stays at its base."""


def parse_pricing(text: str) -> dict[str, Pricing]:
    """Read `[scope.]name=value`, separated by commas.

    A scope is a workflow id or `upload`, without one all workflows.
    `zimage-base.size=512x512,upload.rise-after=1x50` prices one workflow by size, and lets uploads
    rise after the first. Raises ValueError, with the names there are, for anything else.
    """
    found: dict[str, Pricing] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        match = _RULE.fullmatch(part)
        if match is None:
            raise ValueError(f"price rule {part!r} is not [workflow.]name=value")
        scopes = tuple(BY_ID)
        if match["scope"] is not None:
            check_scope(match["scope"])
            scopes = (match["scope"],)
        for scope in scopes:
            found[scope] = _with(found.get(scope, FIXED), scope, match["name"], match["value"])
    return found


def check_scope(scope: str) -> None:
    """Raise ValueError for a scope that there isn't."""
    if scope not in (UPLOAD, *BY_ID):
        raise ValueError(
            f"prices of {scope!r} can't be set; known are {', '.join(BY_ID)} and {UPLOAD}"
        )


def _with(pricing: Pricing, scope: str, name: str, value: str) -> Pricing:
    if scope == UPLOAD and name in _ONLY_OF_JOBS:
        raise ValueError(f"{name!r} is for jobs, not for uploads")
    if name not in _VALUES:
        raise ValueError(f"unknown price rule {name!r}; known are {', '.join(_VALUES)}")
    try:
        found = _VALUES[name](value)
    except (ValueError, InvalidOperation) as error:
        raise ValueError(f"{name}={value}: not a valid value for {name!r}") from error
    if isinstance(found, Rise):
        return replace(pricing, rises=(*pricing.rises, found))
    return replace(pricing, **{name: found})


def _pixels(value: str) -> int:
    width, height = value.split("x")
    return int(width) * int(height)


def _rise_after(value: str) -> Rise:
    after, factor = value.split("x")
    return Rise(Decimal(factor), after=int(after))


def _rise_at(value: str) -> Rise:
    after_s, factor = value.split("x")
    return Rise(Decimal(factor), after_s=Decimal(after_s))


_VALUES: Mapping[str, Callable[[str], Any]] = {
    "base": Decimal,
    "size": _pixels,
    "steps": int,
    "rise-after": _rise_after,
    "rise-at": _rise_at,
    "free": int,
    "jitter": Decimal,
    "answer": Decimal,
    "record": Decimal,
}
