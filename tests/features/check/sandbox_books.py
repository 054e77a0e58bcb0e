"""A sandbox world driven at random, and the books that a client keeps of the very same answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count

from crucible_batch.core.audit_claims import job_claims, upload_claims
from crucible_batch.core.events import (
    Accepted,
    Created,
    Deleted,
    Event,
    Failed,
    JobEvent,
    Succeeded,
)
from crucible_batch.core.gateway_types import ErrorInfo, LedgerEntry
from crucible_batch.core.job import Job, replay
from crucible_batch.core.ledger_statement import Statement
from crucible_batch.core.retry_rule import RetryRule
from crucible_batch.features.check.audit import Audit, JournalClaims, audit
from crucible_batch.sandbox import SandboxConfig
from crucible_batch.sandbox.assets import Intent
from crucible_batch.sandbox.faults import Faults
from crucible_batch.sandbox.jobs import Order
from crucible_batch.sandbox.world import World
from tests.harness.job_events import held_event, intended_event

KEY = "moltazine_ours"
ERROR = ErrorInfo("GENERATION_FAILED", "it failed")
BEGUN = 1_700_000_000.125


@dataclass
class Shared:
    """One account that we share with strangers.

    ``skew`` is how far our clock is ahead of the gateway's.
    """

    recent: int = 1000
    skew: float = 0.0
    now: float = BEGUN
    jobs: dict[str, tuple[Job, list[JobEvent]]] = field(default_factory=dict)
    assets: list[tuple[str, Event]] = field(default_factory=list)
    open_jobs: dict[str, str] = field(default_factory=dict)
    kept_assets: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        accounts = {KEY: Decimal(10_000)}
        self.world = World(
            SandboxConfig(accounts=accounts, recent_entries=self.recent, runners=2),
            Faults((), 0),
            self.now,
        )
        self.account = self.world.authenticate(KEY)
        self._numbers = count(1)
        self.pass_time(10)

    @property
    def ours(self) -> float:
        """The time by our clock."""
        return self.now + self.skew

    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    def submit(self, workflow_id: str, prompt: str) -> None:
        name = f"job-{next(self._numbers)}"
        job = Job(name, rule=RetryRule(attempts=1))
        held = held_event(9, at=self.ours, key=job.key, price_class="w")
        self.pass_time(0.25)
        made, _ = self.world.submit(
            self.account, Order(workflow_id, {"prompt.text": prompt}, job.key), self.now
        )
        self.pass_time(0.25)
        accepted = Accepted(at=self.ours, job_id=made.job_id, credits=made.price, reused=False)
        self.jobs[name] = (job, [held, accepted])
        self.open_jobs[name] = made.job_id

    def poll(self) -> None:
        """See what has become of each job."""
        for name, job_id in list(self.open_jobs.items()):
            match self.world.job(self.account, job_id, self.now).status(self.now):
                case "succeeded":
                    self.jobs[name][1].append(Succeeded(at=self.ours, outputs=1))
                case "failed":
                    self.jobs[name][1].append(Failed(at=self.ours, error=ERROR))
                case _:
                    continue
            del self.open_jobs[name]

    def upload(self) -> None:
        subject = f"asset:{next(self._numbers):064}"
        self.assets.append((subject, intended_event(1, at=self.ours, nonce=subject)))
        self.pass_time(0.25)
        made = self.world.create_asset(self.account, Intent("image/png", 9, None, {}), self.now)
        self.pass_time(0.25)
        self.assets.append(
            (subject, Created(at=self.ours, asset_id=made.asset_id, credits=made.charged))
        )
        self.kept_assets[subject] = made.asset_id

    def delete(self) -> None:
        if self.kept_assets:
            subject, asset_id = self.kept_assets.popitem()
            rebate = self.world.delete_asset(self.account, asset_id, self.now)
            self.pass_time(0.25)
            self.assets.append((subject, Deleted(at=self.ours, rebate=rebate)))

    def stranger(self, *, uploads: bool) -> None:
        if uploads:
            self.world.create_asset(self.account, Intent("image/png", 9, None, {}), self.now)
        else:
            key = f"theirs-{next(self._numbers)}"
            self.world.submit(
                self.account, Order("zimage-base", {"prompt.text": "x"}, key), self.now
            )

    def entries(self) -> list[LedgerEntry]:
        """The ledger as the contract shows it: no asset ids."""
        _, found = self.world.credits(self.account, self.now)
        return [
            LedgerEntry(
                entry_id=entry.entry_id,
                entry_type=entry.entry_type,
                amount=entry.amount,
                at=entry.created_at,
                job_id=entry.job_id,
                description=entry.description,
            )
            for entry in found
        ]

    def books(self) -> JournalClaims:
        replayed = ((name, replay(job, events)) for name, (job, events) in self.jobs.items())
        return JournalClaims(
            jobs=[claim for name, job in replayed for claim in job_claims(name, job)],
            uploads=upload_claims(self.assets, {}),
            runs=[(BEGUN + self.skew, None)],
        )

    def audit(
        self, books: JournalClaims | None = None, entries: Iterable[LedgerEntry] | None = None
    ) -> Audit:
        listed = {asset.asset_id for asset in self.world.assets.listed(self.account)}
        shown = self.entries() if entries is None else list(entries)
        self.pass_time(1)
        return audit(books or self.books(), Statement(shown), listed, asked_at=self.ours)
