"""Shards: the parts of a saved plan that machines run separately, each with an allowance of the
plan's budget.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from crucible_batch.core.credits import ZERO, Credits, StoredCredits

MAX_SHARDS = 10_000

SHARD_ABANDONED, SHARD_UNFINISHED = "SHARD_ABANDONED", "SHARD_UNFINISHED"
"""Error codes in the reports of merged runs."""
SHARDS_FOLDER = "shards"
"""The folder of a run directory with the directories of its shards."""

SHARD_VARIABLE = "CRUCIBLE_BATCH_SHARD"
_ARRAY_VARIABLES = {
    "SLURM_ARRAY_TASK_ID": 1,
    "JOB_COMPLETION_INDEX": 0,
    "AWS_BATCH_JOB_ARRAY_INDEX": 0,
}
"""The index variables of Slurm, Kubernetes and AWS Batch, each with the index of the first shard.
"""

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


def shard_from(environ: Mapping[str, str], count: int) -> ShardId | None:
    """Return the shard that the environment names, or None.

    ``count`` is the number of shards of the plan, 0 if it is not divided. The index variables of
    arrays count only for a divided plan: another run may be in an array as well. Raises
    ``ValueError``.
    """
    named = environ.get(SHARD_VARIABLE)
    if named:
        try:
            return ShardId.parse(named)
        except ValueError as error:
            raise ValueError(f"{SHARD_VARIABLE}: {error}") from None
    for variable, first in _ARRAY_VARIABLES.items():
        index = environ.get(variable)
        if count and index:
            return _indexed(variable, index, first, count)
    return None


def _indexed(variable: str, index: str, first: int, count: int) -> ShardId:
    last = first + count - 1
    if not re.fullmatch("[0-9]{1,9}", index) or not first <= int(index) <= last:
        reason = f"{variable}={index}: the indexes of {count} shards are {first} to {last}"
        if variable.startswith("SLURM"):
            reason += f", so number the array from {first}: --array={first}-{last}"
        raise ValueError(reason)
    return ShardId(int(index) - first + 1, count)


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """One shard of a saved plan: its number of jobs, how many of them were admitted, and its
    allowance.

    ``admitted`` jobs are expected to be affordable with ``allowance``; the others are blocked by
    the budget.
    """

    number: int
    jobs: int
    admitted: int
    allowance: StoredCredits


@dataclass(frozen=True, slots=True)
class LearnedPrice:
    """The highest price seen for a shape (``core.prices.Shape``) when a plan was divided."""

    price_class: str
    shape: str
    credits: StoredCredits


@dataclass(frozen=True, slots=True)
class OutstandingShards:
    """The shards of the newest divided plan of a run directory, and their allowances, by number.

    The allowance of a shard that was not merged is set aside: the run directory may not spend it.
    ``budget`` is that of the complete plan. ``abandoned`` are those of ``merged`` that were given
    up without a directory. ``fingerprint`` is that of the plan's API key. ``earlier`` are the
    digests of the divided plans before, all of whose shards are merged. ``account`` is the one in
    which the credits of a period are set aside for the shards; None if the budget is not that of a
    period. ``left_out`` is the number of new jobs in no shard, since the budget had no room for
    their images.
    """

    plan_digest: str
    allowances: Mapping[int, StoredCredits]
    merged: frozenset[int] = field(default_factory=frozenset)
    budget: StoredCredits | None = None
    abandoned: frozenset[int] = field(default_factory=frozenset)
    fingerprint: str | None = None
    earlier: tuple[str, ...] = ()
    account: str | None = None
    left_out: int = 0

    @property
    def plans(self) -> tuple[str, ...]:
        """The digests of all divided plans of the run directory."""
        return (*self.earlier, self.plan_digest)

    @property
    def division(self) -> int:
        """The number of the plan among the divided plans of the run directory, from 1."""
        return len(self.plans)

    @property
    def before(self) -> OutstandingShards | None:
        """What was known before this division: earlier plans, of which no shard is missing."""
        if not self.earlier:
            return None
        *earlier, newest = self.earlier
        return OutstandingShards(newest, {}, earlier=tuple(earlier))

    @property
    def missing(self) -> tuple[int, ...]:
        """The numbers of the shards that were not merged yet."""
        return tuple(sorted(self.allowances.keys() - self.merged))

    @property
    def set_aside(self) -> Credits:
        """The allowances of the shards that were not merged yet."""
        return sum((self.allowances[number] for number in self.missing), ZERO)


@dataclass(frozen=True, slots=True)
class ShardOf:
    """What a shard's own run directory belongs to."""

    plan_digest: str
    shard: ShardId
