"""The guard of storage links: a link comes from an answer, and must not lead into the network that we stand in.

    API base        the link's host            what it may resolve to
    on this machine any                        anything: it is a gateway for trying things out
    elsewhere       named by --storage-host    anything
    elsewhere       any other                  public addresses, all of them; and the connection goes to one of these

A name is looked up once, and the connection is made to what was looked at: a second look-up might be told otherwise.
Where there is a proxy, it looks names up and connects; of a link's host we then see an address only where it is one.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Iterable
from typing import Final, TypeAlias
from urllib.parse import quote

import httpx

from crucible_batch.domain.redaction import clean
from crucible_batch.errors import UNSAFE_URL, GatewayError, UserError

PRODUCTION: Final = "https://crucible.moltazine.com"

ID_PATTERN: Final = r"[A-Za-z0-9_-]{1,128}"
_ID: Final = re.compile(ID_PATTERN)
_WORKFLOW_ID: Final = re.compile(r"(?!\.+$)[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,200}")
"""The contract says no more than that it isn't empty. It is percent-encoded whole, and is no dot segment of a path."""
_HOST: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?|[0-9a-f:.]+")
_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f\\]")
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}

STORAGE_URL_LIMIT: Final = 16_384
"""Signed URLs are about 1 KB, 4 KB with session tokens; servers refuse far shorter ones than this."""


def origin(url: httpx.URL) -> tuple[str, str, int | None]:
    """Return scheme, host and port, with the scheme's own port filled in (RFC 6454)."""
    return url.scheme, url.host.lower(), url.port or _DEFAULT_PORTS.get(url.scheme)


def is_loopback(url: httpx.URL) -> bool:
    """Whether the host is ``localhost`` or a loopback address in its usual spelling; no name is looked up."""
    if url.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(url.host).is_loopback
    except ValueError:
        return False


def parse_api_base(text: str) -> httpx.URL:
    """Read the API's base URL: https, or http to this machine; a path is kept as a prefix.

    Raises ``UserError`` otherwise, and where there is userinfo, a query or a fragment.
    """
    url = _parse(text)
    if url is None:
        raise UserError(f"not a base URL: {clean(text, 100)!r}", hint=f"give one like {PRODUCTION}")
    if url.userinfo or url.query or url.fragment or "?" in text or "#" in text:
        raise UserError("the base URL must not hold a user, a query or a fragment", hint=f"give one like {PRODUCTION}")
    if url.scheme == "http" and not is_loopback(url):
        raise UserError(
            f"the base URL {shown(url)} would send the key in clear text",
            hint="use https; http is for this machine only",
        )
    return url.copy_with(path=url.path.rstrip("/") or "/")


def check_storage_url(url: str, api_base: httpx.URL | str) -> httpx.URL:
    """Refuse a storage URL that we must not go to, whether it came in an answer or from a redirect.

    It takes https; http only to this machine, and only where the API itself is on this machine; never userinfo.
    Returns it parsed. Raises ``GatewayError`` with code ``UNSAFE_URL``. What its host resolves to is the business of
    ``guard``.
    """
    parsed = _parse(url) if len(url) <= STORAGE_URL_LIMIT else None
    if parsed is None:
        raise unsafe("a storage URL that can't be read")
    if parsed.userinfo:
        raise unsafe(f"the storage URL {shown(parsed)} holds a user or a password")
    if parsed.scheme == "http" and not (is_loopback(parsed) and is_loopback(httpx.URL(api_base))):
        raise unsafe(f"the storage URL {shown(parsed)} is not https")
    return parsed


def check_id(value: str, *, what: str) -> str:
    """Return an asset's or a job's id, fit for a path. Raises ``GatewayError`` before anything is sent."""
    return _checked(_ID, value, what)


def check_workflow_id(value: str) -> str:
    """Return a workflow id. Raises ``GatewayError`` before anything is sent for one that can't be."""
    return _checked(_WORKFLOW_ID, value, "workflow id")


def workflow_segment(value: str) -> str:
    """Return a workflow id as one segment of a path, percent-encoded (RFC 3986). Raises as ``check_workflow_id``."""
    return quote(check_workflow_id(value), safe="")


