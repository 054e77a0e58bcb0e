"""Whether more requests are refused (429, 503) than by chance.

It is decided as in the control chart of a moving average (Roberts 1959).
"""

from __future__ import annotations

import math

MOST_CHANCE = 1 / 8  # the largest share of refusals that may be chance
_FEWEST = 16
_SIGMAS = 3.0


class RefusedShare:
    """The share of refused requests, averaged over about one round of them."""

    def __init__(self) -> None:
        self.share = 0.0
        self._most = 1.0

    @property
    def is_more_than_chance(self) -> bool:
        """Whether the share is more than three standard deviations above ``MOST_CHANCE``."""
        return self.share > self._most

    def answered(self, round_size: float, *, is_refused: bool) -> None:
        """Note an answer.

        ``round_size``: so many requests are sent before their answers show a change.
        """
        weight = 1 / max(_FEWEST, round_size)
        self.share += weight * (is_refused - self.share)
        variance = MOST_CHANCE * (1 - MOST_CHANCE) * weight / (2 - weight)
        self._most = MOST_CHANCE + _SIGMAS * math.sqrt(variance)
