"""Events: past facts about a job or an asset, journalled before anything is built on them.

Each has ``at``, the wall clock in seconds since the epoch (UTC), for people and reports; no decision but the age of an
idempotency key reads it. Fields are only ever added, with a default, so that journals of every release can be read.
``EVENT_NAMES`` has the names under which they are written, in journals and in ``--json``: a class may be renamed,
a name may not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from crucible_batch.domain.credits import StoredCredits
from crucible_batch.domain.gateway_types import ErrorInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    at: float


# --- a job ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Held(_Event):
    """Credits were held for an attempt, its missing uploads included. From here on its key may be in use.

    ``shape`` is the digest of what its price depends on (``domain/prices.py``). ``alone``: ``credits`` is less than a
    bound of the price, or there is none, and no other submit may be unanswered beside it.
    ``images``: input images are made ready before it is submitted; None where an older release didn't say.
    """

    attempt: int
    key: str
    credits: StoredCredits
    price_class: str
    shape: str = ""
    alone: bool = False
    images: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared(_Event):
    """The input images are ready. ``credits`` is what stays held for the job alone; ``assets`` maps image parameters
    to asset ids, kept so that a submit sent again after a crash is byte for byte the same."""

    assets: Mapping[str, str] = field(default_factory=dict)
    credits: StoredCredits


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted(_Event):
    """The gateway has the job, at ``credits``. ``reused``: it had it before, and this run directory never bought it.

    ``earlier``: an earlier run's submit bought it, or may have, so what it cost says nothing of today's price.
    """

    job_id: str
    credits: StoredCredits
    reused: bool
    earlier: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldReleased(_Event):
    """The attempt didn't go out, or the account was refused (401, 402): nothing was bought, the job is not to blame."""

    error: ErrorInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(_Event):
    """The gateway refused this job by a definite answer (400, 404): nothing was bought."""

    error: ErrorInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitUnknown(_Event):
    """The submit may or may not have taken effect. Its hold stays until an answer comes."""

    error: ErrorInfo


@dataclass(frozen=True, slots=True)
class Settled:
    """What was spent for a job that has succeeded, and of which shape it is: the books keep nothing of such a job.

    ``reused``: it was found, not bought. ``differed``: its record named another price before.
    """

    spent: StoredCredits
    price_class: str
    shape: str
    reused: bool = False
    differed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Repriced(_Event):
    """The job's own record names another price than is known so far: ``credits``. The higher of the two counts.

    ``settled`` is what the books had for a job that had succeeded; None while it is in flight.
    """

    credits: StoredCredits
    settled: Settled | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded(_Event):
    """The gateway reports success, with this many outputs so far. ``running_at``: when a look first found it running.

    ``numbers`` are the gateway's own of them. None in journals of older releases, which took the list for whole.
    """

    outputs: int
    running_at: float | None = None
    numbers: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed(_Event):
    """A later look at a job that has succeeded: the outputs with these numbers are listed. It is whole where none of
    them is new; see ``domain.output_list``."""

    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(_Event):
    """The gateway reports failure: it refunds the job's credits. ``running_at``: as in ``Succeeded``."""

    error: ErrorInfo
    running_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLost(_Event):
    """The gateway no longer knows a job that it had accepted. Its credits count as spent."""

    error: ErrorInfo


@dataclass(frozen=True, slots=True)
class Sent:
    """What the gateway sent, where the file on disk is something else: the same picture with words embedded in it."""

    sha256: str
    byte_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved(_Event):
    """An output stands on disk, whole and synced. ``path`` is relative to the run directory, in POSIX form.

    Digest and size are those of the file; ``sent`` is None where it is byte for byte what the gateway sent.
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
    """An output that was paid for can't be had now. It is asked for again by the next run, and never bought again."""

    error: ErrorInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed(_Event):
    """A saved output no longer stands where it was saved. It is paid for, and fetched again."""

    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Relocated(_Event):
    """A saved output stands at ``path`` now, byte for byte: another job's output goes where it stood."""

    index: int
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reopened(_Event):
    """The user asked for a further attempt at a failed job."""


# --- an asset ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Intended(_Event):
    """An upload intent is about to be bought, out of the hold of the job ``payer``; ``credits`` moved from there."""

    nonce: str
    credits: StoredCredits
    payer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Created(_Event):
    """The intent was answered: it cost ``credits``. ``assumed``: the answer was lost, and this is our estimate."""

    asset_id: str
    credits: StoredCredits
    assumed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded(_Event):
    """The storage took the bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BecameReady(_Event):
    """The gateway shows the asset as ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found(_Event):
    """A ready asset with this content was there already, and cost this run nothing."""

    asset_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotCreated(_Event):
    """The intent definitely didn't take effect, or is certain not to be there: nothing was charged."""

    error: ErrorInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost(_Event):
    """The answer to an intent never came, and the list doesn't show it: whether it was charged isn't known."""

    nonce: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted(_Event):
    """The asset is gone: deleted by us for ``rebate``, or found missing (0)."""

    rebate: StoredCredits


JobEvent: TypeAlias = (
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
    | JobLost
    | Saved
    | Unavailable
    | Missed
    | Relocated
    | Reopened
)
AssetEvent: TypeAlias = Intended | Created | Uploaded | BecameReady | Found | NotCreated | Lost | Deleted
Event: TypeAlias = JobEvent | AssetEvent

EVENT_NAMES: Final[Mapping[str, type[Event]]] = {
    "Held": Held,
    "Prepared": Prepared,
    "Accepted": Accepted,
    "HoldReleased": HoldReleased,
    "Refused": Refused,
    "SubmitUnknown": SubmitUnknown,
    "Repriced": Repriced,
    "Succeeded": Succeeded,
    "Listed": Listed,
    "Failed": Failed,
    "JobLost": JobLost,
    "Saved": Saved,
    "Unavailable": Unavailable,
    "Missed": Missed,
    "Relocated": Relocated,
    "Reopened": Reopened,
    "Intended": Intended,
    "Created": Created,
    "Uploaded": Uploaded,
    "BecameReady": BecameReady,
    "Found": Found,
    "NotCreated": NotCreated,
    "Lost": Lost,
    "Deleted": Deleted,
}
_NAMES: Final[Mapping[type[Event], str]] = {kind: name for name, kind in EVENT_NAMES.items()}


def event_name(event: Event) -> str:
    """Return the name under which an event is written."""
    return _NAMES[type(event)]
