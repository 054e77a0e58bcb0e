"""An admission by itself, without a gateway: its accounting and its stop are the product's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from decimal import Decimal

from crucible_batch.core.events import Event, Held, Succeeded
from crucible_batch.core.gateway_types import Account, ErrorInfo, LedgerEntry
from crucible_batch.core.job import Job, replay
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.prices import PriceBook, Shape
from crucible_batch.core.resuming import resume_job
from crucible_batch.engine.admission import Admission
from crucible_batch.engine.clock import SystemClock
from crucible_batch.engine.journaled_ledger import JournaledLedger
from crucible_batch.engine.pause import Pause
from crucible_batch.engine.shutdown import Shutdown
from crucible_batch.errors import GatewayError
from tests.harness.job_events import accepted_event, held_event
from tests.unit.engine.readings import reader_of

D = Decimal
W, V = Shape("workflow:w"), Shape("workflow:v")
ERROR = ErrorInfo("X", "x")
IMAGE = "asset:x"


class Clock(SystemClock):
    """A clock that stands still."""

    def now(self) -> float:
        return 7.0


class Gateway:
    """An account; ``while_read`` is done between the request for it and its answer."""

    def __init__(self, available: str) -> None:
        self.available: Decimal | GatewayError = D(available)
        self.reads = 0
        self.entries: tuple[LedgerEntry, ...] = ()
        self.while_read: Callable[[], None] = lambda: None

    async def account(self) -> Account:
        self.reads += 1
        if isinstance(self.available, GatewayError):
            raise self.available
        shown = Account(self.available, D(0), self.available, self.entries)
        self.while_read()
        return shown

    async def append(self, _subject: str, _event: Event) -> None:
        """Durable at once."""


@dataclass
class Desk:
    """An admission with its accounting. ``tasks`` are the holds that were asked for, by job."""

    gateway: Gateway
    accounting: JournaledLedger
    stop: Shutdown
    admission: Admission
    pause: Pause
    tasks: dict[str, asyncio.Task[Held | None]] = field(default_factory=dict)

    async def ask(self, identity: str, shape: Shape = W, *, images: int = 0) -> Held | None:
        """Ask for a hold, and return it where it can be had now."""

        async def hold() -> Held | None:
            held = await self.admission.hold(
                Job(identity), shape, missing=lambda: images, claim=lambda: None
            )
            if held is not None:
                await self.accounting.record(identity, held)
            return held

        self.tasks[identity] = asyncio.create_task(hold())
        return await self.got(identity)

    async def got(self, identity: str) -> Held | None:
        """Return the hold that was asked for before, where there is one by now."""
        await passed()
        task = self.tasks[identity]
        return task.result() if task.done() else None

    def waits(self, identity: str) -> bool:
        return not self.tasks[identity].done()

    async def accept(self, identity: str, credits: str, *, reused: bool = False) -> None:
        """The submit is answered with this price."""
        accepted = accepted_event(credits, identity, reused=reused)
        await self.accounting.record(identity, accepted)

    async def answer(self, identity: str, credits: str, recorded: str | None = None) -> None:
        """The submit is answered, and the job's record read where that is asked for."""
        await self.accept(identity, credits)
        if self.admission.needs_comparison(identity):
            if recorded is not None:
                self.admission.note_price_difference(identity, W, D(credits), D(recorded))
            self.admission.mark_compared(identity, D(credits))
        await passed()

    async def know(self, shape: Shape, price: str) -> None:
        """Have one job of a shape bought, its record read, and done."""
        name = f"first of {shape.name}"
        assert await self.ask(name, shape) is not None
        await self.answer(name, price)
        await self.accounting.record(name, Succeeded(at=2.0, outputs=1))
        self.admission.leave(name)


async def passed() -> None:
    """Let every task do what it can do now."""
    for _ in range(10):
        await asyncio.sleep(0)


@asynccontextmanager
async def desk(
    budget: str | None = "1000", *, account: str = "10000", prices: PriceBook | None = None
) -> AsyncIterator[Desk]:
    gateway, stop = Gateway(account), Shutdown()
    accounting = JournaledLedger(gateway, Ledger(prices), None if budget is None else D(budget))
    pause = Pause(stop, SystemClock(), nullcontext)
    reader = reader_of(gateway, accounting, Clock())
    admission = Admission(accounting, reader, stop, Clock(), pause=pause)
    stop.on_change += [admission.wake, pause.wake]
    pause.on_change.append(admission.wake)
    made = Desk(gateway, accounting, stop, admission, pause)
    try:
        yield made
    finally:
        for task in made.tasks.values():
            task.cancel()


def in_doubt(desk: Desk, identity: str, credits: str, *, alone: bool = False) -> Job:
    """A submit of an earlier run that was never answered."""
    job = Job(identity)
    held = held_event(credits, key=job.key, price_class=W.price_class, alone=alone)
    desk.accounting.ledger.apply(identity, held)
    taken = resume_job(replay(job, [held]))
    desk.admission.add_resumed(taken)
    return taken


async def again(at: Desk, job: Job) -> ErrorInfo | None:
    """Ask that a submit in doubt be sent again; returns why it can't be."""
    return await asyncio.wait_for(at.admission.hold_again(job, W), 60)
