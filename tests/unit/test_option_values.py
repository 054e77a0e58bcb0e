"""Addresses of servers, as options have them."""

from __future__ import annotations

import pytest

from crucible_batch.option_values import parse_address
from tests.harness.case_table import each_case


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
