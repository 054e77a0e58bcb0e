"""The ledger: what was spent, what is held, what came back. A fold over the events, and nothing else.

Every amount moves by an event that is already journalled, so the books after a crash are those before it. A hold ends
by a definite answer only; "no answer" holds.

    Held         the attempt's credits are held
    Intended     part of the payer's hold becomes the image's
    Created      the image's hold ends: the charge is spent, what is left goes back to the payer's hold
    NotCreated   the image's hold goes back to its payer
    Prepared     the attempt's hold is trimmed to the job alone
    Accepted     the hold becomes the gateway's own figure
    Repriced     the hold rises to the record's figure, if that is higher; so does what is spent for a job that has
                 vanished or succeeded
    Succeeded    held -> spent
    Failed       held -> refunded
    Vanished     held -> spent (nobody told us of a refund; if it is found failed after all, refunded)
    Declined, Refused   the hold ends: nothing was bought
    Deleted      the rebate comes back
    Lost         the image's hold goes back to its payer; what an upload costs stays held for good
    Unanswered, Listed  nothing moves

From the first event on that can't have happened (``domain.event_order``), what is held for its job or image only grows.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import assert_never

from crucible_batch.domain.credits import ZERO, Credits
from crucible_batch.domain.event_order import Stages
from crucible_batch.domain.events import (
    Accepted,
    AssetEvent,
    BecameReady,
    Created,
    Declined,
    Deleted,
    Event,
    Failed,
    Found,
    Held,
    Intended,
    JobEvent,
    Listed,
    Lost,
    Missed,
    Moved,
    NotCreated,
    Prepared,
    Refused,
    Reopened,
    Repriced,
    Saved,
    Settled,
    Succeeded,
    Unanswered,
    Unavailable,
    Uploaded,
    Vanished,
)
from crucible_batch.domain.prices import UPLOAD, PriceBook, Shape


@dataclass(frozen=True, slots=True)
class Surprise:
    """A price above all that was known or permitted when its credits were held: ``charged`` where ``held`` was held.

    ``by_record``: the answer to the submit named ``held``, and the job's own record ``charged``.
    """

    price_class: str
    held: Credits
    charged: Credits
    by_record: bool = False


@dataclass(slots=True)
class _Assumed:
    """An upload that was charged, as far as we know; ``rebate`` is what came back for it."""

    subject: str
    rebate: Credits = ZERO


class Ledger:
    """The books of one run directory. ``jobs`` is net of refunds; ``spent`` is jobs + uploads - rebates.

    Of a job it keeps something only while credits are held for it, or while it is lost at the gateway.
    """

    def __init__(self, prices: PriceBook | None = None) -> None:
        self.prices = prices if prices is not None else PriceBook()
        self.jobs: Credits = ZERO
        self._uploads: Credits = ZERO
        self.rebates: Credits = ZERO
        self.refunded: Credits = ZERO
        self.lost_uploads = 0
        self.reused_assets = 0
        self.restored_with_images = 0
        self.reused: Credits = ZERO
        self.price_differs: Credits = ZERO
        self.repriced_jobs = 0
        self._repriced: set[str] = set()
        self._found_again: set[str] = set()
        self._surprises: dict[tuple[str, bool], Surprise] = {}
        self._held: Credits = ZERO
        self._assumed: list[_Assumed] = []
        self._vanished: dict[str, Credits] = {}
        self._holds: dict[str, Credits] = {}
        self._shapes: dict[str, Shape] = {}
        self._alone: set[str] = set()
        self._payers: dict[str, str] = {}
        self._stages = Stages()
        self._impossible: set[str] = set()

    @property
    def spent(self) -> Credits:
        return self.jobs + self.uploads - self.rebates

    @property
    def uploads(self) -> Credits:
        """What uploads were charged. One whose answer was lost counts with the price of one, at least its rebate."""
        price = self._upload_price
        return self._uploads + sum((max(price, lost.rebate) for lost in self._assumed), ZERO)

    @property
    def held(self) -> Credits:
        """What may yet be spent.

        An upload whose answer never came counts with the highest price seen, or the declared ceiling if that is more.
        """
        price = self._upload_price
        most = max(price, self.prices.upload_ceiling or ZERO)
        return self._held + self.lost_uploads * most + len(self._assumed) * (most - price)

    @property
    def _upload_price(self) -> Credits:
        return self.prices.expected(UPLOAD) or ZERO

    @property
    def committed(self) -> Credits:
        """What is gone or may yet go: the figure that the budget caps."""
        return self.spent + self.held

    @property
    def assumed_uploads(self) -> int:
        """How many uploads were charged without our ever hearing how much: each counts with the price of one."""
        return len(self._assumed)

    @property
    def uncounted_uploads(self) -> int:
        """How many uploads went unanswered, as long as nothing says what one costs: the books have them at 0."""
        has_price = self.prices.expected(UPLOAD) is not None or self.prices.upload_ceiling is not None
        return 0 if has_price else self.lost_uploads + len(self._assumed)

    @property
    def surprises(self) -> tuple[Surprise, ...]:
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
            case Declined() | Refused():
                self._end_hold(subject)
            case Repriced(credits=record, settled=settled):
                if settled is None:
                    self._repriced_to(subject, record)
                else:
                    self._repriced_after(settled, record)
            case Succeeded() | Vanished() | Failed():
                self._job_ended(subject, event)
            case Unanswered() | Listed() | Saved() | Unavailable() | Missed() | Moved() | Reopened():
                pass
            case _:
                assert_never(event)

    def _distrust(self, subject: str, event: Event) -> None:
        """Enter an event that can't have happened, or comes after one: a charge is taken as true, a release is not."""
        self._impossible.add(subject)
        self._shapes.pop(subject, None)  # no answer that names its price is waited for
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
                self._payers[subject] = payer
                if payer in self._alone:
                    self._alone.add(subject)
            case Created():
                self._created(subject, event)
            case NotCreated():
                self._return_to_payer(subject, self._end_hold(subject))
            case Deleted(rebate=rebate):
                self.rebates += rebate
                for lost in self._assumed:
                    if lost.subject == subject:
                        lost.subject, lost.rebate = "", rebate
            case Lost():
                self.lost_uploads += 1
                self._return_to_payer(subject, self._end_hold(subject))
            case Found():
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

    def _job_ended(self, subject: str, event: Succeeded | Vanished | Failed) -> None:
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
            case Vanished():
                self.jobs += amount
                self._vanished[subject] = amount + found_again
            case Failed():
                self.jobs -= found_again
                self.refunded += amount + found_again

    def _created(self, subject: str, event: Created) -> None:
        hold = self._end_hold(subject)
        if event.assumed:
            # What it cost nobody said, so it teaches no price; whoever paid for it starts with what it has left.
            self._assumed.append(_Assumed(subject))
            self._return_to_payer(subject, hold - min(hold, self._upload_price))
            return
        self._note_surprise(UPLOAD, hold, event.credits)
        self._uploads += event.credits
        self.prices.learn(UPLOAD, event.credits)
        self._return_to_payer(subject, hold - event.credits)

    def _return_to_payer(self, subject: str, amount: Credits) -> None:
        payer = self._payers.pop(subject, None)
        # Only a payer that still waits with a hold takes it back; a run that has ended in between had none to give to.
        if payer is not None and payer in self._holds:
            self._set_hold(payer, max(ZERO, self._holds[payer] + amount))

    def _note_surprise(self, shape: Shape, held: Credits, charged: Credits, *, by_record: bool = False) -> None:
        name = shape.price_class
        worst = self._surprises.get((name, by_record))
        if charged - held > (worst.charged - worst.held if worst is not None else ZERO):
            self._surprises[name, by_record] = Surprise(name, held, charged, by_record)

    def _set_hold(self, subject: str, amount: Credits) -> None:
        self._held += amount - self._holds.get(subject, ZERO)
        self._holds[subject] = amount

    def _end_hold(self, subject: str) -> Credits:
        amount = self._holds.pop(subject, ZERO)
        self._held -= amount
        self._shapes.pop(subject, None)
        self._alone.discard(subject)
        return amount
