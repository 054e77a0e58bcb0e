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
import socket
from collections.abc import Iterable
from typing import Final, TypeAlias

import httpcore
import httpx

from crucible_batch.gateway.address import check_storage_url, is_loopback, unsafe

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_CARRIERS: Final = tuple(ipaddress.IPv6Network(network) for network in ("64:ff9b::/96", "::/96"))
"""Their last 32 bits are an IPv4 address: NAT64 (RFC 6052), and the compatible form of old (RFC 4291, 2.5.5.1)."""
_INNER: Final = tuple(ipaddress.IPv6Network(network) for network in ("64:ff9b:1::/48", "fec0::/10"))
"""Inner networks that Python's ``is_global`` takes for public, in some releases or all: NAT64's own, site-local."""


class LinkGuard:
    """Says which links may be followed, and to which addresses. Blocks nothing; may be used concurrently."""

    def __init__(self, api_base: httpx.URL, trusted_hosts: Iterable[str] = ()) -> None:
        self._api_base = api_base
        self._trusts_all = is_loopback(api_base)
        self._trusted = frozenset(host.lower().rstrip(".") for host in trusted_hosts)

    def check(self, url: str) -> None:
        """Refuse a link by what is written in it, as ``check_storage_url`` does, and one to an address that isn't
        public."""
        check_storage_url(url, self._api_base)
        host = httpx.URL(url).host
        if self._trusts(host):
            return
        try:
            address = ipaddress.ip_address(host)
        except ValueError:  # a name, or a number that only a resolver takes for an address: see ``addresses``
            return
        _check(host, address)

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
    carried = _carried(address)
    if carried is not None:
        return is_public(carried)
    return address.is_global and not address.is_multicast and not any(address in network for network in _INNER)


def _carried(address: Address) -> ipaddress.IPv4Address | None:
    if not isinstance(address, ipaddress.IPv6Address):
        return None
    if any(address in network for network in _CARRIERS):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour


def _check(host: str, address: Address) -> None:
    if not is_public(address):
        raise unsafe(
            f"the storage host {host} is at {address}, which isn't public",
            hint="nothing was sent there; if that is your own storage, name it with --storage-host",
        )


class GuardedTransport(httpx.AsyncHTTPTransport):
    """httpx's own transport, connecting where the guard says. Nothing is read from the environment."""

    def __init__(self, guard: LinkGuard, limits: httpx.Limits) -> None:
        context = httpx.create_ssl_context(trust_env=False)
        super().__init__(verify=context, trust_env=False, limits=limits)
        self._pool = httpcore.AsyncConnectionPool(  # httpx has no argument for the backend
            ssl_context=context,
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=GuardedBackend(guard),
        )


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connects where the guard says. TLS goes on asking for the name: this knows of the connection alone."""

    def __init__(self, guard: LinkGuard, inner: httpcore.AsyncNetworkBackend | None = None) -> None:
        self._guard = guard
        self._inner = httpcore.AnyIOBackend() if inner is None else inner

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's own signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address that takes it. Raises the last one's failure."""
        try:
            addresses = await self._guard.addresses(host, port)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        failure: Exception = httpcore.ConnectError("the host has no address")
        for address in addresses:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """No link leads to one."""
        raise NotImplementedError

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)
