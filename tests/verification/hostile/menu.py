"""What a hostile gateway can answer: sixty-odd behaviours, each with what it does to the honest
reply.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable
from typing import Any

from tests.verification.hostile.gateway import Behave, Reply, envelope, http

_GZIPPED = gzip.compress(b" " * 10_000_000)
_WORDS = json.dumps(
    {
        "success": False,
        "code": "ODD\x1b[31m",
        "error": "a\x1b]0;title\x07b\n\u202ec",
        "hint": "\x9bm",
    }
)


def body(content: bytes, *headers: str, status: int | str | None = None) -> Behave:
    """Answer with other bytes, under the honest status or another."""

    async def behave(reply: Reply, writer: asyncio.StreamWriter) -> None:
        writer.write(http(reply.status if status is None else status, content, *headers))

    return behave


def status(number: int | str, *headers: str) -> Behave:
    return body(b"<html>no JSON</html>", *headers, status=number)


def lie(change: Callable[[Any, Reply], object]) -> Behave:
    """Change the honest reply's data in place; storage, which has none, stays honest."""

    async def behave(reply: Reply, writer: asyncio.StreamWriter) -> None:
        if reply.data is not None:
            data = json.loads(json.dumps(reply.data))
            change(data, reply)
            reply.data = data
        writer.write(http(reply.status, reply.body))

    return behave


def literal(text: str) -> Behave:
    """Write ``text`` in place of each number of credits."""

    async def behave(reply: Reply, writer: asyncio.StreamWriter) -> None:
        content = reply.body
        if reply.data is not None:
            data = {
                name: "HERE" if name in _AMOUNTS else value for name, value in reply.data.items()
            }
            content = envelope(json.dumps(data).replace('"HERE"', text))
        writer.write(http(reply.status, content))

    return behave


def wire(speak: Callable[[Reply, asyncio.StreamWriter], Any], *, hangs_up: bool = True) -> Behave:
    async def behave(reply: Reply, writer: asyncio.StreamWriter) -> None:
        await speak(reply, writer)
        if hangs_up:
            writer.close()

    return behave


def raw(content: bytes) -> Behave:
    async def speak(_reply: Reply, writer: asyncio.StreamWriter) -> None:
        writer.write(content)

    return wire(speak)


async def _for_ever(
    writer: asyncio.StreamWriter, start: bytes, more: bytes, every_s: float
) -> None:
    writer.write(start)
    while not writer.is_closing():
        writer.write(more)
        await writer.drain()
        await asyncio.sleep(every_s)


async def _silent(_reply: Reply, writer: asyncio.StreamWriter) -> None:
    await _for_ever(writer, b"", b"", 0.05)


async def _silent_after_100(_reply: Reply, writer: asyncio.StreamWriter) -> None:
    await _for_ever(writer, b"HTTP/1.1 100 Continue\r\n\r\n", b"", 0.05)


async def _early_answers(_reply: Reply, writer: asyncio.StreamWriter) -> None:
    await _for_ever(writer, b"", b"HTTP/1.1 102 Processing\r\n\r\n", 0.005)


async def _dripping_body(reply: Reply, writer: asyncio.StreamWriter) -> None:
    await _for_ever(
        writer, f"HTTP/1.1 {reply.status} OK\r\nContent-Length: 1000\r\n\r\n".encode(), b" ", 0.02
    )


async def _dripping_head(reply: Reply, writer: asyncio.StreamWriter) -> None:
    await _for_ever(writer, f"HTTP/1.1 {reply.status} OK\r\nX-Long: ".encode(), b"y", 0.02)


async def _reset_after_head(reply: Reply, writer: asyncio.StreamWriter) -> None:
    writer.write(f"HTTP/1.1 {reply.status} OK\r\nContent-Length: 500\r\n\r\n{{".encode())
    await writer.drain()
    writer.transport.abort()


async def _hung_up_on(_reply: Reply, _writer: asyncio.StreamWriter) -> None:
    """The request took effect, and that is all."""


async def _said_twice(reply: Reply, writer: asyncio.StreamWriter) -> None:
    writer.write(http(reply.status, reply.body) * 2)


async def _longer_than_declared(reply: Reply, writer: asyncio.StreamWriter) -> None:
    writer.write(http(reply.status, reply.body, length=max(len(reply.body) - 5, 0)))


async def _shorter_than_declared(reply: Reply, writer: asyncio.StreamWriter) -> None:
    writer.write(http(reply.status, reply.body, length=len(reply.body) + 50))


async def _cut_chunks(reply: Reply, writer: asyncio.StreamWriter) -> None:
    writer.write(
        f"HTTP/1.1 {reply.status} OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n".encode()
    )


async def _to_itself(reply: Reply, writer: asyncio.StreamWriter) -> None:
    writer.write(http(307, b"", "Location: ?again"))


_IDS = ("job_id", "asset_id", "workflow_id")
_AMOUNTS = (
    "balance",
    "reserved",
    "available",
    "credits_charged",
    "requested_credits",
    "credit_rebate",
)


def _ids(new: object) -> Behave:
    def change(data: Any, _reply: Reply) -> None:
        for name in _IDS:
            if name in data:
                data[name] = new
        for asset in data.get("assets", ()):
            asset["asset_id"] = new

    return lie(change)


def _each(name: str, value: object) -> Behave:
    def change(data: Any, _reply: Reply) -> None:
        for record in (data, *data.get("assets", ())):
            if name in record:
                record[name] = value

    return lie(change)


