"""The run in numbers, kept from its progress messages: what every display shows. Pure; the time is an argument."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from decimal import Decimal

from crucible_batch.api import (
    AssetAdvanced,
    Balance,
    JobAdvanced,
    Message,
    Outcome,
    Phase,
    Retrying,
    RunBegan,
    RunEnded,
    Stopping,
    Throttled,
    clean,
)

_FAILED = {Phase.FAILED, Phase.UNAVAILABLE, Phase.VANISHED}
_AT_WORK = {Phase.PREPARING, Phase.SUBMITTING, Phase.IN_FLIGHT, Phase.FETCHING}

RATE_WINDOW = 200
"""Jobs that the rate is taken over: enough to be calm, few enough to follow a change."""


SLOWER = "slower"
"""The name of what is notable when fewer jobs may be at work than before."""


@dataclass(frozen=True, slots=True)
class Notable:
    """Something that a person would want to see go by. ``retry`` is true where it is not the end of the matter."""

    name: str
    code: str
    message: str
    retry: bool = False


class Tally:
    """Counts of one run. ``total`` is 0 until it has begun; ``waiting`` is what has not been started or ended yet."""

    def __init__(self) -> None:
        self.total = 0
        self.succeeded = 0
        self.failed = 0
        self.unknown = 0
        self.uploaded = 0
        self.found = 0
        self.ended = False
        self.throttled: Throttled | None = None
        self.balance = Balance(None, Decimal(0), Decimal(0))
        self._at_work: set[str] = set()
        self._finished_at: deque[float] = deque(maxlen=RATE_WINDOW)
        self._began_at = 0.0

    @property
    def done(self) -> int:
        return self.succeeded + self.failed + self.unknown

    @property
    def in_flight(self) -> int:
        return len(self._at_work)

    @property
    def waiting(self) -> int:
        return max(0, self.total - self.done - self.in_flight)

    def elapsed_s(self, now: float) -> float:
        return now - self._began_at if self.total else 0.0

    def rate_per_min(self, now: float) -> float | None:
        """Jobs a minute, over the last ones; None before there is anything to go by."""
        if not self._finished_at:
            return None
        whole = len(self._finished_at) < RATE_WINDOW
        since = now - (self._began_at if whole else self._finished_at[0])
        return len(self._finished_at) * 60 / since if since > 0.5 else None

    def left_s(self, now: float) -> float | None:
        """How long the rest will take at this rate; None while nobody can know."""
        rate = self.rate_per_min(now)
        rest = self.waiting + self.in_flight
        return rest * 60 / rate if rate and rest else None

    def take(self, message: Message, now: float) -> Notable | None:
        """Count a message in, and return what in it is notable."""
        match message:
            case RunBegan():
                self.total = message.total
                # What an earlier run left in doubt or without its output is taken up again: it counts as waiting.
                self.succeeded = message.counts.get(Outcome.SUCCEEDED, 0)
                self.failed = message.counts.get(Outcome.FAILED, 0)
                self.balance = message.balance
                self._began_at = now
                return None
            case JobAdvanced():
                self.balance = message.balance
                return self._advance(message, now)
            case AssetAdvanced():
                self.balance = message.balance
                kind = type(message.event).__name__
                self.uploaded += kind == "BecameReady"
                self.found += kind == "Found"
                return None
            case Retrying():
                words = f"{clean(message.reason, 120)}; again in {message.wait_s:.1f} s"
                return Notable(f"asking for {message.operation}", "RETRY", words, retry=True)
            case Throttled():
                return self._throttle(message)
            case Stopping():
                return Notable("stopping", message.code, clean(message.message))
            case RunEnded():
                self._settle(message)
                return None

    def _advance(self, message: JobAdvanced, now: float) -> Notable | None:
        before, phase = message.before, message.phase
        if phase in _AT_WORK:
            self._at_work.add(message.identity)
        else:
            self._at_work.discard(message.identity)
        self.succeeded += (phase is Phase.SUCCEEDED) - (before is Phase.SUCCEEDED)
        self.failed += (phase in _FAILED) - (before in _FAILED)
        self.unknown += (phase is Phase.UNKNOWN) - (before is Phase.UNKNOWN)
        if phase is not before and (phase is Phase.SUCCEEDED or phase in _FAILED):
            self._finished_at.append(now)
        return _notable(message)

    def _throttle(self, message: Throttled) -> Notable | None:
        """Keep a limit that fell until it is at its ceiling again; how it finds its height at first is no news."""
        if message.reason is None:
            if self.throttled is not None:
                told = Throttled(message.at, message.limit, message.ceiling, self.throttled.reason)
                self.throttled = None if message.limit == message.ceiling else told
            return None
        self.throttled = message
        return Notable(SLOWER, clean(message.reason, 60), f"at most {jobs_at_once(message.limit)}", retry=True)

    def _settle(self, message: RunEnded) -> None:
        self.succeeded = message.counts.get(Outcome.SUCCEEDED, 0)
        self.failed = message.counts.get(Outcome.FAILED, 0)
        self.unknown = message.counts.get(Outcome.UNKNOWN, 0)
        self.balance = message.balance
        self.ended = True
        self._at_work.clear()


def jobs_at_once(limit: int) -> str:
    """Say how many jobs may be at work at once."""
    return "one job at once" if limit == 1 else f"{limit} jobs at once"


def _notable(message: JobAdvanced) -> Notable | None:
    error = getattr(message.event, "error", None)
    if error is None or type(message.event).__name__ == "Declined":
        return None  # declined: the account or an image was refused, and the run's own stop says so once
    retry = message.phase is Phase.READY
    return Notable(clean(message.name, 80), clean(error.code, 60), clean(error.message, 200), retry=retry)
