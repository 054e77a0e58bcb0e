"""The entries that ``credits`` lists: a hold only while it reserves something."""

from __future__ import annotations

from decimal import Decimal

import pytest

from crucible_batch.cli.account import current_entries
from crucible_batch.gateway.wire import CreditLedgerEntry


def entry(entry_type: str, job_id: str | None = None) -> CreditLedgerEntry:
    return CreditLedgerEntry(
        id=f"{entry_type}-{job_id}", job_id=job_id, entry_type=entry_type, amount=Decimal(2)
    )


ENTRIES = [
    entry("reserve", "open"),
    entry("consume", "done"),
    entry("reserve", "done"),
    entry("Reserved", "failed"),
    entry("refund", "failed"),
    entry("upload"),
]


@pytest.mark.parametrize(
    ("reserved", "shown"),
    [
        ("2", ["reserve-open", "consume-done", "refund-failed", "upload-None"]),
        (
            "0",
            ["consume-done", "refund-failed", "upload-None"],
        ),  # an older end is no longer in the list
    ],
)
def test_a_hold_that_has_ended_is_not_listed(reserved: str, shown: list[str]) -> None:
    assert [each.id for each in current_entries(ENTRIES, Decimal(reserved))] == shown


def test_a_hold_without_a_job_is_listed_while_something_is_reserved() -> None:
    assert len(current_entries([entry("reserve"), entry("consume")], Decimal(2))) == 2
