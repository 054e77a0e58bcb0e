"""Real sockets: what httpx and the kernel make of servers that hang up, drip, cut, or say too much."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from crucible_batch.errors import GatewayError
from crucible_batch.gateway import HttpGateway, RetryPolicy, open_gateway

KEY = "moltazine_test-key-that-must-not-be-seen"
Speak = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Reads whole requests and lets ``speak`` answer them; hangs up where that returns with a closed writer."""

    def __init__(self, speak: Speak) -> None:
        self.speak = speak
        self.requests: list[bytes] = []
        self.connections = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = next((int(line.split(b":")[1]) for line in head.lower().split(b"\r\n")
                               if line.startswith(b"content-length")), 0)  # fmt: skip
                self.requests.append(head + await reader.readexactly(length))
                await self.speak(self.requests[-1], writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(speak: Speak) -> AsyncIterator[Server]:
    server = Server(speak)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = "http://{}:{}".format(*listener.sockets[0].getsockname())
    try:
        yield server
    finally:
        listener.close()
        # Let the handlers see that their clients are gone, before the loop is closed.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=1)


def http(body: bytes, *, status: bytes = b"200 OK", length: int | None = None, more: bytes = b"") -> bytes:
    declared = len(body) if length is None else length
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s" % (status, declared, more, body)


async def read(gateway: HttpGateway, url: str) -> bytes:
    async with gateway.download(url) as (_, chunks):
        return b"".join([chunk async for chunk in chunks])


def generated(job_id: str) -> bytes:
    data = {"job_id": job_id, "status": "queued", "requested_credits": 1}
    return http(json.dumps({"success": True, "data": data}).encode(), status=b"202 Accepted")


async def test_a_post_that_is_read_and_hung_up_on_is_in_doubt(waiting):
    async def speak(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with serving(speak) as server, open_gateway(server.url, KEY, retry=waiting.retrier()) as gateway:
        with pytest.raises(GatewayError) as caught:
            await gateway.submit("w", {"a": 1}, key="k-1")
    assert (caught.value.code, caught.value.status, caught.value.in_doubt) == ("NO_ANSWER", None, True)
    assert len(server.requests) == 3
    assert len({request.partition(b"\r\n\r\n")[2] for request in server.requests}) == 1


async def test_a_refused_connection_is_in_doubt_too(waiting):
    async def speak(request: bytes, writer: asyncio.StreamWriter) -> None: ...

    async with serving(speak) as server:
        pass
    async with open_gateway(server.url, KEY, retry=waiting.retrier()) as gateway:
        with pytest.raises(GatewayError) as caught:
            await gateway.submit("w", {"a": 1}, key="k-1")
    assert (caught.value.code, caught.value.in_doubt) == ("NO_ANSWER", True)


async def test_a_reset_after_the_head_is_in_doubt(waiting):
    async def speak(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        writer.transport.abort()

    async with serving(speak) as server, open_gateway(server.url, KEY, retry=waiting.retrier()) as gateway:
        with pytest.raises(GatewayError) as caught:
            await gateway.submit("w", {}, key="k-1")
    assert (caught.value.code, caught.value.in_doubt) == ("NO_ANSWER", True)


async def drip(writer: asyncio.StreamWriter, start: bytes) -> None:
    writer.write(start)
    while not writer.is_closing():
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "start",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Long:", b""],
    ids=["body", "header", "status"],
)
async def test_a_server_that_drips_is_ended_by_the_deadline_and_the_client_lives_on(waiting, start):
    async def speak(request: bytes, writer: asyncio.StreamWriter) -> None:
        if b"/generate" in request:
            writer.write(generated("j-1"))
        else:
            await drip(writer, start)

    retrier = waiting.retrier(RetryPolicy(attempts=1))
    async with serving(speak) as server, open_gateway(server.url, KEY, timeout_s=0.1, retry=retrier) as gateway:
        async with asyncio.timeout(2):  # the deadline is 0.1 s; the server would drip for ever
            with pytest.raises(GatewayError) as caught:
                await gateway.account()
        assert caught.value.code == "NO_ANSWER"
        assert (await gateway.submit("w", {}, key="k")).job_id == "j-1"


async def test_a_flood_of_informational_answers_is_ended_by_the_deadline(waiting):
    async def speak(request: bytes, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            writer.write(b"HTTP/1.1 102 Processing\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.001)

    retrier = waiting.retrier(RetryPolicy(attempts=1))
    async with serving(speak) as server, open_gateway(server.url, KEY, timeout_s=0.1, retry=retrier) as gateway:
        async with asyncio.timeout(2):
            with pytest.raises(GatewayError, match="NO_ANSWER"):
                await gateway.account()


@pytest.mark.parametrize(
    "raw",
    [
        b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}", b"\x16\x03\x01\x02\x00",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nBad Header: 1\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"Set-Cookie: a=b\r\n" * 20_000 + b"\r\n",
    ],
    ids=["garbage", "length", "tls", "chunk size", "long header", "cut chunks", "cut body", "bad header", "cookies"],
)  # fmt: skip
async def test_broken_http_is_no_answer(waiting, raw):
    async def speak(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        writer.close()

    retrier = waiting.retrier(RetryPolicy(attempts=2))
    async with serving(speak) as server, open_gateway(server.url, KEY, retry=retrier) as gateway:
        with pytest.raises(GatewayError) as caught:
            await gateway.submit("w", {}, key="k")
    assert (caught.value.code, caught.value.in_doubt) == ("NO_ANSWER", True)
    assert len(server.requests) == 2


async def test_an_answer_too_many_is_not_taken_for_the_next_jobs(waiting):
    """The server sends the first answer twice in one write; httpcore takes the second for the next answer."""

    async def speak(request: bytes, writer: asyncio.StreamWriter) -> None:
        key = json.loads(request.partition(b"\r\n\r\n")[2])["idempotency_key"]
        writer.write(generated(f"job-of-{key}") * (2 if key == "k-1" else 1))

    async with serving(speak) as server, open_gateway(server.url, KEY, retry=waiting.retrier()) as gateway:
        for key in ("k-1", "k-2", "k-3"):
            assert (await gateway.submit("w", {}, key=key)).job_id == f"job-of-{key}"
    assert [notice.reason for notice in waiting.notices] == ["BAD_ANSWER"]
    assert server.connections == 2


async def test_an_answer_about_another_job_costs_its_connection(waiting):
    def job(job_id: str) -> bytes:
        data = {"job_id": job_id, "status": "running", "workflow_id": "w", "requested_credits": 1, "outputs": []}
        return http(json.dumps({"success": True, "data": data}).encode())

    async def speak(request: bytes, writer: asyncio.StreamWriter) -> None:
        job_id = request.split()[1].rpartition(b"/")[2].decode()
        writer.write(job(job_id) + (job("stray") if job_id == "first" else b""))

    async with serving(speak) as server, open_gateway(server.url, KEY, retry=waiting.retrier()) as gateway:
        for job_id in ("first", "second", "third"):
            assert (await gateway.job(job_id)).job_id == job_id
    assert len(waiting.notices) == 1
    assert server.connections == 2


@pytest.mark.parametrize(
    "raw",
    [http(b"abc", length=6), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"],
    ids=["length", "chunks"],
)
async def test_a_download_that_is_cut_is_an_error(waiting, raw):
    async def speak(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        writer.close()

    async with serving(speak) as server, open_gateway(server.url, KEY, retry=waiting.retrier()) as gateway:
        with pytest.raises(GatewayError) as caught:
            await read(gateway, f"{server.url}/x.png?sig=SIGNATURE")
    assert caught.value.code == "NO_ANSWER"
    assert b"uthorization" not in server.requests[0]


async def test_a_download_that_drips_is_ended_by_the_deadline_of_its_size(waiting):
    async def speak(request: bytes, writer: asyncio.StreamWriter) -> None:
        await drip(writer, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")

    async with serving(speak) as server, open_gateway(server.url, KEY, timeout_s=0.1, retry=None) as gateway:
        async with asyncio.timeout(2):
            with pytest.raises(GatewayError, match="NO_ANSWER"):
                await read(gateway, f"{server.url}/x.png")


async def test_what_a_server_says_against_the_protocol_is_not_shown(waiting):
    async def speak(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 302 Found\r\n" + b"\x00Location: https://s.test/?sig=SIGNATURE\r\n\r\n")

    async with serving(speak) as server, open_gateway(server.url, KEY, retry=None) as gateway:
        with pytest.raises(GatewayError, match="RemoteProtocolError") as caught:
            await read(gateway, f"{server.url}/x.png")
    assert "SIGNATURE" not in "".join(traceback.format_exception(caught.value))


async def test_a_download_that_is_left_early_leaves_nothing_behind(waiting):
    async def speak(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(http(b"x" * 3_000_000))

    async with serving(speak) as server, open_gateway(server.url, KEY, retry=waiting.retrier()) as gateway:
        for _ in range(3):
            async with gateway.download(f"{server.url}/x.png") as (head, chunks):
                assert head.length == 3_000_000
                async for chunk in chunks:
                    assert len(chunk) == 256 * 1024
                    break
    assert server.connections == 3


async def test_cancellation_of_an_exchange_goes_up(waiting):
    arrived = asyncio.Event()

    async def speak(request: bytes, writer: asyncio.StreamWriter) -> None:
        arrived.set()

    async with serving(speak) as server, open_gateway(server.url, KEY, retry=waiting.retrier()) as gateway:
        task = asyncio.ensure_future(gateway.submit("w", {}, key="k"))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert waiting.notices == []
