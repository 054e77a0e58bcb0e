"""Checks of storage links, which come from responses and must not lead into the local network.

    API base        the link's host            allowed addresses
    on this machine any                        any: it is a local gateway for tests
    elsewhere       named by --storage-host    any
    elsewhere       any other                  all of its addresses must be public

A name is resolved once, and the connection is made to one of the checked addresses: a second
look-up might have another result. With a proxy, the proxy resolves names and connects; a link's
host is then checked only if it is an IP address.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

import httpx

from crucible_batch.core.redaction import clean
from crucible_batch.errors import UNSAFE_URL, GatewayError, UserError

PRODUCTION = "https://crucible.moltazine.com"
HINT_NOT_A_GATEWAY = f"give the gateway's base URL without /api/v1, such as {PRODUCTION}"

ID_PATTERN = r"[A-Za-z0-9_-]{1,128}"
_ID = re.compile(ID_PATTERN)
_WORKFLOW_ID = re.compile(r"(?!\.+$)[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,200}")
"""The contract requires only that it isn't empty. In a path it is percent-encoded completely,
and it must not be a dot segment."""
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?|[0-9a-f:.]+")
_UNSAFE = re.compile(r"[\x00-\x20\x7f\\]")
_DEFAULT_PORTS = {"https": 443, "http": 80}

STORAGE_URL_LIMIT = 16_384
"""The longest storage URL, in characters. Signed URLs have about 1 KB, or 4 KB with session
tokens, and servers reject URLs much shorter than this limit."""


def origin(url: httpx.URL) -> tuple[str, str, int | None]:
    """Return scheme, host and port (RFC 6454); the port defaults to the scheme's."""
    return url.scheme, url.host.lower(), url.port or _DEFAULT_PORTS.get(url.scheme)


def is_loopback(url: httpx.URL) -> bool:
    """Whether the host is ``localhost`` or a loopback address in its usual spelling.

    No name is resolved.
    """
    if url.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(url.host).is_loopback
    except ValueError:
        return False


def parse_api_base(text: str) -> httpx.URL:
    """Return the parsed base URL of the API: https, or http to this machine.

    A path is kept as a prefix, without slashes at its end. Raises ``UserError`` for any other URL,
    and if it has userinfo, a query or a fragment.
    """
    url = _parse(text)
    if url is None:
        raise UserError(
            f"{clean(text, 100)!r} is not a base URL", hint=f"give one like {PRODUCTION}"
        )
    # An empty query or fragment is in the text only.
    if url.userinfo or url.query or url.fragment or "?" in text or "#" in text:
        raise UserError(
            "the base URL must not contain a user, a query or a fragment",
            hint=f"give one like {PRODUCTION}",
        )
    if url.scheme == "http" and not is_loopback(url):
        raise UserError(
            f"the base URL {shown(url)} would send the API key unencrypted",
            hint="use https; http is allowed only for this machine",
        )
    return url.copy_with(path=url.path.rstrip("/") or "/")


def check_storage_url(url: str, api_base: httpx.URL | str) -> httpx.URL:
    """Return the parsed URL of a storage link if it may be followed.

    The link comes from a response or a redirect. It must be https, or http to this machine if the
    API is on this machine too, and without userinfo. Raises ``GatewayError`` with code
    ``UNSAFE_URL`` otherwise. The addresses of the host are checked by ``LinkGuard``.
    """
    parsed = None
    if len(url) <= STORAGE_URL_LIMIT:
        parsed = _parse(url)
    if parsed is None:
        raise unsafe("the storage URL is not a valid URL")
    if parsed.userinfo:
        raise unsafe(f"the storage URL {shown(parsed)} contains a user or a password")
    if parsed.scheme == "http":
        are_local = is_loopback(parsed) and is_loopback(httpx.URL(api_base))
        if not are_local:
            raise unsafe(f"the storage URL {shown(parsed)} is not https")
    return parsed


def check_id(value: str, *, what: str) -> str:
    """Return an asset's or a job's id, safe in a path.

    Raises ``GatewayError``, before sending, if it is invalid.
    """
    return _checked(_ID, value, what)


def check_workflow_id(value: str) -> str:
    """Return a workflow id. Raises ``GatewayError`` if it is invalid."""
    return _checked(_WORKFLOW_ID, value, "workflow id")


def workflow_segment(value: str) -> str:
    """Return a workflow id as one path segment, percent-encoded (RFC 3986).

    Raises as ``check_workflow_id``.
    """
    return quote(check_workflow_id(value), safe="")


