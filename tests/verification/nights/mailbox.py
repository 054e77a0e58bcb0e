"""The receiver of webhooks: it checks the signature, is out of order at times, and keeps each
message once.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from unittest.mock import patch

import httpx

from tests.verification.nights.machine import NightClock, in_the_world

URL = "https://hooks.example/nights/T0K3N"
_KEY = b"a key of the nights, 32 bytes   "
SECRET = f"whsec_{base64.b64encode(_KEY).decode()}"
_MOST_REFUSALS = 3
"""Of one message: four tries are documented."""


@dataclass(frozen=True)
class Message:
    """A message as it was received."""

    at: datetime
    identity: str
    type: str
    data: Mapping[str, Any]


@dataclass
class Mailbox:
    """All messages, in the order of their arrival.

    A share of ``refusals`` of the requests is answered with 503.
    """

    clock: NightClock
    chance: random.Random
    refusals: float = 0.2
    messages: list[Message] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)

    def receive(self, headers: Mapping[str, str], body: bytes) -> int:
        """Take a message in, and return the status of the answer."""
        identity, stamp = headers["webhook-id"], headers["webhook-timestamp"]
        if self.refused[identity] < _MOST_REFUSALS and self.chance.random() < self.refusals:
            self.refused[identity] += 1
            return 503
        digest = hmac.new(_KEY, f"{identity}.{stamp}.".encode() + body, hashlib.sha256).digest()
        if f"v1,{base64.b64encode(digest).decode()}" not in headers["webhook-signature"].split():
            self.complaints.append(f"message {identity} is signed with another key")
            return 401
        message = json.loads(body)
        if all(each.identity != identity for each in self.messages):
            self.messages.append(
                Message(self.clock.moment(), identity, message["type"], message["data"])
            )
        return 200


@contextlib.contextmanager
def delivering_to(mailbox: Mailbox) -> Iterator[None]:
    """Send what notifications send by HTTP to the mailbox."""
    with patch(
        "crucible_batch.features.notify.http_channels.new_channel", lambda **_: _Post(mailbox)
    ):
        yield


class _Post:
    """A ``Channel`` to the mailbox.

    A request that was sent arrives, even if its sender is killed meanwhile.
    """

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> _Answer:
        await asyncio.sleep(0.02)
        if method != "POST" or url != URL:
            raise httpx.ConnectError("there is no such receiver")
        return await in_the_world(
            self._arrive({name.lower(): str(text) for name, text in headers.items()}, body or b"")
        )

    async def _arrive(self, headers: Mapping[str, str], body: bytes) -> _Answer:
        status = self._mailbox.receive(headers, body)
        await asyncio.sleep(0.02)
        return _Answer(status)

    async def aclose(self) -> None:
        """Nothing is open."""


@dataclass
class _Answer:
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)

    async def read(self, _limit: int) -> bytes:
        return b""

    async def chunks(self) -> AsyncIterator[bytes]:
        yield b""

    async def close(self) -> None:
        """Nothing is open."""

    async def drop(self) -> None:
        """Nothing is open."""
