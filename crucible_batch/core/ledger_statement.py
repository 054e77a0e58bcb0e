"""The gateway's statement: the newest entries of its ledger, by the job or asset that they concern.

The contract lists no entry types and doesn't define the sign of an amount, so an entry's kind is
derived from its words and its amount is taken without the sign. Its subject is in ``job_id``, or
any id in its texts.
"""

from __future__ import annotations

import enum
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence, Set

from crucible_batch.core.credits import Credits
from crucible_batch.core.gateway_types import LedgerEntry
from crucible_batch.core.ledger_coverage import LedgerCoverage, in_order

LISTED_AFTER_S = 600.0
"""How long an entry may be missing only because it is not listed yet.

The contract promises no time.
"""


class EntryKind(enum.StrEnum):
    """The kind of an entry: the first three are a job's, the next two an upload's."""

    RESERVE = "reserve"
    CONSUME = "consume"
    REFUND = "refund"
    UPLOAD = "upload"
    REBATE = "rebate"
    OTHER = "other"


_WORD = re.compile(r"[a-z]+")
_ID = re.compile(r"[\w-]+")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))


_RESERVED = _words("reserve reserved reservation")
_CONSUMED = _words("consume consumed consumption")
_UNDONE = _words(
    "refund refunded release released return returned reversal reversed reverse cancel canceled "
    "cancelled cancellation void voided undo undone expired"
)
_OF_JOBS = (
    (EntryKind.RESERVE, _RESERVED),
    (EntryKind.CONSUME, _CONSUMED),
    (EntryKind.REFUND, _words("refund refunded")),
)
# An entry without a job may be booked under a job's words: a rebate as "refund", an upload as
# "consume".
_GIVEN_BACK = _words("rebate refund refunded delete deleted deletion")
_UPLOADED = _words("upload uploads asset image consume consumed charge debit")
_OF_UPLOADS = ((EntryKind.REBATE, _GIVEN_BACK), (EntryKind.UPLOAD, _UPLOADED))
_OF_REFUNDS = _words(
    "refund refunded refunds issued auto automatic full partial job jobs generation credit credits"
)
"""The words that the type of a refund may have: not a "refund_fee" or a "refund_requested"."""
_OF_REVERSALS = _words(
    "reversal reversed reverse revoked clawback chargeback recharge charge debit"
)
_FINAL = _words(
    "posted settled completed complete done final finalized succeeded success successful ok booked "
    "applied confirmed cleared closed committed credited granted issued paid processed recorded "
    "refunded released returned"
)
"""The words of a status that has taken effect.

The contract has no list of them, so any other is not final: what it would release stays held.
"""


def entry_kind(entry: LedgerEntry, *, of_job: bool) -> EntryKind:
    """Return an entry's kind by its type.

    That of one without a job is in its description if its type has no known word. The kind of one
    that undoes a reservation or a charge of a job isn't known: it may be a refund.
    """
    words = _words(entry.entry_type)
    if not of_job:
        words = words & (_GIVEN_BACK | _UPLOADED) or _words(entry.description)
        return _kind(words, _OF_UPLOADS)
    if words & (_RESERVED | _CONSUMED) and words & _UNDONE:
        return EntryKind.OTHER
    return _kind(words, _OF_JOBS)


def _kind(words: Set[str], kinds: Iterable[tuple[EntryKind, Set[str]]]) -> EntryKind:
    for kind, known in kinds:
        if words & known:
            return kind
    return EntryKind.OTHER


def may_be_upload(entry: LedgerEntry) -> bool:
    """Whether an entry may be the charge of an upload: it has no job, and its type isn't a rebate.

    The words of a description may be those of a file's name.
    """
    by_type = _words(entry.entry_type)
    is_rebate = by_type & _GIVEN_BACK and not by_type & _UPLOADED
    return entry.job_id is None and not is_rebate


def is_booked_refund(entry: LedgerEntry) -> bool:
    """Whether an entry about a job certainly shows a refund that has taken effect.

    That is seen by its type and its status; an empty status counts as one that has taken effect.
    """
    if entry_kind(entry, of_job=True) is not EntryKind.REFUND:
        return False
    return _words(entry.entry_type) <= _OF_REFUNDS and _words(entry.status) <= _FINAL


def takes_back(entry: LedgerEntry) -> bool:
    """Whether an entry about a job may take a refund back, by its type."""
    return bool(_words(entry.entry_type) & _OF_REVERSALS)


