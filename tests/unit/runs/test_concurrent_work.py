"""Work on many items: how many at once, and what an error of one means for the others."""

from __future__ import annotations

import asyncio

import pytest

from crucible_batch.errors import CrucibleBatchError, GatewayError, JournalError
from crucible_batch.runs.concurrent_work import for_each
from tests.harness.case_table import each_case


async def test_each_item_is_worked_on_once_and_no_more_than_allowed_at_once() -> None:
    done: list[int] = []
    active = most = 0

    async def work(item: int) -> None:
        nonlocal active, most
        active += 1
        most = max(most, active)
        await asyncio.sleep(0)
        active -= 1
        done.append(item)

    await for_each(iter(range(10)), work, at_once=3)
    assert (sorted(done), most) == (list(range(10)), 3)


@each_case(
    "error", [JournalError("broken"), GatewayError("gone", code="GONE"), OSError(28, "full")]
)
async def test_the_first_error_is_raised_as_it_is_and_nothing_is_begun_after_it(
    error: CrucibleBatchError | OSError,
) -> None:
    begun: list[int] = []

    async def work(item: int) -> None:
        begun.append(item)
        await asyncio.sleep(0)
        if item == 1:
            raise error

    with pytest.raises(type(error)) as raised:
        await for_each(range(10), work, at_once=2)
    assert raised.value is error
    assert begun == [0, 1, 2]


async def test_without_items_nothing_is_done() -> None:
    await for_each((), lambda _item: asyncio.sleep(0), at_once=4)
