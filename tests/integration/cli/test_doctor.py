"""The doctor finds what keeps a run from working, says what to do, and never shows a secret."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.cli import doctor
from crucible_batch.errors import ExitCode
from crucible_batch.outputs import exclusive_rename
from tests.harness.commands import KEY, Cli, Done, answering


def finding(done: Done, topic: str) -> dict[str, Any]:
    (found,) = [each for each in done.envelope["data"]["findings"] if each["topic"] == topic]
    return dict(found)


def test_everything_a_run_needs_is_looked_at(cli: Cli) -> None:
    done = cli("doctor", "--json")
    assert done.code == ExitCode.OK
    topics = [each["topic"] for each in done.envelope["data"]["findings"]]
    assert topics == ["gateway", "health", "clock", "key", "disk", "versions"]
    assert {each["grade"] for each in done.envelope["data"]["findings"]} <= {"good", "warn"}
    assert finding(done, "clock")["grade"] == "good"


def test_a_gateway_that_cannot_be_connected_to_is_named_with_the_reason(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        place = f"127.0.0.1:{closed.getsockname()[1]}"
    done = Cli(tmp_path, f"https://{place}")("doctor", "--json")
    why = f"no answer: can't connect to {place}: {os.strerror(errno.ECONNREFUSED)}"
    assert (done.code, finding(done, "health")["text"]) == (ExitCode.STOPPED, why)


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (403, "ask its operator for access"),
        (404, "the gateway's base URL"),
        (503, "try again later"),
    ],
)
def test_a_server_that_answers_with_an_error_is_not_called_a_problem_of_the_network(
    lonely_cli: Cli, status: int, hint: str
) -> None:
    with answering(lambda path: status if path == "/api/health" else 404) as url:
        done = lonely_cli("doctor", "--json", CRUCIBLE_API_BASE=url)
    found = finding(done, "health")
    assert done.code == ExitCode.KEY_REFUSED  # there is none, whatever the server answers
    assert found["text"] == f"HTTP {status}"
    assert hint in str(found["hint"])


def test_a_clock_that_is_off_is_told_with_its_sign(lonely_cli: Cli) -> None:
    with answering(
        lambda path: 200 if path == "/api/health" else 404, Date="Thu, 01 Jan 2015 00:00:00 GMT"
    ) as url:
        done = lonely_cli("doctor", "--json", CRUCIBLE_API_BASE=url)
    assert done.code == ExitCode.KEY_REFUSED  # for want of one; a wrong clock is a warning
    clock = finding(done, "clock")
    assert clock["grade"] == "warn"
    assert clock["text"].startswith("+")
    assert clock["hint"] == "set this machine's clock"


def test_a_folder_that_cannot_be_written_is_told(cli: Cli) -> None:
    done = Cli(Path("/proc"), cli.url)("doctor", "--json")
    assert (done.code, done.envelope["error"]["code"]) == (ExitCode.STOPPED, "DOCTOR")
    assert done.envelope["error"]["message"].startswith("disk: /proc can't be written: ")
    assert finding(done, "disk")["grade"] == "bad"
    assert_hint_is_of_run(finding(done, "disk")["hint"])


def assert_hint_is_of_run(hint: str | None) -> None:
    """``doctor`` looks at where it is started: ``--out-dir`` is an option of ``run``."""
    assert "crucible-batch run --out-dir" in str(hint)
    assert str(hint).count("--out-dir") == 1


def disk_check(monkeypatch: pytest.MonkeyPatch, here: Path) -> doctor.DoctorCheck:
    """Return the finding about the disk, made in this process, where a test can break calls."""
    monkeypatch.chdir(here)
    (found,) = [each for each in doctor._about_machine() if each.topic == "disk"]
    assert list(here.iterdir()) == [], "the doctor left a file behind"
    return found


def failing_with(number: int) -> Callable[..., None]:
    def fail(*_args: object, **_options: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_folder_where_no_output_could_get_its_name_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("link", "rename"):
        monkeypatch.setattr(os, name, failing_with(errno.EPERM))
    monkeypatch.setattr(exclusive_rename, "_exclusive_rename", lambda: None)
    found = disk_check(monkeypatch, tmp_path)
    assert (found.grade, found.exit_code) == ("bad", ExitCode.STOPPED)
    assert found.text.startswith(f"the file system of {tmp_path} can't store outputs: ")
    assert_hint_is_of_run(found.hint)


def test_a_folder_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", failing_with(errno.ENOSYS))
    found = disk_check(monkeypatch, tmp_path)
    assert (found.grade, found.exit_code) == ("bad", ExitCode.STOPPED)
    assert "has no file locks" in found.text
    assert str(tmp_path) in found.text
    assert ".crucible-part-" not in found.text, "the file that was tried means nothing to a user"
    assert_hint_is_of_run(found.hint)


def test_proxies_of_the_environment_are_named_and_said_to_be_ignored(cli: Cli) -> None:
    done = cli(
        "doctor",
        "--json",
        HTTPS_PROXY="http://user:sesame@127.0.0.1:1",
        all_proxy="socks5://127.0.0.1:1",
    )
    assert done.code == ExitCode.OK
    text = finding(done, "proxy")["text"]
    assert text == "HTTPS_PROXY, all_proxy set in the environment, but ignored"
    assert "sesame" not in done.out + done.err


@pytest.mark.parametrize("options", [(), ("-v",), ("--json",)])
def test_no_key_is_shown_wherever_it_comes_from_and_whatever_becomes_of_it(
    cli: Cli, lonely_cli: Cli, options: tuple[str, ...]
) -> None:
    refused = cli("doctor", *options, MOLTAZINE_API_KEY="moltazine_sesame")
    assert refused.code == ExitCode.KEY_REFUSED
    malformed = cli("doctor", *options, MOLTAZINE_API_KEY="moltazine_ses ame")
    assert malformed.code == ExitCode.KEY_REFUSED
    (lonely_cli.cwd / ".env").write_text(f"MOLTAZINE_API_KEY={KEY}\nCRUCIBLE_API_BASE={cli.url}\n")
    accepted = lonely_cli("doctor", *options)
    assert accepted.code == ExitCode.OK, accepted.out
    said = "".join(done.out + done.err for done in (refused, malformed, accepted))
    assert "moltazine_s" not in said
    assert "ses ame" not in said


def test_a_password_in_the_base_url_is_refused_and_not_shown(lonely_cli: Cli) -> None:
    done = lonely_cli(
        "doctor", CRUCIBLE_API_BASE="https://user:sesame@127.0.0.1:9", MOLTAZINE_API_KEY=KEY
    )
    assert done.code == ExitCode.STOPPED
    assert "must not contain a user" in done.out
    assert "sesame" not in done.out + done.err
