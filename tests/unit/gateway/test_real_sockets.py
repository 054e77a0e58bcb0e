"""Real sockets: what each channel and the kernel make of servers that hang up, drip, cut, or say
too much.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import socket
import traceback
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from decimal import Decimal

import httpx
import pytest

from crucible_batch.core.gateway_types import AssetSpec, UploadIntent
from crucible_batch.errors import GatewayError
from crucible_batch.gateway import HttpGateway, RetryPolicy, exchange, open_gateway
from tests.unit.gateway.real_server import http, serving

KEY = "moltazine_test-key-that-must-not-be-seen"
Connect = Callable[..., AbstractAsyncContextManager[HttpGateway]]


@pytest.fixture(params=["our own channel", "a transport that is given"])
def connect(request: pytest.FixtureRequest) -> Connect:
    """Open a gateway by each of the channels that there are."""

    def connect(url: str, **options: object) -> AbstractAsyncContextManager[HttpGateway]:
        given = (
            httpx.AsyncHTTPTransport(trust_env=False) if request.param.startswith("a ") else None
        )
        return open_gateway(url, KEY, transport=given, **options)

    return connect


async def read(gateway: HttpGateway, url: str) -> bytes:
    async with gateway.download(url) as (_, chunks):
        return b"".join([chunk async for chunk in chunks])


def generated(job_id: str) -> bytes:
    data = {"job_id": job_id, "status": "queued", "requested_credits": 1}
    return http(json.dumps({"success": True, "data": data}).encode(), status=b"202 Accepted")


async def test_a_post_that_is_read_and_hung_up_on_is_in_doubt(connect, waiting):
    async def speak(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with serving(speak) as server, connect(server.url, retry=waiting.retrier()) as gateway:
        with pytest.raises(GatewayError) as caught:
            await gateway.submit("w", {"a": 1}, key="k-1")
    assert (caught.value.code, caught.value.status, caught.value.in_doubt) == (
        "NO_ANSWER",
        None,
        True,
    )
    assert len(server.requests) == 3
    assert len({request.partition(b"\r\n\r\n")[2] for request in server.requests}) == 1


async def why_not(url: str, waiting) -> str:
    async with open_gateway(url, KEY, retry=waiting.retrier()) as gateway:
        with pytest.raises(GatewayError) as caught:
            await gateway.account()
    assert "object at" not in f"{caught.value!r} {caught.value.__cause__!r}"
    return caught.value.message


async def test_what_is_said_of_a_connection_that_fails_is_where_and_why(monkeypatch, waiting):
    def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")  # no TLS
        writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
        place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        said = await why_not(f"https://{place}", waiting)
        assert re.fullmatch(rf"no answer: can't connect to {place}: TLS: [a-z0-9 ]+", said)
    for scheme in ("http", "https"):
        said = await why_not(f"{scheme}://{place}", waiting)
        assert said == f"no answer: can't connect to {place}: {os.strerror(errno.ECONNREFUSED)}"

    def unknown(*_args: object, **_options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    said = await why_not("https://no.such.host.invalid", waiting)
    assert said == "no answer: can't connect to no.such.host.invalid:443: Name or service not known"


async def test_an_answer_beyond_the_limit_is_not_read_to_its_end(connect, waiting, monkeypatch):
    monkeypatch.setattr(exchange, "ANSWER_LIMIT", 1000)
    body = generated("j-1").partition(b"\r\n\r\n")[2]

    async def speak(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(
            http(body + b" " * (1000 - len(body) + (b"long" in request)), status=b"202 Accepted")
        )

    async with serving(speak) as server, connect(server.url, retry=waiting.retrier()) as gateway:
        assert (await gateway.submit("w", {}, key="k-1")).job_id == "j-1"
        with pytest.raises(GatewayError, match="too large") as caught:
            await gateway.submit("w", {"a": "long"}, key="k-2")
    assert caught.value.in_doubt


async def test_the_list_of_assets_has_a_limit_of_its_own_since_uploads_stay(
    connect, waiting, monkeypatch
):
    monkeypatch.setattr(exchange, "ANSWER_LIMIT", 1000)
    monkeypatch.setattr(exchange, "LIST_LIMIT", 2000)
    body = b'{"success": true, "data": {"assets": []}}'
    asked = 0

    async def speak(_request: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        writer.write(http(body.ljust(2000 + (asked > 1))))

    async with serving(speak) as server, connect(server.url, retry=waiting.retrier()) as gateway:
        assert list(await gateway.assets()) == []
        with pytest.raises(GatewayError, match="too large"):
            await gateway.assets()


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
async def test_a_server_that_drips_is_ended_by_the_deadline_and_the_client_lives_on(
    connect, waiting, start
):
    async def speak(request: bytes, writer: asyncio.StreamWriter) -> None:
        if b"/generate" in request:
            writer.write(generated("j-1"))
        else:
            await drip(writer, start)

    retrier = waiting.retrier(RetryPolicy(attempts=1))
    async with (
        serving(speak) as server,
        connect(server.url, timeout_s=0.1, retry=retrier) as gateway,
    ):
        async with asyncio.timeout(2):  # the deadline is 0.1 s; the server would drip for ever
            with pytest.raises(GatewayError) as caught:
                await gateway.account()
        assert caught.value.code == "NO_ANSWER"
        assert (await gateway.submit("w", {}, key="k")).job_id == "j-1"


@pytest.mark.parametrize(
    "raw",
    [
        b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}",
        b"\x16\x03\x01\x02\x00",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nBad Header: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"Set-Cookie: a=b\r\n" * 20_000 + b"\r\n",
    ],
    ids=[
        "garbage", "length", "tls", "chunk size", "long header",
        "cut chunks", "cut body", "bad header", "cookies",
    ],
)  # fmt: skip
async def test_broken_http_is_no_answer(connect, waiting, raw):
    async def speak(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        writer.close()

    retrier = waiting.retrier(RetryPolicy(attempts=2))
    async with serving(speak) as server, connect(server.url, retry=retrier) as gateway:
        with pytest.raises(GatewayError) as caught:
            await gateway.submit("w", {}, key="k")
    assert (caught.value.code, caught.value.in_doubt) == ("NO_ANSWER", True)
    assert len(server.requests) == 2


async def test_an_answer_too_many_is_not_taken_for_the_next_jobs(connect, waiting):
    """The server sends the first answer twice in one write; httpcore takes the second for the next
    answer, aiohttp gives the connection up."""

    async def speak(request: bytes, writer: asyncio.StreamWriter) -> None:
        key = json.loads(request.partition(b"\r\n\r\n")[2])["idempotency_key"]
        writer.write(generated(f"job-of-{key}") * (2 if key == "k-1" else 1))

    async with serving(speak) as server, connect(server.url, retry=waiting.retrier()) as gateway:
        for key in ("k-1", "k-2", "k-3"):
            assert (await gateway.submit("w", {}, key=key)).job_id == f"job-of-{key}"
    assert {notice.reason for notice in waiting.notices} <= {"BAD_ANSWER", "JOB_OF_ANOTHER_KEY"}
    assert server.connections == 2


async def test_an_answer_about_another_job_costs_its_connection(connect, waiting):
    def job(job_id: str) -> bytes:
        data = {
            "job_id": job_id,
            "status": "running",
            "workflow_id": "w",
            "requested_credits": 1,
            "outputs": [],
        }
        return http(json.dumps({"success": True, "data": data}).encode())

    async def speak(request: bytes, writer: asyncio.StreamWriter) -> None:
        job_id = request.split()[1].rpartition(b"/")[2].decode()
        seen.append(job_id)
        writer.write(job("stray" if len(seen) == 2 else job_id))

    seen: list[str] = []
    async with serving(speak) as server, connect(server.url, retry=waiting.retrier()) as gateway:
        for job_id in ("first", "second", "third"):
            assert (await gateway.job(job_id)).job_id == job_id
    assert seen == ["first", "second", "second", "third"]
    assert [notice.reason for notice in waiting.notices] == ["BAD_ANSWER"]
    assert server.connections == 2


@pytest.mark.parametrize(
    "raw",
    [http(b"abc", length=6), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"],
    ids=["length", "chunks"],
)
async def test_a_download_that_is_cut_is_an_error(connect, waiting, raw):
    async def speak(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        writer.close()

    async with serving(speak) as server, connect(server.url, retry=waiting.retrier()) as gateway:
        with pytest.raises(GatewayError) as caught:
            await read(gateway, f"{server.url}/x.png?sig=SIGNATURE")
    assert caught.value.code == "NO_ANSWER"
    assert b"uthorization" not in server.requests[0]


async def test_a_download_that_drips_is_ended_by_the_deadline_of_its_size(connect, waiting):
    async def speak(request: bytes, writer: asyncio.StreamWriter) -> None:
        await drip(writer, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")

    async with serving(speak) as server, connect(server.url, timeout_s=0.1, retry=None) as gateway:
        async with asyncio.timeout(2):
            with pytest.raises(GatewayError, match="NO_ANSWER"):
                await read(gateway, f"{server.url}/x.png")


async def test_what_a_server_says_against_the_protocol_is_not_shown(connect, waiting):
    async def speak(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 302 Found\r\n" + b"\x00Location: https://s.test/?sig=SIGNATURE\r\n\r\n"
        )

    async with serving(speak) as server, connect(server.url, retry=None) as gateway:
        with pytest.raises(
            GatewayError, match="the connection was closed before a complete response"
        ) as caught:
            await read(gateway, f"{server.url}/x.png")
    assert "SIGNATURE" not in "".join(traceback.format_exception(caught.value))


async def test_a_download_that_is_left_early_leaves_nothing_behind(connect, waiting):
    async def speak(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(http(b"x" * 3_000_000))

    async with serving(speak) as server, connect(server.url, retry=waiting.retrier()) as gateway:
        for _ in range(3):
            async with gateway.download(f"{server.url}/x.png") as (length, chunks):
                assert length == 3_000_000
                async for chunk in chunks:
                    assert 256 * 1024 <= len(chunk) < 3_000_000
                    break
    assert server.connections == 3


async def test_cancellation_of_an_exchange_goes_up(connect, waiting):
    arrived = asyncio.Event()

    async def speak(request: bytes, writer: asyncio.StreamWriter) -> None:
        arrived.set()

    async with serving(speak) as server, connect(server.url, retry=waiting.retrier()) as gateway:
        task = asyncio.ensure_future(gateway.submit("w", {}, key="k"))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert waiting.notices == []


async def test_an_idle_connection_that_was_closed_meanwhile_costs_nothing(connect, waiting):
    async def speak(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(generated(f"job-{len(server.requests)}"))
        await writer.drain()
        writer.close()

    async with serving(speak) as server, connect(server.url, retry=waiting.retrier()) as gateway:
        for number in (1, 2, 3):
            assert (await gateway.submit("w", {}, key=f"k-{number}")).job_id == f"job-{number}"
            for _ in range(
                20
            ):  # rounds of the loop: the server's close, and the client's hearing of it
                await asyncio.sleep(0)
    assert (server.connections, len(server.requests), waiting.notices) == (3, 3, [])


async def test_a_post_on_a_kept_connection_that_is_hung_up_on_is_sent_again_by_us_alone(
    connect, waiting
):
    """A library that repeats a POST by itself would hide from the engine that the first may have
    bought."""

    async def speak(request: bytes, writer: asyncio.StreamWriter) -> None:
        if len(server.requests) == 2:
            writer.close()
        else:
            writer.write(generated("j-1"))

    async with serving(speak) as server, connect(server.url, retry=waiting.retrier()) as gateway:
        assert not (await gateway.submit("w", {}, key="k-1")).after_doubt
        assert (await gateway.submit("w", {}, key="k-1")).after_doubt
    assert [notice.reason for notice in waiting.notices] == ["NO_ANSWER"]
    assert len(server.requests) == 3


async def test_the_environment_is_not_asked(connect, monkeypatch, tmp_path):
    async def speak(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(http(b"abc") if b"GET /x.png" in request else generated("j-1"))

    async def refuse(request: bytes, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("the environment was asked")

    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password SECRET\n")
    monkeypatch.setenv("NETRC", str(netrc))
    async with serving(refuse) as evil, serving(speak) as server:
        for name in (
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
            "http_proxy",
            "https_proxy",
            "all_proxy",
        ):
            monkeypatch.setenv(name, evil.url)
        async with connect(server.url) as gateway:
            await gateway.submit("w", {}, key="k-1")
            assert await read(gateway, f"{server.url}/x.png?sig=a%2Fb%3D+c") == b"abc"
    submit, download = server.requests
    assert b"SECRET" not in submit + download
    assert KEY.encode() in submit
    assert b"uthorization" not in download
    assert evil.connections == 0


async def test_a_request_says_what_it_takes_and_a_signed_link_is_sent_as_it_is(connect):
    async def speak(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(http(b"abc", more=b"Set-Cookie: a=b\r\n"))

    async with serving(speak) as server, connect(server.url) as gateway:
        for _ in range(2):
            await read(gateway, f"{server.url}/a%20b/x.png?sig=a%2Fb%3D+c~d&e=%C3%A9")
    for request in server.requests:
        head = request.lower()
        assert request.startswith(b"GET /a%20b/x.png?sig=a%2Fb%3D+c~d&e=%C3%A9 HTTP/1.1\r\n")
        assert b"\r\naccept-encoding: identity\r\n" in head
        assert b"\r\nuser-agent: crucible-batch/" in head
        assert b"cookie" not in head
    assert server.connections == 1


@pytest.mark.parametrize("size", [1, 3_000_000])
async def test_an_upload_arrives_with_its_length_and_type_and_again_whole(connect, waiting, size):
    async def speak(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(http(b"", status=b"503 Busy" if len(server.requests) == 1 else b"200 OK"))

    content = bytes(range(256)) * (size // 256 + 1)
    spec = AssetSpec(
        sha256="0" * 64, mime_type="image/png", byte_size=len(content), filename="x.png"
    )
    async with serving(speak) as server, connect(server.url, retry=waiting.retrier()) as gateway:
        await gateway.upload(UploadIntent("a", f"{server.url}/u?sig=1", Decimal(0)), spec, content)
    assert len(server.requests) == 2
    for request in server.requests:
        head, _, body = request.partition(b"\r\n\r\n")
        assert b"\r\ncontent-type: image/png" in head.lower()
        assert b"\r\ncontent-length: %d" % len(content) in head.lower()
        assert body == content


async def test_a_proxy_that_is_named_carries_all_requests(waiting):
    async def speak(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(http(b"abc") if b"/x.png" in request else generated("j-1"))

    async with (
        serving(speak) as proxy,
        open_gateway(
            "http://127.0.0.1:9", KEY, proxy=proxy.url.replace("//", "//user:word@")
        ) as gateway,
    ):
        await gateway.submit("w", {}, key="k-1")
        assert await read(gateway, "http://127.0.0.1:9/x.png") == b"abc"
    assert proxy.requests[0].startswith(b"POST http://127.0.0.1:9/api/v1/generate HTTP/1.1\r\n")
    assert proxy.requests[1].startswith(b"GET http://127.0.0.1:9/x.png HTTP/1.1\r\n")
    assert all(b"roxy-Authorization: Basic " in request for request in proxy.requests)


async def test_hundreds_of_requests_at_once_are_carried_at_once(waiting):
    """Each of 256 in flight has a connection of its own: a pool with fewer would hold some up
    behind others.
    """
    arrived = 0
    all_there = asyncio.Event()

    async def speak(request: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal arrived
        arrived = number = arrived + 1
        if arrived == 256:
            all_there.set()
        await all_there.wait()
        writer.write(generated(f"job-{number}"))

    async with (
        serving(speak) as server,
        open_gateway(server.url, KEY, retry=waiting.retrier()) as gateway,
        asyncio.timeout(120),
        asyncio.TaskGroup() as group,
    ):
        for number in range(256):
            group.create_task(gateway.submit("w", {}, key=f"k-{number}"))
    assert server.connections == 256
