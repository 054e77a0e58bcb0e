"""The time over which readings of the gateway's ledger leave no gap.

The gateway shows only the newest entries of the account's ledger. Between two readings no entry was
missed if the later one still has the newest entry of the earlier one, or if the newest entry of the
later one was in the earlier one already. A single entry that both have shows nothing by itself: it
may be pinned, or be listed again since it changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crucible_batch.core.gateway_types import LedgerEntry


@dataclass(frozen=True, slots=True)
class LedgerCoverage:
    """Readings that overlap: the first begun at ``since``, the last at ``until``, by our clock.

    ``keys`` are the entries of the last one (``LedgerEntry.key``), the oldest first, and ``states``
    what may change of each.
    """

    since: float
    until: float
    keys: tuple[str, ...]
    states: tuple[str, ...]

    @classmethod
    def of(cls, entries: Sequence[LedgerEntry], asked_at: float) -> LedgerCoverage:
        """Return the coverage of one reading."""
        shown = {entry.key: entry for entry in in_order(entries)}
        states = tuple(
            f"{entry.at} {entry.entry_type} {entry.status} {entry.amount}"
            for entry in shown.values()
        )
        return cls(asked_at, asked_at, tuple(shown), states)

    def after(self, reading: LedgerCoverage) -> LedgerCoverage:
        """Return the coverage with another reading, which has that of its own.

        After a gap it begins again. A clock that was set back in between doesn't make it begin
        earlier.
        """
        until = max(reading.until, self.until)
        since = until
        if self.overlaps(reading):
            since = self.since
        return LedgerCoverage(since, until, reading.keys, reading.states)

    def overlaps(self, reading: LedgerCoverage) -> bool:
        """Whether no entry was missed between the last reading and another one."""
        return self._ends_within(reading) or reading._ends_within(self)

    def _ends_within(self, other: LedgerCoverage) -> bool:
        """Whether another reading has all newest entries of this one, down to an unchanged one."""
        states = dict(zip(other.keys, other.states, strict=True))
        for key, state in zip(reversed(self.keys), reversed(self.states), strict=True):
            if key not in states:
                return False
            if states[key] == state:
                return True
        return bool(self.keys)

    def covers(self, moment: float) -> bool:
        """Whether all entries made after ``moment`` were seen, as far as the gateway lists them."""
        return self.since <= moment

    def has_lasted(self, begun: float, ended: float) -> bool:
        """Whether all entries were seen that were made and listed between two of our times."""
        return self.since <= begun and self.until >= ended


def in_order(entries: Sequence[LedgerEntry]) -> Sequence[LedgerEntry]:
    """Return entries in the order of their times, the oldest first.

    Those of one time keep their order, or the opposite one if the list begins with the newest:
    times may be cut to the second.
    """
    times = [entry.at for entry in entries if entry.at is not None]
    if times and times[0] > times[-1]:
        entries = entries[::-1]
    return sorted(entries, key=lambda entry: entry.at or 0.0)
