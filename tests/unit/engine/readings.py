"""Readings of the gateway's ledger that are kept in memory, and a reader that keeps them there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from crucible_batch.core.gateway_types import LedgerEntry
from crucible_batch.core.ledger_coverage import LedgerCoverage
from crucible_batch.core.ports import Gateway
from crucible_batch.engine.clock import Clock
from crucible_batch.engine.journaled_ledger import JournaledLedger
from crucible_batch.engine.ledger_reader import LedgerReader


class Readings:
    """A store of readings, with what was read before."""

    def __init__(
        self, entries: Sequence[LedgerEntry] = (), coverage: LedgerCoverage | None = None
    ) -> None:
        self.entries = {entry.key: entry for entry in entries}
        self.coverage = coverage
        self._seen = dict.fromkeys(self.entries, 0.0)

    def ledger_coverages(self) -> Sequence[LedgerCoverage]:
        return [] if self.coverage is None else [self.coverage]

    def ledger_entries(self) -> Sequence[LedgerEntry]:
        return tuple(self.entries.values())

    def ledger_entries_seen(self) -> Mapping[str, float]:
        return self._seen

    def ledger_places(self, keys: Iterable[str]) -> Mapping[str, int]:
        known = {key: entry.place for key, entry in self.entries.items()}
        return {key: place for key in keys if (place := known.get(key)) is not None}

    def last_ledger_place(self) -> int:
        return max((entry.place or 0 for entry in self.entries.values()), default=0)

    async def keep_reading(
        self, entries: Sequence[LedgerEntry], coverage: LedgerCoverage, answered_at: float
    ) -> None:
        self.entries |= {entry.key: entry for entry in entries}
        self._seen = dict.fromkeys((entry.key for entry in entries), answered_at) | self._seen
        self.coverage = coverage


def reader_of(
    gateway: object,
    accounting: JournaledLedger,
    clock: Clock,
    *,
    store: Readings | None = None,
    patience_s: float = 600.0,
) -> LedgerReader:
    """Return a reader of a gateway that has at least ``account``."""
    known: Gateway = gateway  # type: ignore[assignment] # all that it asks is the account
    store = Readings() if store is None else store
    return LedgerReader(known, accounting, store, clock, patience_s=patience_s, name_of=str)
