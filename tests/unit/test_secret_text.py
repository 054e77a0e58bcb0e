"""Registered secrets, and lines and messages without addresses."""

from __future__ import annotations

import pytest

from crucible_batch import secret_text
from crucible_batch.secret_text import (
    mask_addresses,
    mask_source_line,
    register_secret,
    registered_secrets,
)


@pytest.fixture(autouse=True)
def _none_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret_text, "_registered", {})


def test_a_secret_is_registered_once_without_blanks_around_it_and_not_shown_by_repr() -> None:
    for text in ("whsec_abc\n", "whsec_abc", "", "  ", None):
        register_secret(text)
    assert registered_secrets() == ("whsec_abc",)
    assert repr(registered_secrets()) == "('***',)"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('    heartbeat: "https://hc/CANARY"', "    heartbeat: ***"),
        ("  - webhook: https://hc/CANARY", "  - webhook: ***"),
        ("  - {on: [failure], webhook: https://hc/CANARY}", "***"),
        ("      CANARY", "***"),
        ("  - heartbeat:CANARY", "***"),
    ],
)
def test_of_a_line_of_notify_only_the_key_is_shown(line: str, shown: str) -> None:
    assert mask_source_line(line, entirely=True) == shown


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("jobs: [{prompt: https://example.org/a}]", "jobs: [{prompt: https://example.org/a}]"),
        ("  heartbeat: env:HEARTBEAT_URL", "  heartbeat: env:HEARTBEAT_URL"),
        (
            "{notify: [{on: [failure], secret: CANARY}], jobs: [{name: a}]}",
            "{notify: [{on: [failure], secret: ***",
        ),
        ('{"notify": [{"apprise" : "CANARY"}]}', '{"notify": [{"apprise" : ***'),
    ],
)
def test_of_any_other_line_what_follows_a_secret_key_is_replaced(line: str, shown: str) -> None:
    assert mask_source_line(line, entirely=False) == shown


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("unknown key 'heartbeat:https://hc/CANARY'", "unknown key 'heartbeat:***'"),
        ("got https://user:CANARY@hc/CANARY not env", "got *** not env"),
        ("whsec_CANARY is no key", "*** is no key"),
        ("must be env:NAME or file:PATH", "must be env:NAME or file:PATH"),
    ],
)
def test_addresses_and_signing_secrets_are_masked_in_messages(text: str, masked: str) -> None:
    assert mask_addresses(text) == masked