def _without(*names: str) -> Behave:
    return lie(lambda data, _reply: [data.pop(name, None) for name in names])


def _outputs(value: object) -> Behave:
    return _each("outputs", value)


def _links(url: str) -> Behave:
    """Let every link lead elsewhere."""

    def change(data: Any, _reply: Reply) -> None:
        if "upload_url" in data:
            data["upload_url"] = url
        for output in data.get("outputs", ()):
            output["url"] = url

    return lie(change)


def _flapping(data: Any, reply: Reply) -> None:
    if "status" in data:
        data["status"] = ("queued", "running", "queued", data["status"])[min(reply.seen, 3)]


def _twins(data: Any, _reply: Reply) -> None:
    if "outputs" in data:
        data["outputs"] = data["outputs"] * 3


def _null_everywhere(data: Any, _reply: Reply) -> None:
    for name in data:
        data[name] = None


MENU: dict[str, Behave] = {
    # -- bodies under the honest status
    "empty": body(b""),
    "html": body(b"<!doctype html><title>Bad gateway</title>"),
    "cut json": body(b'{"success": true, "data": {"job_id": "job-'),
    "success as text": body(b'{"success": "true", "data": {}}'),
    "an array": body(b"[]"),
    "null": body(b"null"),
    "nan": body(envelope('{"x": NaN}')),
    "duplicate keys": body(b'{"success": true, "data": {}, "data": {}}'),
    "five megabytes": body(b" " * 5_000_000),
    "a hundred thousand levels": body(b"[" * 100_000),
    "utf-16": body('{"success": true}'.encode("utf-16")),
    "latin-1": body('{"success": true, "data": "é"}'.encode("latin-1")),
    "a gzip bomb": body(_GZIPPED, "Content-Encoding: gzip"),
    "success false": body(_WORDS.encode()),
    # -- other statuses
    "204": body(b"", status=204),
    "206": status(206),
    "301 to evil": status(301, "Location: http://192.0.2.1/evil"),
    "302 to a file": status(302, "Location: file:///etc/passwd"),
    "307 to itself": wire(_to_itself, hangs_up=False),
    "308 to userinfo": status(308, "Location: https://user:pw@127.0.0.1:1/x"),
    "304": body(b"", status=304),
    "400 in html": status(400),
    "400 with escapes": body(_WORDS.encode(), status=400),
    "401": status(401),
    "402": status(402),
    "403": status(403),
    "404 in html": status(404),
    "409": status(409),
    "429 asking for a billion seconds": status(429, "Retry-After: 1e9"),
    "429 asking for minus five": status(429, "Retry-After: -5"),
    "429 asking soon": status(429, "Retry-After: soon"),
    "429 in arabic digits": status(429, "Retry-After: ٣"),
    "500": status(500),
    "503 for ever": status(503, "Retry-After: 999999999999"),
    "a status of 999": status(999),
    # -- lies
    "another id": _ids("another"),
    "an id with a slash": _ids("../credits"),
    "an id with escapes": _ids("\x1b[2J\n"),
    "an id of 64 KB": _ids("x" * 65_536),
    "no id": _without(*_IDS),
    "an unknown status": _each("status", "cancelled"),
    "no status": _without("status"),
    "a flapping status": lie(_flapping),
    "outputs null": _outputs(None),
    "outputs of a wrong form": _outputs({"0": "x"}),
    "ten thousand outputs": _outputs([{"output_index": n, "url": None} for n in range(10_000)]),
    "the same output thrice": lie(_twins),
    "a link to a file": _links("file:///etc/passwd"),
    "a link in clear text": _links("http://192.0.2.1/evil"),
    "a link with userinfo": _links("https://user:pw@127.0.0.1:1/x"),
    "a link of 64 KB": _links("https://127.0.0.1:1/" + "x" * 65_536),
    "no link": _links(""),
    "credits negative": literal("-3"),
    "credits of a billion digits": literal("1e999999999"),
    "credits as words": literal('"plenty"'),
    "no credits": _without(*_AMOUNTS),
    "null everywhere": lie(_null_everywhere),
    # -- the wire
    "silence": wire(_silent),
    "100 and silence": wire(_silent_after_100),
    "a flood of early answers": wire(_early_answers),
    "a dripping body": wire(_dripping_body),
    "a dripping head": wire(_dripping_head),
    "hung up on": wire(_hung_up_on),
    "a reset after the head": wire(_reset_after_head),
    "said twice": wire(_said_twice, hangs_up=False),
    "longer than declared": wire(_longer_than_declared, hangs_up=False),
    "shorter than declared": wire(_shorter_than_declared),
    "chunks cut short": wire(_cut_chunks),
    "chunks of no size": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n"),
    "twenty thousand cookies": raw(
        b"HTTP/1.1 200 OK\r\n" + b"Set-Cookie: a=b\r\n" * 20_000 + b"\r\n"
    ),
    "a header of a megabyte": raw(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000_000),
    "no http": raw(b"\x16\x03\x01\x02\x00\x01garbage\r\n\r\n"),
}

REFUSING = {
    "400 in html", "400 with escapes", "401", "402", "403", "404 in html", "409",
    "429 asking for a billion seconds", "429 asking for minus five", "429 asking soon",
    "429 in arabic digits",
}  # fmt: skip
"""Answers that say no for good.

To do what was asked and answer so is a theft that no client can see.
"""
HANGING = {
    "silence",
    "100 and silence",
    "a flood of early answers",
    "a dripping body",
    "a dripping head",
}
