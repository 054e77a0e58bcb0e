"""Events: past facts about a job or an asset, journalled before anything is built on them.

Each has ``at``, the wall clock in seconds since the epoch (UTC), for reports; the only decision
that reads it is on the age of an idempotency key. Fields are only ever added, with a default, so
that journals of every release can be read. Journals and ``--json`` have events under the names of
their classes: these may not be renamed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import get_args

from crucible_batch.core.credits import StoredChange, StoredCredits
from crucible_batch.core.gateway_types import ErrorInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    at: float


# --- a job


@dataclass(frozen=True, slots=True, kw_only=True)
class Held(_Event):
    """Credits were held for an attempt, its missing uploads included. From now on its key may be in
    use.

    ``shape`` is the digest of the parameters that its price depends on (``core/prices.py``).
    ``alone``: ``credits`` is less than the bound of the price, or there is no bound, and no other
    submit may be unanswered beside it. ``images``: input images are made ready before it is
    submitted.
    """

    attempt: int
    key: str
    credits: StoredCredits
    price_class: str
    shape: str = ""
    alone: bool = False
    images: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared(_Event):
    """The input images are ready. ``credits`` stay held for the job alone; ``assets`` maps image
    parameters to asset ids, kept so that a submit sent again after a crash is byte for byte the
    same."""

    assets: Mapping[str, str] = field(default_factory=dict)
    credits: StoredCredits


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted(_Event):
    """The gateway has the job, at ``credits``. ``reused``: it had it before, and this run directory
    didn't buy it.

    ``earlier``: an earlier run's submit bought it, or may have, so its cost doesn't show today's
    price.
    """

    job_id: str
    credits: StoredCredits
    reused: bool
    earlier: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldReleased(_Event):
    """Nothing was bought and the job may be sent again: not sent, or answered 401, 402, 429 or 5xx
    without doubt.
    """

    error: ErrorInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(_Event):
    """The gateway refused this job by a definite answer, such as 400 or 404: nothing was bought."""

    error: ErrorInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitUnknown(_Event):
    """The submit may or may not have taken effect. Its hold stays until an answer comes."""

    error: ErrorInfo


@dataclass(frozen=True, slots=True)
class Settled:
    """The amount spent for a job that has succeeded, and its shape: the ledger keeps neither.

    ``reused``: it was found, not bought. ``differed``: its record named another price before.
    """

    spent: StoredCredits
    price_class: str
    shape: str
    reused: bool = False
    differed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Repriced(_Event):
    """The job's record names another price than the known one: ``credits``. The higher of the two
    counts.

    ``settled`` is the ledger's amount for a job that had succeeded; None while it is in flight.
    """

    credits: StoredCredits
    settled: Settled | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded(_Event):
    """The gateway reports success, with ``outputs`` outputs so far. ``running_at``: when a poll
    first found it running.

    ``numbers`` are the gateway's numbers of them; None if it was restored from receipts, which have
    only their count.
    """

    outputs: int
    running_at: float | None = None
    numbers: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed(_Event):
    """A later poll of a job that has succeeded lists the outputs with these numbers
    (``core.output_list``). The list is complete if no number is new."""

    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(_Event):
    """The gateway reports failure. The credits stay held until its ledger shows the refund
    (``core/refunds.py``).

    ``running_at``: as in ``Succeeded``.
    """

    error: ErrorInfo
    running_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refunded(_Event):
    """The gateway's ledger shows that ``credits`` of a failed attempt were refunded, in the entry
    ``entry_id``.

    Below 0: that much of earlier refunds was taken back.
    """

    attempt: int
    credits: StoredChange
    entry_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumed(_Event):
    """The gateway's ledger shows that ``credits`` of a failed attempt were charged, in the entry
    ``entry_id``."""

    attempt: int
    credits: StoredCredits
    entry_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundForgotten(_Event):
    """A person, ``by``, has released ``credits`` held for the refund of a failed attempt."""

    attempt: int
    credits: StoredCredits
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLost(_Event):
    """The gateway no longer knows a job that it had accepted. Its credits count as spent."""

    error: ErrorInfo


@dataclass(frozen=True, slots=True)
class Sent:
    """The bytes that the gateway sent, if the file on disk has embedded metadata."""

    sha256: str
    byte_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved(_Event):
    """An output is on disk, complete and synced. ``path`` is relative to the run directory, in
    POSIX form.

    Digest and size are those of the file; ``sent`` is None if these are also the bytes that the
    gateway sent.
    """

    index: int
    path: str
    sha256: str
    byte_size: int
    mime_type: str
    width: int
    height: int
    sent: Sent | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unavailable(_Event):
    """A paid output can't be downloaded now.

    The next run requests it again; it is never bought again.
    """

    error: ErrorInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed(_Event):
    """A saved output is no longer where it was saved. It is paid for, and fetched again."""

    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Relocated(_Event):
    """A saved output was moved to ``path``, since another job's output takes its place."""

    index: int
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reopened(_Event):
    """The user asked for a further attempt at a failed job."""


# --- an asset


@dataclass(frozen=True, slots=True, kw_only=True)
class Intended(_Event):
    """An upload intent is about to be bought with ``credits`` from the hold of the job ``payer``.

    ``maximum`` is the declared maximum price of an upload, None if there was none.
    """

    nonce: str
    credits: StoredCredits
    payer: str
    maximum: StoredCredits | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Created(_Event):
    """The intent was answered: it cost ``credits``. ``assumed``: the answer was lost, and this is
    an estimate.
    """

    asset_id: str
    credits: StoredCredits
    assumed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded(_Event):
    """The storage accepted the bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BecameReady(_Event):
    """The gateway shows the asset as ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found(_Event):
    """A ready asset with this content was at the gateway already, at no cost."""

    asset_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotCreated(_Event):
    """The intent definitely had no effect: nothing was charged."""

    error: ErrorInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost(_Event):
    """An intent was never answered, and its asset isn't listed: it may have been charged."""

    nonce: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotCharged(_Event):
    """An upload without an answer was not charged: the gateway's assets and ledger don't show it.

    ``nonce`` is that of its intent. The image may have been uploaded again since.
    """

    nonce: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted(_Event):
    """The asset is gone: deleted by us for ``rebate``, or found missing (0)."""

    rebate: StoredCredits


JobEvent = (
    Held
    | Prepared
    | Accepted
    | HoldReleased
    | Refused
    | SubmitUnknown
    | Repriced
    | Succeeded
    | Listed
    | Failed
    | Refunded
    | Consumed
    | RefundForgotten
    | JobLost
    | Saved
    | Unavailable
    | Missed
    | Relocated
    | Reopened
)
AssetEvent = (
    Intended | Created | Uploaded | BecameReady | Found | NotCreated | Lost | NotCharged | Deleted
)
Event = JobEvent | AssetEvent

EVENT_NAMES: Mapping[str, type[Event]] = {kind.__name__: kind for kind in get_args(Event)}


def event_name(event: Event) -> str:
    """Return the name under which an event is written."""
    return type(event).__name__
