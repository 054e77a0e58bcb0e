"""Journal and ledger of a run: an event is journalled, applied to the ledger, then reported, always
in this order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from crucible_batch.core.credits import Credits
from crucible_batch.core.events import Event
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.progress import Balance


class EventLog(Protocol):
    """Where events become durable."""

    async def append(self, subject: str, event: Event) -> None:
        """Return once the event is durable; raise ``JournalError`` if it can't be."""


class JournaledLedger:
    """Journal and ledger together. ``on_entry`` callbacks run after each event, in the order of
    their registration.

    ``allowance_of`` is that of ``Balance``.
    """

    def __init__(
        self,
        log: EventLog,
        ledger: Ledger,
        budget: Credits | None,
        *,
        allowance_of: str | None = None,
    ) -> None:
        self.ledger = ledger
        self.budget = budget
        self._allowance_of = allowance_of
        self._log = log
        self._on_entry: list[Callable[[str, Event], None]] = []

    def on_entry(self, callback: Callable[[str, Event], None]) -> None:
        self._on_entry.append(callback)

    async def record(self, subject: str, event: Event) -> None:
        """Make the event durable, then apply it.

        If this raises ``JournalError``, nothing was applied.
        """
        await self._log.append(subject, event)
        self.ledger.apply(subject, event)
        for callback in self._on_entry:
            callback(subject, event)

    @property
    def balance(self) -> Balance:
        ledger = self.ledger
        return Balance(
            self.budget,
            ledger.spent,
            ledger.held,
            self._allowance_of,
            ledger.reused,
            refunds=ledger.held_for_refunds,
        )
