"""The lease of a shard in a cluster: who may run it, whose report counts, and which credits it keeps set aside.

A shard is claimed by one worker at a time. Each claim raises the shard's *epoch*, and only the newest epoch counts. The
owner renews its lease; a lease that was not renewed for ``lease_s`` seconds may be claimed by another worker. A frozen
worker that wakes up later has an older epoch, so that its report has no effect.

    state      claim                           renew    report            release           withdraw         merge
    waiting    claimed, epoch + 1              no       no                repeated (2)      if epoch is 0    no
    running    held, claimed if stale (1)      (3)      (3) -> ended      (3) -> waiting    no               no
    ended      finished                        no       repeated (2)      no                no               -> merged
    merged     finished                        no       repeated (2)      no                no               repeated
    withdrawn  finished                        no       no                no                repeated         no

    An operator may end a run early: a shard that waits is then withdrawn if its epoch is 0, and has ended otherwise.
    In that case its complete allowance counts as held until its journal is merged. All other states remain.

    (1) the lease was not renewed for ``lease_s``; the same claim sent again is answered as before, without a new epoch
    (2) only with the newest epoch: the answer to the first try was lost; nothing changes
    (3) only with the newest epoch, stale or not: no other worker has claimed the shard since

A shard that was claimed once may have bought something, so that it is never withdrawn: it has to end.

What a shard takes of the run's budget, its *charge*:

    waiting, running   the allowance; at least what its owner reported: takeover and release don't change it
    ended              what was spent and what is held; the rest of the allowance is returned by this transition only
    merged             nothing: it is part of what the run itself has used
    withdrawn          nothing: it was never claimed

    used + sum of the charges <= budget        whenever credits are set aside

What is left is computed from this, and never stored, so that no allowance can be returned twice.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from crucible_batch.domain.credits import ZERO, Credits

LEASE_S: Final = 15.0
"""A lease that was not renewed for this long may be claimed by another worker."""
RENEW_S: Final = 4.0
"""The time between renewals: three are lost before a lease becomes stale."""


class ShardState(enum.StrEnum):
    """The state of a shard. There is no way back from the last three."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"
    MERGED = "merged"
    WITHDRAWN = "withdrawn"


class ClaimAnswer(enum.StrEnum):
    """The answer to a claim. ``draining``: this worker was asked to take no further shards."""

    CLAIMED = "claimed"
    HELD = "held"
    FINISHED = "finished"
    DRAINING = "draining"
    UNKNOWN = "unknown"


class FencedAnswer(enum.StrEnum):
    """The answer to an owner's renewal, report or release.

    ``repeated``: it was accepted before. ``superseded``: the epoch is not the newest, or the shard isn't running; the
    sender has lost the shard.
    """

    ACCEPTED = "accepted"
    REPEATED = "repeated"
    SUPERSEDED = "superseded"
    UNKNOWN = "unknown"

    @property
    def counts(self) -> bool:
        """Whether the sender's word is in effect."""
        return self in (FencedAnswer.ACCEPTED, FencedAnswer.REPEATED)


class AllowanceAnswer(enum.StrEnum):
    """The answer to a coordinator's request about a run's allowances.

    ``over_budget``: not all of it could be set aside, so nothing was. ``conflict``: a shard is known with another
    allowance, or is in a state that does not permit the request; nothing was changed. ``superseded``: another
    coordinator has the run.
    """

    ACCEPTED = "accepted"
    OVER_BUDGET = "over_budget"
    CONFLICT = "conflict"
    SUPERSEDED = "superseded"
    UNKNOWN = "unknown"


def is_stale(renewed_at: float, now: float, lease_s: float = LEASE_S) -> bool:
    """Return whether a lease that was renewed at this time may be claimed by another. All times are in seconds.

    An owner applies it to its own clock and its last accepted renewal: when it is true, others may run the shard.
    """
    return now - renewed_at >= lease_s


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
