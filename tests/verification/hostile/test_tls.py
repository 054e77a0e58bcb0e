"""Certificates that nobody should believe: nothing is sent to their holders, nor the key."""

from __future__ import annotations

import asyncio
import datetime
import os
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from crucible_batch.errors import GatewayError
from crucible_batch.gateway import Retrier, RetryPolicy, open_gateway
from crucible_batch.gateway.aiohttp_transport import certificates

AUTHORITY = trustme.CA()
LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
KEY = "moltazine_canary"


def context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(made)
    return made


GOOD = AUTHORITY.issue_cert("localhost")
BAD = {
    "of another name": AUTHORITY.issue_cert("localhost.evil.test"),
    "expired": AUTHORITY.issue_cert("localhost", not_after=LONG_AGO),
    "of an authority that nobody knows": trustme.CA().issue_cert("localhost"),
}


@pytest.fixture(autouse=True)
def _believed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have our authority believed, as if the system came with it.

    What is believed is read once a process.
    """
    create = ssl.create_default_context

    def with_ours(*args: object, **options: object) -> ssl.SSLContext:
        made = create(*args, **options)
        AUTHORITY.configure_trust(made)
        return made

    monkeypatch.setattr(ssl, "create_default_context", with_ours)
    certificates.cache_clear()
    yield
    certificates.cache_clear()


@asynccontextmanager
async def serving(certificate: trustme.LeafCert) -> AsyncIterator[tuple[str, list[bytes]]]:
    heard: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(4096))
        body = b'{"success": true, "data": {"balance": 1, "reserved": 0, "available": 1}}'
        writer.write(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
            % (len(body), body)
        )
        writer.close()

    listener = await asyncio.start_server(answer, "localhost", 0, ssl=context(certificate))
    try:
        yield f"https://localhost:{listener.sockets[0].getsockname()[1]}", heard
    finally:
        listener.close()


async def ask(url: str, exchange: str) -> None:
    async with open_gateway(
        url, KEY, retry=Retrier(RetryPolicy(attempts=1)), timeout_s=10
    ) as gateway:
        if exchange == "credits":
            await gateway.account()
        else:
            async with gateway.download(f"{url}/x.png") as (_, chunks):
                assert b"".join([chunk async for chunk in chunks])


@pytest.mark.parametrize("exchange", ["credits", "download"])
async def test_a_good_certificate_is_believed(exchange: str) -> None:
    async with serving(GOOD) as (url, heard):
        await ask(url, exchange)
    assert len(heard) == 1
    assert (KEY.encode() in heard[0]) is (exchange == "credits")


@pytest.mark.parametrize("exchange", ["credits", "download"])
@pytest.mark.parametrize("certificate", BAD.values(), ids=BAD.keys())
async def test_a_bad_certificate_ends_the_exchange_before_a_byte_of_it_is_sent(
    exchange: str, certificate: trustme.LeafCert
) -> None:
    async with serving(certificate) as (url, heard):
        with pytest.raises(GatewayError) as caught:
            await ask(url, exchange)
    assert caught.value.code == "NO_ANSWER"
    place = url.removeprefix("https://")
    assert caught.value.message.startswith(
        f"no answer: can't connect to {place}: its certificate isn't valid: "
    )
    assert "(" not in caught.value.message
    assert heard in ([], [b""])


@pytest.mark.parametrize("exchange", ["credits", "download"])
async def test_session_keys_are_written_nowhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, exchange: str
) -> None:
    log = tmp_path / "keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))
    async with serving(GOOD) as (url, heard):
        await ask(url, exchange)
        assert certificates().keylog_filename is None
    assert len(heard) == 1
    assert not log.exists()
    assert os.environ["SSLKEYLOGFILE"] == str(log)  # it is the caller's process


def test_no_setting_of_the_environment_makes_us_believe_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    AUTHORITY.cert_pem.write_to_path(tmp_path / "evil.pem")
    monkeypatch.undo()
    certificates.cache_clear()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "evil.pem"))

    async def asked() -> None:
        async with serving(GOOD) as (url, _):
            await ask(url, "credits")

    with pytest.raises(GatewayError, match="certificate"):
        asyncio.run(asked())
