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

import httpx

from crucible_batch.gateway.address import STORAGE_URL_LIMIT, check_storage_url, is_loopback, unsafe

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
