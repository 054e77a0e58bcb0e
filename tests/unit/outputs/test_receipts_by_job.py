"""Receipts come back job by job, in their order, and more of them than fit in the temporary
directory are no crash."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal

import pytest

from crucible_batch.core.receipts import Receipt
from crucible_batch.errors import UserError
from crucible_batch.outputs import ReceiptsByJob


def receipt(identity: str, number: int) -> Receipt:
    return Receipt(identity, 1, f"key-{identity}", f"job-{number}", Decimal("2.5"), float(number))


def test_receipts_of_a_job_come_in_their_order_whatever_stands_between_them() -> None:
    told = [receipt(f"job {number % 3}", number) for number in range(10)]
    with closing(ReceiptsByJob(told)) as by_job:
        assert by_job.of("job 1") == [told[1], told[4], told[7]]
        assert by_job.of("job 4") == []


def test_a_full_temporary_directory_is_the_users_to_mend() -> None:
    def full() -> Iterator[Receipt]:
        yield receipt("job", 1)
        raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises(UserError, match="temporary directory"):
        ReceiptsByJob(full())
