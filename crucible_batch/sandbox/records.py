"""The gateway's records: accounts, ledger entries, assets and jobs.

Each is a value that a change replaces.
"""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal


class RefusedError(Exception):
    """A request that is answered with a failure: HTTP status, code, text, and perhaps a hint."""

    def __init__(self, status: int, code: str, error: str, hint: str | None = None) -> None:
        super().__init__(f"{status} {code}: {error}")
        self.status = status
        self.code = code
        self.error = error
        self.hint = hint


def not_found(noun: str, code: str) -> RefusedError:
    """Refuse an id that is unknown, deleted or another account's.

    The three look alike on purpose.
    """
    return RefusedError(
        404, code, f"{noun} not found.", f"The {noun.lower()} id must be one that this key can see."
    )


def invalid_params(error: str, hint: str) -> RefusedError:
    return RefusedError(400, "INVALID_PARAMS", error, hint)


class Ids:
    """The UUIDs of one seed, in order.

    Start after the `issued` ones to repeat none after a restart.
    """

    def __init__(self, seed: str, issued: int = 0) -> None:
        self._seed = seed
        self._issued = issued

    def next(self) -> str:
        self._issued += 1
        return str(uuid.UUID(bytes=digest(self._seed, self._issued)[:16], version=4))


def digest(*parts: object) -> bytes:
    """Hash `parts` into 32 bytes that look random: the sandbox's only source of chance."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()


def chance(*parts: object) -> float:
    """Map `parts` to a number in [0, 1): equal parts, equal chance, on every machine."""
    return int.from_bytes(digest(*parts)[:7], "big") / 2**56


JobStatus = Literal["queued", "running", "succeeded", "failed"]
AssetStatus = Literal["pending_upload", "ready", "deleted"]
EntryType = Literal["grant", "reserve", "consume", "refund", "upload", "rebate"]
Params = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Account:
    """One agent. Its key is kept as a SHA-256 digest: a state file gives no key away."""

    account_id: str
    key_sha256: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the ledger, with the totals that it leaves.

    `amount` is never negative: the type has the sign.
    """

    entry_id: str
    account_id: str
    entry_type: EntryType
    amount: Decimal
    created_at: float
    description: str
    job_id: str | None
    asset_id: str | None
    balance_after: Decimal
    reserved_after: Decimal


@dataclass(frozen=True, slots=True)
class Upload:
    """The bytes that arrived for an asset, by their digest.

    `ready_at` is None when readiness got lost.
    """

    sha256: str
    width: int
    height: int
    ready_at: float | None


@dataclass(frozen=True, slots=True)
class Asset:
    """One upload intent, and the upload once it has come."""

    asset_id: str
    account_id: str
    mime_type: str
    byte_size: int
    filename: str | None
    metadata: Params
    created_at: float
    upload_expires_at: float
    charged: Decimal
    upload: Upload | None = None
    deleted_at: float | None = None

    def status(self, now: float) -> AssetStatus:
        """Derive the status from the clock.

        Readiness is a moment, not an event that someone must deliver.
        """
        if self.deleted_at is not None:
            return "deleted"
        if self.upload is None or self.upload.ready_at is None:
            return "pending_upload"
        if self.upload.ready_at > now:
            return "pending_upload"
        return "ready"


@dataclass(frozen=True, slots=True)
class OutputShape:
    """What an output will be, known when the job is accepted.

    Its pixels are drawn when it is first requested.
    """

    mime_type: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Job:
    """One generation.

    All of its future is decided when it is accepted, so its status is a function of the clock.
    """

    job_id: str
    account_id: str
    workflow_id: str
    params: Params
    idempotency_key: str | None
    fingerprint: str
    price: Decimal
    submitted_at: float
    started_at: float
    finished_at: float
    runner: int
    error_code: str | None
    error_message: str | None
    outputs: tuple[OutputShape, ...]
    source_sha256: str | None
    settled: bool = False
    answer_price: Decimal | None = None
    """What the answer to the submit states, where that is not the `price`, which the ledger
    takes."""
    record_price: Decimal | None = None
    """What the job's record states, where that is not the `price`."""
    refund: Decimal | None = None
    """What comes back if it fails, where that is not the `price`. Of 0 there is no entry."""
    refund_after_s: float = 0.0
    """From its end to its refund."""
    black: bool = False
    """Whether its pictures are black."""

    @property
    def booked_at(self) -> float:
        """The moment of its last entry in the ledger.

        It is that of its end, if there is no entry but the reservation.
        """
        return self.finished_at + self.refund_after_s

    @property
    def last_entry(self) -> tuple[EntryType, Decimal] | None:
        """How the ledger books its end; None for a refund that never comes."""
        if self.error_code is None:
            return "consume", self.price
        if self.refund is None:
            return "refund", self.price
        if self.refund == 0:
            return None
        return "refund", self.refund

    @property
    def answered_price(self) -> Decimal:
        if self.answer_price is None:
            return self.price
        return self.answer_price

    @property
    def recorded_price(self) -> Decimal:
        if self.record_price is None:
            return self.price
        return self.record_price

    def status(self, now: float) -> JobStatus:
        if now < self.started_at:
            return "queued"
        if now < self.finished_at:
            return "running"
        return "failed" if self.error_code else "succeeded"


Record = Account | Entry | Asset | Job
