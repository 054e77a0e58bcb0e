"""Allowances: credits that a party sets aside from a common limit before anything is bought out of
them.

    spent + set aside <= limit        at every moment, summed over all parties

The limit is that of an account's period, and the parties are runs; a run that is divided among
machines can be the limit of its parts in the same way. Setting aside is the only step that
increases the sum, so it has to be atomic. Settling returns what was set aside and not spent, and
may be repeated: it replaces the party's share. A party that was killed keeps its share until it is
settled.

A run that is resumed has already bought something, and part of that may come back: a job in flight
may fail and be refunded, and the run may then buy for the same credits again. So a run's budget is
built on what can't come back:

    budget of the run  =  certainly spent  +  set aside
    set aside         <=  limit - shares of the others - certainly spent in this period
    share of the run   =  certainly spent in this period + set aside,
                          at least what it has spent and holds in it

``certainly spent`` are the credits of finished jobs and usable images. If less can be set aside
than the run holds for jobs in flight, they are still collected, and nothing is bought until enough
of them were refunded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.prices import PriceBook, Shape, with_uploads


@dataclass(frozen=True, slots=True)
class Share:
    """What one party has spent of a limit, and what it may still spend."""

    spent: Credits = ZERO
    set_aside: Credits = ZERO

    @property
    def total(self) -> Credits:
        return self.spent + self.set_aside


@dataclass(frozen=True, slots=True)
class Allowance:
    """A limit and the shares of all parties, by name."""

    limit: Credits
    shares: Mapping[str, Share] = field(default_factory=dict)

    @property
    def spent(self) -> Credits:
        return sum((share.spent for share in self.shares.values()), ZERO)

    @property
    def set_aside(self) -> Credits:
        return sum((share.set_aside for share in self.shares.values()), ZERO)

    @property
    def left(self) -> Credits:
        """The credits that can be set aside now; 0 if another party set aside more under a higher
        limit."""
        return max(ZERO, self.limit - self.spent - self.set_aside)

    def without(self, party: str) -> Allowance:
        """Return the allowance as if a party had no share."""
        return Allowance(
            self.limit, {name: share for name, share in self.shares.items() if name != party}
        )

    def settled(self, party: str, share: Share) -> Allowance:
        """Replace a party's share. May be repeated."""
        return Allowance(self.limit, {**self.shares, party: share})

    def granted(self, party: str, request: ShareRequest) -> tuple[Allowance, Credits]:
        """Set credits aside for a party, instead of its present share.

        Return the amount, which may be 0.
        """
        amount = self.without(party).left - request.certain
        if request.wanted is not None:
            amount = min(amount, request.wanted)
        amount = max(ZERO, amount)
        aside = max(amount, request.used - request.certain)
        return self.settled(party, Share(request.certain, aside)), amount


@dataclass(frozen=True, slots=True)
class ShareRequest:
    """A request to set credits aside.

    ``wanted`` is None for as much as there is. ``certain`` are the credits that the party has
    certainly spent of this limit, ``used`` those and all that it has bought or may have bought of
    it.
    """

    wanted: Credits | None
    certain: Credits = ZERO
    used: Credits = ZERO


def most_needed(prices: PriceBook, jobs: Mapping[Shape, int], uploads: int) -> Credits | None:
    """Return the most that these jobs and uploads may cost, each at its bound; None if one has no
    bound.

    A job that fails is refunded, so further attempts need no more.
    """
    total = ZERO
    for shape, count in with_uploads(jobs, uploads).items():
        bound = prices.bound(shape)
        if bound is None:
            return None
        total += bound * count
    return total
