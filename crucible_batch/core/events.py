"""Events: past facts about a job or an asset, journalled before anything is built on them.

Each has ``at``, the wall clock in seconds since the epoch (UTC), for reports; the only decision
that reads it is on the age of an idempotency key. Fields are only ever added, with a default, so
that journals of every release can be read. Journals and ``--json`` have events under the names of
their classes: these may not be renamed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, TypeGuard, get_args

from msgspec import Meta, Struct, field

from crucible_batch.core.credits import StoredChange, StoredCredits
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.moments import END_OF_TIME, FIRST_MOMENT

_Moment = Annotated[float, Meta(ge=FIRST_MOMENT, lt=END_OF_TIME)]
"""A Unix time. Reading any other fails, and so it does for the types below."""
_Count = Annotated[int, Meta(ge=0, lt=2**53)]
_Digest = Annotated[str, Meta(pattern=r"\A[0-9a-f]{1,64}\Z")]


class _Event(Struct, frozen=True, kw_only=True):
    at: _Moment


# --- a job


class Held(_Event, frozen=True, kw_only=True):
    """Credits were held for an attempt, its missing uploads included. From now on its key may be in
    use.

    ``shape`` is the digest of the parameters that its price depends on (``core/prices.py``).
    ``alone``: ``credits`` is less than the bound of the price, or there is no bound, and no other
    submit may be unanswered beside it. ``images``: input images are made ready before it is
    submitted.
    """

    attempt: _Count
    key: str
    credits: StoredCredits
    price_class: str
    shape: str = ""
    alone: bool = False
    images: bool = False


class Prepared(_Event, frozen=True, kw_only=True):
    """The input images are ready. ``credits`` stay held for the job alone; ``assets`` maps image
    parameters to asset ids, kept so that a submit sent again after a crash is byte for byte the
    same."""

    assets: Mapping[str, str] = field(default_factory=dict)
    credits: StoredCredits


class Accepted(_Event, frozen=True, kw_only=True):
    """The gateway has the job, at ``credits``. ``reused``: it had it before, and this run directory
    didn't buy it.

    ``earlier``: an earlier run's submit bought it, or may have, so its cost doesn't show today's
    price.
    """

    job_id: str
    credits: StoredCredits
    reused: bool
    earlier: bool = False


class HoldReleased(_Event, frozen=True, kw_only=True):
    """Nothing was bought and the job may be sent again: not sent, or answered 401, 402, 429 or 5xx
    without doubt.
    """

    error: ErrorInfo


class Refused(_Event, frozen=True, kw_only=True):
    """The gateway refused this job by a definite answer, such as 400 or 404: nothing was bought."""

    error: ErrorInfo


class SubmitUnknown(_Event, frozen=True, kw_only=True):
    """The submit may or may not have taken effect. Its hold stays until an answer comes."""

    error: ErrorInfo


class Settled(Struct, frozen=True):
    """The amount spent for a job that has succeeded, and its shape: the ledger keeps neither.

    ``reused``: it was found, not bought. ``differed``: its record named another price before.
    """

    spent: StoredCredits
    price_class: str
    shape: str
    reused: bool = False
    differed: bool = False


class Repriced(_Event, frozen=True, kw_only=True):
    """The job's record names another price than the known one: ``credits``. The higher of the two
    counts.

    ``settled`` is the ledger's amount for a job that had succeeded; None while it is in flight.
    """

    credits: StoredCredits
    settled: Settled | None = None


class Succeeded(_Event, frozen=True, kw_only=True):
    """The gateway reports success, with ``outputs`` outputs so far. ``running_at``: when a poll
    first found it running.

    ``numbers`` are the gateway's numbers of them; None if it was restored from receipts, which have
    only their count.
    """

    outputs: _Count
    running_at: _Moment | None = None
    numbers: tuple[int, ...] | None = None


class Listed(_Event, frozen=True, kw_only=True):
    """A later poll of a job that has succeeded lists the outputs with these numbers
    (``core.output_list``). The list is complete if no number is new."""

    numbers: tuple[int, ...]


class Failed(_Event, frozen=True, kw_only=True):
    """The gateway reports failure. The credits stay held until its ledger shows the refund
    (``core/refunds.py``).

    ``running_at``: as in ``Succeeded``.
    """

    error: ErrorInfo
    running_at: _Moment | None = None


class Refunded(_Event, frozen=True, kw_only=True):
    """The gateway's ledger shows that ``credits`` of a failed attempt were refunded, in the entry
    ``entry_id``.

    Below 0: that much of earlier refunds was taken back.
    """

    attempt: _Count
    credits: StoredChange
    entry_id: str


class Consumed(_Event, frozen=True, kw_only=True):
    """The gateway's ledger shows that ``credits`` of a failed attempt were charged, in the entry
    ``entry_id``."""

    attempt: _Count
    credits: StoredCredits
    entry_id: str


class RefundForgotten(_Event, frozen=True, kw_only=True):
    """A person, ``by``, has released ``credits`` held for the refund of a failed attempt."""

    attempt: _Count
    credits: StoredCredits
    by: str


class JobLost(_Event, frozen=True, kw_only=True):
    """The gateway no longer knows a job that it had accepted. Its credits count as spent."""

    error: ErrorInfo


class Sent(Struct, frozen=True):
    """The bytes that the gateway sent, if the file on disk has embedded metadata."""

    sha256: _Digest
    byte_size: _Count


class Saved(_Event, frozen=True, kw_only=True):
    """An output is on disk, complete and synced. ``path`` is relative to the run directory, in
    POSIX form.

    Digest and size are those of the file; ``sent`` is None if these are also the bytes that the
    gateway sent.
    """

    index: _Count
    path: str
    sha256: _Digest
    byte_size: _Count
    mime_type: str
    width: _Count
    height: _Count
    sent: Sent | None = None


class Unavailable(_Event, frozen=True, kw_only=True):
    """A paid output can't be downloaded now.

    The next run requests it again; it is never bought again.
    """

    error: ErrorInfo


class Missed(_Event, frozen=True, kw_only=True):
    """A saved output is no longer where it was saved. It is paid for, and fetched again."""

    index: _Count


class Relocated(_Event, frozen=True, kw_only=True):
    """A saved output was moved to ``path``, since another job's output takes its place."""

    index: _Count
    path: str


