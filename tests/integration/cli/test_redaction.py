"""No secret and no escape comes out by a log or by the trace of a bug, whoever wrote them."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest
import typer

from crucible_batch import secret_text
from crucible_batch.cli import redaction
from crucible_batch.cli.command_output import answering
from crucible_batch.cli.redaction import Redaction, redacted
from tests.harness.case_table import each_case
from tests.harness.disguises import DISGUISES, shows

KEY = "moltazine_a-key-that-must-not-be-seen"
PARTED_KEY = (
    f"{KEY[:12]}\u200b{KEY[12:]}"  # whole where invisible characters are removed afterwards
)
SIGNING = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ADDRESS = "https://hc-ping.com/7f0c-canary-1234-abcd"
SIGNED = "https://s.test/b/x.png?X-Sig=SIGNATURE&e=1"


@pytest.fixture(autouse=True)
def _as_it_was():
    root, ours = logging.getLogger(), logging.getLogger("crucible_batch")
    before = list(root.handlers), ours.level
    yield
    root.handlers, ours.level = before


@each_case(
    "text, expected",
    [
        (f"key {KEY} used", "key *** used"),
        (f"Authorization: Bearer {KEY}", "Authorization: Bearer ***"),
        ("{'authorization': 'bearer abc.def'}", "{'authorization': 'bearer ***'}"),
        (f"GET {SIGNED} failed", "GET https://s.test/b/x.png?*** failed"),
        (f"[{SIGNED!r}]", "['https://s.test/b/x.png?***']"),
        ("what? nothing here", "what? nothing here"),
        ("GET https://s.test/x#token=SIGNATURE failed", "GET https://s.test/x#*** failed"),
        (
            "proxy http://user:SIGNATURE@proxy.test:3128, refused",
            "proxy http://***@proxy.test:3128, refused",
        ),
        ("see ht\u200btps://user:SIGNATURE@s.test/", "see https://***@s.test/"),
        ("X-Amz-Signature=SIGNATURE", "X-Amz-Signature=***"),
        ("two\nlines\tand more", "two\nlines\tand more"),
    ],
)
def test_keys_and_queries_are_replaced(text: str, expected: str) -> None:
    assert redacted(text) == expected


def test_a_key_of_another_form_is_known_by_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOLTAZINE_API_KEY", "otherkey-123")
    assert redacted("otherkey-123 and otherkey-124") == "*** and otherkey-124"


@each_case("disguise", DISGUISES)
def test_a_disguised_key_is_found(monkeypatch: pytest.MonkeyPatch, disguise: str) -> None:
    monkeypatch.setenv("MOLTAZINE_API_KEY", KEY)
    assert not shows(KEY, redacted(f"it is {DISGUISES[disguise](KEY)} there"))


def test_a_key_of_another_form_in_a_file_is_known_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MOLTAZINE_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text("MOLTAZINE_API_KEY=otherkey-456\n")
    assert redacted("it is otherkey-456") == "it is ***"
    Path(".env").write_bytes(b"\xff\xfe")
    assert redacted("it is otherkey-456") == "it is otherkey-456"


def test_a_key_from_a_named_file_is_known_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_hidden_key", None)
    redaction.hide_key("otherkey-456")
    redaction.hide_key(None)
    assert redacted("it is otherkey-456") == "it is ***"


@pytest.mark.parametrize(
    ("secret", "text", "expected"),
    [
        (SIGNING, f"signed with {SIGNING}", "signed with ***"),
        (ADDRESS, f"GET {ADDRESS}: 404", "GET ***: 404"),
        (ADDRESS, "hc-ping.com: /7f0c-canary-1234-abcd", "hc-ping.com: /***"),
        (ADDRESS, "no answer from https://hc-ping.com/", "no answer from https://hc-ping.com/"),
        (
            "https://ntfy.sh/nightly",
            "the run nightly; https://ntfy.sh/nightly",
            "the run nightly; ***",
        ),
    ],
)
def test_a_registered_secret_is_redacted_and_the_host_of_an_address_is_not(
    monkeypatch: pytest.MonkeyPatch, secret: str, text: str, expected: str
) -> None:
    monkeypatch.setattr(secret_text, "_registered", {})
    secret_text.register_secret(secret)
    assert redacted(text) == expected


@each_case("disguise", sorted(set(DISGUISES) - {"token alone"}))
def test_a_disguised_address_is_found(monkeypatch: pytest.MonkeyPatch, disguise: str) -> None:
    monkeypatch.setattr(secret_text, "_registered", {})
    secret = "ping_a-long-path-that-must-not-be-seen"
    secret_text.register_secret(f"https://hooks.test/{secret}")
    assert not shows(secret, redacted(f"it is {DISGUISES[disguise](secret)} there"))


def test_arguments_and_exceptions_of_a_record_are_read_too() -> None:
    try:
        raise ValueError(KEY)  # noqa: TRY301
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "for %s", (SIGNED,), sys.exc_info())
    assert Redaction().filter(record)
    shown = logging.Formatter().format(record)
    assert "ValueError: ***" in shown
    assert KEY not in shown
    assert "SIGNATURE" not in shown


@pytest.mark.parametrize("name", ["", "asyncio", "httpx", "urllib3", "crucible_batch.gateway"])
def test_a_warning_of_any_library_is_a_note_without_secrets_and_escapes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # A notification by Apprise in the same process keeps urllib3's records to itself.
    monkeypatch.setattr(logging.getLogger(name), "propagate", True)
    with pytest.raises(typer.Exit), answering("run"):
        logging.getLogger(name).warning("%s\x1b[2J\x9b1m\u202e %s %s", KEY, PARTED_KEY, SIGNED)
    out, err = capsys.readouterr()
    assert out == ""
    assert "note" in err
    assert "***" in err
    for secret in (KEY, "SIGNATURE", "\x1b", "\x9b", "\u202e"):
        assert secret not in err


def test_the_requests_that_httpx_would_log_are_not_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(typer.Exit), answering("run", verbose=True):
        logging.getLogger("httpx").info("HTTP Request: GET %s", SIGNED)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("verbose", [False, True])
@pytest.mark.parametrize("json", [False, True])
def test_a_bug_is_confessed_without_secrets_and_escapes(
    capsys: pytest.CaptureFixture[str], verbose: bool, json: bool
) -> None:
    with pytest.raises(typer.Exit) as caught, answering("run", verbose=verbose, json=json):
        raise RuntimeError(f"{KEY} or {PARTED_KEY} at {SIGNED} \x1b[2J")
    assert caught.value.exit_code == 70
    shown = "".join(capsys.readouterr())
    assert "RuntimeError" in shown
    assert ("Traceback" in shown) is verbose
    for secret in (KEY, "SIGNATURE", "\x1b", "\u202e"):
        assert secret not in shown
