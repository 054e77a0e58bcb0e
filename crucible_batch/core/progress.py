"""Progress: typed messages that leave the engine sideways. Nothing waits for them, and nothing is decided by them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from crucible_batch.core.credits import Credits
from crucible_batch.core.ending import Ending, Outcome
from crucible_batch.core.events import AssetEvent, JobEvent
from crucible_batch.core.job import Phase


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
    """A run begins. ``counts`` is what earlier runs left, by outcome."""

    at: float
    total: int
    counts: Mapping[Outcome, int]
    balance: Balance


@dataclass(frozen=True, slots=True)
class JobAdvanced:
    """Something happened to a job; it is in the journal already."""

    at: float
    name: str
    identity: str
    event: JobEvent
    before: Phase
    phase: Phase
    balance: Balance


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
    """No further jobs are started; what is in flight is awaited."""

    at: float
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The run is over, and its report is written."""

    at: float
    ending: Ending
    counts: Mapping[Outcome, int]
    balance: Balance


Message: TypeAlias = RunBegan | JobAdvanced | AssetAdvanced | Retrying | Throttled | Stopping | RunEnded
"""What an observer is told."""


class Observer(Protocol):
    """Whoever wants to know. Called from the event loop: it must return at once and must not raise."""

    def notify(self, message: Message) -> None: ...
