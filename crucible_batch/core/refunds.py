"""Refunds of failed attempts: what the gateway's ledger has shown of them, and what is still held.

The gateway promises to refund a failed job, but only its ledger shows that it did. Until then the attempt's price stays
held, beside the holds of later attempts at the same job:

    price = held + spent + refunded + forgotten

    event             effect
    Failed            the price is held for the refund; nothing, if the price is 0
    Refunded          that part of the price is refunded, never more than the price in all; below 0: it was taken back
    Consumed          the part that isn't refunded is spent, until a refund follows
    RefundForgotten   a person releases what is held; what is seen later counts all the same, and is no longer forgotten

A refund that is missing *did not come* if the newest reading of the ledger has an entry about the job: it would have
its refund too, also one that is listed late at the place of its time. Otherwise it *is not visible*: it may have passed
in a gap, the ledger may not name the job, or has an entry about it whose type, status or subject is not understood.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from crucible_batch.core.credits import ZERO, Credits, format_credits
from crucible_batch.core.events import Consumed, Refunded, RefundForgotten
from crucible_batch.core.gateway_types import ErrorInfo, LedgerEntry
from crucible_batch.core.ledger_statement import EntryKind, entry_amount, entry_kind, is_booked_refund, takes_back

RefundEvent = Refunded | Consumed | RefundForgotten

REFUND_MISSING = "REFUND_MISSING"
_NAMED = 10
"""Jobs that a message names. The report has the credits that are held for each."""


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """An attempt that has failed, and what is known of its refund.

    ``subject`` is the identity of its job, ``price`` the credits that were held for it when it failed. ``found``: it
    was found by its key, and not bought by this run directory. Times are of our clock: ``held_at`` is before its
    purchase, unless it was found. ``refunds_seen`` and ``charges_seen`` are the ids of the entries that count already.
    """

    subject: str
    number: int
    job_id: str
    price: Credits
    held_at: float
    failed_at: float
    found: bool = False
    refunded: Credits = ZERO
    consumed: Credits = ZERO
    forgotten: Credits = ZERO
    refunds_seen: frozenset[str] = frozenset()
    charges_seen: frozenset[str] = frozenset()

    @property
    def spent(self) -> Credits:
        return min(self.consumed, self.price - self.refunded)

    @property
    def held(self) -> Credits:
        return max(ZERO, self.price - self.refunded - self.spent - self.forgotten)

    def after(self, event: RefundEvent) -> FailedAttempt:
        """Return the attempt after an event. An entry that counts already changes nothing."""
        seen = self
        match event:
            case RefundForgotten(credits=amount):
                seen = replace(self, forgotten=self.forgotten + amount)
            case Refunded(credits=amount, entry_id=entry_id) if entry_id not in self.refunds_seen:
                refunded = max(ZERO, min(self.price, self.refunded + amount))
                seen = replace(self, refunded=refunded, refunds_seen=self.refunds_seen | {entry_id})
            case Consumed(credits=amount, entry_id=entry_id) if entry_id not in self.charges_seen:
                consumed = min(self.price, self.consumed + amount)
                seen = replace(self, consumed=consumed, charges_seen=self.charges_seen | {entry_id})
            case _:
                return self
        return replace(seen, forgotten=min(seen.forgotten, seen.price - seen.refunded - seen.spent))


def refund_events(attempt: FailedAttempt, entries: Sequence[LedgerEntry], *, now: float) -> list[Refunded | Consumed]:
    """Return the events for the entries about an attempt that do not count yet, charges first.

    ``entries`` are all that are known about it, those of one time in their order. What is refunded is their sum: an
    entry of the opposite sign takes a refund back, and so does a reversal, a further reservation, a charge after the
    refund, or a refund whose entry is not booked any more.
    """
    entries = sorted(entries, key=lambda entry: entry.at or 0.0)
    charges = [entry for entry in entries if entry_kind(entry, of_job=True) is EntryKind.CONSUME and entry.amount]
    events: list[Refunded | Consumed] = [
        Consumed(at=now, attempt=attempt.number, credits=entry_amount(entry), entry_id=entry.key)
        for entry in charges
        if entry.key not in attempt.charges_seen
    ]
    refunds = {entry.key: entry.amount for entry in entries if is_booked_refund(entry) and entry.amount}
    taken_back = _taken_back(entries)
    fresh = [key for key in (*taken_back, *refunds) if key not in attempt.refunds_seen]
    total = abs(sum(refunds.values(), ZERO)) - sum(taken_back.values(), ZERO)
    change = max(ZERO, min(attempt.price, total)) - attempt.refunded
    if change:
        # An entry that counts already may have changed: its amount, or whether it is booked.
        entry_id = fresh[-1] if fresh else f"changed entry {len(attempt.refunds_seen)}"
        events.append(Refunded(at=now, attempt=attempt.number, credits=change, entry_id=entry_id))
    return events


def is_unclear(entries: Sequence[LedgerEntry]) -> bool:
    """Whether the entries about an attempt include one that may be its refund, and whose words are not understood."""
    return any(
        entry_kind(entry, of_job=True) in {EntryKind.OTHER, EntryKind.REFUND} and not is_booked_refund(entry)
        for entry in entries
        if entry.amount
    )


def _taken_back(entries: Sequence[LedgerEntry]) -> dict[str, Credits]:
    """Return what entries of other kinds take back of a refund, by their keys.

    The price may have been reserved in several entries, as long as all are from before the first refund.
    """
    kinds = [entry_kind(entry, of_job=True) for entry in entries]
    refunds = [place for place, entry in enumerate(entries) if is_booked_refund(entry)]
    first, last = (refunds[0], refunds[-1]) if refunds else (len(entries), len(entries))
    reserved = [place for place, kind in enumerate(kinds) if kind is EntryKind.RESERVE]
    original = [place for place in reserved if place < first]
    if reserved and not original:
        original = [max(reserved, key=lambda place: entry_amount(entries[place]))]
    taken = [entries[place] for place in reserved if place not in original]
    taken += [
        entry
        for place, entry in enumerate(entries)
        if kinds[place] is EntryKind.CONSUME and place > last and entry.at is not None
    ]
    return {entry.key: entry_amount(entry) for entry in (*taken, *filter(takes_back, entries))}


def missing_refunds(attempts: Sequence[tuple[FailedAttempt, bool]], name_of: Callable[[str], str]) -> ErrorInfo:
    """Return the error for a purchase that doesn't fit beside the credits held for refunds.

    ``attempts`` are the failed attempts, each with whether its refund would have been seen. ``name_of`` returns the
    name of a job by its identity.
    """
    parts = []
    for would_be_seen, what in ((True, "did not come"), (False, "is not visible in the gateway's ledger")):
        concerned = [attempt for attempt, covered in attempts if covered is would_be_seen]
        if concerned:
            amount = sum((attempt.held for attempt in concerned), ZERO)
            parts.append(f"the refund of {format_credits(amount)} credits for {_jobs(concerned, name_of)} {what}")
    hint = "run the same command again later, ask the gateway's operator for the refund, or raise the budget"
    if not all(covered for _, covered in attempts):
        hint = (
            "run the same command again later; if the account shows that the credits came back, a person can release"
            " those that are not visible"
        )
    return ErrorInfo(REFUND_MISSING, "; ".join(parts), hint=hint)


def _jobs(attempts: Sequence[FailedAttempt], name_of: Callable[[str], str]) -> str:
    found = list(dict.fromkeys(each.subject for each in attempts))
    shown = ", ".join(map(name_of, found[:_NAMED]))
    more = len(found) - _NAMED
    word = "job" if len(found) == 1 else "jobs"
    return f"{word} {shown}" if more <= 0 else f"{word} {shown} and {more} more"
