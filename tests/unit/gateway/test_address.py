"""Addresses: which base and storage URLs are taken, and how URLs are shown."""

from __future__ import annotations

import httpx
import pytest

from crucible_batch.errors import GatewayError, UserError
from crucible_batch.gateway import check_storage_url
from crucible_batch.gateway.url_guard import (
    STORAGE_URL_LIMIT,
    check_id,
    check_workflow_id,
    host_of,
    origin,
    parse_api_base,
    shown,
    workflow_segment,
)
from tests.harness.case_table import each_case

REMOTE = "https://crucible.test"
LOCAL = "http://127.0.0.1:8080"


@each_case(
    "text, expected",
    [
        ("https://crucible.moltazine.com", "https://crucible.moltazine.com/"),
        ("https://crucible.moltazine.com/", "https://crucible.moltazine.com/"),
        ("https://h.test:8443/gate/", "https://h.test:8443/gate"),
        ("HTTPS://H.test", "https://h.test/"),
        ("http://localhost:8080", "http://localhost:8080/"),
        ("http://127.0.0.1", "http://127.0.0.1/"),
        ("http://127.9.9.9", "http://127.9.9.9/"),
        ("http://[::1]:80", "http://[::1]/"),
        ("https://h.test/gateX/", "https://h.test/gateX"),
        ("https://h.test:1", "https://h.test:1/"),
        ("https://h.test:65535", "https://h.test:65535/"),
        ("https://bücher.test", "https://xn--bcher-kva.test/"),
    ],
)
def test_a_base_url_is_taken(text, expected):
    base = parse_api_base(text)
    assert base == httpx.URL(expected)
    assert base.raw_host == httpx.URL(expected).raw_host


@each_case(
    "text",
    [
        "", "crucible.test", "//crucible.test", "https://", "https:///x", "ftp://h.test",
        "file:///etc/passwd", "http://crucible.test", "http://10.0.0.1", "http://2130706433",
        "http://0x7f.1", "http://localhost.evil.test", "https://user@h.test",
        "https://user:pw@h.test", "https://h.test?x=1", "https://h.test?", "https://h.test#x",
        "https://h.test#", "https://h.test:65536",
        "https://h.test\\@evil.test", "https://h .test", " https://h.test", "https://h.test\n",
        "https://h%61.test", "https://h.test:0", "https://h.test:99999", "https://h.test:x",
        "https://[::1", "javascript:alert(1)",
    ],
)  # fmt: skip
def test_a_base_url_is_refused(text):
    with pytest.raises(UserError) as caught:
        parse_api_base(text)
    assert caught.value.hint


