"""Shards: the parts of a saved plan that machines run separately, each with an allowance of the plan's budget."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from crucible_batch.domain.credits import ZERO, Credits, StoredCredits

MAX_SHARDS = 10_000

SHARDS_FOLDER = "shards"
"""The folder of a run directory with the directories of its shards."""

_SHARD = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")


@dataclass(frozen=True, slots=True, order=True)
class ShardId:
    """The number of a shard, from 1, and the number of shards in its plan."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> ShardId:
        """Read text such as ``3/8``. Raises ``ValueError`` with the reason."""
        found = _SHARD.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"{text!r} is not a shard such as 3/8")
        shard = cls(int(found[1]), int(found[2]))
        if not 1 <= shard.count <= MAX_SHARDS:
            raise ValueError(f"{text!r}: a plan has 1 to {MAX_SHARDS:,} shards")
        if not 1 <= shard.number <= shard.count:
            raise ValueError(f"{text!r}: shards are numbered from 1 to {shard.count}")
        return shard

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def folder(self) -> str:
        """The name of its directory, such as ``3-of-8``."""
        return f"{self.number}-of-{self.count}"


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """One shard of a saved plan: its number of jobs, how many of them were admitted, and its allowance.

    ``admitted`` jobs are expected to be affordable with ``allowance``; the others are blocked by the budget.
    """

    number: int
    jobs: int
    admitted: int
    allowance: StoredCredits


@dataclass(frozen=True, slots=True)
class LearnedPrice:
    """The highest price seen for a shape (``domain.prices.Shape``) when a plan was divided."""

    price_class: str
    shape: str
    credits: StoredCredits


@dataclass(frozen=True, slots=True)
class OutstandingShards:
    """The shards of the newest divided plan of a run directory, and their allowances, by number.

    The allowance of a shard that was not merged is set aside: the run directory may not spend it. ``budget`` is that of
    the complete plan.
    """

    plan_digest: str
    allowances: Mapping[int, StoredCredits]
    merged: frozenset[int] = field(default_factory=frozenset)
    budget: StoredCredits | None = None

    @property
    def missing(self) -> tuple[int, ...]:
        """The numbers of the shards that were not merged yet."""
        return tuple(sorted(self.allowances.keys() - self.merged))

    @property
    def set_aside(self) -> Credits:
        """The allowances of the shards that were not merged yet."""
        return sum((self.allowances[number] for number in self.missing), ZERO)
