"""The gateway's answers, reduced to what the domain decides on."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from crucible_batch.domain.credits import Credits


class JobStatus(enum.StrEnum):
    """The status of a gateway job. ``UNKNOWN`` is any word that the contract doesn't list: neither failed nor done."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"


class AssetStatus(enum.StrEnum):
    """The status of an asset, by the contract's enum. ``UNKNOWN`` is any other word."""

    PENDING = "pending_upload"
    READY = "ready"
    DELETED = "deleted"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """An error as it is shown and kept: data, not an exception. ``code`` is the gateway's or one of ours."""

    code: str
    message: str
    hint: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """The definite answer to a submit.

    ``existing`` is true for 200: the key was known. ``after_doubt`` is true where an earlier try of the same call may
    have taken effect: then an existing job is most likely that try's, and was bought just now.
    """

    job_id: str
    status: JobStatus
    credits: Credits
    existing: bool
    after_doubt: bool = False


@dataclass(frozen=True, slots=True)
class OutputLink:
    """One output of a succeeded job, by the gateway's ``index``, which is no other's.

    ``url`` is signed, expires and is never kept; None where there is none.
    """

    index: int
    url: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """A job as one poll saw it. ``outputs`` are in the order of the gateway's ``output_index``.

    ``running_at`` is when an earlier look first found it running: the gateway itself tells no times. ``workflow_id`` is
    empty where the gateway doesn't say it.
    """

    job_id: str
    status: JobStatus
    credits: Credits
    error: ErrorInfo | None = None
    outputs: tuple[OutputLink, ...] = ()
    running_at: float | None = None
    workflow_id: str = ""

    @property
    def numbers(self) -> tuple[int, ...]:
        """The gateway's numbers of the outputs."""
        return tuple(link.index for link in self.outputs)


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One line of the gateway's ledger, as it came.

    ``amount`` keeps the gateway's sign, whose meaning the contract leaves open. ``at`` is by the gateway's clock, in
    seconds since the epoch, None where it can't be read. ``more`` holds the texts of fields outside the contract.
    """

    entry_id: str
    entry_type: str
    amount: Credits
    at: float | None = None
    job_id: str | None = None
    status: str = ""
    description: str = ""
    more: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Account:
    """The account's credits. ``available`` is what may still be reserved.

    ``entries`` are the ledger's newest lines, as many as the gateway shows, in no promised order.
    """

    balance: Credits
    reserved: Credits
    available: Credits
    entries: tuple[LedgerEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class Workflow:
    """What a workflow says of itself.

    ``fields`` are the parameter names that it takes; None where its metadata doesn't say or says it in a form that we
    don't know (then what the manifest says is sent). ``expected_s`` is the service time it estimates, in seconds.
    """

    workflow_id: str
    fields: tuple[str, ...] | None = None
    expected_s: float | None = None


@dataclass(frozen=True, slots=True)
class AssetSnapshot:
    """An asset as the gateway shows it; ``sha256`` and ``nonce`` are what we wrote into its metadata, if we made it."""

    asset_id: str
    status: AssetStatus
    byte_size: int
    sha256: str | None = None
    nonce: str | None = None


@dataclass(frozen=True, slots=True)
class UploadIntent:
    """The answer to an asset intent: where the bytes go, and what it cost. The URL is a secret and is never kept."""

    asset_id: str
    upload_url: str = field(repr=False)
    credits: Credits


@dataclass(frozen=True, slots=True)
class AssetSpec:
    """An input image as it lies on disk: its digest is its name everywhere."""

    sha256: str
    byte_size: int
    mime_type: str
    filename: str


@dataclass(frozen=True, slots=True)
class Download:
    """The head of a download's answer; its bytes come separately.

    ``length`` is the declared length in bytes, None where none was declared: then a cut can't be told by counting.
    """

    length: int | None
