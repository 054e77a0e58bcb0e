"""The manifest key ``notify``."""

from __future__ import annotations

from pathlib import Path

import pytest

from crucible_batch.errors import ManifestError
from tests.harness.case_table import each_case
from tests.unit.manifest.test_operations import load


def test_a_manifest_without_the_key_notifies_nobody(tmp_path: Path) -> None:
    assert load(tmp_path, "").header.notify == []


@each_case(
    "text, message",
    [
        ("notify: [{on: [success]}]", "got none of them"),
        (
            "notify: [{on: [success], command: [x], heartbeat: 'env:A'}]",
            "got heartbeat and command",
        ),
        ("notify: [{on: [success], webhook: 'env:A'}]", "`webhook` needs `secret`"),
        (
            "notify: [{on: [success], command: [x], secret: 'env:A'}]",
            "`secret` belongs to `webhook`",
        ),
        ("notify: [{on: [], command: [x]}]", "is an empty list"),
        ("notify: [{on: [success], command: []}]", "is an empty list"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        load(tmp_path, text)
    assert message in str(caught.value)


@each_case("key", ["heartbeat", "webhook", "secret", "apprise"])
def test_an_address_or_a_secret_in_the_manifest_is_refused_and_not_repeated(
    tmp_path: Path, key: str
) -> None:
    with pytest.raises(ManifestError) as caught:
        load(tmp_path, f"notify: [{{on: [success], {key}: 'https://hc-ping.com/canary'}}]")
    messages = [problem.message for problem in caught.value.problems]
    assert any("must be env:NAME or file:PATH" in message for message in messages)
    assert not any("canary" in message for message in messages)
