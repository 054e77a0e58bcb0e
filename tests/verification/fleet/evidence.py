"""What was seen of a play from outside the product, as plain data: all that ``contract_judge.py``
may look at.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import httpx


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """A row of the gateway's ledger, with the fields of ``CreditLedgerEntry`` in its contract.

    ``at`` is in seconds.
    """

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


@dataclass(slots=True)
class Observations:
    """Notes what processes send. ``now`` is the simulated time in seconds."""

    now: Callable[[], float]
    submits: list[Submit] = field(default_factory=list)

    def request(self, process: str, request: httpx.Request) -> None:
        """Note a request that leaves a process."""
        if request.method == "POST" and request.url.path.endswith("/generate"):
            body = json.loads(request.content)
            self.submits.append(
                Submit(
                    self.now(),
                    process,
                    body.get("idempotency_key"),
                    str(body["params"].get("prompt.text", "")),
                )
            )


@dataclass(frozen=True, slots=True)
class Evidence:
    """All of a play. ``endings`` are the exit codes of the run, ``began`` is when the simulated
    clock began.

    ``plans`` are the divided plans, in order. ``shards`` has the plan's digest and the shard's
    number of each process that has run a shard. ``state`` has the reports of shards. With an object
    store, ``run_dir`` has its objects;
    ``stored_at`` has the time at which each was created, and ``overwritten`` are the numbered ones
    that were changed or deleted. ``had_store_troubles``: the store failed, or a process was frozen.
    """

    manifest: Path
    run_dir: Path
    began: float
    budget: Decimal
    attempts: int
    ledger: list[LedgerRow]
    generations: list[Generation]
    submits: list[Submit]
    plans: list[Path]
    shards: Mapping[str, tuple[str, int]]
    endings: list[int]
    stored_at: Mapping[str, float] = field(default_factory=dict)
    overwritten: Sequence[str] = ()
    state: Path | None = None
    had_store_troubles: bool = True
