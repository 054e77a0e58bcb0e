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

A pushback is no sign of too many where one or two jobs are pushed back as often as many are: such a gateway says 429 by
chance, and a limit that fell at each would stay at one for nothing. Then the limit is again what it was before it fell,
and of a pushback only the request itself waits, unless there are far more of them than chance brought before.

By itself it stops short of the limit as well, at what keeps the gateway's runners at work (``enough``): more would only
wait there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from dataclasses import replace as changed

FIRST_LIMIT = 4
MOST_BY_ITSELF = 64
"""Where nobody names a number. A request costs more of the processor the more are in flight: ``make bench
ONLY=concurrency`` says how much."""
WINDOW_S = 2.0
"""Pushbacks so soon after a fall answer requests that left before it, or the first of their retries."""
_SHARE_WEIGHT = 1 / 16
_CALM_WEIGHT = 1 / 128
_CALM_LIMIT = 2
"""So few are never too many for a gateway that takes any: what it turns away then, it turns away by chance."""
_CALM_ANSWERS = 12
"""Fewer answers tell no share."""
_NOISE = 0.03
"""Less is none, and teaches nothing about those that come when there is more to do."""
_BY_CHANCE = 2.5
"""Up to so many times the share that a calm gateway turns away is chance: 16 answers don't tell it better."""
_NEVER_BY_CHANCE = 0.35
"""A gateway that turns away more than that is busy, whatever it did before."""
_AIM_WEIGHT = 0.1


@dataclass(frozen=True, slots=True)
class ConcurrencyLimit:
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
    before: int = 0
    """What the limit was before it began to fall; 0 where it is as high as it was."""
    calm_from: float = math.inf
    """From when on answers are to requests that left after the last fall."""
    calm_answers: int = 0
    """How many of them there were while the limit was down at ``_CALM_LIMIT``, and all since they were enough."""
    calm_share: float = 0.0
    """The share of pushbacks in those."""
    share: float = 0.0
    """The share of pushbacks in the newest of all answers."""
    enough: float | None = None
    """How many keep the gateway's runners at work; None where nothing is known of them."""

    @property
    def allowed(self) -> int:
        """How many may be on their way."""
        return self.limit if self.enough is None else min(self.limit, max(math.ceil(self.enough), FIRST_LIMIT))

    def after_answer(self, now: float) -> ConcurrencyLimit:
        """Return the flow after an answer that asks for no wait."""
        return self._counting(now, 0.0)

    def aimed(self, runners: float | None, unseen: float, elsewhere: int) -> ConcurrencyLimit:
        """Return the flow that aims at as many jobs as keep so many runners at work.

        ``unseen`` is how many jobs have ended at the gateway and are not known to have, ``elsewhere`` how many are on
        their way and not at the gateway: being submitted, or downloaded. Both vary, by about their square root.
        """
        if runners is None:
            return self if self.enough is None else changed(self, enough=None)
        beside = unseen + elsewhere
        enough = runners + beside + 2 * math.sqrt(max(beside, 1.0))
        known = enough if self.enough is None else self.enough
        return changed(self, enough=known + _AIM_WEIGHT * (enough - known))

    def after_acceptance(self, in_use: int, now: float = math.inf) -> ConcurrencyLimit:
        """Return the flow after the gateway took a job; ``in_use`` is how many are on their way, that one included."""
        flow = self._counting(now, 0.0)
        flow = flow if flow.has_accepted else changed(flow, has_accepted=True)
        if flow.limit >= flow.ceiling or 2 * in_use < flow.limit:
            return flow
        if flow.limit <= _CALM_LIMIT and now < flow.window_ends:
            return flow
        if flow.limit >= flow.threshold and flow.accepted + 1 < flow.limit:
            return changed(flow, accepted=flow.accepted + 1)
        limit = flow.limit + 1
        return changed(flow, limit=limit, accepted=0, before=flow.before if limit < flow.before else 0)

    def after_pushback(self, now: float, asked_s: float) -> ConcurrencyLimit:
        """Return the flow after a 429 or a 503 that asked for a wait of ``asked_s``, 0 where it asked for none."""
        flow = self._counting(now, 1.0)
        if flow.is_by_chance:
            return changed(flow, limit=max(flow.limit, flow.before), threshold=flow.ceiling, before=0)
        resume_at = max(self.resume_at, now + asked_s)
        if now < self.window_ends:
            return changed(flow, resume_at=resume_at)
        limit = max(1, self.limit // 2)
        return changed(
            flow,
            calm_from=now + WINDOW_S,
            limit=limit,
            before=max(self.before, self.limit),
            threshold=limit if self.has_accepted else self.threshold,
            accepted=0,
            has_accepted=False,
            window_ends=now + max(WINDOW_S, asked_s),
            resume_at=resume_at,
        )

    @property
    def is_by_chance(self) -> bool:
        """Whether no more is turned away than a gateway with next to nothing to do turned away."""
        chance = min(_BY_CHANCE * self.calm_share, _NEVER_BY_CHANCE)
        return self.calm_answers >= _CALM_ANSWERS and self.share <= chance

    def _counting(self, now: float, pushed: float) -> ConcurrencyLimit:
        """Return the flow after an answer: ``pushed`` is 1 for a pushback and 0 for any other."""
        share = self.share + _SHARE_WEIGHT * (pushed - self.share)
        is_calm = self.limit <= _CALM_LIMIT and self.calm_from <= now
        is_noisy = self.calm_answers >= _CALM_ANSWERS and self.calm_share >= _NOISE
        if not is_calm and not is_noisy:
            return changed(self, share=share)
        # Once it is known that there is chance, every answer says how much.
        answers = self.calm_answers + 1
        weight = max(1 / answers, _CALM_WEIGHT)
        calm_share = self.calm_share + weight * (pushed - self.calm_share)
        return changed(self, share=share, calm_share=calm_share, calm_answers=answers)


def initial_limit(concurrency: int | None) -> ConcurrencyLimit:
    """Begin with all of ``concurrency``, which is never exceeded; None begins low and finds out."""
    if concurrency is None:
        return ConcurrencyLimit(MOST_BY_ITSELF, FIRST_LIMIT, MOST_BY_ITSELF)
    return ConcurrencyLimit(concurrency, concurrency, concurrency)
