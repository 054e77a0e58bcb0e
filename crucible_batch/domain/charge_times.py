"""When the charges of a run directory were made, by its events: which of them belong to a period.

A charge is dated by an interval, since the gateway's own time of it isn't known: from the hold before the request to
the event after the answer, and ``CLOCK_TOLERANCE_S`` more on both sides for a gateway whose clock differs. A charge
whose interval touches two periods counts in both. A hold without an answer counts in every period from its beginning
on, since it may become a purchase at any time.

The figures are made by subtraction from the ledger's ``committed``: what is not known to belong elsewhere counts. So an
event that isn't treated here can only make a figure too high.

    charge                                       interval                       can come back
    job, accepted                                Held .. Accepted               until it has succeeded
    job found at the gateway (``reused``)        any time before Accepted       until it has succeeded
    job lost at the gateway                      Held .. Accepted               yes: it may be found to have failed
    job that has failed: what isn't refunded     Held .. Accepted               yes: the refund may be seen later
    higher price of a job that had succeeded     any time before Repriced       no
    image                                        Intended .. Created            until it is ready
    image that is deleted: what is not refunded  Intended .. Created            no
    upload that was never answered               Intended .. Lost               yes: it may not have been charged
    upload whose charge is assumed               Intended .. Created            yes
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from crucible_batch.domain.allowance import Share, ShareRequest
from crucible_batch.domain.budget_period import BudgetPeriod
from crucible_batch.domain.credits import ZERO, Credits
from crucible_batch.domain.events import (
    Accepted,
    AssetEvent,
    BecameReady,
    Created,
    Deleted,
    Event,
    Failed,
    Found,
    Held,
    Intended,
    JobLost,
    NotCharged,
    Repriced,
    Succeeded,
)
from crucible_batch.domain.ledger import Ledger

CLOCK_TOLERANCE_S = 10.0
"""By how much the gateway's clock may differ from this machine's. A run that begins this soon after the start of a
period waits, so that none of its charges is in the period before."""
_ANY_TIME = float("-inf")
_ANY_LATER = float("inf")


@dataclass(frozen=True, slots=True)
class _Interval:
    """``first`` is later than ``last`` if the clock was set back in between: the charge was made at either time."""

    first: float
    last: float

    def is_before(self, moment: float) -> bool:
        return max(self.first, self.last) + CLOCK_TOLERANCE_S <= moment

    def is_after(self, moment: float) -> bool:
        return min(self.first, self.last) - CLOCK_TOLERANCE_S >= moment


@dataclass(frozen=True, slots=True)
class _Charge:
    credits: Credits
    interval: _Interval
    is_certain: bool


class DatedLedger:
    """A ledger with the time of each charge, for the periods that are to be asked for.

    ``now`` is in seconds since the epoch: no charge was made after it, even if the clock was ahead when it was dated.
    """

    def __init__(self, ledger: Ledger, periods: Iterable[BudgetPeriod], now: float = _ANY_LATER) -> None:
        self.ledger = ledger
        self.periods = tuple(periods)
        self._now = now
        moments = {moment for period in self.periods for moment in (period.start, period.end)}
        self._certain: Credits = ZERO
        self._certain_before = dict.fromkeys(moments, ZERO)
        self._certain_after = dict.fromkeys(moments, ZERO)
        self._sent: dict[str, float] = {}
        """The start of each hold without an answer, by job or asset."""
        self._accepted: dict[str, _Interval] = {}
        self._lost: dict[str, _Charge] = {}
        self._attempts: dict[str, int] = {}
        """The number of each job's newest attempt."""
        self._failed: dict[tuple[str, int], _Interval] = {}
        self._images: dict[str, _Charge] = {}
        self._unpriced: list[_Interval] = []
        """The intervals of the uploads in ``Ledger.unpriced_costs``."""

    def apply(self, subject: str, event: Event) -> None:
        """Apply one event to the ledger, and date what it changes."""
        ledger = self.ledger
        jobs, unpriced = ledger.jobs, ledger.unpriced_uploads
        place = ledger.place_of_unpriced(event.nonce) if isinstance(event, NotCharged) else None
        ledger.apply(subject, event)
        if ledger.is_contradictory(subject):
            return  # what it holds counts in every period
        if isinstance(event, AssetEvent):
            if ledger.unpriced_uploads > unpriced:
                self._leave_unpriced(subject, event)
            elif ledger.unpriced_uploads < unpriced and place is not None:
                del self._unpriced[place]
            elif not isinstance(event, NotCharged):
                self._apply_to_asset(subject, event)
        else:
            self._apply_to_job(subject, event, ledger.jobs - jobs)

    def _apply_to_job(self, subject: str, event: Event, change: Credits) -> None:
        match event:
            case Held(at=at, attempt=attempt):
                self._sent[subject] = at
                self._attempts[subject] = attempt
            case Accepted(at=at, reused=reused):
                self._accepted[subject] = _Interval(_ANY_TIME if reused else self._sent.pop(subject, _ANY_TIME), at)
                self._sent.pop(subject, None)
            case Succeeded():
                lost, interval = self._lost.pop(subject, None), self._accepted.pop(subject, None)
                if lost is not None:
                    self._add_certain(lost.credits, lost.interval)
                if interval is not None:
                    self._add_certain(change, interval)
            case JobLost():
                if (interval := self._accepted.pop(subject, None)) is not None:
                    self._lost[subject] = _Charge(change, interval, is_certain=False)
            case Failed():
                self._fail(subject)
            case Repriced(at=at) if change:
                lost = self._lost.get(subject)
                if lost is None:
                    self._add_certain(change, _Interval(_ANY_TIME, at))
                else:
                    self._lost[subject] = _Charge(lost.credits + change, lost.interval, is_certain=False)
            case _:
                if subject in self._sent and not self.ledger.hold_of(subject):
                    del self._sent[subject]

    def _fail(self, subject: str) -> None:
        """Date what may still be charged for a failed attempt as its purchase."""
        lost, interval = self._lost.pop(subject, None), self._accepted.pop(subject, None)
        if interval is None and lost is not None:
            interval = lost.interval
        if interval is not None:
            self._failed[subject, self._attempts[subject]] = interval

    def _apply_to_asset(self, subject: str, event: AssetEvent) -> None:
        match event:
            case Intended(at=at):
                self._sent[subject] = at
            case Created(at=at, credits=charged):
                self._keep(subject)
                interval = _Interval(self._sent.pop(subject, _ANY_TIME), at)
                self._images[subject] = _Charge(charged, interval, is_certain=False)
            case BecameReady():
                if (image := self._images.get(subject)) is not None:
                    self._images[subject] = _Charge(image.credits, image.interval, is_certain=True)
            case Deleted(rebate=rebate):
                if (image := self._images.pop(subject, None)) is not None:
                    self._add_certain(image.credits - min(rebate, image.credits), image.interval)
            case Found():
                self._keep(subject)
            case _:
                self._sent.pop(subject, None)

    def _keep(self, subject: str) -> None:
        """Count what an image cost for good: it can't be refunded any more."""
        if (image := self._images.pop(subject, None)) is not None:
            self._add_certain(image.credits, image.interval)

    def _leave_unpriced(self, subject: str, event: AssetEvent) -> None:
        self._keep(subject)
        self._unpriced.append(_Interval(self._sent.pop(subject, _ANY_TIME), event.at))

    def _add_certain(self, credits: Credits, interval: _Interval) -> None:
        self._certain += credits
        for moment in self._certain_before:
            if interval.is_before(moment):
                self._certain_before[moment] += credits
            if interval.is_after(moment):
                self._certain_after[moment] += credits

    # -- figures ----------------------------------------------------------------------------------------------------

    @property
    def certain(self) -> Credits:
        """The credits that can't come back to the run."""
        return self._certain + sum((each.credits for each in self._others() if each.is_certain), ZERO)

    def certain_before(self, moment: float) -> Credits:
        """Return the part of ``certain`` that was charged before a moment. ``moment`` is the start of a period."""
        others = (each.credits for each in self._others() if each.is_certain and each.interval.is_before(moment))
        return self._certain_before[moment] + sum(others, ZERO)

    def used_in(self, period: BudgetPeriod) -> Credits:
        """Return what was charged in a period or may have been, less refunds, and what is held without an answer."""
        has_ended = period.end <= self._now
        total = self.ledger.committed - self._certain_before[period.start]
        if has_ended:
            total -= self._certain_after[period.end]
        for each in self._others():
            if each.interval.is_before(period.start) or (has_ended and each.interval.is_after(period.end)):
                total -= each.credits
        return total - (self.unanswered - self.unanswered_in(period))

    @property
    def unanswered(self) -> Credits:
        """The credits held for requests without an answer."""
        answered = (subject for subject in self._accepted if not self.ledger.is_contradictory(subject))
        return sum(self.ledger.holds().values(), ZERO) - sum(map(self.ledger.hold_of, answered), ZERO)

    def unanswered_in(self, period: BudgetPeriod) -> Credits:
        """Return the part of ``unanswered`` that was not held only after a period."""
        if period.end > self._now:
            return self.unanswered
        later = (
            self.ledger.hold_of(subject)
            for subject, first in self._sent.items()
            if _Interval(first, first).is_after(period.end) and not self.ledger.is_contradictory(subject)
        )
        return self.unanswered - sum(later, ZERO)

    def refunds_in(self, period: BudgetPeriod) -> Credits:
        """Return what is held for the refunds of attempts that may have been bought in a period."""
        held = ZERO
        for failed in self.ledger.failed_attempts():
            bought = self._failed.get((failed.subject, failed.number), _Interval(_ANY_TIME, _ANY_LATER))
            if not bought.is_before(period.start) and not bought.is_after(period.end):
                held += failed.held
        return held

    def request(self, period: BudgetPeriod, *, own: Credits | None = None, need: Credits | None = None) -> ShareRequest:
        """Return what a run asks of a period. ``own`` is its own budget, ``need`` the most that its jobs may cost.

        None: no limit. Beside ``need``, it asks for what is held now: if jobs in flight fail, it may buy for it again.
        """
        limits = []
        if own is not None:
            limits.append(max(ZERO, own - self.certain))
        if need is not None:
            limits.append(need + self.ledger.committed - self.certain)
        certain = self.certain - self.certain_before(period.start)
        return ShareRequest(min(limits, default=None), certain, self.used_in(period))

    def share_of(self, budget: Credits, period: BudgetPeriod) -> Share:
        """Return the share that a run with this budget has of a period: all that it may yet buy counts."""
        before = self.certain_before(period.start)
        total = max(budget - before, self.used_in(period))
        spent = min(total, self.certain - before)
        return Share(spent, total - spent)

    def _others(self) -> Iterator[_Charge]:
        """Yield the charges that may still change."""
        is_contradictory = self.ledger.is_contradictory
        for subject, interval in self._accepted.items():
            if not is_contradictory(subject):
                yield _Charge(self.ledger.hold_of(subject), interval, is_certain=False)
        for failed in self.ledger.failed_attempts():
            bought = self._failed.get((failed.subject, failed.number))
            if bought is not None and not is_contradictory(failed.subject):
                yield _Charge(failed.held + failed.spent, bought, is_certain=False)
        for charges in (self._lost, self._images):
            yield from (charge for subject, charge in charges.items() if not is_contradictory(subject))
        for cost, interval in zip(self.ledger.unpriced_costs, self._unpriced, strict=True):
            yield _Charge(cost, interval, is_certain=False)
