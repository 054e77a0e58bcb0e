"""The default channel, over aiohttp. No other module uses aiohttp.

Requests are passed to aiohttp directly, without an ``httpx.Request``;
``docs/decisions/0002-aiohttp-under-httpx.md`` has the figures. httpx is still used for transports
that a caller passes in (``HttpxChannel``), and its exceptions are the errors of all channels. A
transport error of aiohttp doesn't show whether the request was sent: if a server reads a POST and
closes the connection, the error is "disconnected". If a pooled connection turns out to be dead,
aiohttp sends the request again by itself only if that is safe (GET, PUT, DELETE).
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import ssl
from collections.abc import AsyncGenerator, Iterator, Mapping

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, AbstractStreamWriter, ResolveResult
from yarl import URL

from crucible_batch.errors import UserError
from crucible_batch.gateway.transport import (
    CHUNK_BYTES,
    USER_AGENT,
    Channel,
    InvalidCertificateError,
    Reply,
)
from crucible_batch.gateway.url_guard import LinkGuard, port_fits
from crucible_batch.secret_text import register_secret

_HEADER_BYTES = 64 * 1024
"""The longest header line that is accepted; a redirect's ``Location`` may be a signed URL of 16
KB."""
_FOREIGN = (aiohttp.ClientError, OSError, ValueError)
KEY_LOG_VARIABLE = "SSLKEYLOGFILE"
_PROXY_SCHEMES = ("http", "https")


def new_channel(
    *, proxy: str | None = None, guard: LinkGuard | None = None, silence_s: float | None = 30.0
) -> Channel:
    """Return the default channel. Certificates are verified against certifi's roots.

    It connects only to addresses that ``guard`` allows. With a ``proxy``, which resolves names
    itself, ``guard`` isn't used. ``silence_s`` is the longest wait for more of a body, in seconds;
    None if the caller limits the time of each request. Raises ``UserError`` if ``proxy`` isn't a
    usable proxy URL.
    """
    if proxy is not None:
        return AiohttpChannel(proxy=_proxy(proxy), guard=None, silence_s=silence_s)
    return AiohttpChannel(proxy=None, guard=guard, silence_s=silence_s)


class AiohttpReply(Reply):
    """A response read by aiohttp."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        # Kept because a completely read response releases its connection. aiohttp has no public
        # accessor for it.
        self._protocol = response._protocol  # noqa: SLF001

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._response.headers

    async def read(self, limit: int) -> bytes | None:
        blocks, size = list[bytes](), 0
        while True:
            block = await self._block()
            if not block:
                return b"".join(blocks)
            blocks.append(block)
            size += len(block)
            if size > limit:
                return None

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        blocks, size = list[bytes](), 0
        while True:
            block = await self._block()
            if not block:
                break
            blocks.append(block)
            size += len(block)
            if size >= CHUNK_BYTES:
                yield b"".join(blocks)
                blocks, size = [], 0
        if blocks:
            yield b"".join(blocks)

    async def _block(self) -> bytes:
        """Return all bytes that have arrived; none at the end of the body."""
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
    """A channel over an aiohttp session.

    The session needs a running loop, so it is created by the first request.
    """

    def __init__(
        self, *, proxy: str | None, guard: LinkGuard | None, silence_s: float | None
    ) -> None:
        self._proxy = proxy
        self._guard = guard
        self._silence_s = silence_s
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Reply:
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
        resolver = None
        if self._guard is not None:
            resolver = GuardedResolver(self._guard)
        # No limit here: the callers limit the number of concurrent requests.
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
    """A request body, written in chunks so that one upload doesn't block the others.

    May be written again. aiohttp's own payload for bytes warns above one megabyte, and its payload
    for ``BytesIO`` copies the body, which is half the cost of an upload.
    """

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self._size = len(body)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the body as text, as aiohttp requires of a payload."""
        return bytes(self._value).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        view = memoryview(self._value)
        for at in range(0, len(view), CHUNK_BYTES):
            await writer.write(view[at : at + CHUNK_BYTES])


class GuardedResolver(AbstractResolver):
    """A resolver that returns only addresses that the guard allows.

    TLS and the ``Host`` header still use the name. IP addresses in URLs aren't resolved;
    ``LinkGuard.check`` checks them.
    """

    def __init__(self, guard: LinkGuard) -> None:
        self._guard = guard

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        """Return the allowed addresses. Raises the same errors as ``LinkGuard.addresses``."""
        addresses = await self._guard.addresses(host, port)
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=_family(address), proto=0, flags=0
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Do nothing: the resolver holds no resources."""


def _as_httpx(error: Exception) -> Exception:
    """Return the httpx error for an aiohttp error.

    It holds no text from the wire and no URL, which may be signed.
    """
    match error:
        case aiohttp.ConnectionTimeoutError():
            return httpx.ConnectTimeout("")
        case aiohttp.ServerTimeoutError():
            return httpx.ReadTimeout("")
        case aiohttp.ClientConnectorError():
            # Not aiohttp's own text, which holds the repr of the TLS context.
            host = f"[{error.host}]" if ":" in error.host else error.host
            message = f"can't connect to {host}:{error.port}: {_reason(error.os_error)}"
            if isinstance(error.os_error, ssl.SSLCertVerificationError):
                return InvalidCertificateError(message)
            return httpx.ConnectError(message)
        case (
            aiohttp.ClientResponseError()
            | aiohttp.ServerDisconnectedError()
            | aiohttp.ClientPayloadError()
        ):
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
    """Return httpx's TLS context, which is created once.

    It has certifi's roots, and no settings from the environment.
    """
    with _no_key_log():
        return httpx.create_ssl_context(trust_env=False)


@contextlib.contextmanager
def _no_key_log() -> Iterator[None]:
    """Ignore ``SSLKEYLOGFILE`` within the block.

    Otherwise ``ssl`` would write session keys to that file, and setting an environment variable
    would be enough to decrypt the traffic.
    """
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
    if url.scheme not in _PROXY_SCHEMES or not url.host or not port_fits(url):
        # Neither it nor the library's message is shown: a password may be anywhere in it.
        raise UserError(
            "not a proxy URL: it must have a scheme (http or https), a host, "
            "and no port above 65535",
            hint="give one like http://proxy.example:3128",
        )
    register_secret(url.password)
    return text