class Reopened(_Event, frozen=True, kw_only=True):
    """The user asked for a further attempt at a failed job."""


# --- an asset


class Intended(_Event, frozen=True, kw_only=True):
    """An upload intent is about to be bought with ``credits`` from the hold of the job ``payer``.

    ``maximum`` is the declared maximum price of an upload, None if there was none.
    """

    nonce: str
    credits: StoredCredits
    payer: str
    maximum: StoredCredits | None = None


class Created(_Event, frozen=True, kw_only=True):
    """The intent was answered: it cost ``credits``. ``assumed``: the answer was lost, and this is
    an estimate.
    """

    asset_id: str
    credits: StoredCredits
    assumed: bool = False


class Uploaded(_Event, frozen=True, kw_only=True):
    """The storage accepted the bytes."""


class BecameReady(_Event, frozen=True, kw_only=True):
    """The gateway shows the asset as ready."""


class Found(_Event, frozen=True, kw_only=True):
    """A ready asset with this content was at the gateway already, at no cost."""

    asset_id: str


class NotCreated(_Event, frozen=True, kw_only=True):
    """The intent definitely had no effect: nothing was charged."""

    error: ErrorInfo


class Lost(_Event, frozen=True, kw_only=True):
    """An intent was never answered, and its asset isn't listed: it may have been charged."""

    nonce: str


class NotCharged(_Event, frozen=True, kw_only=True):
    """An upload without an answer was not charged: the gateway's assets and ledger don't show it.

    ``nonce`` is that of its intent. The image may have been uploaded again since.
    """

    nonce: str


class Deleted(_Event, frozen=True, kw_only=True):
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


_OF_ASSETS: Final = frozenset[type](get_args(AssetEvent))


def is_asset_event(event: Event) -> TypeGuard[AssetEvent]:
    """Whether an event is about an asset.

    ``isinstance`` would ask each of its types, and a struct's type takes longer than a set.
    """
    return type(event) in _OF_ASSETS


def is_job_event(event: Event) -> TypeGuard[JobEvent]:
    return type(event) not in _OF_ASSETS
