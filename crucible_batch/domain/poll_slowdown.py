"""How much farther apart polls are while the gateway refuses them as well. Pure.

A gateway that limits requests of all kinds refuses polls too, while one with a cap on jobs never does. Fewer jobs in
flight then help little, since each is polled as often as before. So whenever the limit of concurrent jobs falls, and
more polls were refused since its last change than by chance, polls are spaced ``MORE`` times as far; each round of
submits without refusals takes a tenth of that back (multiplicative decrease of the rate, as in AIMD). If the fall is
taken back since the refusals were chance, so is this.
"""

from __future__ import annotations

MORE = 1.5
_BACK = 0.9
MOST = 16.0
"""A limit of so few requests that polls would be farther apart is met by fewer jobs instead."""


class PollSlowdown:
    """The slowdown of one run. ``factor``: how many times as far apart polls are."""

    def __init__(self) -> None:
        self.factor = 1.0
        self._before = 1.0
        self._count = self._refusals = 0

    def answered(self, *, is_refused: bool) -> None:
        """Take in the answer to a poll."""
        self._count += 1
        self._refusals += is_refused

    def fell(self, tolerated: float, *, is_first: bool) -> None:
        """Take in a fall of the limit: the ``is_first`` since it last grew. ``tolerated`` is a share of refusals."""
        if is_first:
            self._before = self.factor
        if self._refusals >= 2 and self._refusals > tolerated * self._count:
            self.factor = min(MOST, MORE * self.factor)
        self._count = self._refusals = 0

    def restored(self) -> None:
        """Take in that the latest falls were taken back."""
        self.factor = self._before
        self._count = self._refusals = 0

    def passed(self) -> None:
        """Take in a round of submits of which few enough were refused."""
        self.factor = max(1.0, _BACK * self.factor)
        self._count = self._refusals = 0
