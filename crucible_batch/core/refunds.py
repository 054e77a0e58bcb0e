"""Refunds of failed attempts: what the gateway's ledger has shown of them, and what is still held.

The gateway promises to refund a failed job, but only its ledger shows that it did. Until then the
attempt's price stays held, beside the holds of later attempts at the same job:

    price = held + spent + refunded + forgotten

    event             effect
    Failed            the price is held for the refund; nothing, if the price is 0
    Refunded          that part of the price is refunded, never more than the price in all;
                      below 0: it was taken back
    Consumed          the part that isn't refunded is spent, until a refund follows
    RefundForgotten   a person releases what is held; what is seen later counts all the same,
                      and is no longer forgotten

A refund that is missing *did not come* if the newest reading of the ledger has an entry about the
job: it would have its refund too, also one that is listed late at the place of its time. Otherwise
it *is not visible*: it may have passed in a gap, the ledger may not name the job, or has an entry
about it whose type, status, subject or order is not understood.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from crucible_batch.core.attempt import Refundable
from crucible_batch.core.credits import ZERO, Credits, format_credits
from crucible_batch.core.events import Consumed, Refunded
from crucible_batch.core.gateway_types import ErrorInfo, LedgerEntry
from crucible_batch.core.ledger_order import is_before
from crucible_batch.core.ledger_statement import (
    EntryKind,
    entry_amount,
    entry_kind,
    is_booked_refund,
    takes_back,
)
from crucible_batch.core.redaction import listed

REFUND_MISSING = "REFUND_MISSING"
_ALL = 1 - Credits("1e-12")
"""The part of a price that counts as all of it.

