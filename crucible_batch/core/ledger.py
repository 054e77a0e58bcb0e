"""The ledger: credits spent, held and refunded, as a fold over the events and nothing else.

An amount changes only by an event that is already journalled, so replaying the journal after a
crash gives the same ledger. A hold ends only with a definite answer; without an answer it stays.

    Held         the attempt's credits are held
    Intended     part of the payer's hold becomes the image's
    Created      the image's hold ends: the charge is spent, the rest returns to the payer's hold;
                 if the charge is assumed, the rest of the bound stays held, as after Lost
    NotCreated   the image's hold returns to its payer
    Prepared     the attempt's hold is trimmed to the job alone
    Accepted     the hold becomes the gateway's own price
    Repriced     the hold rises to the price in the job's record, if that is higher; so does the
                 amount spent for a job that has vanished or succeeded
    Succeeded    held -> spent
    Failed       the price stays held for the refund, beside the hold of the next attempt
                 (``core/refunds.py``)
    Refunded     held for the refund -> refunded
    Consumed     held for the refund -> spent, until a refund follows
    RefundForgotten   what is held for the refund is released by a person
    JobLost      held -> spent (no refund was reported; held again if the job is later found to
                 have failed)
    HoldReleased, Refused   the hold ends: nothing was bought
    Deleted      the rebate is refunded, up to what this directory was charged for the image
    Lost         the image stays held at its bound; the rest of its hold returns to its payer
    NotCharged   what is held or assumed for an upload without an answer ends
    all others   no change

After the first impossible event (``core.event_order``), the hold of its job or image can only grow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any, ClassVar

from msgspec import Struct
from msgspec.structs import replace

from crucible_batch.core.attempt import RefundEvent
from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.event_order import EventOrder
from crucible_batch.core.events import (
    Accepted,
    BecameReady,
    Consumed,
    Created,
    Deleted,
    Event,
    Failed,
    Found,
    Held,
    HoldReleased,
    Intended,
    JobLost,
    Listed,
    Lost,
    Missed,
    NotCharged,
    NotCreated,
    Prepared,
    Refunded,
    RefundForgotten,
    Refused,
    Relocated,
    Reopened,
    Repriced,
    Saved,
    Settled,
    SubmitUnknown,
    Succeeded,
    Unavailable,
    Uploaded,
)
from crucible_batch.core.prices import SURGE, UPLOAD, PriceBook, Shape
from crucible_batch.core.refunds import FailedAttempt


@dataclass(frozen=True, slots=True)
class PriceSurprise:
    """A charge above the hold taken for it.

    ``by_record``: ``held`` is the price in the answer to the submit, ``charged`` the price in the
    job's record.
    """

    price_class: str
    held: Credits
    charged: Credits
    by_record: bool = False


class _Bought(Struct, frozen=True):
    """The attempt that a job's hold is for, as far as its refund needs it.

    ``job_id`` is empty until it is accepted.
    """

    number: int
    held_at: float
    job_id: str = ""
    found: bool = False


@dataclass(slots=True)
class _Intent:
    """The job that pays for an upload, and the upload's bound by the prices seen before it.

    ``maximum`` is the price that was declared then, None if none was.
    """

    payer: str
    bound: Credits
    nonce: str
    maximum: Credits | None = None


@dataclass(slots=True)
class _Unpriced:
    """An upload of unknown price.

    ``was_made``: the gateway lists it; otherwise it may not have been charged. ``bound`` is the
    most that it may have cost by the prices seen when it was held, 0 if none was seen, and
    ``maximum`` the declared maximum by which it was held. ``rebate`` is the gateway's own figure.
    """

    subject: str
    nonce: str
    bound: Credits
    was_made: bool
    maximum: Credits | None
    rebate: Credits = ZERO


class Ledger:
    """The ledger of one run directory.

    ``jobs`` is net of refunds; ``spent`` is jobs + uploads - rebates. A job takes memory only while
    credits are held for it, while it is lost at the gateway, or if an attempt has failed.
    """

    def __init__(self, prices: PriceBook | None = None) -> None:
        self.prices = prices or PriceBook()
        self.jobs: Credits = ZERO
        self._uploads: Credits = ZERO
        self._rebates: Credits = ZERO
        self.refunded: Credits = ZERO
        self.reused_assets = 0
        self.restored_with_images = 0
        self.reused: Credits = ZERO
        self._has_found = False
        self.has_bought_since_found = False
        """Whether a job was bought after one was found by its key, which an earlier journal has
        bought."""
        self.price_differs: Credits = ZERO
        self.repriced_jobs = 0
        self._repriced: set[str] = set()
        self._found_again: set[str] = set()
        self._surprises: dict[tuple[str, bool], PriceSurprise] = {}
        self._held: Credits = ZERO
        self._unpriced: list[_Unpriced] = []
        self._charges: dict[str, Credits] = {}
        """The amount charged to this directory for each image that is at the gateway."""
        self._vanished: dict[str, Credits] = {}
        self._holds: dict[str, Credits] = {}
        self._shapes: dict[str, Shape] = {}
        self._alone: set[str] = set()
        self._intents: dict[str, _Intent] = {}
        self._attempts: dict[str, _Bought] = {}
        """The attempt of each job that holds credits or is lost at the gateway."""
        self._failed: dict[tuple[str, int], FailedAttempt] = {}
        """The failed attempts, also those that were refunded: a refund may be taken back."""
        self._held_for_refunds: Credits = ZERO
        self.forgotten_refunds: Credits = ZERO
        self._order = EventOrder()
        self._impossible: set[str] = set()

    @property
    def spent(self) -> Credits:
        return self.jobs + self.uploads - self.rebates

    @property
    def uploads(self) -> Credits:
        """The charges for uploads.

        One that was made at an unknown price counts at the highest price seen.
        """
        if not self._unpriced:
            return self._uploads
        return self._uploads + self.assumed_uploads * self._upload_price

    @property
    def rebates(self) -> Credits:
        """The rebates for images, each at most the amount in ``uploads``."""
        if not self._unpriced:
            return self._rebates
        price = self._upload_price
        return self._rebates + sum((min(each.rebate, price) for each in self._unpriced), ZERO)

    @property
    def held(self) -> Credits:
        """What may still be spent, ``held_for_uploads`` and ``held_for_refunds`` included."""
        held = self._held + self._held_for_refunds
        if not self._unpriced:
            return held
        return held + self.held_for_uploads

    @property
    def held_for_refunds(self) -> Credits:
        """The prices of failed attempts, less what was refunded, charged or released of them."""
        return self._held_for_refunds

    def failed_attempts(self) -> Iterator[FailedAttempt]:
        """Yield the attempts that have failed, in the order of their failures."""
        return iter(self._failed.values())

    @property
    def awaits_refunds(self) -> bool:
        """Whether a failed attempt has credits held, or charged ones that may come back."""
        return any(failed.held or failed.spent for failed in self._failed.values())

    def job_ids(self) -> Iterator[str]:
        """Yield the ids of the gateway jobs that are in flight, lost or failed."""
        for attempt in self._attempts.values():
            if attempt.job_id:
                yield attempt.job_id
        for failed in self._failed.values():
            yield failed.job_id

    @property
    def held_for_uploads(self) -> Credits:
        """The most that uploads of unknown price may have cost beyond ``uploads``."""
        return (
            sum(map(self._highest_cost, self._unpriced), ZERO)
            - self.assumed_uploads * self._upload_price
        )

    def _highest_cost(self, upload: _Unpriced) -> Credits:
        """Return the most that an upload may have cost: at least the highest price seen.

        That is the maximum declared when it was held, else that of this run, else the bound when it
        was held. A maximum that is lowered later has no effect on what was charged before.
        """
        most = upload.maximum
        if most is None:
            most = self.prices.upload_ceiling
        if most is None:
            most = upload.bound
        return max(most, self._upload_price)

    @property
    def _upload_price(self) -> Credits:
        return self.prices.expected(UPLOAD) or ZERO

    @property
    def committed(self) -> Credits:
        """Spent and held credits: the figure that the budget caps."""
        return self.spent + self.held

    @property
    def lost_uploads(self) -> int:
        """The number of uploads that were never answered, and not found at the gateway."""
        return len(self._unpriced) - self.assumed_uploads

    @property
    def assumed_uploads(self) -> int:
        """The number of uploads that were made and whose charge is unknown."""
        return sum(each.was_made for each in self._unpriced)

    @property
    def beside_holds(self) -> Credits:
        """``committed`` less what is held for jobs, assets, and uploads of unknown price."""
        return self.jobs + self._uploads - self._rebates + self._held_for_refunds

    def unpriced(self) -> Iterator[tuple[str, Credits]]:
        """Yield the nonce of each upload of unknown price, and its part of ``committed``."""
        price = self._upload_price
        for each in self._unpriced:
            yield each.nonce, self._highest_cost(each) - min(each.rebate, price)

    @property
    def unpriced_uploads(self) -> int:
        """The number of uploads of unknown price: lost and assumed ones."""
        return len(self._unpriced)

    def is_contradictory(self, subject: str) -> bool:
        """Whether a job or an asset had an impossible event."""
        return subject in self._impossible

    @property
    def uncounted_uploads(self) -> int:
        """The number of unanswered uploads that count as 0, since their price has no bound yet."""
        if self.prices.bound(UPLOAD) is not None:
            return 0
        return len(self._unpriced)

    @property
    def surprises(self) -> tuple[PriceSurprise, ...]:
        """The largest difference of each price class, by an answer and by a record."""
        return tuple(self._surprises.values())

    def hold_of(self, subject: str) -> Credits:
        """Return the credits held now for a job (by its identity) or an asset."""
        return self._holds.get(subject, ZERO)

    def holds(self) -> Mapping[str, Credits]:
        return dict(self._holds)

    @property
    def alone(self) -> Set[str]:
        """The unanswered jobs and uploads that were admitted alone: they may exceed their holds."""
        return self._alone

    def set_hold(self, subject: str, credits: Credits, *, alone: bool) -> None:
        """Hold ``credits`` for a submit in doubt that is sent again.

        Not journalled: lasts for this run only.
        """
        self._set_hold(subject, credits)
        self._alone.discard(subject)
        if alone:
            self._alone.add(subject)

    def apply(self, subject: str, event: Event) -> None:
        """Apply one event. ``subject`` is the identity of its job or asset."""
        if subject in self._impossible or not self._order.accept(subject, event):
            self._apply_impossible(subject, event)
        else:
            self._EFFECTS[type(event)](self, subject, event)

    def hold_ahead(self, subject: str, held: Held) -> None:
        """Hold credits for a job before ``held`` is journalled and applied."""
        self._set_hold(subject, held.credits)

    def _unchanged(self, _subject: str, _event: Event) -> None:
        pass

    def _held_for_attempt(self, subject: str, event: Held) -> None:
        self._attempts[subject] = _Bought(event.attempt, event.at)
        # A hold taken by ``hold_ahead`` may have been raised since.
        self._set_hold(subject, max(event.credits, self.hold_of(subject)))
        self._shapes[subject] = Shape(event.price_class, event.shape)
        if event.alone:
            self._alone.add(subject)

    def _prepared(self, subject: str, event: Prepared) -> None:
        self._set_hold(subject, event.credits)
        self.restored_with_images += not event.assets

    def _ended_without_purchase(self, subject: str, _event: HoldReleased | Refused) -> None:
        self._end_hold(subject)

    def _repriced_by_record(self, subject: str, event: Repriced) -> None:
        if event.settled is None:
            self._repriced_to(subject, event.credits)
        else:
            self._repriced_after(event.settled, event.credits)

    def _apply_impossible(self, subject: str, event: Event) -> None:
        """Apply an impossible event, or one after it: charges count, releases don't."""
        self._impossible.add(subject)
        if isinstance(event, Held | Prepared | Accepted | Repriced | Intended):
            self._set_hold(subject, max(event.credits, self.hold_of(subject)))
        elif isinstance(event, Created):
            self._uploads += event.credits

    def _intended(self, subject: str, event: Intended) -> None:
        payer = event.payer
        if payer in self._holds:
            self._set_hold(payer, max(ZERO, self._holds[payer] - event.credits))
        self._set_hold(subject, event.credits)
        bound = SURGE * self._upload_price
        self._intents[subject] = _Intent(payer, bound, event.nonce, event.maximum)
        if payer in self._alone:
            self._alone.add(subject)

    def _not_created(self, subject: str, _event: NotCreated) -> None:
        self._return_to_payer(subject, self._end_hold(subject))

    def _lost(self, subject: str, _event: Lost) -> None:
        self._keep_bound(subject, was_made=False)

    def _not_charged(self, _subject: str, event: NotCharged) -> None:
        charged = next((each for each in self._unpriced if each.nonce == event.nonce), None)
        if charged is not None:
            self._unpriced.remove(charged)

    def _found(self, subject: str, _event: Found) -> None:
        self._charges.pop(subject, None)
        self.reused_assets += 1

    def _accepted(self, subject: str, event: Accepted) -> None:
        shape = self._shapes[subject]
        self._attempts[subject] = replace(
            self._attempts[subject], job_id=event.job_id, found=event.reused
        )
        self._alone.discard(subject)
        if event.reused:
            self._has_found = True
            self._found_again.add(subject)
        else:
            self.has_bought_since_found = self._has_found
            self._note_surprise(shape, self.hold_of(subject), event.credits)
        self._set_hold(subject, event.credits)
        self.prices.learn(shape, event.credits)

    def _repriced_to(self, subject: str, record: Credits) -> None:
        """Take the higher price, and add up the difference."""
        known = self._holds.get(subject, self._vanished.get(subject, ZERO))
        figure = max(known, record)
        self.price_differs += (record - known).copy_abs()
        self.repriced_jobs += subject not in self._repriced
        self._repriced.add(subject)
        if subject in self._vanished:
            self.jobs += figure - known
            self._vanished[subject] = figure
            return
        self._set_hold(subject, figure)
        shape = self._shapes.get(subject)
        if shape is None:
            return
        # A lower price than the known one is neither a new highest price nor a surprise.
        self.prices.learn(shape, record)
        if subject not in self._found_again:
            self._note_surprise(shape, known, record, by_record=True)

    def _repriced_after(self, settled: Settled, record: Credits) -> None:
        """Take the higher price of a job that has succeeded."""
        increase = max(ZERO, record - settled.spent)
        self.jobs += increase
        self.price_differs += (record - settled.spent).copy_abs()
        self.repriced_jobs += not settled.differed
        if not increase:
            return
        shape = Shape(settled.price_class, settled.shape)
        self.prices.learn(shape, record)
        if settled.reused:
            self.reused += increase
        else:
            self._note_surprise(shape, settled.spent, record, by_record=True)

    def _job_ended(self, subject: str, event: Succeeded | JobLost | Failed) -> None:
        """Spend the hold, or keep it for the refund.

        What counted as spent while the job was lost is settled.
        """
        attempt = self._attempts.get(subject)
        amount = self._end_hold(subject)
        vanished = self._vanished.pop(subject, ZERO)
        was_reused = subject in self._found_again
        self._found_again.discard(subject)
        self._repriced.discard(subject)
        match event:
            case Succeeded():
                self.jobs += amount
                if was_reused:
                    self.reused += amount
            case JobLost():
                self.jobs += amount
                self._vanished[subject] = amount + vanished
                if attempt is not None:
                    self._attempts[subject] = attempt
            case Failed():
                self.jobs -= vanished
                if attempt is not None:
                    self._await_refund(subject, attempt, amount + vanished, event.at)

    def _await_refund(self, subject: str, attempt: _Bought, price: Credits, at: float) -> None:
        if not price:
            return
        failed = FailedAttempt(
            subject,
            attempt.number,
            attempt.job_id,
            attempt.held_at,
            failed_at=at,
            found=attempt.found,
            credits=price,
        )
        self._failed[subject, attempt.number] = failed
        self._held_for_refunds += failed.held

    def _refund_noted(self, subject: str, event: RefundEvent) -> None:
        before = self._failed.get((subject, event.attempt))
        if before is None:
            return
        after = before.after(event)
        self.jobs += after.spent - before.spent
        self.refunded += after.refunded - before.refunded
        self._held_for_refunds += after.held - before.held
        self.forgotten_refunds += after.forgotten - before.forgotten
        self._failed[subject, event.attempt] = after

    def _created(self, subject: str, event: Created) -> None:
        if event.assumed:
            self._charges.pop(subject, None)
            self._keep_bound(subject, was_made=True)
            return
        hold = self._end_hold(subject)
        self._note_surprise(UPLOAD, hold, event.credits)
        self._uploads += event.credits
        self._charges[subject] = event.credits
        self.prices.learn(UPLOAD, event.credits)
        self._return_to_payer(subject, hold - event.credits)

    def _keep_bound(self, subject: str, *, was_made: bool) -> None:
        """Keep an upload at its bound, since its cost is not known. No price is learned from it."""
        intent = self._intents.get(subject, _Intent("", ZERO, ""))
        was_alone = subject in self._alone
        hold, bound = self._end_hold(subject), intent.bound
        if was_alone:
            # It held the rest of the budget, which may be less than its bound.
            bound = min(bound, hold)
        upload = _Unpriced(subject, intent.nonce, bound, was_made, intent.maximum)
        self._unpriced.append(upload)
        self._return_to_payer(subject, hold - min(hold, self._highest_cost(upload)))

    def _deleted(self, subject: str, event: Deleted) -> None:
        """Count a rebate up to what this directory was charged: 0 for an image that was found."""
        self._rebates += min(event.rebate, self._charges.pop(subject, ZERO))
        for upload in self._unpriced:
            if upload.was_made and upload.subject == subject:
                upload.subject, upload.rebate = "", event.rebate

    def _return_to_payer(self, subject: str, amount: Credits) -> None:
        intent = self._intents.pop(subject, None)
        # After a run that ended in between, the payer has no hold any more.
        if intent is not None and intent.payer in self._holds:
            self._set_hold(intent.payer, max(ZERO, self._holds[intent.payer] + amount))

    def _note_surprise(
        self, shape: Shape, held: Credits, charged: Credits, *, by_record: bool = False
    ) -> None:
        if not held and not by_record:
            return  # a first price in a run without a budget, which holds no bound
        name = shape.price_class
        worst = self._surprises.get((name, by_record), PriceSurprise(name, ZERO, ZERO))
        if charged - held > worst.charged - worst.held:
            self._surprises[name, by_record] = PriceSurprise(name, held, charged, by_record)

    def _set_hold(self, subject: str, amount: Credits) -> None:
        self._held += amount - self._holds.get(subject, ZERO)
        self._holds[subject] = amount

    def _end_hold(self, subject: str) -> Credits:
        amount = self._holds.pop(subject, ZERO)
        self._held -= amount
        self._shapes.pop(subject, None)
        self._attempts.pop(subject, None)
        self._alone.discard(subject)
        return amount

    _EFFECTS: ClassVar[Mapping[type[Event], Callable[[Ledger, str, Any], None]]] = {
        Held: _held_for_attempt,
        Prepared: _prepared,
        Accepted: _accepted,
        HoldReleased: _ended_without_purchase,
        Refused: _ended_without_purchase,
        SubmitUnknown: _unchanged,
        Repriced: _repriced_by_record,
        Succeeded: _job_ended,
        Listed: _unchanged,
        Failed: _job_ended,
        Refunded: _refund_noted,
        Consumed: _refund_noted,
        RefundForgotten: _refund_noted,
        JobLost: _job_ended,
        Saved: _unchanged,
        Unavailable: _unchanged,
        Missed: _unchanged,
        Relocated: _unchanged,
        Reopened: _unchanged,
        Intended: _intended,
        Created: _created,
        Uploaded: _unchanged,
        BecameReady: _unchanged,
        Found: _found,
        NotCreated: _not_created,
        Lost: _lost,
        NotCharged: _not_charged,
        Deleted: _deleted,
    }
    """By the type of the event, for the reason that is at the table of ``core.job``."""