def is_hold(entry_type: str) -> bool:
    """Return whether an entry of a job reserves credits, by its type."""
    return bool(_words(entry_type) & _RESERVED)


def entry_amount(entry: LedgerEntry) -> Credits:
    return entry.amount.copy_abs()


class Statement:
    """The entries without repetitions, oldest first as far as their times are known.

    ``entries`` are those that the gateway shows now, the newest ones. ``seen`` are those that runs
    saw before, while their readings had the times of ``coverages``. ``oldest`` is the time of the
    oldest entry that is shown now.
    """

    def __init__(
        self,
        entries: Iterable[LedgerEntry],
        seen: Iterable[LedgerEntry] = (),
        coverages: Sequence[LedgerCoverage] = (),
    ) -> None:
        self.coverages = coverages
        shown = {entry.key: entry for entry in entries}
        times = [entry.at for entry in shown.values() if entry.at is not None]
        self.oldest: float | None = min(times, default=None)
        known = {entry.key: entry for entry in seen} | shown
        self.entries = tuple(in_order(tuple(known.values())))
        self._about: dict[str, list[LedgerEntry]] = defaultdict(list)
        for entry in self.entries:
            for subject in _subjects(entry):
                self._about[subject].append(entry)

    def about(self, subject: str) -> tuple[LedgerEntry, ...]:
        """Return the entries that contain this job's or asset's id."""
        return tuple(self._about.get(subject.lower(), ()))


def _subjects(entry: LedgerEntry) -> set[str]:
    if entry.job_id is not None:
        return {entry.job_id.lower()}
    text = " ".join((entry.description, *entry.more)).lower()
    return {*_ID.findall(text), *_UUID.findall(text)}


def names_several(entry: LedgerEntry) -> bool:
    """Whether an entry without a job has several ids in its texts: it may be about any of them."""
    return entry.job_id is None and len(ids_in_texts(entry)) > 1


def job_of(entry: LedgerEntry) -> str | None:
    """Return the id of an entry's job, or else the only one in its texts, in lower case."""
    if entry.job_id is not None:
        return entry.job_id.lower()
    ids = ids_in_texts(entry)
    if len(ids) != 1:
        return None
    return ids.pop()


def ids_in_texts(entry: LedgerEntry) -> set[str]:
    return set(_UUID.findall(" ".join((entry.description, *entry.more)).lower()))


class Clocks:
    """The offset of the gateway's clock: between ``low`` and ``high`` seconds ahead of ours.

    Derived from our jobs' reservations in the ledger: each was made after the credits were held and
    before the answer came. Until one is known, five minutes either way.
    """

    UNKNOWN_S = 300.0
    TICK_S = 1.0  # a timestamp may be cut to the second
    FINE_TICK_S = 0.001  # or, where it has a fraction, to the millisecond

    def __init__(self, samples: Iterable[tuple[float, float, float]]) -> None:
        """Take (held, reserved, accepted): first and last by our clock, the second by the
        gateway's.
        """
        known = list(samples)
        bounds = -self.UNKNOWN_S, self.UNKNOWN_S
        if known:
            bounds = (
                max(reserved - accepted for _, reserved, accepted in known),
                min(reserved - held for held, reserved, _ in known),
            )
        # A clock that was set in the meantime crosses the bounds; then the offset is anywhere
        # between them.
        self.low, self.high = min(bounds), max(bounds)

    def surely_shown(self, statement: Statement, begun: float, ended: float | None = None) -> bool:
        """Whether the statement certainly has an entry made between two times of our clock.

        ``ended`` is ``begun`` by default. Either is enough: a run read the ledger without a gap
        from ``begun`` until ``LISTED_AFTER_S`` after ``ended``, or the entry is newer than the
        oldest one that is shown now.
        """
        listed_at = max(begun, ended or begun) + LISTED_AFTER_S
        if any(each.has_lasted(begun, listed_at) for each in statement.coverages):
            return True
        if statement.oldest is None:
            return False
        tick = self.TICK_S
        if statement.oldest % 1:
            tick = self.FINE_TICK_S
        earliest = begun + self.low  # the earliest time that the gateway may have given the entry
        return earliest > statement.oldest + tick

    def may_lie_between(self, at: float | None, begun: float, ended: float) -> bool:
        """Whether an entry's time, if it has one, may be between two times of our clock."""
        return at is None or begun + self.low - self.TICK_S <= at <= ended + self.high + self.TICK_S
