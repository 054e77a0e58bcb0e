"""What the viewer does more often in the forks of the tests."""

from __future__ import annotations

from crucible_batch.features.view import feed


def prepare() -> None:
    """Let the viewer look often."""
    feed.BUSY_S, feed.IDLE_S, feed.PACE_EVERY_S = 0.2, 0.4, 1.0
