"""Admission: jobs come in manifest order and wait here until their credits can be held.

The decision is pure (``core.budget``); here it is asked again whenever something has changed. Only the job at the head
waits for credits, the others wait for their turn, so the order is the manifest's and a budget that doesn't reach for
all is spent on the first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from crucible_batch.core.answers import ErrorInfo
from crucible_batch.core.budget import INSUFFICIENT_CREDITS, Admit, Block, Request, Situation, Wait, decide
from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.events import (
    Accepted,
    Created,
    Declined,
    Event,
    Failed,
    Held,
    Lost,
    NotCreated,
    Prepared,
    Refused,
    Unanswered,
)
from crucible_batch.core.job import Job
from crucible_batch.core.ports import Gateway
from crucible_batch.core.prices import UPLOAD_CLASS
from crucible_batch.engine.books import Books
from crucible_batch.engine.clock import Clock
from crucible_batch.engine.stop import Stop
from crucible_batch.errors import ExitCode, GatewayError, KeyRefusedError


class Admission:
    """Holds credits for jobs, one job at a time."""

    def __init__(
        self,
        books: Books,
        gateway: Gateway,
        stop: Stop,
        clock: Clock,
        shortage: Callable[[], ErrorInfo | None] = lambda: None,
    ) -> None:
        self._books = books
        self._gateway = gateway
        self._stop = stop
        self._clock = clock
        self._shortage = shortage
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._at_work: set[str] = set()
        self._canaries: dict[str, str] = {}
        self._unconfirmed: dict[str, Credits] = {}
        self._account: Credits | None = None
        self._account_base: Credits = ZERO
        self._account_due = True
        self._account_stale = False
        self._account_closed = False
        books.on_entry(self._entered)

    async def hold(
        self, job: Job, price_class: str, *, missing: Callable[[], int], claim: Callable[[], None]
    ) -> Held | None:
        """Wait until the next attempt's credits can be held, hold them, and return the fact to be journalled.

        ``missing`` counts the images that the job would have to upload now, ``claim`` makes them its own to upload.
        Returns None where the job can't be started in this run; why is noted in the run's ``Stop``. One reason is a
        disk that has no room for what the job makes.
        """
        async with self._turn:
            while not self._stop.no_more and not self._stop.blocked(price_class):
                self._changed.clear()
                if (error := self._shortage()) is not None:
                    self._stop.wind_down(ExitCode.STOPPED, error)
                    break
                if self._account_due:
                    await self.read_account()
                request = Request(price_class, missing())
                match decide(request, self._books.ledger, self._books.budget, self._situation(job.identity)):
                    case Admit(credits=credits, canary_for=classes):
                        held = Held(
                            at=self._clock.now(),
                            attempt=job.attempt,
                            key=job.key,
                            credits=credits,
                            price_class=price_class,
                        )
                        claim()
                        self._admit(job.identity, held, classes)
                        return held
                    case Wait():
                        await self._changed.wait()
                    case Block(error=error):
                        if error.code == INSUFFICIENT_CREDITS and await self._account_was_stale():
                            continue
                        self._stop.block(price_class, error)
        return None

    def _admit(self, identity: str, held: Held, canary_for: frozenset[str]) -> None:
        # Entered before it is journalled: between the decision and the entry nobody else may decide. Entering the
        # same hold again when it is durable changes nothing.
        self._books.ledger.apply(identity, held)
        self._at_work.add(identity)
        self._unconfirmed[identity] = held.credits
        for price_class in canary_for:
            self._canaries[price_class] = identity

    def take_up(self, job: Job) -> None:
        """A job of an earlier run goes on: its hold is in the books already, and it is at work again."""
        self._at_work.add(job.identity)
        if job.in_doubt:
            self._unconfirmed[job.identity] = self._books.ledger.hold_of(job.identity)

    def leave(self, identity: str) -> None:
        """The job is no longer at work in this run, whatever became of it. May be called twice."""
        self._at_work.discard(identity)
        self._unconfirmed.pop(identity, None)
        self._end_canaries(identity)
        self._changed.set()

    def close_account(self) -> None:
        """The gateway answered 402: ask for nothing more until a refund."""
        self._account_closed = True
        self._account_due = True
        self._changed.set()

    def wake(self) -> None:
        """Something outside has changed: the run is to stop."""
        self._changed.set()

    async def read_account(self) -> None:
        """Read what the account has available, at the start and after each 402 or refund.

        A failure leaves the old figure: the gateway's own 402 is the real limit.
        """
        base = self._books.ledger.committed - sum(self._unconfirmed.values(), ZERO)
        self._account_due = self._account_stale = False
        try:
            account = await self._gateway.account()
        except KeyRefusedError:
            raise
        except GatewayError:
            return
        self._account = account.available
        self._account_base = base

    async def _account_was_stale(self) -> bool:
        """Read the account again if our figure may be off; True where asking again makes sense."""
        if self._account_closed or not self._account_stale:
            return False
        await self.read_account()
        return True

    def _situation(self, identity: str) -> Situation:
        left = None
        if self._account is not None:
            left = self._account - (self._books.ledger.committed - self._account_base)
        return Situation(
            others_at_work=bool(self._at_work - {identity}),
            canaries=frozenset(self._canaries),
            account_left=left,
            account_closed=self._account_closed,
        )

    def _entered(self, subject: str, event: Event) -> None:
        match event:
            case Accepted() | Unanswered():
                self._confirmed(subject)
            case Declined() | Refused():
                self._confirmed(subject)
                # It holds nothing any more: whoever waits for credits must not wait for it.
                self._at_work.discard(subject)
            case Created() | NotCreated() | Lost() | Prepared():
                self._canaries.pop(UPLOAD_CLASS, None)
                self._account_stale = True
                if isinstance(event, Prepared) and subject in self._unconfirmed:
                    self._unconfirmed[subject] = event.credits
            case Failed():
                # The gateway refunds a failed job, so an empty account may have something again.
                self._account_closed = False
                self._account_due = True
                self._at_work.discard(subject)
            case _:
                pass
        self._changed.set()

    def _confirmed(self, identity: str) -> None:
        self._unconfirmed.pop(identity, None)
        self._end_canaries(identity)
        self._account_stale = True

    def _end_canaries(self, identity: str) -> None:
        for price_class in [name for name, owner in self._canaries.items() if owner == identity]:
            del self._canaries[price_class]
