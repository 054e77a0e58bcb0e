"""When the charges of a run directory were made, by its events: which of them belong to a period.

The gateway's own time of a charge isn't known. So a charge counts in the period of its journalled
hold, and in every later period until its answer:

    charge                                    from                  until
    job                                       Held                  Accepted
    higher price of a job that had succeeded  Held                  Repriced
    image                                     Intended              Created
    upload that was never answered            Intended              Lost
    hold without an answer                    Held or Intended      any time

Within ``CLOCK_TOLERANCE_S`` of a boundary, a charge counts in both periods. A refund lowers the
charge that it is for, in the periods of this charge. The figures are made by subtraction from the
ledger's ``committed``: what is not known to belong elsewhere counts, so an event that isn't treated
here can only make a figure too high.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from crucible_batch.core.allowance import ShareRequest
from crucible_batch.core.budget_period import BudgetPeriod
from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.events import (
    Accepted,
    BecameReady,
    Consumed,
    Created,
    Deleted,
    Event,
    Found,
    Held,
    Intended,
    Lost,
    Refunded,
    RefundForgotten,
    Repriced,
    Succeeded,
)
from crucible_batch.core.ledger import Ledger

CLOCK_TOLERANCE_S = 10.0
"""By how much the gateway's clock may differ from this machine's. A run that begins this soon after
the start of a period waits, so that none of its charges is in the period before."""


@dataclass(slots=True)
class _Charge:
    """The charge of one attempt at a job, or of one upload, made between ``first`` and ``last``.

    ``settled`` is its amount in the ledger beside what is held for the subject. ``is_certain``:
    none of it can come back.
    """

    subject: str
    first: float
    last: float = math.inf
    settled: Credits = ZERO
    is_certain: bool = False

    @property
    def is_answered(self) -> bool:
        return self.last < math.inf

    def answer(self, at: float) -> None:
        """Note when the answer came: before ``first`` if the clock was set back, and then it was
        made at either.
        """
        self.first, self.last = min(self.first, at), max(self.first, at)

    def is_outside(self, first: float, last: float) -> bool:
        return self.last <= first or self.first >= last


class DatedLedger:
    """A ledger with the time of each charge.

    ``now`` is in seconds since the epoch: no charge was made after it, even if the clock was ahead
    when it was dated.
    """

    def __init__(
        self, ledger: Ledger, periods: Iterable[BudgetPeriod] = (), now: float = math.inf
    ) -> None:
        self.ledger = ledger
        self.periods = tuple(periods)
        self._now = now
        self._attempts: dict[tuple[str, int], _Charge] = {}
        self._uploads: dict[str, _Charge] = {}
        """The charge of each upload by its nonce."""
        self._others: list[_Charge] = []
        self._newest: dict[str, _Charge] = {}
        """The newest charge of each job and asset: what is held for it belongs to this one."""

    def apply(self, subject: str, event: Event, at: float | None = None) -> None:
        """Apply one event to the ledger, and date what it changes.

        ``at`` replaces the event's own time.
        """
        if at is None:
            at = event.at
        before = self.ledger.beside_holds
        self.ledger.apply(subject, event)
        change = self.ledger.beside_holds - before
        charge = self._charge_of(subject, event, at)
        if charge is None:
            return  # it counts in every period
        match event:
            case Repriced(settled=settled) if settled is not None:
                raised = replace(charge, settled=change)
                raised.answer(at)
                self._others.append(raised)
                return
            case Accepted() | Created() | Lost():
                charge.answer(at)
            case Succeeded() | BecameReady() | Deleted() | Found():
                charge.is_certain = True
            case _:
                pass
        charge.settled += change

    def _charge_of(self, subject: str, event: Event, at: float) -> _Charge | None:
        match event:
            case Held(attempt=attempt):
                charge = self._attempts[subject, attempt] = self._newest[subject] = _Charge(
                    subject, at
                )
                return charge
            case Intended(nonce=nonce):
                former = self._newest.get(subject)
                if former is not None:
                    former.is_certain = True  # it can't be deleted any more
                charge = self._uploads[nonce] = self._newest[subject] = _Charge(subject, at)
                return charge
            case (
                Refunded(attempt=attempt)
                | Consumed(attempt=attempt)
                | RefundForgotten(attempt=attempt)
            ):
                return self._attempts.get((subject, attempt))
            case _:
                return self._newest.get(subject)

    # -- figures

    @property
    def certain(self) -> Credits:
        """The credits that can't come back to the run."""
        return self.certain_between(-math.inf, math.inf)

    def used_in(self, period: BudgetPeriod) -> Credits:
        """Return what was charged in a period or may have been, less refunds, and what is held
        without an answer."""
        return self.used_between(*self._span(period))

    def used_between(self, first: float, last: float) -> Credits:
        """Return ``committed`` less what was certainly charged up to ``first``, or from ``last``
        on."""
        total = self.ledger.committed
        for charge in self._charges():
            if charge.is_outside(first, last):
                total -= charge.settled + self._held_for(charge)
        for nonce, cost in self.ledger.unpriced():
            upload = self._uploads.get(nonce)
            if upload is not None and upload.is_outside(first, last):
                total -= cost
        return total

    def certain_between(self, first: float, last: float) -> Credits:
        """Return the part of ``certain`` that may have been charged after ``first`` and before
        ``last``."""
        certain = (
            each for each in self._charges() if each.is_certain and not each.is_outside(first, last)
        )
        return sum((each.settled for each in certain), ZERO)

    @property
    def unanswered(self) -> Credits:
        """The credits held for requests without an answer."""
        answered = (charge for charge in self._charges() if charge.is_answered)
        return sum(self.ledger.holds().values(), ZERO) - sum(map(self._held_for, answered), ZERO)

    def unanswered_in(self, period: BudgetPeriod) -> Credits:
        """Return the part of ``unanswered`` that was not held only after a period."""
        outside = (
            charge
            for charge in self._charges()
            if not charge.is_answered and charge.is_outside(*self._span(period))
        )
        return self.unanswered - sum(map(self._held_for, outside), ZERO)

    def refunds_in(self, period: BudgetPeriod) -> Credits:
        """Return what is held for the refunds of attempts that may have been bought in a period."""
        held = ZERO
        for failed in self.ledger.failed_attempts():
            bought = self._attempts.get((failed.subject, failed.number))
            if bought is None or not bought.is_outside(*self._span(period)):
                held += failed.held
        return held

    def request(
        self, period: BudgetPeriod, *, own: Credits | None = None, need: Credits | None = None
    ) -> ShareRequest:
        """Return what a run asks of a period. ``own`` is its own budget, ``need`` the most that its
        jobs may cost.

        None: no limit. Beside ``need``, it asks for what is held now: if jobs in flight fail, it
        may buy for it again.
        """
        limits = []
        if own is not None:
            limits.append(max(ZERO, own - self.certain))
        if need is not None:
            limits.append(need + self.ledger.committed - self.certain)
        first, _ = self._span(period)
        return ShareRequest(
            min(limits, default=None), self.certain_between(first, math.inf), self.used_in(period)
        )

    def _span(self, period: BudgetPeriod) -> tuple[float, float]:
        """Return a period with the tolerance of the clocks. One that has not ended has no end."""
        end = math.inf
        if period.end <= self._now:
            end = period.end + CLOCK_TOLERANCE_S
        return period.start - CLOCK_TOLERANCE_S, end

    def _charges(self) -> Iterator[_Charge]:
        """Yield all charges but those of jobs and assets with an impossible event, which count in
        every period."""
        for charges in (self._attempts.values(), self._uploads.values(), self._others):
            yield from (each for each in charges if not self.ledger.is_contradictory(each.subject))

    def _held_for(self, charge: _Charge) -> Credits:
        if self._newest.get(charge.subject) is not charge:
            return ZERO
        return self.ledger.hold_of(charge.subject)
