"""Progress: typed messages that leave the engine sideways. Nothing waits for them, and nothing is decided by them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from crucible_batch.domain.credits import Credits
from crucible_batch.domain.events import AssetEvent, JobEvent
from crucible_batch.domain.job import Phase
from crucible_batch.domain.outcome import Ending, Outcome


@dataclass(frozen=True, slots=True)
class Balance:
    """The budget at one moment. ``budget`` is None where there is no cap."""

    budget: Credits | None
    spent: Credits
    held: Credits

    @property
    def left(self) -> Credits | None:
        return None if self.budget is None else self.budget - self.spent - self.held


@dataclass(frozen=True, slots=True)
class RunBegan:
    """A run begins. ``total`` is how many jobs it is about (``only``); ``counts`` is what earlier runs left of them."""

    at: float
    total: int
    counts: Mapping[Outcome, int]
    balance: Balance


@dataclass(frozen=True, slots=True)
class JobAdvanced:
    """Something happened to a job; it is in the journal already.

    ``beside``: it is none of the run's ``total``, and only collected since an earlier run left it on its way.
    """

    at: float
    name: str
    identity: str
    event: JobEvent
    before: Phase
    phase: Phase
    balance: Balance
    beside: bool = False


@dataclass(frozen=True, slots=True)
class TakenUp:
    """A job that an earlier run left on its way is taken up. ``since`` is when its credits were held."""

    at: float
    name: str
    identity: str
    phase: Phase
    since: float
    beside: bool = False


@dataclass(frozen=True, slots=True)
class Receiving:
    """Bytes of an output have come. A quick download is never told of, a long one a few times a second at most.

    ``byte_size`` is the declared size, None where there is none.
    """

    at: float
    name: str
    identity: str
    index: int
    received: int
    byte_size: int | None


@dataclass(frozen=True, slots=True)
class AssetAdvanced:
    """Something happened to an input image."""

    at: float
    sha256: str
    filename: str
    byte_size: int
    event: AssetEvent
    balance: Balance


@dataclass(frozen=True, slots=True)
class Retrying:
    """An exchange is tried again after ``wait_s``."""

    at: float
    operation: str
    attempt: int
    wait_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class Throttled:
    """The number of jobs that may be at work at once has changed.

    ``reason`` is the code of the answer that made it fall, None where it rose. Not every single rise is told, only
    each doubling and the ``ceiling``.
    """

    at: float
    limit: int
    ceiling: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class Stopping:
    """No further jobs are started; what is in flight is awaited, for ``grace_s`` at most."""

    at: float
    code: str
    message: str
    grace_s: float | None = None


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The run is over. ``counts`` is what became of the jobs that it was about."""

    at: float
    ending: Ending
    counts: Mapping[Outcome, int]
    balance: Balance


Message: TypeAlias = (
    RunBegan | TakenUp | JobAdvanced | Receiving | AssetAdvanced | Retrying | Throttled | Stopping | RunEnded
)
"""What an observer is told."""


class Observer(Protocol):
    """Whoever wants to know. Called from the event loop: it must return at once and must not raise."""

    def notify(self, message: Message) -> None: ...
