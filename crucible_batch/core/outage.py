"""An outage of the gateway, from the first request without an answer to the next answer.

Pure: times are passed in.

    a request ends with                       an answer   waited for
    no response (refused, DNS, timeout, cut)  no          as long as the user allows
    502, 504, a 503 that is an error page     no          the same
    any other 5xx, before the first purchase  no          the same
    later, 503 with the gateway's own error   yes         as long, for each request: it is too busy
    later, any other 5xx                      yes         as any failed request
    an invalid certificate                    yes         as any failed request
    anything else, 401 and 404 included       yes         as any failed request, or not at all

While there is no answer, nothing new is bought (``engine.purchase_gate``). An answer to any request
ends the outage.
"""

from __future__ import annotations

from collections.abc import Callable

FIRST_TOLD_S = 5.0
"""An outage is reported once it has lasted this long: a single cut connection is not an outage."""
TOLD_EVERY_S = 60.0

TellOutage = Callable[[float, str | None], None]
"""Called with the seconds that an outage has lasted and the last error; with None instead of it at
the end."""


def _untold(_lasted_s: float, _reason: str | None) -> None:
    """The default: nothing is reported."""


class Outage:
    """Whether the gateway answers, by the results of all requests. Times are in seconds of one
    monotonic clock.

    ``is_awaited``: whether requests wait for its end; set it to False where a quick failure is
    wanted. ``has_bought``: the first purchase was accepted, so that errors are answers. ``number``
    counts the outages so far. ``is_given_up``: it has lasted longer than the user allows.
    """

    def __init__(
        self, tell: TellOutage = _untold, *, is_awaited: bool = True, has_bought: bool = True
    ) -> None:
        self.is_awaited = is_awaited
        self.has_bought = has_bought
        self.is_given_up = False
        self.number = 0
        self._tell = tell
        self._began_at: float | None = None
        self._told_at: float | None = None
        self._earlier_s = 0.0

    @property
    def is_told(self) -> bool:
        """Whether the present outage has been reported."""
        return self._told_at is not None and self._tell is not _untold

    @property
    def is_on(self) -> bool:
        """Whether the newest result of a request is that there was no answer."""
        return self._began_at is not None

    def unanswered(self, now: float) -> None:
        if self._began_at is None:
            self._began_at = now
            self.number += 1

    def answered(self, now: float) -> None:
        if self._began_at is None:
            return
        lasted_s = self.lasted_s(now)
        self._earlier_s += lasted_s
        self._began_at, self.is_given_up = None, False
        if self._told_at is not None:
            self._told_at = None
            self._tell(lasted_s, None)

    def waiting(self, now: float, reason: str) -> None:
        """Note that a request waits for the end of the outage. Reported once a minute."""
        if self._began_at is None:
            return
        due_at = self._began_at + FIRST_TOLD_S
        if self._told_at is not None:
            due_at = self._told_at + TOLD_EVERY_S
        if now >= due_at:
            self._told_at = now
            self._tell(self.lasted_s(now), reason)

    def lasted_s(self, now: float) -> float:
        """Return how long the present outage has lasted; 0 if there is none."""
        if self._began_at is None:
            return 0.0
        return now - self._began_at

    def total_s(self, now: float) -> float:
        """Return how long all outages have lasted, the present one included."""
        return self._earlier_s + self.lasted_s(now)
