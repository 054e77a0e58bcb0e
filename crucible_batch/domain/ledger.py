"""The ledger: what was spent, what is held, what came back. A fold over the events, and nothing else.

Every amount moves by an event that is already journalled, so the books after a crash are those before it. A hold ends
by a definite answer only; "no answer" holds.

    Held         the attempt's credits are held
    Intended     part of the payer's hold becomes the image's
    Created      the image's hold ends: the charge is spent, what is left goes back to the payer's hold; where the
                 charge is assumed, the rest of the bound stays held, as after Lost
    NotCreated   the image's hold goes back to its payer
    Prepared     the attempt's hold is trimmed to the job alone
    Accepted     the hold becomes the gateway's own figure
    Repriced     the hold rises to the record's figure, if that is higher; so does what is spent for a job that has
                 vanished or succeeded
    Succeeded    held -> spent
    Failed       held -> refunded
    JobLost     held -> spent (nobody told us of a refund; if it is found failed after all, refunded)
    HoldReleased, Refused   the hold ends: nothing was bought
    Deleted      the rebate comes back, at most what this directory was charged for the image
    Lost         the image stays held at the bound that it had, for good; what was held beyond goes back to its payer
    SubmitUnknown, Listed  nothing moves

From the first event on that can't have happened (``domain.event_order``), what is held for its job or image only grows.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import assert_never

from crucible_batch.domain.credits import ZERO, Credits
from crucible_batch.domain.event_order import EventOrder
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
    HoldReleased,
    Intended,
    JobEvent,
    JobLost,
    Listed,
    Lost,
    Missed,
    NotCreated,
    Prepared,
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
from crucible_batch.domain.prices import SURGE, UPLOAD, PriceBook, Shape


@dataclass(frozen=True, slots=True)
class PriceSurprise:
    """A price above all that was known or permitted when its credits were held: ``charged`` where ``held`` was held.

    ``by_record``: the answer to the submit named ``held``, and the job's own record ``charged``.
    """

    price_class: str
    held: Credits
    charged: Credits
    by_record: bool = False


@dataclass(slots=True)
class _Intent:
    """Who holds the credits of an image that is being uploaded, and what it may cost by the prices seen by then."""

    payer: str
    bound: Credits


@dataclass(slots=True)
class _Unpriced:
    """An upload whose price nobody named. ``was_made``: the gateway lists it; else it may not have been charged.

    ``bound`` is what it may have cost by the prices seen as it was held, 0 where there were none. ``rebate`` is what
    the gateway says came back for it.
    """

    subject: str
    bound: Credits
    was_made: bool
    rebate: Credits = ZERO


class Ledger:
    """The books of one run directory. ``jobs`` is net of refunds; ``spent`` is jobs + uploads - rebates.

    Of a job it keeps something only while credits are held for it, or while it is lost at the gateway.
    """

    def __init__(self, prices: PriceBook | None = None) -> None:
        self.prices = prices if prices is not None else PriceBook()
        self.jobs: Credits = ZERO
        self._uploads: Credits = ZERO
        self._rebates: Credits = ZERO
        self.refunded: Credits = ZERO
        self.reused_assets = 0
        self.restored_with_images = 0
        self.reused: Credits = ZERO
        self.price_differs: Credits = ZERO
        self.repriced_jobs = 0
        self._repriced: set[str] = set()
        self._found_again: set[str] = set()
        self._surprises: dict[tuple[str, bool], PriceSurprise] = {}
        self._held: Credits = ZERO
        self._unpriced: list[_Unpriced] = []
        self._charges: dict[str, Credits] = {}
        """What this directory was charged for each image that is at the gateway."""
        self._vanished: dict[str, Credits] = {}
        self._holds: dict[str, Credits] = {}
        self._shapes: dict[str, Shape] = {}
        self._alone: set[str] = set()
        self._intents: dict[str, _Intent] = {}
        self._stages = EventOrder()
        self._impossible: set[str] = set()

    @property
    def spent(self) -> Credits:
        return self.jobs + self.uploads - self.rebates

    @property
    def uploads(self) -> Credits:
        """What uploads were charged. One that was made, at a price that nobody named, counts with the highest seen."""
        return self._uploads + self.assumed_uploads * self._upload_price

    @property
    def rebates(self) -> Credits:
        """What came back for images: of each at most what ``uploads`` counts for it, whatever the gateway says."""
        price = self._upload_price
        return self._rebates + sum((min(each.rebate, price) for each in self._unpriced), ZERO)

    @property
    def held(self) -> Credits:
        """What may yet be spent, ``held_for_uploads`` included."""
        return self._held + self.held_for_uploads

    @property
    def held_for_uploads(self) -> Credits:
        """What uploads whose price nobody named may have cost, beyond what ``uploads`` counts for them."""
        return sum(map(self._most, self._unpriced), ZERO) - self.assumed_uploads * self._upload_price

    def _most(self, upload: _Unpriced) -> Credits:
        """What it counts with: the declared ceiling, else the bound that it was held at; never less than was seen."""
        ceiling = self.prices.upload_ceiling
        return max(upload.bound if ceiling is None else ceiling, self._upload_price)

    @property
    def _upload_price(self) -> Credits:
        return self.prices.expected(UPLOAD) or ZERO

    @property
    def committed(self) -> Credits:
        """What is gone or may yet go: the figure that the budget caps."""
        return self.spent + self.held

    @property
    def lost_uploads(self) -> int:
        """How many uploads were never answered, and not found at the gateway."""
        return len(self._unpriced) - self.assumed_uploads

    @property
    def assumed_uploads(self) -> int:
        """How many uploads were made without our ever hearing what was charged."""
        return sum(each.was_made for each in self._unpriced)

    @property
    def uncounted_uploads(self) -> int:
        """How many uploads went unanswered, as long as nothing bounds what one costs: the books have them at 0."""
        return len(self._unpriced) if self.prices.bound(UPLOAD) is None else 0

    @property
    def surprises(self) -> tuple[PriceSurprise, ...]:
        """The worst surprise of each price class, by an answer and by a record."""
        return tuple(self._surprises.values())

    def hold_of(self, subject: str) -> Credits:
        """What is held for a job (by identity) or an asset right now."""
        return self._holds.get(subject, ZERO)

    def holds(self) -> Mapping[str, Credits]:
        """All open holds by subject."""
        return dict(self._holds)

    @property
    def alone(self) -> Set[str]:
        """The jobs that were admitted alone, and their uploads, without an answer: they may cost more than is held."""
        return self._alone

    def set_hold(self, subject: str, credits: Credits, *, alone: bool) -> None:
        """Hold ``credits`` for a submit in doubt that is sent again, as long as this run lasts: it isn't journalled."""
        self._set_hold(subject, credits)
        (self._alone.add if alone else self._alone.discard)(subject)

    def apply(self, subject: str, event: Event) -> None:
        """Enter one event in the books. ``subject`` is the identity of the job or asset that it happened to."""
        if subject in self._impossible or not self._stages.take(subject, event):
            self._distrust(subject, event)
        elif isinstance(event, AssetEvent):
            self._apply_to_asset(subject, event)
        else:
            self._apply_to_job(subject, event)

    def hold_ahead(self, subject: str, held: Held) -> None:
        """Hold credits for a job before that is journalled, and so entered as well."""
        self._set_hold(subject, held.credits)

    def _apply_to_job(self, subject: str, event: JobEvent) -> None:
        match event:
            case Held(credits=amount, price_class=price_class, shape=digest, alone=alone):
                # What was held ahead may have been raised since.
                self._set_hold(subject, max(amount, self.hold_of(subject)))
                self._shapes[subject] = Shape(price_class, digest)
                if alone:
                    self._alone.add(subject)
            case Prepared(credits=amount, assets=assets):
                self._set_hold(subject, amount)
                self.restored_with_images += not assets
            case Accepted():
                self._accepted(subject, event)
            case HoldReleased() | Refused():
                self._end_hold(subject)
            case Repriced(credits=record, settled=settled):
                if settled is None:
                    self._repriced_to(subject, record)
                else:
                    self._repriced_after(settled, record)
            case Succeeded() | JobLost() | Failed():
                self._job_ended(subject, event)
            case SubmitUnknown() | Listed() | Saved() | Unavailable() | Missed() | Relocated() | Reopened():
                pass
            case _:
                assert_never(event)

    def _distrust(self, subject: str, event: Event) -> None:
        """Enter an event that can't have happened, or comes after one: a charge is taken as true, a release is not."""
        self._impossible.add(subject)
        if isinstance(event, Held | Prepared | Accepted | Repriced | Intended):
            self._set_hold(subject, max(event.credits, self.hold_of(subject)))
        elif isinstance(event, Created):
            self._uploads += event.credits

    def _apply_to_asset(self, subject: str, event: AssetEvent) -> None:
        match event:
            case Intended(credits=amount, payer=payer):
                if payer in self._holds:
                    self._set_hold(payer, max(ZERO, self._holds[payer] - amount))
                self._set_hold(subject, amount)
                self._intents[subject] = _Intent(payer, SURGE * self._upload_price)
                if payer in self._alone:
                    self._alone.add(subject)
            case Created():
                self._created(subject, event)
            case NotCreated():
                self._return_to_payer(subject, self._end_hold(subject))
            case Deleted(rebate=rebate):
                self._rebated(subject, rebate)
            case Lost():
                self._keep_bound(subject, was_made=False)
            case Found():
                self._charges.pop(subject, None)
                self.reused_assets += 1
            case Uploaded() | BecameReady():
                pass
            case _:
                assert_never(event)

    def _accepted(self, subject: str, event: Accepted) -> None:
        shape = self._shapes[subject]
        self._alone.discard(subject)
        if event.reused:
            self._found_again.add(subject)
        else:
            self._note_surprise(shape, self.hold_of(subject), event.credits)
        self._set_hold(subject, event.credits)
        self.prices.learn(shape, event.credits)

    def _repriced_to(self, subject: str, record: Credits) -> None:
        """Take the higher figure, and note how far the two are apart."""
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
        if record > known and (shape := self._shapes.get(subject)) is not None:
            self.prices.learn(shape, record)
            if subject not in self._found_again:
                self._note_surprise(shape, known, record, by_record=True)

    def _repriced_after(self, settled: Settled, record: Credits) -> None:
        """Take the higher figure of a job that has succeeded."""
        more = max(ZERO, record - settled.spent)
        self.jobs += more
        self.price_differs += (record - settled.spent).copy_abs()
        self.repriced_jobs += not settled.differed
        if not more:
            return
        shape = Shape(settled.price_class, settled.shape)
        self.prices.learn(shape, record)
        if settled.reused:
            self.reused += more
        else:
            self._note_surprise(shape, settled.spent, record, by_record=True)

    def _job_ended(self, subject: str, event: Succeeded | JobLost | Failed) -> None:
        """Spend the hold, or refund it. What counted as spent while nobody knew the job is settled with it."""
        amount = self._end_hold(subject)
        found_again = self._vanished.pop(subject, ZERO)
        was_reused = subject in self._found_again
        self._found_again.discard(subject)
        self._repriced.discard(subject)
        match event:
            case Succeeded():
                self.jobs += amount
                self.reused += amount if was_reused else ZERO
            case JobLost():
                self.jobs += amount
                self._vanished[subject] = amount + found_again
            case Failed():
                self.jobs -= found_again
                self.refunded += amount + found_again

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
        """Keep an upload at its bound, since no answer will say what it cost. It teaches no price."""
        intent, was_alone = self._intents.get(subject), subject in self._alone
        hold, bound = self._end_hold(subject), ZERO if intent is None else intent.bound
        # One that was alone held all that the budget had left, which may be less than its bound.
        upload = _Unpriced(subject, min(bound, hold) if was_alone else bound, was_made)
        self._unpriced.append(upload)
        self._return_to_payer(subject, hold - min(hold, self._most(upload)))

    def _rebated(self, subject: str, rebate: Credits) -> None:
        """Count what came back, at most what this directory was charged: nothing for an image of another's."""
        self._rebates += min(rebate, self._charges.pop(subject, ZERO))
        for upload in self._unpriced:
            if upload.was_made and upload.subject == subject:
                upload.subject, upload.rebate = "", rebate

    def _return_to_payer(self, subject: str, amount: Credits) -> None:
        intent = self._intents.pop(subject, None)
        # Only a payer that still waits with a hold takes it back; a run that has ended in between had none to give to.
        if intent is not None and intent.payer in self._holds:
            self._set_hold(intent.payer, max(ZERO, self._holds[intent.payer] + amount))

    def _note_surprise(self, shape: Shape, held: Credits, charged: Credits, *, by_record: bool = False) -> None:
        name = shape.price_class
        worst = self._surprises.get((name, by_record))
        if charged - held > (worst.charged - worst.held if worst is not None else ZERO):
            self._surprises[name, by_record] = PriceSurprise(name, held, charged, by_record)

    def _set_hold(self, subject: str, amount: Credits) -> None:
        self._held += amount - self._holds.get(subject, ZERO)
        self._holds[subject] = amount

    def _end_hold(self, subject: str) -> Credits:
        amount = self._holds.pop(subject, ZERO)
        self._held -= amount
        self._shapes.pop(subject, None)
        self._alone.discard(subject)
        return amount
