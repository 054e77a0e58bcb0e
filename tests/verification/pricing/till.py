"""The gateway's till: it prices, charges, refunds, and writes the ledger's rows."""

import asyncio
import heapq
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from tests.verification.pricing.book import UPLOADS, Answer, Arrival, Book, Record, Row, now
from tests.verification.pricing.view import LAG, Prices
from tests.verification.pricing.world import Ask, Quote, World

ZERO = Decimal(0)


@dataclass
class Job:
    job_id: str
    key: str
    workflow: str
    quote: Quote
    runs_at: float
    ends_at: float
    fails: bool

    def status(self) -> str:
        if now() >= self.ends_at:
            return "failed" if self.fails else "succeeded"
        return "running" if now() >= self.runs_at else "queued"


@dataclass
class Asset:
    asset_id: str
    unit: str
    body: dict[str, object]
    quote: Quote
    created: str
    status: str = "pending_upload"
    content: bytes = b""


@dataclass
class Charged:
    """What a purchase did: the thing bought, and whether it was bought just now."""

    thing: Job | Asset
    new: bool


@dataclass
class Till:
    """What was bought of one gateway. Used in its thread alone."""

    world: World
    book: Book
    loop: asyncio.AbstractEventLoop
    jobs: dict[str, Job] = field(default_factory=dict)  # by key
    assets: dict[str, Asset] = field(default_factory=dict)  # by id, deleted ones too
    attempts: dict[str, int] = field(default_factory=dict)
    began: float | None = None

    def __post_init__(self) -> None:
        self.free = [0.0] * (self.world.runners or 0)  # when each runner has time again

    def charge(self, arrival: Arrival, ask: Ask) -> Charged | None:
        if arrival.unit in self.jobs:
            return Charged(self.jobs[arrival.unit], new=False)
        quote = self.world.price(ask)
        if quote.ledger > self.left():
            return None
        self.row("upload" if ask.upload else "reserve", arrival.unit, quote.ledger)
        if ask.upload:
            asset = Asset(str(uuid.uuid4()), arrival.unit, ask.params, quote, stamp())
            self.assets[asset.asset_id] = asset
            return Charged(asset, new=True)
        start = heapq.heappop(self.free) if self.free else 0.0
        runs_at = max(now(), start)
        job = Job(
            str(uuid.uuid4()),
            arrival.unit,
            arrival.workflow,
            quote,
            runs_at,
            runs_at + self.world.service,
            self.world.fails(ask),
        )
        if self.world.runners:
            heapq.heappush(self.free, job.ends_at)
        self.jobs[arrival.unit] = job
        self.loop.call_later(job.ends_at - now(), self._settle, job)
        return Charged(job, new=True)

    def _settle(self, job: Job) -> None:
        amount = -job.quote.ledger if job.fails else ZERO
        self.row("refund" if job.fails else "consume", job.key, amount)

    def row(self, entry: str, unit: str, amount: Decimal) -> None:
        def write() -> None:
            self.book.note(Row(now(), entry, unit, amount))

        if self.world.ledger_lag:
            self.loop.call_later(self.world.ledger_lag, write)
        else:
            write()

    def ask(self, arrival: Arrival, params: dict) -> Ask:
        self.began = self.began or now()
        attempt = self.attempts[arrival.unit] = self.attempts.get(arrival.unit, 0) + 1
        upload = arrival.workflow == UPLOADS
        count = len(self.assets) if upload else len(self.jobs)
        bound, seconds = self._least_bound(arrival), now() - self.began
        return Ask(arrival.workflow, arrival.shape, params, count, attempt, seconds, self.world.random, bound)

    def _least_bound(self, arrival: Arrival) -> Decimal | None:
        """The least bound that a program may have computed for this arrival, by what it was sent until now."""
        prices, bounds, began = Prices(), [], now() - LAG
        units = {event.unit: event for event in self.book.events if isinstance(event, Arrival)}
        for event in list(self.book.events):
            figure = event.figure if isinstance(event, Answer | Record) else None
            if figure is None:
                continue
            if event.at >= began:
                bounds.append(prices.bound(arrival.workflow, arrival.shape))
            prices.see(units[event.unit].workflow, units[event.unit].shape, figure)
        bounds.append(prices.bound(arrival.workflow, arrival.shape))
        return None if None in bounds else min(bounds)

    def left(self) -> Decimal:
        return self.world.balance - self.book.charged()

    def entries(self) -> list[dict[str, object]]:
        """The ledger as the contract shows it, the newest first."""
        ids = {job.key: job.job_id for job in self.jobs.values()}
        entries = [
            {
                "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{number}")),
                "job_id": ids.get(row.unit),
                "entry_type": row.entry,
                "status": "posted",
                "amount": abs(row.amount) if row.entry != "consume" else self.jobs[row.unit].quote.ledger,
                "description": None,
                "created_at": stamp(now() - row.at),
            }
            for number, row in enumerate(self.book.rows())
        ]
        return entries[::-1]


def stamp(seconds_ago: float = 0.0) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat()
