"""Admission: jobs arrive in manifest order and wait here until their credits can be held.

The decision is pure (``core.budget``) and is made again whenever something has changed. Only the
job at the head of the queue waits for credits; the others wait behind it. So credits are held in
manifest order, and a budget that is too small for all jobs is spent on the first ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from crucible_batch.core.account_shortage import INSUFFICIENT_CREDITS
from crucible_batch.core.budget import (
    AdmissionState,
    Admit,
    Block,
    HoldRequest,
    Need,
    SlowStart,
    Wait,
    ceiling_error,
    decide_admission,
    repricing_error,
)
from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.events import (
    Accepted,
    Created,
    Event,
    Failed,
    Held,
    HoldReleased,
    Intended,
    JobLost,
    Lost,
    NotCreated,
    Prepared,
    Refused,
    Repriced,
    SubmitUnknown,
    Succeeded,
)
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Job
from crucible_batch.core.outcome import EVERYTHING, IN_DOUBT
from crucible_batch.core.prices import UPLOAD, Shape
from crucible_batch.core.refunds import REFUND_MISSING
from crucible_batch.engine.clock import Clock
from crucible_batch.engine.journaled_ledger import JournaledLedger
from crucible_batch.engine.ledger_reader import LedgerReader
from crucible_batch.engine.pause import Pause
from crucible_batch.engine.shutdown import Shutdown
from crucible_batch.errors import ExitCode


@dataclass(frozen=True, slots=True)
class _Submit:
    """A submit of this run, from its hold to its answer. ``expected`` is the known price, uploads
    included.

    ``unread`` is the part of the hold above the answered price, kept until the job's own record has
    been read.
    """

    shape: Shape
    expected: Credits
    job_expected: Credits | None
    alone: bool
    held: Credits
    unread: Credits = ZERO


class Admission:
    """Holds credits for jobs, one job at a time. Everything here is called from the event loop."""

    def __init__(
        self,
        accounting: JournaledLedger,
        reader: LedgerReader,
        stop: Shutdown,
        clock: Clock,
        *,
        pause: Pause,
        shortage: Callable[[], ErrorInfo | None] = lambda: None,
        awaited_uploads: Callable[[], Credits] = lambda: ZERO,
    ) -> None:
        self._accounting = accounting
        self._reader = reader
        self._stop = stop
        self._clock = clock
        self._pause = pause
        self._shortage = shortage
        self._awaited_uploads = awaited_uploads
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._active: set[str] = set()
        self._unanswered: dict[str, _Submit] = {}
        self._in_doubt: set[str] = set()
        """Unanswered submits of an earlier run, not sent again yet: the account shows less by their
        cost.
        """
        self._slow_start = SlowStart()
        self._upload_expected: dict[str, Credits | None] = {}
        self._compared: set[Shape] = set()
        """The shapes for which a job's record has been compared with the answer to its submit."""
        self._price_differs = False
        self._account: Credits | None = None
        self._account_base: Credits = ZERO
        self._account_due = self._account_stale = True
        self._account_closed = False
        self._refusal = ""
        self._has_bought = False
        reader.on_reading.append(self.wake)
        accounting.on_entry(self._on_event)

    async def hold(
        self, job: Job, shape: Shape, *, missing: Callable[[], int], claim: Callable[[], None]
    ) -> Held | None:
        """Wait until the next attempt's credits can be held, hold them, and return the event to be
        journalled.

        ``missing`` counts the images that the job would have to upload now; ``claim`` reserves them
        for this job. Returns None if the job can't be started in this run; the reason is recorded
        in ``Shutdown``. One reason is a full disk. Nothing is held in a pause: the jobs return to
        the queue after it.
        """
        while True:
            held = await self._hold_in_turn(job, shape, missing, claim)
            if not isinstance(held, Wait):
                return held
            await self._pause.wait_until_over()

    async def _hold_in_turn(
        self, job: Job, shape: Shape, missing: Callable[[], int], claim: Callable[[], None]
    ) -> Held | Wait | None:
        async with self._turn:
            while not self._stop.no_more and not self._stop.blocked(shape.price_class):
                if self._pause.is_on:
                    return Wait()
                self._changed.clear()
                shortage = self._shortage()
                if shortage is not None:
                    self._stop.wind_down(ExitCode.STOPPED, shortage)
                    break
                if self._account_due:
                    await self.read_account()
                await self._reader.before_purchase()
                request = HoldRequest(shape, missing())
                match decide_admission(
                    request,
                    self._accounting.ledger,
                    self._accounting.budget,
                    self._state_for(job.identity),
                ):
                    case Admit() as admit:
                        claim()
                        return self._admit(job, request, admit)
                    case Wait():
                        await self._changed.wait()
                    case Block(error=error):
                        if error.code == INSUFFICIENT_CREDITS and await self._account_was_stale():
                            continue
                        self._stop.block(shape.price_class, self._with_missing_refunds(error))
                        break
        return None

    def _admit(self, job: Job, request: HoldRequest, admit: Admit) -> Held:
        held = Held(
            at=self._clock.now(),
            attempt=job.attempt,
            key=job.key,
            credits=admit.credits,
            price_class=request.shape.price_class,
            shape=request.shape.digest,
            alone=admit.alone,
            images=job.has_images,
        )
        self._note_submit(job.identity, request, admit.credits, alone=admit.alone)
        # Entered in the ledger before it is journalled, so that no other decision is made on the
        # same credits.
        self._accounting.ledger.hold_ahead(job.identity, held)
        self._active.add(job.identity)
        return held

    async def hold_again(self, job: Job, shape: Shape) -> ErrorInfo | None:
        """Wait until a submit in doubt may be sent again, and hold what it may cost now, by the
        rule for any submit.

        Never less than it held before, since the earlier try may have been charged. Returns the
        error if it can't be sent in this run. A raised hold is not journalled; the caller
        reverts it if the repeated submit bought nothing.
        """
        ledger, identity = self._accounting.ledger, job.identity
        if self._unanswered.pop(identity, None) is not None:  # admitted before, but not sent since
            self._in_doubt.add(identity)
            self._changed.set()
        # Not in ``_turn``: the job at the head of the queue keeps it while it waits for the credits
        # of this one.
        while not self._stop.no_more:
            self._changed.clear()
            held = ledger.hold_of(identity)
            request = HoldRequest(shape, held=held)
            match decide_admission(
                request, ledger, self._accounting.budget, self._state_for(identity, in_doubt=True)
            ):
                case Admit(credits=credits, alone=alone):
                    self._in_doubt.discard(identity)
                    self._note_submit(identity, request, max(held, credits), alone=alone)
                    ledger.set_hold(identity, max(held, credits), alone=alone)
                    return None
                case Wait():
                    await self._changed.wait()
                case Block(error=error):
                    error = self._with_missing_refunds(error)
                    self._stop.block(IN_DOUBT, error)
                    return error
        return self._stop.stops[EVERYTHING]

    def _with_missing_refunds(self, error: ErrorInfo) -> ErrorInfo:
        if error.code == REFUND_MISSING:
            return self._reader.missing()
        return error

    @property
    def uncounted(self) -> Credits:
        """What is held for refunds and doesn't count, as in ``AdmissionState``."""
        if self._has_bought or self._accounting.ledger.has_bought_since_found:
            return ZERO
        return self._reader.invisible_of_found

    def _note_submit(
        self, identity: str, request: HoldRequest, held: Credits, *, alone: bool
    ) -> None:
        prices = self._accounting.ledger.prices
        expected = Need.of(request, prices).expected
        self._unanswered[identity] = _Submit(
            request.shape, expected, prices.expected(request.shape), alone, held
        )

    def is_alone(self, identity: str) -> bool:
        """Whether a job was admitted alone and its submit is unanswered."""
        submit = self._unanswered.get(identity)
        return submit is not None and submit.alone

    def needs_comparison(self, identity: str) -> bool:
        """Whether an accepted job's record has to be read before its submit counts as answered."""
        return identity in self._unanswered

    def mark_compared(self, identity: str, charged: Credits) -> None:
        """Count the submit of an accepted job as answered at ``charged``, by its record."""
        submit = self._unanswered.get(identity)
        if submit is not None:
            self._compared.add(submit.shape)
            self._slow_start = self._slow_start.after(submit.job_expected, charged)
            self._answered(identity)
            self._changed.set()

    def note_price_difference(
        self, identity: str, shape: Shape, answered: Credits, recorded: Credits
    ) -> None:
        """Note that a job's record has another price than the answer to its submit.

        If it is higher, submits are sent one at a time from now on, each compared with its record
        before the next. If it exceeds every bound, nothing more is bought in this run.
        """
        if recorded <= answered:
            return
        self._price_differs = True
        submit, prices = self._unanswered.get(identity), self._accounting.ledger.prices
        seen_before = None
        if submit is not None:
            seen_before = submit.job_expected
        error = repricing_error(shape, answered, recorded, prices, seen_before=seen_before)
        if error is not None:
            self._stop.end_buying(error)

    def add_resumed(self, job: Job) -> None:
        """Resume a job of an earlier run, whose hold is in the ledger already."""
        self._active.add(job.identity)
        if job.in_doubt:
            self._in_doubt.add(job.identity)

    def leave(self, identity: str) -> None:
        """Stop counting a job as active in this run. May be called twice."""
        self._active.discard(identity)
        self._answered(identity)
        self._changed.set()

    def close_account(self, refusal: str = "") -> None:
        """Note a 402 with its message: buy nothing more until a refund."""
        self._account_closed, self._refusal = True, refusal
        self._account_due = True
        self._changed.set()

    def wake(self) -> None:
        """Decide again: the run is about to stop."""
        self._changed.set()

    async def read_account(self) -> None:
        """Read the account's available credits: at the start, and after each 402 or refund.

        If that fails, the old figure stays: the gateway's own 402 is the real limit.
        """
        base = self._settled()
        self._account_due = self._account_stale = False
        account = await self._reader.read()
        if account is not None:
            self._account = account.available
            self._account_base = base

    def _settled(self) -> Credits:
        """Return the committed credits without the holds of unanswered submits, which are bounds
        and not prices."""
        ledger = self._accounting.ledger
        return ledger.committed - sum(
            map(ledger.hold_of, self._in_doubt.union(self._unanswered)), ZERO
        )

    async def _account_was_stale(self) -> bool:
        """Read the account again if the figure may be outdated; return whether to decide again."""
        if self._account_closed or not self._account_stale:
            return False
        await self.read_account()
        return True

    def _state_for(self, identity: str, *, in_doubt: bool = False) -> AdmissionState:
        """Return the state in which to decide on one job.

        A submit in doubt waits for unanswered submits only, since their answers do not depend on
        credits.
        """
        # One loop over the submits instead of a sum for each figure: it runs for each job, over all
        # those in flight.
        expected = unread = ZERO
        is_one_alone = False
        for submit in self._unanswered.values():
            expected += submit.expected
            is_one_alone = is_one_alone or submit.alone
            if submit.unread:
                unread += submit.unread
        left = None
        if self._account is not None and not in_doubt:
            left = self._account - (self._settled() - self._account_base) - expected
        others: Collection[str] = self._active
        if in_doubt:
            others = self._unanswered
        limit = self._slow_start.limit
        if self._price_differs:
            limit = 1
        return AdmissionState(
            others_active=len(others) > (identity in others),
            unanswered=len(self._unanswered),
            limit=limit,
            unread=unread,
            is_one_alone=is_one_alone,
            alone_in_doubt=any(
                each != identity and each not in self._unanswered
                for each in self._accounting.ledger.alone
            ),
            account_left=left,
            account_closed=self._account_closed and not in_doubt,
            refusal=self._refusal,
            awaited=self._reader.awaited + self._awaited_uploads(),
            uncounted=self.uncounted,
        )

    def _on_event(self, subject: str, event: Event) -> None:
        match event:
            case Accepted():
                self._accepted(subject, event)
            case SubmitUnknown() | Repriced() | Succeeded() | JobLost():
                self._answered(subject)
            case HoldReleased() | Refused():
                self._answered(subject)
                # It holds nothing any more, so no job may wait for its credits.
                self._active.discard(subject)
            case Intended():
                self._upload_expected[subject] = self._accounting.ledger.prices.expected(UPLOAD)
            case Created() | NotCreated() | Lost():
                self._uploaded(subject, event)
            case Prepared(credits=held):
                self._account_stale = True
                submit = self._unanswered.get(subject)
                if submit is not None:
                    self._unanswered[subject] = replace(submit, held=held)
            case Failed():
                self._answered(subject)
                # The gateway refunds a failed job, so an empty account may have credits again.
                self._account_closed = False
                self._account_due = True
                self._active.discard(subject)
        self._changed.set()

    def _accepted(self, identity: str, event: Accepted) -> None:
        submit = self._unanswered.get(identity)
        self._account_stale = True
        self._has_bought = self._has_bought or not event.reused
        if submit is None:
            return
        if not (event.reused or event.earlier):
            self._stop_above(submit.shape, event.credits)
        # ``reused`` doesn't matter here: after a lost journal the price is as unknown as for a new
        # job.
        if self._price_differs or submit.shape not in self._compared:
            unread = max(ZERO, submit.held - event.credits)
            self._unanswered[identity] = replace(submit, unread=unread)
            return
        self._slow_start = self._slow_start.after(submit.job_expected, event.credits)
        self._answered(identity)

    def _uploaded(self, subject: str, event: Created | NotCreated | Lost) -> None:
        expected = self._upload_expected.pop(subject, None)
        self._account_stale = True
        if isinstance(event, Created) and not event.assumed:
            self._slow_start = self._slow_start.after(expected, event.credits)
            self._stop_above(UPLOAD, event.credits)

    def _stop_above(self, shape: Shape, charged: Credits) -> None:
        """Stop the run where the gateway has charged more than the declared ceiling: the bound
        holds no more.
        """
        ceiling = self._accounting.ledger.prices.ceiling_of(shape)
        if ceiling is not None and charged > ceiling:
            self._stop.end_buying(ceiling_error(shape, charged, ceiling))

    def _answered(self, identity: str) -> None:
        if self._unanswered.pop(identity, None) is not None:
            self._account_stale = True
