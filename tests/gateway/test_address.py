"""Addresses: which base and storage URLs are taken, and how URLs are shown."""

from __future__ import annotations

import httpx
import pytest

from crucible_batch.errors import GatewayError, UserError
from crucible_batch.gateway import check_storage_url
from crucible_batch.gateway.address import parse_api_base, shown

REMOTE = "https://crucible.test"
LOCAL = "http://127.0.0.1:8080"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://crucible.moltazine.com", "https://crucible.moltazine.com/"),
        ("https://crucible.moltazine.com/", "https://crucible.moltazine.com/"),
        ("https://h.test:8443/gate/", "https://h.test:8443/gate"),
        ("HTTPS://H.test", "https://h.test/"),
        ("http://localhost:8080", "http://localhost:8080/"),
        ("http://127.0.0.1", "http://127.0.0.1/"),
        ("http://127.9.9.9", "http://127.9.9.9/"),
        ("http://[::1]:80", "http://[::1]/"),
        ("https://bücher.test", "https://xn--bcher-kva.test/"),
    ],
)
def test_a_base_url_is_taken(text, expected):
    base = parse_api_base(text)
    assert base == httpx.URL(expected)
    assert base.raw_host == httpx.URL(expected).raw_host


@pytest.mark.parametrize(
    "text",
    [
        "", "crucible.test", "//crucible.test", "https://", "https:///x", "ftp://h.test", "file:///etc/passwd",
        "http://crucible.test", "http://10.0.0.1", "http://2130706433", "http://0x7f.1", "http://localhost.evil.test",
        "https://user@h.test", "https://user:pw@h.test", "https://h.test?x=1", "https://h.test?", "https://h.test#x",
        "https://h.test\\@evil.test", "https://h .test", " https://h.test", "https://h.test\n", "https://h%61.test",
        "https://h.test:0", "https://h.test:99999", "https://h.test:x", "https://[::1", "javascript:alert(1)",
    ],
)  # fmt: skip
def test_a_base_url_is_refused(text):
    with pytest.raises(UserError) as caught:
        parse_api_base(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("https://s.test/bucket/x.png?sig=abc", REMOTE),
        ("https://crucible.test/storage/x", REMOTE),
        ("https://s.test:8443/x", REMOTE),
        ("https://s.test/x", LOCAL),
        ("http://127.0.0.1:9000/x?sig=1", LOCAL),
        ("http://localhost:9000/x", LOCAL),
        ("http://[::1]:9000/x", LOCAL),
        ("https://s.test/" + "x" * 16_000, REMOTE),
    ],
)
def test_a_storage_url_is_taken(url, base):
    check_storage_url(url, base)


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://s.test/x?sig=SECRET", REMOTE), ("http://s.test/x?sig=SECRET", LOCAL),
        ("http://127.0.0.1/x?sig=SECRET", REMOTE), ("http://2130706433/?sig=SECRET", LOCAL),
        ("http://[::ffff:10.0.0.1]/?sig=SECRET", LOCAL), ("https://user:SECRET@s.test/", REMOTE),
        ("https://user@s.test/?sig=SECRET", LOCAL), ("file:///etc/passwd", LOCAL), ("ftp://s.test/?SECRET", LOCAL),
        ("data:,SECRET", LOCAL), ("//s.test/?SECRET", REMOTE), ("/x?sig=SECRET", REMOTE), ("", REMOTE),
        ("https://s.test\\@evil.test/?SECRET", REMOTE), ("https://s.test/\r\nSECRET: 1", REMOTE),
        ("https://s.test/\x00?SECRET", REMOTE), ("https://s.test:70000/?SECRET", REMOTE),
        ("https://s.test/?SECRET" + "x" * 65_536, REMOTE), ("https://[::1?SECRET", REMOTE),
    ],
)  # fmt: skip
def test_a_storage_url_is_refused_without_being_shown(url, base):
    with pytest.raises(GatewayError) as caught:
        check_storage_url(url, base)
    assert caught.value.code == "UNSAFE_URL"
    assert "SECRET" not in str(caught.value)
    assert "SECRET" not in repr(caught.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://s.test/a/b.png?sig=SECRET#f", "https://s.test/a/b.png"),
        ("https://u:SECRET@s.test:8443/a", "https://s.test:8443/a"),
        ("http://[::1]:90/a?x", "http://[::1]:90/a"),
        ("https://s.test/a%1b[2Jb%0a?x", "https://s.test/ab"),
        ("https://[::1", "(a URL that can't be read)"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url, expected):
    assert shown(url) == expected
