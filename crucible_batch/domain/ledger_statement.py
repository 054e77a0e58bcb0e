"""The gateway's statement: its ledger's newest entries, found by what they are about, and how far back they go.

The contract lists no entry types and doesn't say which sign an amount has, so an entry's kind is read from its words
and its amount without the sign. What an entry is about is in ``job_id``, or in any text of it that holds an id.
"""

from __future__ import annotations

import enum
import re
from collections import defaultdict
from collections.abc import Iterable

from crucible_batch.domain.credits import Credits
from crucible_batch.domain.gateway_types import LedgerEntry


class EntryKind(enum.StrEnum):
    """What an entry does. The first three are a job's, the next two an upload's; ``OTHER`` is everything else."""

    RESERVE = "reserve"
    CONSUME = "consume"
    REFUND = "refund"
    UPLOAD = "upload"
    REBATE = "rebate"
    OTHER = "other"


_OF_JOBS = (
    (EntryKind.RESERVE, {"reserve", "reserved", "reservation"}),
    (EntryKind.CONSUME, {"consume", "consumed", "consumption"}),
    (EntryKind.REFUND, {"refund", "refunded"}),
)
# A charge without a job may be booked under the words of a job's: a rebate as "refund", an upload as "consume".
_OF_UPLOADS = (
    (EntryKind.REBATE, {"rebate", "refund", "refunded", "delete", "deleted", "deletion"}),
    (EntryKind.UPLOAD, {"upload", "uploads", "asset", "image", "consume", "consumed", "charge", "debit"}),
)
_WORD = re.compile(r"[a-z]+")
_ID = re.compile(r"[\w-]+")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def entry_kind(entry: LedgerEntry, *, of_job: bool) -> EntryKind:
    """Read what an entry does from its type; without a job, from its description too."""
    text = entry.entry_type if of_job else f"{entry.entry_type} {entry.description}"
    words = set(_WORD.findall(text.lower()))
    return next((kind for kind, known in (_OF_JOBS if of_job else _OF_UPLOADS) if words & known), EntryKind.OTHER)


def entry_amount(entry: LedgerEntry) -> Credits:
    """Its amount without the sign, all digits kept."""
    return entry.amount.copy_abs()


class Statement:
    """The entries, each once, oldest first as far as their times tell."""

    def __init__(self, entries: Iterable[LedgerEntry]) -> None:
        seen = {entry.entry_id or f"#{number}": entry for number, entry in enumerate(entries)}
        self.entries = tuple(sorted(seen.values(), key=lambda entry: entry.at or 0.0))
        times = [entry.at for entry in self.entries if entry.at is not None]
        self.oldest: float | None = min(times, default=None)
        self._about: dict[str, list[LedgerEntry]] = defaultdict(list)
        for entry in self.entries:
            for subject in _subjects(entry):
                self._about[subject].append(entry)

    def about(self, subject: str) -> tuple[LedgerEntry, ...]:
        """The entries that hold this job's or asset's id."""
        return tuple(self._about.get(subject.lower(), ()))


def _subjects(entry: LedgerEntry) -> set[str]:
    if entry.job_id is not None:
        return {entry.job_id.lower()}
    text = " ".join((entry.description, *entry.more)).lower()
    return {*_ID.findall(text), *_UUID.findall(text)}


class Clocks:
    """How the gateway's clock stands to ours: between ``low`` and ``high`` seconds ahead.

    Learned from jobs of ours whose reservation the ledger shows: it was made after we had held the credits and before
    we had the answer. Until one is known, five minutes either way.
    """

    UNKNOWN_S = 300.0
    TICK_S = 1.0  # a timestamp may be cut to the second
    FINE_TICK_S = 0.001  # or, where it has a fraction, to the millisecond

    def __init__(self, seen: Iterable[tuple[float, float, float]]) -> None:
        """``seen`` are (held, reserved, accepted): the first and last by our clock, the second by the gateway's."""
        known = list(seen)
        bounds = (
            (max(reserved - accepted for _, reserved, accepted in known), min(at - held for held, at, _ in known))
            if known
            else (-self.UNKNOWN_S, self.UNKNOWN_S)
        )
        # A clock that was set in the meantime crosses the bounds; then the gap between them is what isn't known.
        self.low, self.high = min(bounds), max(bounds)

    def surely_shown(self, statement: Statement, begun: float) -> bool:
        """Whether what began at ``begun`` by our clock lies within the statement, beyond doubt."""
        if statement.oldest is None:
            return False
        tick = self.FINE_TICK_S if statement.oldest % 1 else self.TICK_S
        return begun + self.low > statement.oldest + tick

    def may_lie_between(self, at: float | None, begun: float, ended: float) -> bool:
        """Whether an entry's time may lie between two moments of our clock."""
        return at is None or begun + self.low - self.TICK_S <= at <= ended + self.high + self.TICK_S
