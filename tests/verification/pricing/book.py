"""What the gateway writes down: every arrival, every answer, every credit, in the order in which they happened.

The judge reads this and nothing else. Times are those of the monotonic clock.
"""

import time
from dataclasses import dataclass, field
from decimal import Decimal

DYING = 0.2  # seconds in which what a killed process has sent still comes in
UPLOADS = "(upload)"  # stands for the workflow and the shape of an upload


@dataclass(frozen=True)
class Started:
    """A process of the command was started, with this budget and these ceilings."""

    at: float
    budget: Decimal
    per_job: Decimal | None = None
    per_upload: Decimal | None = None


@dataclass(frozen=True)
class Ended:
    """The process is gone. What it was sent right before a kill, it may not have noted."""

    at: float
    killed: bool


@dataclass(frozen=True)
class Arrival:
    """A request that may cost something has come in whole. An upload has no key, so each is a unit of its own."""

    at: float
    number: int
    unit: str
    workflow: str
    shape: str
    want: str = ""  # all that is asked for: two units with the same were bought twice


@dataclass(frozen=True)
class Answer:
    """The answer to an arrival was handed to the socket; no figure: it was refused, and nothing was charged."""

    at: float
    number: int
    unit: str
    status: int
    figure: Decimal | None = None
    failed: bool = False  # the job that it is about has failed by now, and is refunded


@dataclass(frozen=True)
class Cut:
    """The connection of an arrival was closed without an answer."""

    at: float
    number: int
    unit: str


@dataclass(frozen=True)
class Record:
    """A job's own record was sent, with this figure; a failed one is refunded."""

    at: float
    unit: str
    figure: Decimal
    failed: bool = False


@dataclass(frozen=True)
class Listed:
    """The list of assets was sent; these had been asked for until then, and whoever looks sees whether they exist."""

    at: float
    units: frozenset[str]


@dataclass(frozen=True)
class Returned:
    """The answer to a deletion was sent, with its rebate; `charged` is what the upload had cost."""

    at: float
    unit: str
    charged: Decimal
    rebate: Decimal


@dataclass(frozen=True)
class Row:
    """One row of the ledger. `amount` is what it takes from the account, so a refund is below zero."""

    at: float
    entry: str  # reserve, consume, refund, upload, rebate
    unit: str
    amount: Decimal


Event = Started | Ended | Arrival | Answer | Cut | Record | Listed | Returned | Row


@dataclass
class Book:
    """The events of one gateway. Appended to by its thread, and by the test between runs."""

    events: list[Event] = field(default_factory=list)
    numbers: int = 0

    def note(self, event: Event) -> None:
        self.events.append(event)

    def arrival(self, unit: str, workflow: str, shape: str, want: str) -> Arrival:
        self.numbers += 1
        event = Arrival(now(), self.numbers, unit, workflow, shape, want)
        self.note(event)
        return event

    def rows(self) -> list[Row]:
        return [event for event in list(self.events) if isinstance(event, Row)]

    def charged(self) -> Decimal:
        return sum((row.amount for row in self.rows()), Decimal(0))

    def accepted(self) -> int:
        return sum(1 for row in self.rows() if row.entry == "reserve")


def now() -> float:
    return time.monotonic()


def plain(number: Decimal) -> str:
    return f"{number.normalize():f}"
