"""What a run directory was charged, and when, by its journalled events:

    event                    effect
    Accepted                 the price of the job is charged, unless it was found: then another
                             directory has bought it
    Repriced                 the charge rises to the price in the job's record
    Created                  the price of the upload is charged; if that is assumed, at the highest
                             price seen
    NotCharged               the assumed charge was not made
    Refunded, Deleted        lower the charge that they are for
    RefundForgotten          likewise: a person has released it
    Lost, SubmitUnknown      nothing: what is held for them may not have been charged

A charge is dated by its answer. If only a later run got that, it is dated by its hold, which was
taken right before the request was sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.events import (
    Accepted,
    Created,
    Deleted,
    Event,
    Found,
    Held,
    Intended,
    NotCharged,
    Repriced,
)
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.prices import UPLOAD, Shape


@dataclass(slots=True)
class Charge:
    """The charge of one attempt at a job, or of one upload, and what was refunded of it.

    ``number`` is that of the job or the image at the gateway.
    """

    at: float
    shape: Shape
    number: str
    price: Credits
    refunded: Credits = ZERO

    @property
    def credits(self) -> Credits:
        return self.price - self.refunded


@dataclass(slots=True)
class Charges:
    """The charges of one directory, made from its events in their order."""

    ledger: Ledger = field(default_factory=Ledger)
    _held: dict[str, Held] = field(default_factory=dict)
    _jobs: dict[tuple[str, int], Charge] = field(default_factory=dict)
    _uploads: list[Charge] = field(default_factory=list)
    _newest: dict[str, Charge] = field(default_factory=dict)
    """The charge of the newest attempt at each job, or of the image that is at the gateway."""
    _answered: set[str] = field(default_factory=set)
    """Jobs whose newest attempt was accepted: what is held for them is charged already."""
    _nonces: dict[str, str] = field(default_factory=dict)
    _assumed: dict[str, Charge] = field(default_factory=dict)
    """Uploads of unknown price, by their nonces; ``refunded`` has the complete rebate."""

    def apply(self, subject: str, event: Event) -> None:
        self.ledger.apply(subject, event)
        match event:
            case Held():
                self._held[subject] = event
                self._newest.pop(subject, None)
                self._answered.discard(subject)
            case Accepted():
                self._accepted(subject, event)
            case Repriced(credits=record) if subject in self._newest:
                charge = self._newest[subject]
                charge.price = max(charge.price, record)
            case Intended(nonce=nonce):
                self._nonces[subject] = nonce
            case Created():
                self._created(subject, event)
            case NotCharged(nonce=nonce):
                self._assumed.pop(nonce, None)
            case Found():
                self._newest.pop(subject, None)
            case Deleted(rebate=rebate) if subject in self._newest:
                self._newest.pop(subject).refunded = rebate
            case _:
                pass

    def _accepted(self, subject: str, event: Accepted) -> None:
        self._answered.add(subject)
        if event.reused:
            return
        held = self._held.get(subject)
        shape, number, at = Shape(""), 0, event.at
        if held is not None:
            shape, number = Shape(held.price_class, held.shape), held.attempt
            if event.earlier:
                at = held.at
        charge = Charge(at, shape, event.job_id, event.credits)
        self._jobs[subject, number] = self._newest[subject] = charge

    def _created(self, subject: str, event: Created) -> None:
        charge = Charge(event.at, UPLOAD, event.asset_id, event.credits)
        self._newest[subject] = charge
        if event.assumed:
            self._assumed[self._nonces.get(subject, "")] = charge
        else:
            self._uploads.append(charge)

    def all(self) -> list[Charge]:
        """Return the charges, with what is known of their refunds after the last event."""
        for failed in self.ledger.failed_attempts():
            charge = self._jobs.get((failed.subject, failed.number))
            if charge is not None:
                charge.refunded = failed.refunded + failed.forgotten
        price = self.ledger.prices.expected(UPLOAD) or ZERO
        for charge in self._assumed.values():
            charge.price = price
        charges = [*self._jobs.values(), *self._uploads, *self._assumed.values()]
        for charge in charges:
            charge.refunded = min(charge.refunded, charge.price)
        return charges

    @property
    def unanswered(self) -> Credits:
        """The credits that are held for requests without an answer: they may have been charged."""
        ledger = self.ledger
        answered = sum((ledger.hold_of(subject) for subject in self._answered), ZERO)
        return ledger.held - ledger.held_for_refunds - answered
