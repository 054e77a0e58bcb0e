"""The channel that is used where no transport is given: aiohttp, which this file alone knows.

Chosen by measurement (CPU of one GET and its answer, 64 in flight, the same machine and minute; ``make bench`` measures
what follows for a whole run):

    httptools and a protocol of our own          38 µs    an HTTP client of our own to keep
    aiohttp                                     100 µs    the same with 16 and with 256 in flight
    httpx over httpx-aiohttp                    330 µs
    httpx and its own transport               4,100 µs    1,950 with 16 in flight, 9,300 with 256

So requests go from here to aiohttp with no ``httpx.Request`` in between; httpx stays what a caller may bring
(``HttpxChannel``) and the vocabulary of errors. A transport error of aiohttp's says nothing of what was sent: where a
server reads a POST and hangs up it says "disconnected", and a request that it finds a dead connection for it sends
again by itself if, and only if, that is safe (GET, PUT, DELETE).
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import ssl
from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Final

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, AbstractStreamWriter, ResolveResult
from yarl import URL

from crucible_batch.errors import UserError
from crucible_batch.gateway.transport import CHUNK_BYTES, USER_AGENT, Channel, Reply
from crucible_batch.gateway.url_guard import LinkGuard, shown

_HEADER_BYTES: Final = 64 * 1024
"""The longest header line that is read; a redirect's ``Location`` may be a signed URL of 16 KB."""
_FOREIGN: Final = (aiohttp.ClientError, OSError, ValueError)
KEY_LOG_VARIABLE: Final = "SSLKEYLOGFILE"
_PROXY_SCHEMES: Final = ("http", "https")


def new_channel(*, proxy: str | None = None, guard: LinkGuard | None = None, silence_s: float = 30.0) -> Channel:
    """Make the channel to use where no transport is given. Certificates are checked, against certifi's roots.

    It connects where ``guard`` says; through a ``proxy``, which looks names up itself, it can't. A body may be silent
    for ``silence_s``. Raises ``UserError`` where ``proxy`` is none that can be used.
    """
    return AiohttpChannel(
        proxy=None if proxy is None else _proxy(proxy), guard=None if proxy else guard, silence_s=silence_s
    )


class AiohttpReply(Reply):
    """An answer that aiohttp reads."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        # Kept, since a response that has come whole gives its connection up. aiohttp has no public way to it.
        self._protocol = response._protocol  # noqa: SLF001

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._response.headers

    async def read(self, limit: int) -> bytes | None:
        blocks, size = list[bytes](), 0
        while block := await self._block():
            blocks.append(block)
            size += len(block)
            if size > limit:
                return None
        return b"".join(blocks)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        blocks, size = list[bytes](), 0
        while block := await self._block():
            blocks.append(block)
            size += len(block)
            if size >= CHUNK_BYTES:
                yield b"".join(blocks)
                blocks, size = [], 0
        if blocks:
            yield b"".join(blocks)

    async def _block(self) -> bytes:
        """Return what is there; nothing at the end."""
        try:
            return await self._response.content.readany()
        except _FOREIGN as error:
            raise _as_httpx(error) from None

    async def close(self) -> None:
        self._response.close()

    async def drop(self) -> None:
        if self._protocol is not None:
            self._protocol.close()


class AiohttpChannel(Channel):
    """Carries requests by an aiohttp session, made with the first of them: aiohttp wants a running loop for it."""

    def __init__(self, *, proxy: str | None, guard: LinkGuard | None, silence_s: float) -> None:
        self._proxy = proxy
        self._guard = guard
        self._silence_s = silence_s
        self._session: aiohttp.ClientSession | None = None

    async def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Reply:
        session = self._session or self._open()
        try:
            response = await session.request(
                method,
                URL(url, encoded=True),
                headers=headers,
                data=None if body is None else Bytes(body),
                allow_redirects=False,
                ssl=certificates() if url.startswith("https:") else True,
            )
        except _FOREIGN as error:
            raise _as_httpx(error) from None
        return AiohttpReply(response)

    async def aclose(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        resolver = None if self._guard is None else GuardedResolver(self._guard)
        # Without limits: how many requests there are at once is decided where they are made.
        connector = aiohttp.TCPConnector(limit=0, resolver=resolver)
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
            skip_auto_headers=("Content-Type",),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            proxy=self._proxy,
            timeout=aiohttp.ClientTimeout(total=None, sock_read=self._silence_s),
            read_bufsize=CHUNK_BYTES,
            max_line_size=_HEADER_BYTES,
            max_field_size=_HEADER_BYTES,
        )
        return self._session


class Bytes(aiohttp.Payload):
    """A body, written piece by piece: so one upload doesn't hold up all else. May be written again.

    aiohttp's own payload of bytes warns of a megabyte, and that of a ``BytesIO`` copies it, which is half of an upload.
    """

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self._size = len(body)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return it as text, as aiohttp asks of a payload."""
        return bytes(self._value).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        view = memoryview(self._value)
        for at in range(0, len(view), CHUNK_BYTES):
            await writer.write(view[at : at + CHUNK_BYTES])


