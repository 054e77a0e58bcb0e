"""The limit of concurrent jobs, adapted to the gateway's answers.

Uses TCP's congestion control (RFC 5681), with jobs in place of segments. A job counts from before its credits are held
until its outputs are on disk, so one limit applies to submits, uploads and polls.

    event                                 limit                          threshold
    accepted, below the threshold         + 1 (it doubles in a round)    -
    accepted, at or above it              + 1 after ``limit`` of them    -
    pushed back (429, 503)                half of it, at least 1         the new limit
    pushed back again, none accepted yet  half of it, at least 1         -
    pushed back within the window         -                              -

A burst of pushbacks lowers the limit once, since its requests were sent before the first answer. During an outage
without any acceptance the threshold is unchanged, so that the old limit is reached again in a few rounds. The limit
grows only if at least half of it is in use.

Pushbacks are not a sign of too many jobs if one or two jobs are pushed back as often as many: the gateway then answers
429 by chance, and lowering the limit each time would keep it at 1 for no reason. In that case the limit is restored to
its value before it fell, and only the request that was pushed back waits, unless pushbacks are much more frequent than
chance was seen to cause.

The number of jobs allowed is also bounded by what keeps the gateway's runners busy (``enough``): more jobs would only
be queued there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from dataclasses import replace as changed

FIRST_LIMIT = 4
MOST_BY_ITSELF = 64
"""The maximum if no concurrency is configured. A request takes more CPU time the more are in flight: ``make bench
ONLY=concurrency`` shows how much."""
WINDOW_S = 2.0
"""Pushbacks within this time after a fall are answers to requests sent before it, or to their first retries."""
_SHARE_WEIGHT = 1 / 16
_CALM_WEIGHT = 1 / 128
_CALM_LIMIT = 2
"""So few jobs are never too many for a working gateway: pushbacks at this limit are by chance."""
_CALM_ANSWERS = 12
"""The minimum number of answers for an estimate of the share of pushbacks."""
_NOISE = 0.03
"""A smaller share of pushbacks counts as none, and isn't used to judge pushbacks under a higher load."""
_BY_CHANCE = 2.5
"""Up to so many times a calm gateway's share of pushbacks counts as chance: 16 answers are not more precise."""
_NEVER_BY_CHANCE = 0.35
"""A gateway with a greater share of pushbacks is busy, whatever its share was before."""
_AIM_WEIGHT = 0.1


@dataclass(frozen=True, slots=True)
class ConcurrencyLimit:
    """The limit at one moment. All times are in seconds, of the same monotonic clock."""

    ceiling: int
    limit: int
    threshold: int
    accepted: int = 0
    """The number of jobs accepted, at or above the threshold, since the limit last changed."""
    has_accepted: bool = True
    """Whether any job was accepted since the last fall."""
    window_ends: float = -math.inf
    resume_at: float = -math.inf
    """No job is started before this time, as requested by the gateway's ``Retry-After``."""
    before: int = 0
    """The limit before it began to fall; 0 if it has reached that value again."""
    calm_from: float = math.inf
    """The time from which on answers are to requests sent after the last fall."""
    calm_answers: int = 0
    """The number of answers at a limit of ``_CALM_LIMIT`` or less; later ones count at any limit if there is noise."""
    calm_share: float = 0.0
    """The share of pushbacks in the answers of ``calm_answers``."""
    share: float = 0.0
    """The share of pushbacks in the most recent answers."""
    enough: float | None = None
    """The number of jobs that keeps the gateway's runners busy; None if it isn't known."""

    @property
    def allowed(self) -> int:
        """The number of jobs that may be in progress at once."""
        return self.limit if self.enough is None else min(self.limit, max(math.ceil(self.enough), FIRST_LIMIT))

    def after_answer(self, now: float) -> ConcurrencyLimit:
        """Return the limit after an answer other than a pushback."""
        return self._counting(now, 0.0)

    def aimed(self, runners: float | None, unseen: float, elsewhere: int) -> ConcurrencyLimit:
        """Return the limit with ``enough`` moved towards the number of jobs that keeps ``runners`` busy.

        ``unseen`` is the number of jobs that have ended at the gateway but are not yet known to have, ``elsewhere`` the
        number of jobs that are being submitted or downloaded. Both vary by about their square root.
        """
        if runners is None:
            return self if self.enough is None else changed(self, enough=None)
        beside = unseen + elsewhere
        enough = runners + beside + 2 * math.sqrt(max(beside, 1.0))
        known = enough if self.enough is None else self.enough
        return changed(self, enough=known + _AIM_WEIGHT * (enough - known))

    def after_acceptance(self, in_use: int, now: float = math.inf) -> ConcurrencyLimit:
        """Return the limit after a job was accepted. ``in_use`` is the number of jobs in progress, including this one.

        ``now`` defaults to a time after every window.
        """
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
        """Return the limit after a 429 or 503. ``asked_s`` is the wait that it asked for in seconds, 0 if none."""
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
        """Whether the share of pushbacks is no greater than chance explains, by the share at a limit of one or two."""
        chance = min(_BY_CHANCE * self.calm_share, _NEVER_BY_CHANCE)
        return self.calm_answers >= _CALM_ANSWERS and self.share <= chance

    def _counting(self, now: float, pushed: float) -> ConcurrencyLimit:
        """Return the limit with the shares updated: ``pushed`` is 1 for a pushback and 0 for any other answer."""
        share = self.share + _SHARE_WEIGHT * (pushed - self.share)
        is_calm = self.limit <= _CALM_LIMIT and self.calm_from <= now
        is_noisy = self.calm_answers >= _CALM_ANSWERS and self.calm_share >= _NOISE
        if not is_calm and not is_noisy:
            return changed(self, share=share)
        # Once chance pushbacks are established, every answer improves the estimate of their share.
        answers = self.calm_answers + 1
        weight = max(1 / answers, _CALM_WEIGHT)
        calm_share = self.calm_share + weight * (pushed - self.calm_share)
        return changed(self, share=share, calm_share=calm_share, calm_answers=answers)


def initial_limit(concurrency: int | None) -> ConcurrencyLimit:
    """Return the limit at the start: ``concurrency``, which is never exceeded; None starts low and adapts."""
    if concurrency is None:
        return ConcurrencyLimit(MOST_BY_ITSELF, FIRST_LIMIT, MOST_BY_ITSELF)
    return ConcurrencyLimit(concurrency, concurrency, concurrency)