A gateway that computes in binary floats may refund 0.29999999999999993 of 0.3.
"""
_NAMED = 10
"""Jobs that a message names. The report has the credits that are held for each."""


class FailedAttempt(Refundable, frozen=True):
    """An attempt that has failed, and what is known of its refund.

    ``subject`` is the identity of its job, ``credits`` what was held for it when it failed.
    ``found``: it was found by its key, and not bought by this run directory. Times are of our
    clock: ``held_at`` is before its purchase, unless it was found.
    """

    subject: str
    number: int
    job_id: str
    held_at: float
    failed_at: float
    found: bool = False


def refund_events(
    attempt: FailedAttempt, entries: Sequence[LedgerEntry], *, now: float
) -> list[Refunded | Consumed]:
    """Return the events for the entries about an attempt that do not count yet, charges first.

    ``entries`` are all that are known about it. What is refunded is their sum: an entry of the
    opposite sign takes a refund back, and so does a reversal, a further reservation, a charge after
    the refund, or a refund whose entry is not booked any more. An entry whose order is uncertain
    takes it back too, and a charge then counts no further: its credits stay held.
    """
    entries = sorted(entries, key=lambda entry: (entry.at or 0.0, entry.place or 0))
    refunds = _refunds(entries)
    events: list[Refunded | Consumed] = [
        Consumed(at=now, attempt=attempt.number, credits=entry_amount(entry), entry_id=entry.key)
        for entry in _of_kind(entries, EntryKind.CONSUME)
        if entry.key not in attempt.charges_seen and _is_in_order(entry, refunds)
    ]
    taken_back = _taken_back(entries)
    fresh = [
        key
        for key in (*taken_back, *(entry.key for entry in refunds))
        if key not in attempt.refunds_seen
    ]
    total = abs(_sum(refunds)) - sum(taken_back.values(), ZERO)
    if total >= attempt.credits * _ALL:
        total = attempt.credits
    change = max(ZERO, total) - attempt.refunded
    if change:
        # An entry that counts already may have changed: its amount, whether it is booked, or its
        # order.
        entry_id = f"changed entry {len(attempt.refunds_seen)}"
        if fresh:
            entry_id = fresh[-1]
        events.append(Refunded(at=now, attempt=attempt.number, credits=change, entry_id=entry_id))
    return events


def is_unclear(entries: Sequence[LedgerEntry]) -> bool:
    """Whether an entry about an attempt may be its refund but isn't understood, or has no order.

    An entry without an order may be older or newer than the refund.
    """
    refunds, reserved = _refunds(entries), _of_kind(entries, EntryKind.RESERVE)
    unknown = _of_kind(entries, EntryKind.OTHER)
    if unknown or len(refunds) < len(_of_kind(entries, EntryKind.REFUND)):
        return True
    ordered = _of_kind(entries, EntryKind.CONSUME)
    if len(reserved) > 1:
        ordered += reserved
    return not all(_is_in_order(entry, refunds) for entry in ordered)


def _refunds(entries: Sequence[LedgerEntry]) -> list[LedgerEntry]:
    return [entry for entry in entries if is_booked_refund(entry) and entry.amount]


def _of_kind(entries: Sequence[LedgerEntry], kind: EntryKind) -> list[LedgerEntry]:
    return [entry for entry in entries if entry_kind(entry, of_job=True) is kind and entry.amount]


def _sum(entries: Sequence[LedgerEntry]) -> Credits:
    return sum((entry.amount for entry in entries), ZERO)


def _is_in_order(entry: LedgerEntry, refunds: Sequence[LedgerEntry]) -> bool:
    """Whether it is certain which refunds are older than an entry, and which are newer."""
    return all(is_before(entry, refund) or is_before(refund, entry) for refund in refunds)


def _taken_back(entries: Sequence[LedgerEntry]) -> dict[str, Credits]:
    """Return what entries of other kinds take back of a refund, by their keys, or may take back.

    The price may have been reserved or charged in several entries, as long as all are from before
    the first refund.
    """
    refunds, reserved = _refunds(entries), _of_kind(entries, EntryKind.RESERVE)
    charges = _of_kind(entries, EntryKind.CONSUME)
    counted = (*reserved, *charges)
    others = [entry for entry in entries if takes_back(entry) and entry not in counted]
    purchases = (*reserved, *others)
    original = [entry for entry in purchases if all(is_before(entry, refund) for refund in refunds)]
    if reserved and not any(entry in original for entry in reserved):
        original.append(max(reserved, key=entry_amount))
    reversals = [entry for entry in purchases if entry not in original]
    taken = {entry.key: entry_amount(entry) for entry in reversals}
    sign = 1
    if _sum(refunds) < 0:
        sign = -1
    changes = [(entry, entry.amount * sign) for entry in refunds]
    changes += [(entry, -entry_amount(entry)) for entry in reversals]
    # A charge takes back at most what was refunded before it. Where the order is uncertain, that is
    # as much as possible.
    refunded = {
        charge.key: sum(
            (amount for entry, amount in changes if _may_count_for(charge, entry, amount)), ZERO
        )
        for charge in charges
    }
    by_charges = ZERO
    # The charges with the least before them come first: a charge without an order may take back any
    # refund, so it gets what they have left.
    for charge in sorted(charges, key=lambda charge: refunded[charge.key]):
        left = refunded[charge.key] - by_charges
        taken[charge.key] = max(ZERO, min(entry_amount(charge), left))
        by_charges += taken[charge.key]
    return {key: amount for key, amount in taken.items() if amount}


def _may_count_for(charge: LedgerEntry, entry: LedgerEntry, refunded: Credits) -> bool:
    """Whether a refund may be older than a charge, or its reversal is certainly older."""
    if refunded < 0:
        return is_before(entry, charge)
    return not is_before(charge, entry)


def missing_refunds(
    attempts: Sequence[tuple[FailedAttempt, bool]], name_of: Callable[[str], str]
) -> ErrorInfo:
    """Return the error for a purchase that doesn't fit beside the credits held for refunds.

    ``attempts`` are the failed attempts, each with whether its refund would have been seen.
    ``name_of`` returns the name of a job by its identity.
    """
    parts = []
    for would_be_seen, what in (
        (True, "did not come"),
        (False, "is not visible in the gateway's ledger"),
    ):
        concerned = [attempt for attempt, covered in attempts if covered is would_be_seen]
        if concerned:
            amount = format_credits(sum((attempt.held for attempt in concerned), ZERO))
            jobs = _jobs(concerned, name_of)
            parts.append(f"the refund of {amount} credits for {jobs} {what}")
    hint = (
        "run the same command again later, ask the gateway's operator for the refund, "
        "or raise the budget"
    )
    if not all(covered for _, covered in attempts):
        hint = (
            "run the same command again later; if the account shows that the credits came back, "
            "a person can release those that are not visible"
        )
    return ErrorInfo(REFUND_MISSING, "; ".join(parts), hint=hint)


def _jobs(attempts: Sequence[FailedAttempt], name_of: Callable[[str], str]) -> str:
    names = [name_of(subject) for subject in dict.fromkeys(each.subject for each in attempts)]
    if len(names) == 1:
        return f"job {names[0]}"
    return f"jobs {listed(names, _NAMED)}"
