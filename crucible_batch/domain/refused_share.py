"""When a share of refused requests (429, 503) is more than chance, and when a test shows that it is chance. Pure."""

from __future__ import annotations

import math

ROUND = 32
"""The fewest answers from which a share is derived: with one expected by chance among them, two are a higher share."""
TOLERATED = 0.04
"""The share of refusals at which a limit that is a little too high costs less than one that is too low."""
MOST_CHANCE = 0.1
"""The largest share that is taken for chance. A gateway that refuses more is busy."""
FALL = 0.8
"""A limit falls to this share of itself, which is enough to show whether refusals depend on it."""
PACE = 1.25
"""Requests may come this much faster than on average, so that the spacing itself doesn't hold jobs back."""
SILENCE = 8
"""So many refusals in a row aren't chance: at a share of 10 %, one in a hundred million."""


def is_more_than(chance: float, refusals: int, count: int) -> bool:
    """Whether so many refusals of ``count`` are more than tolerated beside those by ``chance``, a share."""
    # Chance itself varies by about the square root of what it is expected to refuse.
    expected = chance * count
    return refusals > expected + 0.5 * math.sqrt(expected) + TOLERATED * count


def is_unchanged(before: float, share: float) -> bool:
    """Whether the share that is refused after a fall shows that the fall changed little: that it is chance."""
    return before / 2 < share <= 2 * MOST_CHANCE
