"""IANA's special-purpose address registries, row by row, written from the RFCs: where a link may
lead.

Each block is tried at its first and its last address and in its middle, and the addresses beside it
are told apart from it where the internet begins there.
"""

from __future__ import annotations

import ipaddress

from crucible_batch.gateway.url_guard import is_public
from tests.harness.case_table import each_case

# Every row of the IPv4 registry, and multicast: the block, and whether a link may lead there.
IPV4 = {
    "0.0.0.0/8": False, "10.0.0.0/8": False, "100.64.0.0/10": False, "127.0.0.0/8": False,
    "169.254.0.0/16": False, "172.16.0.0/12": False, "192.0.0.0/24": False, "192.0.0.0/29": False,
    "192.0.0.8/32": False, "192.0.0.9/32": False, "192.0.0.10/32": False, "192.0.0.170/32": False,
    "192.0.0.171/32": False, "192.0.2.0/24": False, "192.31.196.0/24": True,
    "192.52.193.0/24": True, "192.88.99.0/24": False, "192.168.0.0/16": False,
    "192.175.48.0/24": True, "198.18.0.0/15": False, "198.51.100.0/24": False,
    "203.0.113.0/24": False, "224.0.0.0/4": False, "240.0.0.0/4": False,
    "255.255.255.255/32": False,
}  # fmt: skip
# Every row of the IPv6 registry, and what has left it or stands elsewhere.
IPV6 = {
    "::1/128": False, "::/128": False, "::/96": False, "64:ff9b:1::/48": False, "100::/64": False,
    "100:0:0:1::/64": False, "2001::/23": False, "2001::/32": False, "2001:1::1/128": False,
    "2001:1::2/128": False, "2001:1::3/128": False, "2001:2::/48": False, "2001:3::/32": False,
    "2001:4:112::/48": False, "2001:10::/28": False, "2001:20::/28": False, "2001:30::/28": False,
    "2001:db8::/32": False, "2620:4f:8000::/48": True,
    "3fff::/20": False, "5f00::/16": False, "fc00::/7": False, "fe80::/10": False,
    "fec0::/10": False, "ff00::/8": False, "::ffff:0:0:0/96": False, "4000::/2": False,
    "8000::/1": False, "1000::/4": False, "200::/7": False,
}  # fmt: skip
# Blocks whose addresses carry one of IPv4: how the carried one is written into them.
CARRIERS = {
    "mapped, RFC 4291": lambda number: (0xFFFF << 32) | number,
    "NAT64, RFC 6052": lambda number: (0x64FF9B << 96) | number,
    "6to4, RFC 3056": lambda number: (0x2002 << 112) | (number << 80) | 1,
}
NEIGHBOURS = [
    "1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
    "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0",
    "191.255.255.255", "192.0.1.0", "192.0.3.0", "192.88.98.255", "192.88.100.0", "192.167.255.255",
    "192.169.0.0", "198.17.255.255", "198.20.0.0", "198.51.99.255", "198.51.101.0", "203.0.112.255",
    "203.0.114.0", "223.255.255.255",
    "2000::", "2000:ffff::1", "2001:200::", "2001:db7:ffff::1", "2001:db9::",
    "2001:4860:4860::8888", "2003::1", "2606:4700::1111", "2a00::1", "3ffe:ffff::1",
]  # fmt: skip


def some_of(block: str) -> set[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    network = ipaddress.ip_network(block)
    first, last = int(network.network_address), int(network.broadcast_address)
    kind = type(network.network_address)
    return {kind(number) for number in (first, first + (last - first) // 2, last)}


@each_case("block, expected", [*IPV4.items(), *IPV6.items()])
def test_a_block_of_the_registries(block: str, expected: bool) -> None:
    assert {address: is_public(address) for address in some_of(block)} == dict.fromkeys(
        some_of(block), expected
    )


@each_case("address", NEIGHBOURS)
def test_what_lies_beside_a_block_is_the_internets(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@each_case("carrier", CARRIERS)
@each_case("block, expected", [*IPV4.items(), ("8.8.8.0/24", True)])
def test_an_address_that_carries_another_is_what_that_is(
    carrier: str, block: str, expected: bool
) -> None:
    for address in some_of(block):
        assert is_public(ipaddress.IPv6Address(CARRIERS[carrier](int(address)))) is expected


@each_case("inner", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "8.8.8.8"])
def test_teredo_and_translated_addresses_are_never_public(inner: str) -> None:
    number = int(ipaddress.IPv4Address(inner))
    teredo = ipaddress.IPv6Address((0x20010000 << 96) | (0x08080808 << 64) | (number ^ 0xFFFFFFFF))
    translated = ipaddress.IPv6Address((0xFFFF << 48) | number)
    assert teredo.teredo is not None
    assert teredo.teredo[1] == ipaddress.IPv4Address(inner)
    assert str(translated).startswith("::ffff:0:")
    assert not is_public(teredo)
    assert not is_public(translated)


@each_case("address", ["3fff::1", "5f00::1", "192.88.99.1", "192.0.0.8", "::ffff:0:127.0.0.1"])
def test_what_python_takes_for_public_in_some_releases_is_not(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
