"""The time over which readings of the gateway's ledger leave no gap.

The gateway shows only the newest entries of the account's ledger. If a reading has an entry that the one before had
too, no entry was missed between them.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LedgerCoverage:
    """Readings that overlap, from the one begun at ``since`` to the one begun at ``until``, by our clock.

    ``keys`` are the entries of the last one (``LedgerEntry.key``).
    """

    since: float
    until: float
    keys: frozenset[str]

    def after(self, keys: Set[str], asked_at: float) -> LedgerCoverage:
        """Return the coverage with another reading. After a gap it begins again.

        A clock that was set back in between doesn't make it begin earlier.
        """
        asked_at = max(asked_at, self.until)
        since = self.since if self.keys & keys else asked_at
        return LedgerCoverage(since, asked_at, frozenset(keys))

    def covers(self, moment: float) -> bool:
        """Whether all entries made after ``moment`` were seen, as far as the gateway lists them."""
        return self.since <= moment
