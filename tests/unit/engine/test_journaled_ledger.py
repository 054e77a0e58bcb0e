"""The order in which an event is journalled, applied and reported."""

from __future__ import annotations

from decimal import Decimal

import pytest

from crucible_batch.core.events import Event
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.prices import PriceBook
from crucible_batch.engine.journaled_ledger import JournaledLedger
from crucible_batch.errors import JournalError
from tests.harness.job_events import held_event

HELD = held_event(3, at=7.0)


class Log:
    """Notes what the ledger had committed when an event was to become durable; fails if it has an
    error."""

    def __init__(self, error: JournalError | None = None) -> None:
        self.ledger = Ledger(PriceBook())
        self.committed: list[Decimal] = []
        self._error = error

    async def append(self, subject: str, event: Event) -> None:
        assert (subject, event) == ("job", HELD)
        self.committed.append(self.ledger.committed)
        if self._error is not None:
            raise self._error


async def test_an_event_is_applied_once_it_is_durable_and_then_reported() -> None:
    log, reported = Log(), []
    accounting = JournaledLedger(log, log.ledger, None)
    accounting.on_entry(
        lambda subject, event: reported.append((subject, event, log.ledger.committed))
    )
    await accounting.record("job", HELD)
    assert log.committed == [0]
    assert reported == [("job", HELD, 3)]
    assert accounting.balance.held == 3


async def test_an_event_that_can_not_be_journalled_is_neither_applied_nor_reported() -> None:
    log, reported = Log(JournalError("the disk is full")), []
    accounting = JournaledLedger(log, log.ledger, None)
    accounting.on_entry(lambda subject, _event: reported.append(subject))
    with pytest.raises(JournalError, match="full"):
        await accounting.record("job", HELD)
    assert (log.ledger.committed, reported) == (0, [])
