"""A proxy between the command and its sandbox, in a process of its own: it lets one exchange go
wrong.

It stands before both origins, and listens as a third one, to which nobody has any business to go.
Everything that arrives anywhere but at the API is searched for the key.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.verification.crash.children import Sandbox, fork
from tests.verification.crash.wire_faults import BY_NAME, Answer, Arrival, Delivery, End, WireFault

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}[^/?\s]*")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_HOP = (b"connection:", b"keep-alive:")
_LATE_S = 0.05
_API, _STORAGE, _THIEF = "api", "storage", "thief"


@dataclass(frozen=True)
class Aim:
    """The ``nth`` exchange with this label, and what goes wrong with it."""

    fault: str
    label: str
    nth: int


@dataclass(frozen=True)
class Proxy:
    """A proxy under way. Its log tells each exchange as it begins, each fault as it strikes, each
    leak, and when what was late has arrived."""

    pid: int
    url: str
    log: Path

    def stop(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def told(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


def start_proxy(sandbox: Sandbox, log: Path, aim: Aim | None) -> Proxy:
    """Start a proxy, listening."""
    log.touch()
    sockets = {where: _listen() for where in (_API, _STORAGE, _THIEF)}
    urls = {
        where: f"http://127.0.0.1:{listening.getsockname()[1]}"
        for where, listening in sockets.items()
    }

    def child() -> int:
        signal.alarm(60)
        asyncio.run(_Relay(sandbox, log, aim, urls).serve(sockets))
        return 0

    pid = fork(child)
    for listening in sockets.values():
        listening.close()
    return Proxy(pid, urls[_API], log)


def _listen() -> socket.socket:
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


class _Relay:
    def __init__(
        self, sandbox: Sandbox, log: Path, aim: Aim | None, urls: Mapping[str, str]
    ) -> None:
        self._sandbox = sandbox
        self._aim = aim
        self._urls = urls
        self._log = log.open("a", buffering=1)
        self._seen: Counter[str] = Counter()
        self._before = b""
        self._late: set[asyncio.Task[Answer]] = set()

    async def serve(self, sockets: Mapping[str, socket.socket]) -> None:
        for where, listening in sockets.items():
            await asyncio.start_server(
                lambda r, w, where=where: self._client(r, w, where), sock=listening
            )
        await asyncio.Event().wait()

    def _tell(self, **what: str) -> None:
        self._log.write(json.dumps(what) + "\n")

    async def _client(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, where: str
    ) -> None:
        try:
            while await self._exchange(reader, writer, where):
                pass
        except (OSError, EOFError):  # the client, or its end, went away
            pass
        finally:
            writer.close()

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, where: str
    ) -> bool:
        """Relay one exchange. Returns whether the connection is good for another."""
        request = await _message(reader)
        method, target = request.split(b" ", 2)[:2]
        path = _ID.sub("*", target.decode().partition("?")[0])
        label = f"{method.decode()} {'' if where == _API else where}{path}"
        self._tell(exchange=label)
        if where != _API and self._sandbox.key.encode() in request:
            self._tell(leak=label)
        if where == _THIEF:
            # What is signed may be redirected, and is followed without a key; what bears one may
            # not.
            if not (self._aim and _is_signed(self._aim.label)):
                self._tell(leak=f"{label} was led to another origin")
            return False
        fault = self._due(label)
        if fault is None:
            answer = await self._forward(request, where)
            self._before = answer.raw()
            return await _deliver(writer, Delivery((self._before,)))
        self._tell(fault=fault.name, at=label)
        return await self._strike(fault, request, writer, where)

    def _due(self, label: str) -> WireFault | None:
        self._seen[label] += 1
        aim = self._aim
        return (
            BY_NAME[aim.fault]
            if aim and (aim.label, aim.nth) == (label, self._seen[label])
            else None
        )

    async def _strike(
        self, fault: WireFault, request: bytes, writer: asyncio.StreamWriter, where: str
    ) -> bool:
        answer = Answer(b"", (), b"")
        match fault.arrival:
            case Arrival.LATE:
                self._late.add(asyncio.ensure_future(self._later(request, where)))
            case Arrival.AFTER:
                answer = await self._forward(request, where)
            case Arrival.TWICE:
                await self._forward(request, where)
                answer = await self._forward(request, where)
            case Arrival.BEFORE:
                pass
        delivery = fault.deliver(answer, self._before)
        parts = tuple(
            part.replace(b"THIEF", self._urls[_THIEF].encode() + b"/") for part in delivery.parts
        )
        return await _deliver(writer, Delivery(parts, delivery.end, delivery.pause_s))

    async def _later(self, request: bytes, where: str) -> Answer:
        await asyncio.sleep(_LATE_S)
        answer = await self._forward(request, where)
        self._tell(arrived="late")
        return answer

    async def _forward(self, request: bytes, where: str) -> Answer:
        upstream = self._sandbox.url if where == _API else self._sandbox.storage_url
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", int(upstream.rpartition(":")[2])
        )
        try:
            start, _, rest = request.partition(b"\r\n")
            writer.write(start + b"\r\nconnection: close\r\n" + _without(rest, b"connection:"))
            head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
        finally:
            writer.close()
        first, *headers = head.split(b"\r\n")
        # Both ports have five digits, so that the length stays what it is.
        body = body.replace(self._sandbox.storage_url.encode(), self._urls[_STORAGE].encode())
        return Answer(
            first, tuple(line for line in headers if not line.lower().startswith(_HOP)), body
        )


def _is_signed(label: str) -> bool:
    return _STORAGE in label


def _without(headers: bytes, name: bytes) -> bytes:
    head, _, body = headers.partition(b"\r\n\r\n")
    kept = [line for line in head.split(b"\r\n") if not line.lower().startswith(name)]
    return b"\r\n".join(kept) + b"\r\n\r\n" + body


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return head + (await reader.readexactly(int(length[1])) if length else b"")


async def _deliver(writer: asyncio.StreamWriter, delivery: Delivery) -> bool:
    for number, part in enumerate(delivery.parts):
        if number:
            await asyncio.sleep(delivery.pause_s)
        writer.write(part)
    await writer.drain()
    match delivery.end:
        case End.HANG:
            await asyncio.Event().wait()
        case End.RESET:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        case End.CLOSE | End.KEEP:
            pass
    return delivery.end is End.KEEP
