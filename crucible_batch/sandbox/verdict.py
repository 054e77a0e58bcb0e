"""The verdict of the judge on a client."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

Kind = Literal[
    "bought-twice",
    "uploaded-twice",
    "over-budget",
    "key-at-storage",
    "equal-jobs",
    "equal-uploads",
    "not-downloaded",
    "not-used",
    "not-ended",
    "no-key",
    "key-of-another-job",
    "bad-request",
]


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault or a hint. `details` has one line for each record."""

    kind: Kind
    text: str
    credits: Decimal = Decimal(0)
    """How many were paid in vain, or above the budget."""
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a client did with the credits. It did well if there are no `faults`."""

    jobs: int
    """Accepted, failed ones included."""
    failed: int
    charged_for_jobs: Decimal
    charged_for_uploads: Decimal
    """Less what came back for deleted ones."""
    reserved: Decimal
    most: Decimal
    """The most that was charged and reserved at the same time."""
    budget: Decimal | None
    struck: int
    """How many of the faults that were asked for have struck."""
    faults: tuple[Finding, ...]
    hints: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Served:
    """How a client ended."""

    verdict: Verdict
    exit_code: int
