"""What was seen of a play from outside the product, as plain data: all that ``contract_judge.py`` may look at."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
from psycopg.rows import DictRow


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """A row of the gateway's ledger, with the fields of ``CreditLedgerEntry`` in its contract. ``at`` is in seconds."""

    at: float
    entry_type: str
    amount: Decimal
    job_id: str | None


@dataclass(frozen=True, slots=True)
class Generation:
    """A job as the gateway has accepted it, and how it ended. Times are in seconds."""

    job_id: str
    key: str | None
    prompt: str
    credits: Decimal
    accepted_at: float
    ended_at: float
    has_failed: bool


@dataclass(frozen=True, slots=True)
class Submit:
    """A request for a generation, as it left a process."""

    at: float
    process: str
    key: str | None
    prompt: str


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement to the cluster's database, and the first row of the answer that its sender has received."""

    sent_at: float
    heard_at: float
    process: str
    name: str
    values: Mapping[str, Any]
    answer: Mapping[str, Any]


@dataclass(slots=True)
class Observations:
    """Notes what processes send, and what they are answered. ``now`` is the simulated time in seconds."""

    now: Callable[[], float]
    submits: list[Submit] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)

    def request(self, process: str, request: httpx.Request) -> None:
        """Note a request that leaves a process."""
        if request.method == "POST" and request.url.path.endswith("/generate"):
            body = json.loads(request.content)
            self.submits.append(
                Submit(self.now(), process, body.get("idempotency_key"), str(body["params"].get("prompt.text", "")))
            )

    def statement(
        self, process: str, sent_at: float, name: str, values: Mapping[str, Any], rows: list[DictRow]
    ) -> None:
        """Note a statement whose answer has reached its sender."""
        self.statements.append(Statement(sent_at, self.now(), process, name, values, rows[0] if rows else {}))


@dataclass(frozen=True, slots=True)
class Evidence:
    """All of a play. ``endings`` are the exit codes of the coordinator, ``began`` is when the simulated clock began."""

    manifest: Path
    run_dir: Path
    began: float
    budget: Decimal
    attempts: int
    ledger: list[LedgerRow]
    generations: list[Generation]
    submits: list[Submit]
    statements: list[Statement]
    endings: list[int]
