"""The leases and allowances of a cluster as values: a model of the functions in its database.

The table is at the head of ``domain/shard_lease.py``. Random histories are played to the model and to the database, and
tests without a database use the model in its place.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from crucible_batch.domain.credits import ZERO, Credits
from crucible_batch.domain.shard_lease import LEASE_S, AllowanceAnswer, ClaimAnswer, FencedAnswer, ShardState, is_stale


@dataclass(frozen=True, slots=True)
class ShardLease:
    """The lease of one shard. ``claim`` identifies the newest claim; ``spent`` and ``held`` are as last reported."""

    allowance: Credits
    state: ShardState = ShardState.WAITING
    epoch: int = 0
    claim: str = ""
    renewed_at: float = 0.0
    spent: Credits = ZERO
    held: Credits = ZERO

    @property
    def charge(self) -> Credits:
        """The credits that the shard takes of the run's budget now."""
        match self.state:
            case ShardState.WAITING | ShardState.RUNNING:
                return max(self.allowance, self.spent + self.held)
            case ShardState.ENDED:
                return self.spent + self.held
            case ShardState.MERGED | ShardState.WITHDRAWN:
                return ZERO

    def claimed(self, claim: str, now: float, lease_s: float = LEASE_S) -> tuple[ShardLease, ClaimAnswer]:
        """Claim the shard. ``claim`` is unique to this request, and the same if the request is repeated."""
        if self.state not in (ShardState.WAITING, ShardState.RUNNING):
            return self, ClaimAnswer.FINISHED
        if self.state is ShardState.RUNNING and self.claim == claim:
            return replace(self, renewed_at=now), ClaimAnswer.CLAIMED
        if self.state is ShardState.RUNNING and not is_stale(self.renewed_at, now, lease_s):
            return self, ClaimAnswer.HELD
        taken = replace(self, state=ShardState.RUNNING, epoch=self.epoch + 1, claim=claim, renewed_at=now)
        return taken, ClaimAnswer.CLAIMED

    def renewed(self, epoch: int, now: float, spent: Credits, held: Credits) -> tuple[ShardLease, FencedAnswer]:
        """Renew the lease, with what the owner has spent and holds so far."""
        if not self._is_owner(epoch):
            return self, FencedAnswer.SUPERSEDED
        return replace(self, renewed_at=now, spent=spent, held=held), FencedAnswer.ACCEPTED

    def reported(self, epoch: int, spent: Credits, held: Credits) -> tuple[ShardLease, FencedAnswer]:
        """End the shard: what it did not spend or hold is returned to the run."""
        if epoch == self.epoch and self.state in (ShardState.ENDED, ShardState.MERGED):
            return self, FencedAnswer.REPEATED
        if not self._is_owner(epoch):
            return self, FencedAnswer.SUPERSEDED
        return replace(self, state=ShardState.ENDED, spent=spent, held=held), FencedAnswer.ACCEPTED

    def released(self, epoch: int, spent: Credits, held: Credits) -> tuple[ShardLease, FencedAnswer]:
        """Return an unfinished shard to the queue, with its allowance."""
        if epoch == self.epoch and epoch > 0 and self.state is ShardState.WAITING:
            return self, FencedAnswer.REPEATED
        if not self._is_owner(epoch):
            return self, FencedAnswer.SUPERSEDED
        return replace(self, state=ShardState.WAITING, spent=spent, held=held), FencedAnswer.ACCEPTED

    def _is_owner(self, epoch: int) -> bool:
        return self.state is ShardState.RUNNING and epoch == self.epoch

    def drained(self) -> ShardLease:
        """End a shard that waits, since an operator ends the run early. If it had an owner, its charge remains.

        What was reported with a release is not a definite amount: an owner may have released it without reading what
        the one before has spent.
        """
        if self.state is not ShardState.WAITING:
            return self
        if self.epoch == 0:
            return replace(self, state=ShardState.WITHDRAWN)
        return replace(self, state=ShardState.ENDED, held=max(self.held, self.allowance - self.spent))

    @property
    def may_be_withdrawn(self) -> bool:
        """Whether no worker has ever claimed it, or it is withdrawn already."""
        return self.state is ShardState.WITHDRAWN or (self.state is ShardState.WAITING and self.epoch == 0)

    @property
    def may_be_merged(self) -> bool:
        """Whether its report was accepted."""
        return self.state in (ShardState.ENDED, ShardState.MERGED)


@dataclass(frozen=True, slots=True)
class RunAllowances:
    """The budget of a run, what it has used itself, and its shards by plan and number.

    ``used`` are the credits that the run's own journal has spent and holds, those of merged shards included.
    """

    budget: Credits
    used: Credits = ZERO
    shards: Mapping[tuple[str, int], ShardLease] = field(default_factory=dict)

    @property
    def set_aside(self) -> Credits:
        """The charges of all shards."""
        return sum((shard.charge for shard in self.shards.values()), ZERO)

    @property
    def left(self) -> Credits:
        """What can be set aside now; 0 if shards or the run itself have used more than was planned."""
        return max(ZERO, self.budget - self.used - self.set_aside)

    def deferred(self, plan: str, allowances: Mapping[int, Credits]) -> tuple[RunAllowances, AllowanceAnswer]:
        """Set allowances aside for shards of a plan, all or none. Shards that are known already are unchanged."""
        new = {(plan, number): ShardLease(amount) for number, amount in allowances.items()}
        known = {key: lease for key, lease in self.shards.items() if key in new}
        if any(lease.allowance != new[key].allowance for key, lease in known.items()):
            return self, AllowanceAnswer.CONFLICT
        if sum((lease.allowance for key, lease in new.items() if key not in known), ZERO) > self.left:
            return self, AllowanceAnswer.OVER_BUDGET
        return replace(self, shards={**new, **self.shards}), AllowanceAnswer.ACCEPTED

    def settled(self, used: Credits, merged: Collection[tuple[str, int]]) -> tuple[RunAllowances, AllowanceAnswer]:
        """Replace what the run has used, with these shards merged into it. May be repeated."""
        if not all(key in self.shards and self.shards[key].may_be_merged for key in merged):
            return self, AllowanceAnswer.CONFLICT
        ended = {key: replace(self.shards[key], state=ShardState.MERGED) for key in merged}
        return replace(self, used=used, shards={**self.shards, **ended}), AllowanceAnswer.ACCEPTED

    def withdrawn(self, keys: Collection[tuple[str, int]]) -> tuple[RunAllowances, AllowanceAnswer]:
        """Withdraw shards that no worker has claimed, all or none: their allowances are returned. May be repeated."""
        if not all(key in self.shards and self.shards[key].may_be_withdrawn for key in keys):
            return self, AllowanceAnswer.CONFLICT
        gone = {key: replace(self.shards[key], state=ShardState.WITHDRAWN) for key in keys}
        return replace(self, shards={**self.shards, **gone}), AllowanceAnswer.ACCEPTED

    def drained(self) -> RunAllowances:
        """End the run early: no worker takes one of its shards any more. May be repeated."""
        return replace(self, shards={key: lease.drained() for key, lease in self.shards.items()})
