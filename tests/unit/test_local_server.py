"""Addresses of servers, and a socket that is taken."""

from __future__ import annotations

import contextlib

import pytest

from crucible_batch.errors import UserError
from crucible_batch.local_server import bind
from crucible_batch.option_values import parse_address
from tests.case_table import each_case


@each_case(
    "text, address",
    [
        ("8080", ("127.0.0.1", 8080)), (":8080", ("127.0.0.1", 8080)), ("0", ("127.0.0.1", 0)),
        ("0.0.0.0:80", ("0.0.0.0", 80)), ("[::1]:80", ("::1", 80)), ("localhost:65535", ("localhost", 65_535)),
    ],
)  # fmt: skip
def test_an_address_is_read(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@each_case("text", ["", "nowhere", "65536", "-1", "127.0.0.1", "::1:80", "host:port", "²", "80/"])
def test_what_is_not_an_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address; write a port"):
        parse_address(text)


def test_a_port_in_use_is_named_with_its_option() -> None:
    with contextlib.closing(bind("127.0.0.1", 0, "--health")) as first:
        port = first.getsockname()[1]
        with pytest.raises(UserError) as caught:
            bind("127.0.0.1", port, "--health")
    assert caught.value.message == f"port {port} of 127.0.0.1 is not available: Address already in use"
    assert caught.value.hint == "choose another --health; 0 chooses a free port"


def test_a_host_that_is_unknown_is_named() -> None:
    with pytest.raises(UserError) as caught:
        bind("no.such.host.invalid", 80, "--health")
    assert caught.value.message.startswith("port 80 of no.such.host.invalid is not available: ")
    assert "None" not in caught.value.message