def shown(url: httpx.URL | str) -> str:
    """Return a URL's scheme, host, port and path for display: its other parts may be secret."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        return "(an invalid URL)"
    port = f":{parsed.port}" if parsed.port else ""
    host = parsed.host
    if ":" in host:
        host = f"[{host}]"
    return clean(f"{parsed.scheme}://{host}{port}{parsed.path}", 200)


def host_of(url: str) -> str:
    """Return a URL's host, and its port unless it is the scheme's default.

    This much of a signed link may be logged.
    """
    return shown(url).partition("://")[2].partition("/")[0]


def _parse(text: str) -> httpx.URL | None:
    """Parse an absolute http(s) URL strictly; None if it isn't one.

    httpx accepts blanks, backslashes and percent signs in hosts.
    """
    if _UNSAFE.search(text):
        return None
    try:
        url = httpx.URL(text)
        host = url.raw_host.decode("ascii")
    except (httpx.InvalidURL, ValueError):
        return None
    if url.scheme not in _DEFAULT_PORTS or not _HOST.fullmatch(host):
        return None
    if not port_fits(url):
        return None
    return url


def port_fits(url: httpx.URL) -> bool:
    """Whether a URL has no port, or one that can be connected to."""
    return url.port is None or 0 < url.port < 65_536


def _checked(pattern: re.Pattern[str], value: str, what: str) -> str:
    if not pattern.fullmatch(value):
        raise GatewayError(
            f"not a {what}: {clean(value, 100)!r}",
            code="BAD_REQUEST",
            hint=f"nothing was sent; use a {what} that the gateway returned",
        )
    return value


def unsafe(
    message: str, *, hint: str = "nothing was sent to it; report it to the gateway's operator"
) -> GatewayError:
    """Return the error for a link that must not be followed."""
    return GatewayError(message, code=UNSAFE_URL, operation="storage", hint=hint)


Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NUMBER = re.compile(r"(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)\.?$", re.IGNORECASE)
"""Hosts whose last part is a number, such as 127.1: the C library and browsers read them as IPv4
addresses."""
_PLAIN = re.compile(
    r"(https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?)"
    r"((?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)+(?:\?[A-Za-z0-9._=&-]+)?)"
)
"""A link of which only the origin needs a check, and that is sent unchanged: it has no userinfo,
no dot segment, and nothing that is or must be percent-encoded."""
_ORIGINS = 64
_INNER_V4: Final = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network (RFC 791)
        "10.0.0.0/8",  # private (RFC 1918), as are 172.16 and 192.168
        "100.64.0.0/10",  # shared by carriers (RFC 6598)
        "127.0.0.0/8",  # loopback (RFC 1122)
        "169.254.0.0/16",  # link-local (RFC 3927), includes cloud metadata services
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments (RFC 6890), includes dummy and discovery addresses
        "192.0.2.0/24",  # documentation (RFC 5737), as are 198.51.100 and 203.0.113
        "192.88.99.0/24",  # 6to4 relays, deprecated (RFC 7526)
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks (RFC 2544)
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast (RFC 5771)
        "240.0.0.0/4",  # reserved (RFC 1112), includes the broadcast address
    )
)
"""The networks of IANA's special-purpose registry that aren't public. Python's ``is_global``
differs by release."""
_GLOBAL_V6: Final = ipaddress.IPv6Network("2000::/3")
"""All IPv6 space that IANA allocates for public use; the rest is internal or has another
purpose."""
_INNER_V6: Final = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments (RFC 2928): Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation (RFC 3849)
        "3fff::/20",  # documentation (RFC 9637)
    )
)
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_6TO4: Final = ipaddress.IPv6Network("2002::/16")


class LinkGuard:
    """Checks which links may be followed, and to which addresses.

    Doesn't block; may be used concurrently.
    """

    def __init__(self, api_base: httpx.URL, trusted_hosts: Iterable[str] = ()) -> None:
        self._api_base = api_base
        self._trusts_all = is_loopback(api_base)
        self._trusted = frozenset(host.lower().rstrip(".") for host in trusted_hosts)
        self._origins: dict[str, str] = {}

    def check(self, url: str) -> str:
        """Return a link as it is to be sent, with non-ASCII characters percent-encoded.

        Raises ``GatewayError`` with code ``UNSAFE_URL`` as ``check_storage_url`` does, and if the
        host is an IP address that isn't public. Names aren't resolved here; see ``addresses``.
        """
        if len(url) > STORAGE_URL_LIMIT:
            return self._checked(url)
        plain = _PLAIN.fullmatch(url)
        if plain is None:
            return self._checked(url)
        # Cached, since most outputs have the same origin and a check takes a tenth of a
        # millisecond.
        origin, rest = plain.groups()
        known = self._origins.get(origin)
        if known is not None:
            return known + rest
        sendable = self._checked(url)
        if len(self._origins) < _ORIGINS:
            self._origins[origin] = sendable.removesuffix(rest)
        return sendable

    def _checked(self, url: str) -> str:
        parsed = check_storage_url(url, self._api_base)
        host, sendable = parsed.host, str(parsed)
        if self._trusts(host):
            return sendable
        try:
            _check(host, ipaddress.ip_address(host))
        except ValueError:
            if _NUMBER.search(host):
                raise unsafe(
                    f"the storage host {host} is a number, which some systems read as an IP address"
                ) from None
        return sendable

    async def addresses(self, host: str, port: int) -> list[str]:
        """Resolve a host, and return the addresses to connect to, in the resolver's order.

        Raises ``GatewayError`` with code ``UNSAFE_URL`` if any of them isn't public (except for
        trusted hosts), and ``OSError`` if there are no addresses.
        """
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if not self._trusts(host):
            for address in addresses:
                _check(host, ipaddress.ip_address(address.partition("%")[0]))
        return addresses

    def _trusts(self, host: str) -> bool:
        return self._trusts_all or host.lower().rstrip(".") in self._trusted


def is_public(address: Address) -> bool:
    """Whether an address is public.

    An IPv6 address that embeds an IPv4 address is public if that address is.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _INNER_V4)
    carried = _carried(address)
    if carried is not None:
        return is_public(carried)
    return address in _GLOBAL_V6 and not any(address in network for network in _INNER_V6)


def _carried(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the embedded IPv4 address (mapped, NAT64 or 6to4), None if there is none.

    The host or a relay sends the packets to it.
    """
    if address in _MAPPED or address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    if address in _6TO4:
        return ipaddress.IPv4Address(int(address) >> 80 & 0xFFFF_FFFF)
    return None


def _check(host: str, address: Address) -> None:
    if not is_public(address):
        raise unsafe(
            f"the storage host {host} has the address {address}, which isn't public",
            hint=(
                "nothing was sent to it; if it is your own storage, "
                "allow it with --storage-host HOST"
            ),
        )
