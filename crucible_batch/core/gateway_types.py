"""The gateway's answers, reduced to the fields that the domain needs."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from crucible_batch.core.credits import Credits
from crucible_batch.core.parameter_info import ParameterInfo


class JobStatus(enum.StrEnum):
    """The status of a gateway job.

    ``UNKNOWN`` is any value that the contract doesn't list: neither failed nor done.
    """

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"


class AssetStatus(enum.StrEnum):
    """The status of an asset, by the contract's enum. ``UNKNOWN`` is any other value."""

    PENDING = "pending_upload"
    READY = "ready"
    DELETED = "deleted"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """An error as data, to be shown and journalled. ``code`` is the gateway's or one of ours."""

    code: str
    message: str
    hint: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """The definite answer to a submit.

    ``existing`` is true for 200: the key was known. ``after_doubt`` is true if an earlier try of
    the same call may have taken effect: then an existing job is most likely that try's, and was
    bought just now.
    """

    job_id: str
    credits: Credits
    existing: bool
    after_doubt: bool = False


@dataclass(frozen=True, slots=True)
class OutputLink:
    """One output of a succeeded job, by the gateway's unique ``index``.

    ``url`` is signed, expires and is never kept; None if there is none.
    """

    index: int
    url: str | None = field(repr=False)


class JobSnapshot(msgspec.Struct, frozen=True):
    """A job at one poll. ``outputs`` are in the order of the gateway's ``output_index``.

    ``running_at`` is when an earlier poll first found it running: the gateway reports no times.
    ``workflow_id`` is empty if the gateway didn't send it. ``params`` are those of its request,
    which the contract doesn't list: empty if the gateway didn't send them.
    """

    job_id: str
    status: JobStatus
    credits: Credits
    error: ErrorInfo | None = None
    outputs: tuple[OutputLink, ...] = ()
    running_at: float | None = None
    workflow_id: str = ""
    params: Mapping[str, object] = msgspec.field(default_factory=dict)

    @property
    def has_ended(self) -> bool:
        return self.status in {JobStatus.SUCCEEDED, JobStatus.FAILED}

    @property
    def numbers(self) -> tuple[int, ...]:
        """The gateway's numbers of the outputs."""
        return tuple(link.index for link in self.outputs)


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One line of the gateway's ledger, unchanged but for ``place``, by which entries of one time
    are in order.

    ``amount`` keeps the gateway's sign, whose meaning the contract leaves open. ``at`` is by the
    gateway's clock, in seconds since the epoch, None if unreadable. ``more`` holds the texts of
    fields outside the contract. ``place`` is None if no list has shown it
    (``core/ledger_order.py``).
    """

    entry_id: str
    entry_type: str
    amount: Credits
    at: float | None = None
    job_id: str | None = None
    status: str = ""
    description: str = ""
    more: tuple[str, ...] = ()
    place: int | None = None

    @property
    def key(self) -> str:
        """The entry's id. One that the gateway sent without an id is recognised by its content."""
        return (
            self.entry_id
            or f"{self.at}|{self.job_id}|{self.entry_type}|{self.amount}|{self.description}"
        )


@dataclass(frozen=True, slots=True)
class Account:
    """The account's credits. ``available`` may still be reserved.

    ``entries`` are the newest lines of the ledger that the gateway shows, in any order.
    """

    balance: Credits
    reserved: Credits
    available: Credits
    entries: tuple[LedgerEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow's metadata.

    ``fields`` are the parameter names that it takes; None if the metadata doesn't list them in a
    known form (then the manifest's parameters are sent unchecked). ``expected_s`` is its estimated
    service time in seconds. ``parameters`` has what the metadata has of each parameter, by name.
    """

    workflow_id: str
    fields: tuple[str, ...] | None = None
    expected_s: float | None = None
    parameters: Mapping[str, ParameterInfo] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AssetSnapshot:
    """An asset at the gateway; ``sha256`` and ``nonce`` are those in its metadata, if we created
    it."""

    asset_id: str
    status: AssetStatus
    byte_size: int
    sha256: str | None = None
    nonce: str | None = None


@dataclass(frozen=True, slots=True)
class UploadIntent:
    """The answer to an asset intent: the URL for the bytes, and the cost. The URL is a secret and
    is never kept.
    """

    asset_id: str
    upload_url: str = field(repr=False)
    credits: Credits


@dataclass(frozen=True, slots=True)
class AssetSpec:
    """An input image on disk, identified by its digest."""

    sha256: str
    byte_size: int
    mime_type: str
    filename: str
