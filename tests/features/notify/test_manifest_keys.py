"""The manifest key ``notify``."""

from __future__ import annotations

from pathlib import Path

import pytest

from crucible_batch.errors import ManifestError
from crucible_batch.features.notify.manifest_keys import HIDDEN, Notification
from crucible_batch.secret_text import mask_source_line
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


@each_case("key", HIDDEN)
def test_an_address_or_a_secret_in_the_manifest_is_refused_and_not_repeated(
    tmp_path: Path, key: str
) -> None:
    with pytest.raises(ManifestError) as caught:
        load(tmp_path, f"notify: [{{on: [success], {key}: 'https://hc-ping.com/canary'}}]")
    messages = [problem.message for problem in caught.value.problems]
    assert any("must be env:NAME or file:PATH" in message for message in messages)
    assert not any("canary" in message for message in messages)


def test_each_address_and_secret_is_hidden_wherever_a_line_of_a_manifest_is_shown() -> None:
    fields = Notification.model_json_schema()["properties"]
    read = {
        name for name, field in fields.items() if str(field.get("pattern")).startswith("^(env:")
    }
    assert read == set(HIDDEN), (
        "HIDDEN (manifest_keys.py) must have each field that is a SecretSource"
    )
    for key in HIDDEN:
        shown = mask_source_line(f"{{notify: [{{{key}: CANARY}}]}}", entirely=False)
        assert "CANARY" not in shown, f"add {key} to _CHANNEL (secret_text.py)"
