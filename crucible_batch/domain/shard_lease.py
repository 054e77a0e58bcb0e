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

The functions of the database (``cluster/migrations/``) follow these tables.
"""

from __future__ import annotations

import enum
from typing import Final

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
