"""Reads of what the gateway has acknowledged: jobs that it accepted, and assets that it created.

    answer                       meaning
    one to four 404s in a row    none: they may come from a replica that lags behind
    a fifth                      the gateway doesn't have it
    404 of a proxy               none, as any failure (``GatewayError.is_not_found``)

They are counted in one reading: any other answer ends it, and the next one starts from zero.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from crucible_batch.errors import GatewayError

T = TypeVar("T")

_WAITS_S = (0.5, 1.5, 4.0, 8.0)
"""Delays between the five requests: most lags are short, and some last for seconds."""


async def read_acknowledged(
    read: Callable[[], Awaitable[T]], pause: Callable[[float], Awaitable[None]]
) -> T:
    """Return what ``read`` returns, which is called again after a 404, once ``pause`` has waited.

    Raises ``GatewayError`` as ``read`` does: a 404 only if it is the fifth in a row.
    """
    for wait_s in _WAITS_S:
        try:
            return await read()
        except GatewayError as error:
            if not error.is_not_found:
                raise
        await pause(wait_s)
    return await read()
