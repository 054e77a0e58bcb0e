"""What the gateway remembers: accounts, their jobs and their uploads."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Account:
    balance: int
    reserved: int = 0
    in_flight: int = 0
    by_key: dict[str, "Job"] = field(default_factory=dict)
    ledger: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=100))


@dataclass(slots=True)
class Job:
    job_id: str
    account: Account
    workflow_id: str
    subject: str  # workflow and parameters: what a client may pay for once
    key: str | None
    status: str
    created_at: str
    token: str


@dataclass(slots=True)
class Asset:
    asset_id: str
    account: Account
    mime_type: str
    byte_size: int
    filename: str | None
    metadata: dict[str, Any]
    token: str
    created_at: str
    expires_at: str
    status: str = "pending_upload"
    content: bytes = b""
