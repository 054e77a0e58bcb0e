"""The guard of storage links: what a host resolves to, and that the connection goes there and
nowhere else.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.errors import GatewayError
from crucible_batch.gateway import RetryPolicy, open_gateway
from crucible_batch.gateway.url_guard import STORAGE_URL_LIMIT, LinkGuard
from tests.harness.case_table import each_case

REMOTE = httpx.URL("https://crucible.test")
LOCAL = httpx.URL("http://127.0.0.1:8080")

INNER = [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "::", "::1", "fe80::1",
    "fc00::1", "fec0::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1",
    "2002:7f00:1::", "64:ff9b::10.0.0.1", "64:ff9b:1::808:808", "2001:db8::1",
]  # fmt: skip


@pytest.fixture
def names(monkeypatch):
    """Have names resolve as the test says; returns what was asked for."""
    known: dict[str, list[str]] = {}
    asked: list[str] = []

    def resolve(
        host: str, port: int, *_args: object, **_options: object
    ) -> list[tuple[object, ...]]:
        asked.append(host)
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        kinds = {4: socket.AF_INET, 6: socket.AF_INET6}
        return [
            (
                kinds[ipaddress.ip_address(address.partition("%")[0]).version],
                socket.SOCK_STREAM,
                6,
                "",
                (address, port),
            )
            for address in known[host]
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    known["asked"] = asked
    return known


@pytest.fixture
def tried(monkeypatch):
    """Have every connection refused; returns the addresses that were to be connected to."""
    addresses: list[str] = []

    async def refuse(loop: object, _socket: object, address: tuple[object, ...]) -> None:
        addresses.append(str(address[0]))
        raise ConnectionRefusedError(111, "refused")

    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_connect", refuse)
    return addresses


@each_case("address", INNER)
async def test_a_link_to_an_inner_address_is_refused_by_its_name_and_as_it_stands(names, address):
    names["s.test"] = [address]
    guard = LinkGuard(REMOTE)
    with pytest.raises(GatewayError, match="UNSAFE_URL"):
        await guard.addresses("s.test", 443)
    with pytest.raises(GatewayError, match="UNSAFE_URL"):
        guard.check(f"https://[{address}]/x" if ":" in address else f"https://{address}/x")


async def test_one_inner_address_among_public_ones_refuses_the_host(names):
    names["s.test"] = ["8.8.8.8", "10.0.0.1"]
    with pytest.raises(GatewayError) as caught:
        await LinkGuard(REMOTE).addresses("s.test", 443)
    assert caught.value.code == "UNSAFE_URL"
    assert "--storage-host" in caught.value.hint


async def test_the_connection_goes_to_all_the_addresses_that_were_looked_at_and_to_no_other(
    names, tried, waiting
):
    names["s.test"] = ["8.8.8.8", "2606:4700::1111", "9.9.9.9"]
    async with open_gateway(
        "https://crucible.test", "key", retry=waiting.retrier(RetryPolicy(attempts=1))
    ) as gateway:
        with pytest.raises(GatewayError, match="NO_ANSWER"):
            async with gateway.download("https://s.test/x.png"):
                pass
    assert set(tried) == set(names["s.test"])
    assert names["asked"] == ["s.test"]


@pytest.mark.parametrize("trusted", ["files.corp", "FILES.corp", "files.corp."])
async def test_a_host_that_the_user_names_may_be_anywhere(names, trusted):
    names["files.corp"] = ["10.0.0.1"]
    assert await LinkGuard(REMOTE, [trusted]).addresses("files.corp", 443) == ["10.0.0.1"]
    LinkGuard(REMOTE, ["10.0.0.1"]).check("https://10.0.0.1/x")


@pytest.mark.parametrize("host", ["files.corp.", "FILES.CORP"])
async def test_a_host_that_the_user_names_may_be_written_in_other_ways(names, host):
    names[host] = ["10.0.0.1"]
    assert await LinkGuard(REMOTE, ["files.corp"]).addresses(host, 443) == ["10.0.0.1"]


async def test_a_host_is_looked_up_once_for_its_port_and_for_streams_alone(monkeypatch):
    asked = []

    def resolve(
        host: str, port: int, _family: int, kind: int, *_rest: object
    ) -> list[tuple[object, ...]]:
        asked.append((host, port, kind))
        return [
            (socket.AF_INET, kind, 6, "", (address, port))
            for address in ("8.8.8.8", "9.9.9.9", "8.8.8.8")
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert await LinkGuard(REMOTE).addresses("s.test", 8443) == ["8.8.8.8", "9.9.9.9"]
    assert asked == [("s.test", 8443, socket.SOCK_STREAM)]


STAY = "nothing was sent to it; if it is your own storage, allow it with --storage-host HOST"


async def test_a_link_that_is_refused_is_named_with_what_helps(names):
    names["s.test"] = ["8.8.8.8", "10.0.0.1"]
    guard = LinkGuard(REMOTE)
    with pytest.raises(GatewayError) as caught:
        await guard.addresses("s.test", 443)
    assert (
        caught.value.args[0]
        == "the storage host s.test has the address 10.0.0.1, which isn't public"
    )
    assert caught.value.hint == STAY
    with pytest.raises(GatewayError) as caught:
        guard.check("https://10.0.0.1/x")
    assert (
        caught.value.args[0]
        == "the storage host 10.0.0.1 has the address 10.0.0.1, which isn't public"
    )
    with pytest.raises(GatewayError) as caught:
        guard.check("https://127.1/x")
    assert (
        caught.value.args[0]
        == "the storage host 127.1 is a number, which some systems read as an IP address"
    )


def test_clear_text_goes_to_this_machine_alone_and_only_where_the_gateway_is_here_too():
    assert LinkGuard(LOCAL).check("http://127.0.0.1:9000/x") == "http://127.0.0.1:9000/x"
    for guard, url in (
        (LinkGuard(REMOTE), "http://127.0.0.1:9000/x"),
        (LinkGuard(LOCAL), "http://s.test/x"),
    ):
        with pytest.raises(GatewayError, match="is not https"):
            guard.check(url)


async def test_naming_one_host_lets_no_other_through(names):
    names["evil.files.corp"] = ["10.0.0.1"]
    with pytest.raises(GatewayError, match="UNSAFE_URL"):
        await LinkGuard(REMOTE, ["files.corp"]).addresses("evil.files.corp", 443)


async def test_a_gateway_on_this_machine_may_have_its_storage_anywhere(names):
    names["s.test"] = ["127.0.0.1"]
    assert await LinkGuard(LOCAL).addresses("s.test", 443) == ["127.0.0.1"]


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "::1"])
async def test_the_whole_stack_connects_to_no_inner_address(names, waiting, address):
    names["s.test"] = [address]
    async with open_gateway("https://crucible.test", "key", retry=waiting.retrier()) as gateway:
        with pytest.raises(GatewayError) as caught:
            async with gateway.download("https://s.test/x.png?sig=SIGNATURE"):
                pass
    assert caught.value.code == "UNSAFE_URL"
    assert "SIGNATURE" not in str(caught.value)
    assert (names["asked"], waiting.slept) == (["s.test"], [])


NUMBERS = [
    "2130706433",
    "127.1",
    "017700000001",
    "0x7f.1",
    "0x7F000001",
    "127.0.0.1.",
    "0x7f.0.0.0x1",
    "1.2.3.4.5",
]


@each_case("host", NUMBERS)
def test_a_number_in_place_of_a_host_is_refused_as_it_stands(host):
    with pytest.raises(GatewayError) as caught:
        LinkGuard(REMOTE).check(f"https://{host}/x?sig=SIGNATURE")
    assert caught.value.code == "UNSAFE_URL"
    assert "SIGNATURE" not in str(caught.value)


@each_case(
    "host", ["s3.amazonaws.com", "1password.test", "x0x7f.test", "9.9.9.9.nip.test", "r2.example"]
)
def test_a_name_with_digits_in_it_is_a_name(host):
    LinkGuard(REMOTE).check(f"https://{host}/x")


HOSTS = st.sampled_from(
    [
        "s.test",
        "S.Test:443",
        "s.test:8443",
        "s.test.",
        "127.0.0.1",
        "10.0.0.1:80",
        "0x7f.1",
        "a@s.test",
        "s.test:0",
        "-",
    ]
)
LINKS = st.builds(
    "{}://{}{}".format,
    st.sampled_from(["https", "http", "HTTPS", "ftp"]),
    HOSTS,
    st.text("/ab.%2f?=&#@:\\ é", max_size=12),
)


@given(base=st.sampled_from([REMOTE, LOCAL]), links=st.lists(LINKS, max_size=20))
def test_a_link_of_an_origin_that_was_seen_before_is_judged_like_the_first(
    base: httpx.URL, links: list[str]
) -> None:
    guard = LinkGuard(base)
    for link in links:
        assert judged(guard, link) == judged(LinkGuard(base), link) == judged(guard, link)


@given(
    rest=st.from_regex(
        r"(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,9}){1,3}(\?[A-Za-z0-9._=&-]{1,20})?", fullmatch=True
    )
)
def test_a_plain_link_is_sent_as_it_is_whatever_was_seen_before(rest: str) -> None:
    guard = LinkGuard(REMOTE)
    assert guard.check(f"https://s.test{rest}") == f"https://s.test{rest}"
    assert guard.check(f"https://s.test{rest}x") == str(httpx.URL(f"https://s.test{rest}x"))


def test_a_link_beyond_the_limit_is_refused_of_a_known_origin_too() -> None:
    guard = LinkGuard(REMOTE)
    link = "https://s.test/" + "a" * (STORAGE_URL_LIMIT - len("https://s.test/"))
    assert guard.check(link) == link
    assert judged(guard, link + "a").startswith("UNSAFE_URL")


def judged(guard: LinkGuard, link: str) -> str:
    try:
        return guard.check(link)
    except GatewayError as error:
        return f"{error.code}: {error}"
