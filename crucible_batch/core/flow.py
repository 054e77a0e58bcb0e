"""How many jobs may be on their way to the gateway at once, found out from how it answers.

TCP's congestion control (RFC 5681), with jobs in place of segments. A job counts from before its credits are held
until its outputs are on disk, so one limit bounds submits, uploads and polls alike.

    what happens                          limit                          threshold
    accepted, below the threshold         + 1 (it doubles in a round)    -
    accepted, at or above it              + 1 after ``limit`` of them    -
    pushed back (429, 503)                half of it, at least 1         the new limit
    pushed back again, none accepted yet  half of it, at least 1         -
    pushed back within the window         -                              -

A burst is one fall, since its requests left before anybody could know. An outage without a single acceptance leaves the
threshold alone: when it is over, the old pace is found again in a few rounds. Nothing grows that isn't used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

FIRST_LIMIT = 4
MOST_BY_ITSELF = 64
"""Where nobody names a number: beyond a hundred connections the HTTP client itself becomes the narrow place."""
WINDOW_S = 2.0
"""Pushbacks so soon after a fall answer requests that left before it, or the first of their retries."""


@dataclass(frozen=True, slots=True)
class Flow:
    """The limit at one moment. ``now`` and ``resume_at`` are of one monotonic clock, in seconds."""

    ceiling: int
    limit: int
    threshold: int
    accepted: int = 0
    """How many were accepted since the limit last moved, at or above the threshold."""
    has_accepted: bool = True
    """Whether any was since the last fall."""
    window_ends: float = -math.inf
    resume_at: float = -math.inf
    """Nothing new is asked for before: the gateway said so by ``Retry-After``."""

    def after_acceptance(self, in_use: int) -> Flow:
        """Return the flow after the gateway took a job; ``in_use`` is how many are on their way, that one included."""
        flow = self if self.has_accepted else replace(self, has_accepted=True)
        if flow.limit >= flow.ceiling or 2 * in_use < flow.limit:
            return flow
        if flow.limit >= flow.threshold and flow.accepted + 1 < flow.limit:
            return replace(flow, accepted=flow.accepted + 1)
        return replace(flow, limit=flow.limit + 1, accepted=0)

    def after_pushback(self, now: float, asked_s: float) -> Flow:
        """Return the flow after a 429 or a 503 that asked for a wait of ``asked_s``, 0 where it asked for none."""
        resume_at = max(self.resume_at, now + asked_s)
        if now < self.window_ends:
            return replace(self, resume_at=resume_at)
        limit = max(1, self.limit // 2)
        return replace(
            self,
            limit=limit,
            threshold=limit if self.has_accepted else self.threshold,
            accepted=0,
            has_accepted=False,
            window_ends=now + max(WINDOW_S, asked_s),
            resume_at=resume_at,
        )


def new_flow(concurrency: int | None) -> Flow:
    """Begin with all of ``concurrency``, which is never exceeded; None begins low and finds out."""
    if concurrency is None:
        return Flow(MOST_BY_ITSELF, FIRST_LIMIT, MOST_BY_ITSELF)
    return Flow(concurrency, concurrency, concurrency)