class GuardedResolver(AbstractResolver):
    """Looks names up as the guard does; TLS and ``Host`` go on being the name's. An address isn't looked up: see
    ``LinkGuard.check``."""

    def __init__(self, guard: LinkGuard) -> None:
        self._guard = guard

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        """Return the addresses that may be connected to. Raises what the guard raises."""
        addresses = await self._guard.addresses(host, port)
        return [
            ResolveResult(hostname=host, host=address, port=port, family=_family(address), proto=0, flags=0)
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


def _as_httpx(error: Exception) -> Exception:
    """Return httpx's error for aiohttp's. What quotes the wire or a URL isn't kept: it may hold a signature."""
    match error:
        case aiohttp.ConnectionTimeoutError():
            return httpx.ConnectTimeout("")
        case aiohttp.ServerTimeoutError():
            return httpx.ReadTimeout("")
        case aiohttp.ClientConnectorError():
            # Not aiohttp's own text: it shows the TLS context, which is an object's address.
            host = f"[{error.host}]" if ":" in error.host else error.host
            return httpx.ConnectError(f"can't connect to {host}:{error.port}: {_reason(error.os_error)}")
        case aiohttp.ClientResponseError() | aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError():
            return httpx.RemoteProtocolError(type(error).__name__)
        case ValueError():  # aiohttp's InvalidURL is one
            return httpx.InvalidURL(type(error).__name__)
        case _:
            return httpx.NetworkError(type(error).__name__)


def _reason(error: OSError) -> str:
    """Return the system's reason for a connection that failed."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate isn't valid: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS: {(error.reason or type(error).__name__).replace('_', ' ').lower()}"
        case OSError(errno=int(number)) if not isinstance(error, socket.gaierror):
            return os.strerror(number)  # asyncio's own text repeats the address
        case _:
            return error.strerror or str(error) or type(error).__name__


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


@functools.cache
def certificates() -> ssl.SSLContext:
    """Make the context that httpx would, once: certifi's roots, and nothing of the environment's."""
    with _no_key_log():
        return httpx.create_ssl_context(trust_env=False)


@contextlib.contextmanager
def _no_key_log() -> Iterator[None]:
    """Keep ``ssl`` from having each connection's session keys written to the file that the environment names: who can
    set a variable must not so read what is sent."""
    named = os.environ.pop(KEY_LOG_VARIABLE, None)
    try:
        yield
    finally:
        if named is not None:
            os.environ[KEY_LOG_VARIABLE] = named


def _proxy(text: str) -> str:
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError):
        url = httpx.URL()
    if url.scheme not in _PROXY_SCHEMES or not url.host:
        # What a library says of it may quote a password.
        raise UserError(f"not a proxy: {shown(text)}", hint="give one like http://proxy.example:3128")
    return text
