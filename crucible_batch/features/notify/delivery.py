"""The delivery of one message to several channels at the same time, with retries and limits."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from crucible_batch.features.notify.http_channels import SendError
from crucible_batch.features.notify.messages import RunMessage

logger = logging.getLogger(__name__)

ATTEMPTS = 4
_BASE_S = 1.0


class NotificationChannel(Protocol):
    """A receiver of messages.

    ``source`` identifies it in messages and reports; it contains no address.
    """

    @property
    def kind(self) -> str: ...

    @property
    def source(self) -> str: ...

    @property
    def limit_s(self) -> float:
        """The limit of a delivery with all its tries, in seconds."""
        ...

    async def send(self, message: RunMessage) -> None:
        """Make one try to deliver a message, within a limited time. Raises ``SendError``."""
        ...


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """The result for one channel.

    ``error`` is None if the message was sent; it contains no address.
    """

    event: str
    channel: str
    source: str
    attempts: int
    error: str | None = None

    @property
    def is_sent(self) -> bool:
        return self.error is None


@dataclass(frozen=True, slots=True)
class Patience:
    """The waits between tries.

    ``sleep``, ``clock`` (monotonic) and ``jitter`` are parameters for tests.
    """

    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random

    def wait_s(self, attempt: int, asked_s: float | None) -> float:
        """Return the wait after attempt number ``attempt``, which counts from 1.

        It is 1, 2, 4 seconds and so on, and up to half of that more. It is never shorter than the
        wait that the receiver asked for.
        """
        own_s = _BASE_S * 2.0 ** (attempt - 1) * (1 + self.jitter() / 2)
        return max(own_s, asked_s or 0.0)


async def deliver(
    message: RunMessage, channels: Sequence[NotificationChannel], patience: Patience = Patience()
) -> list[DeliveryResult]:
    """Send a message to all channels at the same time; return a result for each.

    Failures are logged, not raised.
    """
    return list(
        await asyncio.gather(*(_deliver_to(channel, message, patience) for channel in channels))
    )


async def _deliver_to(
    channel: NotificationChannel, message: RunMessage, patience: Patience
) -> DeliveryResult:
    attempts, error, last = 0, None, ""
    began = patience.clock()

    async def attempt() -> None:
        nonlocal attempts, last
        attempts += 1
        try:
            await channel.send(message)
        except SendError as failure:
            last = str(failure)
            raise

    retrying = AsyncRetrying(
        retry=retry_if_exception(lambda error: isinstance(error, SendError) and not error.is_final),
        wait=lambda state: patience.wait_s(state.attempt_number, _asked_s(state)),
        stop=lambda state: (
            state.attempt_number >= ATTEMPTS
            or patience.clock() - began + state.upcoming_sleep >= channel.limit_s
        ),
        sleep=patience.sleep,
        reraise=True,
    )
    try:
        async with asyncio.timeout(channel.limit_s):
            await retrying(attempt)
    except SendError as failure:
        error = str(failure)
    except TimeoutError:
        error = last or f"no answer within {channel.limit_s:.0f} s"
    # A notification must not end a paid run. The text of the exception may contain an address.
    except Exception as bug:  # noqa: BLE001
        error = f"failed with {type(bug).__name__}"
    result = DeliveryResult(message.event, channel.kind, channel.source, attempts, error)
    if error is None:
        logger.info("notification of %s sent to %s %s", result.event, result.channel, result.source)
    else:
        logger.warning(
            "notification of %s to %s %s failed: %s",
            result.event,
            result.channel,
            result.source,
            error,
        )
    return result


def _asked_s(state: RetryCallState) -> float | None:
    if state.outcome is None:
        return None
    error = state.outcome.exception()
    if not isinstance(error, SendError):
        return None
    return error.retry_after_s