@each_case(
    "url, base",
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


@each_case(
    "url, base",
    [
        ("http://s.test/x?sig=SECRET", REMOTE), ("http://s.test/x?sig=SECRET", LOCAL),
        ("http://127.0.0.1/x?sig=SECRET", REMOTE), ("http://2130706433/?sig=SECRET", LOCAL),
        ("http://[::ffff:10.0.0.1]/?sig=SECRET", LOCAL), ("https://user:SECRET@s.test/", REMOTE),
        ("https://user@s.test/?sig=SECRET", LOCAL), ("file:///etc/passwd", LOCAL),
        ("ftp://s.test/?SECRET", LOCAL), ("data:,SECRET", LOCAL), ("//s.test/?SECRET", REMOTE),
        ("/x?sig=SECRET", REMOTE), ("", REMOTE), ("https://s.test\\@evil.test/?SECRET", REMOTE),
        ("https://s.test/\r\nSECRET: 1", REMOTE), ("https://s.test/\x00?SECRET", REMOTE),
        ("https://s.test:70000/?SECRET", REMOTE), ("https://s.test/?SECRET" + "x" * 65_536, REMOTE),
        ("https://[::1?SECRET", REMOTE),
    ],
)  # fmt: skip
def test_a_storage_url_is_refused_without_being_shown(url, base):
    with pytest.raises(GatewayError) as caught:
        check_storage_url(url, base)
    assert caught.value.code == "UNSAFE_URL"
    assert "SECRET" not in str(caught.value)
    assert "SECRET" not in repr(caught.value)


LIKE = "give one like https://crucible.moltazine.com"


@each_case(
    "text, message, hint",
    [
        ("ftp://h.test", "'ftp://h.test' is not a base URL", LIKE),
        ("x" * 101, f"'{'x' * 99}…' is not a base URL", LIKE),
        ("https://h.test?x=1", "the base URL must not contain a user, a query or a fragment", LIKE),
        (
            "http://h.test/a",
            "the base URL http://h.test/a would send the API key unencrypted",
            "use https; http is allowed only for this machine",
        ),
    ],
)
def test_a_base_url_that_is_refused_says_why(text, message, hint):
    with pytest.raises(UserError) as caught:
        parse_api_base(text)
    assert (str(caught.value), caught.value.hint) == (message, hint)


@each_case(
    "url, message",
    [
        ("data:,x", "the storage URL is not a valid URL"),
        ("https://u@s.test/x", "the storage URL https://s.test/x contains a user or a password"),
        ("http://s.test/x?q", "the storage URL http://s.test/x is not https"),
    ],
)
def test_a_storage_url_that_is_refused_says_why(url, message):
    with pytest.raises(GatewayError) as caught:
        check_storage_url(url, REMOTE)
    error = caught.value
    assert (error.args[0], error.operation) == (message, "storage")
    assert error.hint == "nothing was sent to it; report it to the gateway's operator"


def test_the_longest_storage_url_is_taken_and_a_longer_one_is_not():
    start = "https://s.test/"
    longest = start + "x" * (STORAGE_URL_LIMIT - len(start))
    assert str(check_storage_url(longest, REMOTE)) == longest
    with pytest.raises(GatewayError):
        check_storage_url(longest + "x", REMOTE)


@each_case(
    "check, value, message",
    [
        (lambda value: check_id(value, what="job id"), "../credits", "not a job id: '../credits'"),
        (lambda value: check_id(value, what="job id"), "x" * 129, f"not a job id: '{'x' * 99}…'"),
        (check_workflow_id, "..", "not a workflow id: '..'"),
    ],
)
def test_an_id_that_fits_no_path_is_refused_and_named(check, value, message):
    with pytest.raises(GatewayError) as caught:
        check(value)
    what = message.split(":")[0].removeprefix("not a ")
    assert (caught.value.args[0], caught.value.code) == (message, "BAD_REQUEST")
    assert caught.value.hint == f"nothing was sent; use a {what} that the gateway returned"


def test_a_workflow_id_is_one_segment_of_a_path():
    assert workflow_segment("a/b?c X.d") == "a%2Fb%3Fc%20X.d"


@each_case(
    "url, expected",
    [
        ("https://S.test/x", ("https", "s.test", 443)),
        ("http://s.test", ("http", "s.test", 80)),
        ("https://s.test:8443", ("https", "s.test", 8443)),
    ],
)
def test_an_origin_has_its_port(url, expected):
    assert origin(httpx.URL(url)) == expected


@each_case(
    "url, expected",
    [
        ("https://s.test/" + "x" * 300, "https://s.test/" + "x" * 184 + "…"),
        ("https://s.test/a/b.png?sig=SECRET#f", "https://s.test/a/b.png"),
        ("https://u:SECRET@s.test:8443/a", "https://s.test:8443/a"),
        ("http://[::1]:90/a?x", "http://[::1]:90/a"),
        ("https://s.test/a%1b[2Jb%0a?x", "https://s.test/ab"),
        ("https://[::1", "(an invalid URL)"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url, expected):
    assert shown(url) == expected


def test_of_a_signed_link_only_the_host_is_shown() -> None:
    assert host_of("https://user:word@s.test:8443/bucket/x.png?sig=abc#part") == "s.test:8443"
    assert host_of("https://[2001:db8::1]/x?sig=abc") == "[2001:db8::1]"
    assert host_of("https://no port:x/sig") == ""
