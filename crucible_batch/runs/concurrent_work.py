"""Work on many items at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from crucible_batch.errors import CrucibleBatchError

T = TypeVar("T")


async def for_each(
    items: Iterable[T], work: Callable[[T], Awaitable[None]], *, at_once: int
) -> None:
    """Do the work for each item, for ``at_once`` of them at the same time. After an error, no
    further one is begun.

    Raises the first ``CrucibleBatchError`` or ``OSError`` of the work as it is.
    """
    queue = iter(items)
    errors: list[CrucibleBatchError | OSError] = []

    async def work_on_next() -> None:
        for item in queue:
            if errors:
                return
            try:
                await work(item)
            except (
                CrucibleBatchError,
                OSError,
            ) as error:  # kept, since a group of tasks would wrap it
                errors.append(error)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work_on_next())
    if errors:
        raise errors[0]
