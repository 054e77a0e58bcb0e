"""The division of a plan into shards: which jobs each has, and its allowance. Pure.

A shard spends at most its allowance, by the rule of any run (``core/budget.py``), so the sum of the
allowances is at most what is left of the budget. Jobs are admitted in manifest order, job i to
shard i mod N. ``cost`` is a job's price and that of its uploads: the highest seen, else the
declared ceiling. ``reserve`` is what the ceiling is above the cost: a shard needs the highest
reserve of its jobs once, so that its last job can still be held.

    job's shard     cost and added reserve             decision
    any             the price is above its ceiling     not admitted; later jobs are not affected
    open or not     fit                                admitted; the shard is open from then on
    open or not     don't fit, but in an open shard    admitted to the one which has the fewest jobs
    open or not     don't fit anywhere                 not admitted, and no later job is

Jobs that are not admitted are spread over the shards as well, and blocked there unless the
allowance turns out to be enough. What is left over becomes margin: up to one bound for each open
shard.

No shard uploads an image. An upload has no idempotency key, and what an earlier one cost can't be
seen: a shard that is run again without its directory would pay again, or count what it paid at 0.
So a job that is not admitted and needs an image that is not at the gateway is in no shard, and such
images of admitted jobs are reported.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence, Set
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal

from crucible_batch.core.budget import HoldRequest, Need, price_above_ceiling
from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.prices import PriceBook, Shape
from crucible_batch.core.sharding import PlannedShard

NO_SHARD = 0
"""The number of a job that is in no shard."""

_MARGIN_STEP = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Division:
    """A divided plan.

    ``numbers`` has the shard of each job, in the order in which the jobs were given.
    ``is_admitted`` has 1 for each job that its shard's allowance is expected to be enough for, and
    else 0. ``missing`` are the digests of images that admitted jobs need and that are not at the
    gateway: they must be uploaded first.
    """

    shards: tuple[PlannedShard, ...]
    numbers: Sequence[int]
    is_admitted: Sequence[int]
    missing: tuple[str, ...]

    @property
    def left_out(self) -> int:
        """The number of jobs in no shard: not admitted, and with images that are not uploaded."""
        return sum(number == NO_SHARD for number in self.numbers)


@dataclass(slots=True)
class _Shard:
    number: int
    jobs: int = 0
    admitted: int = 0
    cost: Credits = ZERO
    reserve: Credits = ZERO
    bound: Credits = ZERO

    def increase(self, cost: Credits, reserve: Credits) -> Credits:
        """Return the credits by which its allowance grows with a job."""
        return cost + max(ZERO, reserve - self.reserve)


class Divider:
    """Divides jobs that are given in manifest order. ``left`` is what is left of the budget."""

    def __init__(self, prices: PriceBook, *, shards: int, left: Credits) -> None:
        self._prices = prices
        self._unassigned = left
        self._shards = [_Shard(number) for number in range(1, shards + 1)]
        self._numbers = array("H")
        self._is_admitted = array("B")
        self._missing: dict[str, None] = {}
        self._is_closed = False
        self._open: list[_Shard] = []

    def add(self, shape: Shape, missing: Set[str] = frozenset()) -> None:
        """Add the next job. ``missing`` are the digests of its images that are not at the gateway.

        Each price must be known or have a ceiling.
        """
        own = self._shards[len(self._numbers) % len(self._shards)]
        request = HoldRequest(shape, len(missing))
        shard = None
        if not self._is_closed and price_above_ceiling(request, self._prices) is None:
            shard = self._admit(own, shape, missing)
        self._is_admitted.append(shard is not None)
        if shard is None and not missing:
            shard = own
        if shard is None:
            self._numbers.append(NO_SHARD)
        else:
            shard.jobs += 1
            self._numbers.append(shard.number)

    def divide(self) -> Division:
        """Return the division, with what is left over as margin."""
        self._add_margins()
        shards = tuple(
            PlannedShard(each.number, each.jobs, each.admitted, each.cost + each.reserve)
            for each in self._shards
        )
        return Division(shards, self._numbers, self._is_admitted, tuple(self._missing))

    def _admit(self, own: _Shard, shape: Shape, missing: Set[str]) -> _Shard | None:
        """Admit a job to its own shard, or to an open one; return that shard.

        If it fits nowhere, neither it nor a later job is admitted.
        """
        need = Need.of(HoldRequest(shape, len(missing - self._missing.keys())), self._prices)
        cost, reserve = need.expected, max(ZERO, need.least - need.expected)
        shard = self._fitting(own, cost, reserve)
        if shard is None:
            self._is_closed = True
            return None
        self._unassigned -= shard.increase(cost, reserve)
        if not shard.admitted:
            self._open.append(shard)
        shard.admitted += 1
        shard.cost += cost
        shard.reserve = max(shard.reserve, reserve)
        shard.bound = max(shard.bound, need.bound or ZERO)
        self._missing.update(dict.fromkeys(sorted(missing)))
        return shard

    def _fitting(self, own: _Shard, cost: Credits, reserve: Credits) -> _Shard | None:
        if own.increase(cost, reserve) <= self._unassigned:
            return own
        fitting = [
            shard for shard in self._open if shard.increase(cost, reserve) <= self._unassigned
        ]
        return min(fitting, key=lambda shard: (shard.jobs, shard.number), default=None)

    def _add_margins(self) -> None:
        """Divide what is left over evenly, up to one bound each.

        With it, jobs needn't be submitted one at a time.
        """
        if not self._open:
            return
        even = (self._unassigned / len(self._open)).quantize(_MARGIN_STEP, rounding=ROUND_DOWN)
        for shard in self._open:
            margin = min(even, shard.bound)
            shard.reserve += margin
            self._unassigned -= margin