def shown(url: httpx.URL | str) -> str:
    """Write a URL as scheme, host and path: whatever else it holds may be a secret."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        return "(a URL that can't be read)"
    port = f":{parsed.port}" if parsed.port else ""
    host = f"[{parsed.host}]" if ":" in parsed.host else parsed.host
    return clean(f"{parsed.scheme}://{host}{port}{parsed.path}", 200)


def _parse(text: str) -> httpx.URL | None:
    """Parse an absolute http(s) URL strictly: httpx takes blanks, backslashes and percents in hosts."""
    if _UNSAFE.search(text):
        return None
    try:
        url = httpx.URL(text)
        host = url.raw_host.decode("ascii")
    except (httpx.InvalidURL, ValueError):
        return None
    port_fits = url.port is None or 0 < url.port < 65_536
    return url if url.scheme in _DEFAULT_PORTS and _HOST.fullmatch(host) and port_fits else None


def _checked(pattern: re.Pattern[str], value: str, what: str) -> str:
    if not pattern.fullmatch(value):
        raise GatewayError(
            f"not a {what}: {clean(value, 100)!r}",
            code="BAD_REQUEST",
            hint=f"nothing was sent; see that the {what} is one that the gateway gave",
        )
    return value


def unsafe(message: str, *, hint: str = "nothing was sent there; report it to the gateway's operator") -> GatewayError:
    """Build the error of a link that must not be followed."""
    return GatewayError(message, code=UNSAFE_URL, operation="storage", hint=hint)


Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_NUMBER: Final = re.compile(r"(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)\.?$", re.IGNORECASE)
"""Such a last part makes a host an IPv4 address to the C library, in any of its spellings (and to browsers): 127.1."""
_PLAIN: Final = re.compile(
    r"(https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?)((?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)+(?:\?[A-Za-z0-9._=&-]+)?)"
)
"""A link of which nothing but its origin can be at fault, and that is sent as it is: no user, no dot segment, nothing
that is encoded or is to be."""
_ORIGINS: Final = 64
_INNER_V4: Final = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network (RFC 791)
        "10.0.0.0/8",  # private (RFC 1918), as are 172.16 and 192.168
        "100.64.0.0/10",  # shared by carriers (RFC 6598)
        "127.0.0.0/8",  # loopback (RFC 1122)
        "169.254.0.0/16",  # link-local (RFC 3927), where clouds have their metadata
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments (RFC 6890), dummies and discovery among them
        "192.0.2.0/24",  # documentation (RFC 5737), as are 198.51.100 and 203.0.113
        "192.88.99.0/24",  # relays of 6to4, deprecated (RFC 7526)
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks (RFC 2544)
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast (RFC 5771)
        "240.0.0.0/4",  # reserved (RFC 1112), with the broadcast
    )
)
"""What of IANA's special-purpose registry is not the internet's; Python's ``is_global`` differs by release."""
_GLOBAL_V6: Final = ipaddress.IPv6Network("2000::/3")
"""All that IANA gives out of IPv6 for the internet: what else there is, is inner or means something else."""
_INNER_V6: Final = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments (RFC 2928): Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation (RFC 3849), as is 3fff
        "3fff::/20",  # RFC 9637
    )
)
_MAPPED: Final = ipaddress.IPv6Network("::ffff:0:0/96")
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_6TO4: Final = ipaddress.IPv6Network("2002::/16")


class LinkGuard:
    """Says which links may be followed, and to which addresses. Blocks nothing; may be used concurrently."""

    def __init__(self, api_base: httpx.URL, trusted_hosts: Iterable[str] = ()) -> None:
        self._api_base = api_base
        self._trusts_all = is_loopback(api_base)
        self._trusted = frozenset(host.lower().rstrip(".") for host in trusted_hosts)
        self._origins: dict[str, str] = {}

    def check(self, url: str) -> str:
        """Refuse a link by what is written in it, as ``check_storage_url`` does, and one to an address that isn't
        public. Returns the link as it can be sent: percent-encoded where it isn't ASCII."""
        plain = _PLAIN.fullmatch(url) if len(url) <= STORAGE_URL_LIMIT else None
        if plain is None:
            return self._checked(url)
        # One origin has all outputs, as a rule: to check it anew for each of them takes a tenth of a millisecond.
        origin, rest = plain.groups()
        if (known := self._origins.get(origin)) is not None:
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
                raise unsafe(f"the storage host {host} is a number that some take for an address") from None
        return sendable

    async def addresses(self, host: str, port: int) -> list[str]:
        """Look a host up, and return the addresses to connect to, the resolver's favourite first.

        Raises ``GatewayError`` with code ``UNSAFE_URL`` where any of them isn't public, ``OSError`` where there is
        none.
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
    """Whether an address is one of the internet's; one that carries another is what that other is."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _INNER_V4)
    carried = _carried(address)
    if carried is not None:
        return is_public(carried)
    return address in _GLOBAL_V6 and not any(address in network for network in _INNER_V6)


def _carried(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that packets to this one go to: by this host, or by a relay that any network may have."""
    if address in _MAPPED or address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    if address in _6TO4:
        return ipaddress.IPv4Address(int(address) >> 80 & 0xFFFF_FFFF)
    return None


def _check(host: str, address: Address) -> None:
    if not is_public(address):
        raise unsafe(
            f"the storage host {host} is at {address}, which isn't public",
            hint="nothing was sent there; if that is your own storage, name it with --storage-host",
        )
