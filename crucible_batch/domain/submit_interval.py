"""The least time between two submits, for gateways that refuse what comes sooner. Pure; times are arguments.

A limiter without bursts (GCRA, the generic cell rate algorithm, with no tolerance; ``limit_req`` of nginx) accepts a
request if a fixed interval has passed since the last accepted one. It shows in the gaps between a submit and the
accepted one before it: every refused submit had a shorter gap than every accepted one. With any other limit, or by
chance, the gaps of ``FEWEST`` accepted and two refused submits are in that order once in 150 times.

The interval is between the longest refused and the shortest accepted gap. The shortest accepted one is used at first.
Each round without refusals then takes the geometric mean of the two, as a search by halves of an unknown scale, and at
last a little less than before, since a gateway may become faster. If submits are still refused in the first round with
an interval, their closeness was not the cause: it is dropped, and none is learned again in this run.
"""

from __future__ import annotations

import math
from collections import deque

FEWEST = 16
"""The fewest accepted submits from which an interval is learned."""
_LATEST = 64
_SHORTEST_S = 0.001
"""Shorter gaps are taken for this long."""
_LESS = 0.02
"""The least share by which an interval becomes shorter after each round."""


class SubmitInterval:
    """The interval of one gateway, in seconds; 0 as long as none is known."""

    def __init__(self) -> None:
        self.interval_s = 0.0
        self._too_short_s = 0.0
        self._gaps: deque[tuple[bool, float]] = deque(maxlen=_LATEST)
        self._accepted_at = -math.inf
        self._is_new = False
        self._is_dropped = False

    def answered(self, sent_at: float, *, is_refused: bool) -> None:
        """Note the answer to the submit that was sent then."""
        if self._accepted_at > -math.inf:
            self._gaps.append((is_refused, abs(sent_at - self._accepted_at)))
        if not is_refused:
            self._accepted_at = max(self._accepted_at, sent_at)

    def learn(self) -> bool:
        """Return whether submits were refused since they were too close to others. The interval is then learned."""
        refused = [gap_s for is_refused, gap_s in self._gaps if is_refused]
        accepted = [gap_s for is_refused, gap_s in self._gaps if not is_refused]
        if self._is_new or self._is_dropped or len(refused) < 2 or len(accepted) < FEWEST:
            return False
        if max(refused) >= min(accepted):
            return False
        self.interval_s, self._too_short_s = min(accepted), max(refused)
        self._is_new = True
        self._gaps.clear()
        return True

    def passed(self) -> None:
        """Note a round of submits of which few enough were refused."""
        self._is_new = False
        between_s = math.sqrt(self.interval_s * max(self._too_short_s, _SHORTEST_S))
        self.interval_s = min((1 - _LESS) * self.interval_s, between_s)
        self._too_short_s = min(self._too_short_s, self.interval_s)

    def failed(self) -> None:
        """Note that too many submits were refused for another reason than their closeness."""
        if self._is_new:
            self.interval_s, self._is_new, self._is_dropped = 0.0, False, True
