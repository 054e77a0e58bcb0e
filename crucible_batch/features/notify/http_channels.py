"""Heartbeats (Healthchecks' ping API) and webhooks (Standard Webhooks).

References: https://healthchecks.io/docs/http_api/ and https://www.standardwebhooks.com. Redirects
are not followed, and the body of an answer is not read.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx

from crucible_batch.features.notify.messages import RunMessage, text_of, title_of
from crucible_batch.gateway.aiohttp_transport import new_channel
from crucible_batch.gateway.response_errors import retry_after_s
from crucible_batch.gateway.transport import Channel, InvalidCertificateError
from crucible_batch.secret_text import HiddenText

TIMEOUT_S = 20.0
"""The limit of one try, in seconds."""
LIMIT_S = 30.0
"""The limit of all tries to deliver a message, in seconds."""
_RETRY_AFTER_CAP_S = 3600.0
_TRANSIENT = frozenset({408, 425, 429})
GONE = 410


class SendError(Exception):
    """A failed try to deliver a message.

    The text contains no address and nothing that was received. ``is_final``: another try would fail
    as well. ``retry_after_s`` is the wait that the receiver asked for.
    """

    def __init__(self, reason: str, *, is_final: bool, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.is_final = is_final
        self.retry_after_s = retry_after_s


@dataclass(slots=True)
class HttpSender:
    """Sends POST requests to one receiver, each over its own connection."""

    proxy: str | None = field(repr=False)
    timeout_s: float = TIMEOUT_S
    channel: Callable[[str | None], Channel] = field(
        default=lambda proxy: new_channel(proxy=proxy), repr=False
    )

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> None:
        """Send a request. Raises ``SendError`` unless the status of the answer is 2xx."""
        channel = self.channel(self.proxy)
        try:
            async with asyncio.timeout(self.timeout_s):
                reply = await channel.send("POST", url, headers, body)
                try:
                    status, received = reply.status, reply.headers
                finally:
                    await reply.close()
        except TimeoutError:
            raise SendError(f"no answer within {self.timeout_s:.0f} s", is_final=False) from None
        except httpx.InvalidURL:
            raise SendError("the address is not a valid URL", is_final=True) from None
        except httpx.HTTPError as error:
            raise SendError(
                _connection_fault(error), is_final=isinstance(error, InvalidCertificateError)
            ) from None
        finally:
            await channel.aclose()
        if not 200 <= status < 300:
            raise _refusal(
                status, retry_after_s(received.get, now=datetime.now(UTC), cap_s=_RETRY_AFTER_CAP_S)
            )


def _connection_fault(error: httpx.HTTPError) -> str:
    """Return why there was no answer, without the host, which may be secret."""
    match error:
        case InvalidCertificateError():
            return "its certificate is not valid"
        case httpx.TimeoutException():
            return "no answer in time"
        case httpx.ConnectError():
            reason = str(error).rpartition(": ")[2]  # before it are host and port
            return f"no connection: {reason.lower()}"
        case _:
            return "the connection was closed without an answer"


_MEANINGS = {
    404: "no such address",
    409: "the slug is ambiguous: several checks have it",
    GONE: "the receiver is gone: remove this notification",
    429: "too many messages",
}


def _refusal(status: int, asked_s: float | None) -> SendError:
    meaning = _MEANINGS.get(status)
    if 300 <= status < 400:
        meaning = "redirects are not followed"
    reason = f"HTTP {status}"
    if meaning is not None:
        reason += f" ({meaning})"
    return SendError(
        reason, is_final=status < 500 and status not in _TRANSIENT, retry_after_s=asked_s
    )


@dataclass(slots=True)
class Heartbeat:
    """A check of Healthchecks, or of a service with the same ping API."""

    source: str
    url: HiddenText = field(repr=False)
    sender: HttpSender
    kind: str = "heartbeat"
    limit_s: float = LIMIT_S

    async def send(self, message: RunMessage) -> None:
        """Ping the check. Raises ``SendError``."""
        body = f"{title_of(message)}\n{text_of(message)}\n".encode()
        await self.sender.post(
            ping_url(self.url, message), {"Content-Type": "text/plain; charset=utf-8"}, body
        )


def ping_url(url: str, message: RunMessage) -> HiddenText:
    """Return the URL of a ping: ``/`` and the exit code, with the run's ``rid``.

    Only exit code 0 is a success there: a run with failed jobs counts as failed.
    """
    base = httpx.URL(url)
    pinged = base.copy_with(
        path=f"{base.path.rstrip('/')}/{message.data.exit_code}"
    ).copy_merge_params({"rid": message.data.attempt})
    return HiddenText(str(pinged))


@dataclass(slots=True)
class Webhook:
    """A receiver of signed JSON.

    ``keys`` are the keys of all secrets that are valid at the moment.
    """

    source: str
    url: HiddenText = field(repr=False)
    keys: tuple[bytes, ...] = field(repr=False)
    sender: HttpSender
    kind: str = "webhook"
    limit_s: float = LIMIT_S
    now: Callable[[], float] = field(default=time.time, repr=False)

    async def send(self, message: RunMessage) -> None:
        """Post the message. Raises ``SendError``."""
        body = message.to_json()
        headers = signed_headers(message.webhook_id, int(self.now()), body, self.keys)
        await self.sender.post(self.url, {"Content-Type": "application/json", **headers}, body)


def signed_headers(
    message_id: str, timestamp: int, body: bytes, keys: tuple[bytes, ...]
) -> Mapping[str, str]:
    """Return the headers of a Standard Webhooks message with one signature for each key.

    ``timestamp`` is the time of the try, in seconds since the epoch.
    """
    content = f"{message_id}.{timestamp}.".encode() + body
    signatures = (base64.b64encode(hmac.digest(key, content, "sha256")).decode() for key in keys)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
