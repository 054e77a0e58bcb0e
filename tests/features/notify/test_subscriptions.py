"""The entries of a manifest to channels, and what is refused before anything is spent."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from crucible_batch.features.notify import subscriptions
from crucible_batch.features.notify.manifest_keys import Notification
from crucible_batch.features.notify.sources import SourceReader
from crucible_batch.features.notify.subscriptions import Resolved, resolve
from crucible_batch.option_values import RunEvent
from crucible_batch.shell_command import install_hint

# An import of Apprise, or of what it uses.
pytestmark = pytest.mark.filterwarnings("ignore:'?(imghdr|pipes|cgi)'?:DeprecationWarning")

SECRET = "whsec_" + base64.b64encode(b"the canary in the signing secret").decode()
ENVIRON = {"HEART": "https://hc.test/canary", "HOOK": "https://hook.test/canary", "SECRET": SECRET}


def resolved(tmp_path: Path, *entries: dict[str, object], allow_command: bool = False) -> Resolved:
    """Resolve the entries of a manifest in ``tmp_path``, for ``success`` unless they say else."""
    reader = SourceReader(ENVIRON, {}, tmp_path, "MOLTAZINE_API_KEY", None)
    notifications = [
        Notification(**{"on": ["success"], **entry})  # type: ignore[arg-type]
        for entry in entries
    ]
    return resolve(notifications, reader, proxy=None, allow_command=allow_command)


def test_each_entry_is_a_channel_for_its_events(tmp_path: Path) -> None:
    (tmp_path / "apprise").write_text("json://a.test\njson://b.test\n")
    found = resolved(
        tmp_path,
        {"on": ["blocked", "failure"], "heartbeat": "env:HEART"},
        {"webhook": "env:HOOK", "secret": "env:SECRET"},
        {"on": ["failure"], "apprise": "file:apprise"},
        {"command": ["sh", "-c", "cat"]},
        allow_command=True,
    )
    assert found.problems == ()
    assert [(channel.kind, channel.source) for channel in found.channels()] == [
        ("heartbeat", "env:HEART"),
        ("webhook", "env:HOOK"),
        ("apprise", "file:apprise (1 of 2)"),
        ("apprise", "file:apprise (2 of 2)"),
        ("command", "notify[3] (sh)"),
    ]
    assert kinds(found, RunEvent.BLOCKED) == ["heartbeat"]
    assert kinds(found, RunEvent.FAILURE) == ["heartbeat", "apprise", "apprise"]
    assert kinds(found, RunEvent.SUCCESS) == ["webhook", "command"]
    assert kinds(found, RunEvent.PARTIAL) == []


def kinds(found: Resolved, event: RunEvent) -> list[str]:
    return [channel.kind for channel in found.channels(event)]


def test_no_address_and_no_secret_is_in_what_an_error_may_print(tmp_path: Path) -> None:
    found = resolved(
        tmp_path, {"heartbeat": "env:HEART"}, {"webhook": "env:HOOK", "secret": "env:SECRET"}
    )
    assert [channel.kind for channel in found.channels()] == ["heartbeat", "webhook"]
    assert "canary" not in repr(found)


def test_all_problems_are_named_and_the_other_channels_remain(tmp_path: Path) -> None:
    found = resolved(
        tmp_path,
        {"heartbeat": "env:UNSET"},
        {"heartbeat": "env:HEART"},
        {"webhook": "env:HOOK", "secret": "env:HEART"},
        {"command": ["./missing.sh"]},
        allow_command=True,
    )
    assert found.problems == (
        "notify[0]: env:UNSET: the variable is not set",
        "notify[2]: env:HEART must be whsec_ followed by base64 of 24 to 64 bytes",
        "notify[3]: ./missing.sh is not an executable program",
    )
    assert [channel.source for channel in found.channels()] == ["env:HEART"]


def test_a_command_needs_the_consent_of_the_user(tmp_path: Path) -> None:
    """A manifest of another person must not run a program."""
    found = resolved(tmp_path, {"command": ["sh", "-c", "rm -rf ."]})
    assert found.channels() == []
    (problem,) = found.problems
    assert problem == "notify[0]: running sh needs your consent: add --allow-command"


def test_without_apprise_the_message_names_the_extra_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "is_installed", lambda: False)
    (problem,) = resolved(tmp_path, {"apprise": "env:HEART"}).problems
    assert problem == (f"notify[0]: apprise is not installed; {install_hint('apprise')}")


def test_an_apprise_url_of_no_service_is_refused(tmp_path: Path) -> None:
    (tmp_path / "urls").write_text("json://a.test\nnonsense://canary\n")
    (problem,) = resolved(tmp_path, {"apprise": "file:urls"}).problems
    assert problem == "notify[0]: file:urls (2 of 2) is not a URL that Apprise knows"
