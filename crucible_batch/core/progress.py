"""Progress: typed messages from the engine to an observer. The engine doesn't depend on their being
received.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from msgspec import Struct

from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.events import AssetEvent, JobEvent
from crucible_batch.core.job import Phase
from crucible_batch.core.outcome import Ending, Outcome


class Balance(Struct, frozen=True):
    """The budget at one moment. ``budget`` is None if there is no cap.

    ``allowance_of`` names the budget of a period that ``budget`` is an allowance of, as in
    ``studio, this month``; None if it is the budget of the run directory. ``reused`` is the part of
    ``spent`` for jobs that were found at the gateway: it counts towards the budget, and was paid
    before. ``refunds`` is the part of ``held`` for failed jobs whose refund was not seen.
    """

    budget: Credits | None
    spent: Credits
    held: Credits
    allowance_of: str | None = None
    reused: Credits = ZERO
    refunds: Credits = ZERO

    @property
    def bought(self) -> Credits:
        """The credits that this run directory itself has paid."""
        return self.spent - self.reused

    @property
    def left(self) -> Credits | None:
        if self.budget is None:
            return None
        return self.budget - self.spent - self.held


@dataclass(frozen=True, slots=True)
class RunBegan:
    """The start of a run.

    ``total`` is the number of its jobs (by ``only``), ``counts`` their earlier outcomes.
    """

    at: float
    total: int
    counts: Mapping[Outcome, int]
    balance: Balance
    manifest: str = ""
    run_id: str = ""


class JobAdvanced(Struct, frozen=True):
    """A journalled event of a job.

    ``beside`` is true if the job isn't in the run's ``total``, and is only collected, since an
    earlier run left it in flight.
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
    """The resumption of a job that an earlier run left in flight.

    ``since`` is when its credits were held.
    """

    at: float
    name: str
    identity: str
    phase: Phase
    since: float
    beside: bool = False


@dataclass(frozen=True, slots=True)
class AssetAdvanced:
    """A journalled event of an input image."""

    at: float
    sha256: str
    filename: str
    byte_size: int
    event: AssetEvent
    balance: Balance


@dataclass(frozen=True, slots=True)
class Retrying:
    """A retry of a request to ``host`` (with its port) after ``wait_s`` seconds."""

    at: float
    operation: str
    attempt: int
    wait_s: float
    reason: str
    host: str = ""


@dataclass(frozen=True, slots=True)
class GatewayUnreachable:
    """An outage of the gateway that has lasted ``lasted_s`` seconds. Nothing new is bought; the run
    waits for its end.

    Sent once a minute. The run stops after ``limit_s`` seconds; ``reason`` is the last error.
    """

    at: float
    lasted_s: float
    limit_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class GatewayBack:
    """The end of an outage that was reported: the gateway answers again, after ``lasted_s``
    seconds.
    """

    at: float
    lasted_s: float


@dataclass(frozen=True, slots=True)
class Throttled:
    """A change of the limit of concurrent jobs.

    ``reason`` is the code of the answer that lowered it, None if it rose. Of the rises only each
    doubling and the ``ceiling`` are sent.
    """

    at: float
    limit: int
    ceiling: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class Stopping:
    """The stop of a run: no further jobs are started, and those in flight are awaited, ``grace_s``
    seconds at most.
    """

    at: float
    code: str
    message: str
    grace_s: float | None


@dataclass(frozen=True, slots=True)
class Controlled:
    """A command to the run, given from outside by ``by`` via ``via`` (``terminal`` or ``page``).

    ``action`` is that of a ``ControlCommand``, and so are ``value`` and ``names``. ``in_flight``
    jobs are at the gateway, and ``saving`` jobs have ended there while their outputs are being
    saved.
    """

    at: float
    action: str
    by: str
    via: str
    in_flight: int
    value: float | None = None
    names: tuple[str, ...] = ()
    saving: int = 0


@dataclass(frozen=True, slots=True)
class JobsAdded:
    """Jobs were added to the plan, since their source was saved.

    ``count`` of them are in the run's ``total`` now.
    """

    at: float
    count: int
    source: str


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The end of a run. ``counts`` are the outcomes of its jobs."""

    at: float
    ending: Ending
    counts: Mapping[Outcome, int]
    balance: Balance


@dataclass(frozen=True, slots=True)
class ShardsAdvanced:
    """What the shards of a divided run have done elsewhere.

    ``counts`` are all jobs of the run by outcome, ``balance`` is its budget.
    """

    at: float
    shards: int
    running: int
    ended: int
    counts: Mapping[Outcome, int]
    balance: Balance


Message = (
    RunBegan
    | TakenUp
    | JobAdvanced
    | AssetAdvanced
    | Retrying
    | GatewayUnreachable
    | GatewayBack
    | Throttled
    | Stopping
    | Controlled
    | JobsAdded
    | ShardsAdvanced
    | RunEnded
)


class Observer(Protocol):
    """The receiver of messages, called from the event loop: it must return immediately and must not
    raise.
    """

    def notify(self, message: Message) -> None: ...
