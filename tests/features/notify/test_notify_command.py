"""Notifications from the command line: ``doctor MANIFEST``, the options of ``run``, and that no
secret is shown.
"""

from __future__ import annotations

import json
import re
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from tests.harness.commands import KEY, Cli, answering, journalled, wait_until

ADDRESS = "9d1c4b7e02af53-canary-of-the-address"
SECRET = "whsec_Y2FuYXJ5LW9mLXRoZS1zaWduaW5nLXNlY3JldC0wMQ=="
CANARIES = (ADDRESS, SECRET, SECRET.removeprefix("whsec_"), "canary-of-the-signing", KEY)
HEART = '{on: [success, failure], heartbeat: "env:HEART"}'
HOOK = '{on: [success, failure], webhook: "env:HOOK", secret: "env:SECRET"}'
_PATIENCE_S = 60.0


@dataclass
class Receiver:
    """A server, and the requests that it got."""

    url: str
    requests: list[tuple[str, dict[str, str], bytes]]

    @property
    def environment(self) -> dict[str, str]:
        return {
            "HEART": f"{self.url}?token={ADDRESS}",
            "HOOK": f"{self.url}/hook",
            "SECRET": SECRET,
        }


@contextmanager
def receiving(status: int = 200) -> Iterator[Receiver]:
    requests: list[tuple[str, dict[str, str], bytes]] = []
    with answering(status, seen=requests, Location=f"http://127.0.0.1:1/{ADDRESS}") as url:
        yield Receiver(f"{url.replace('//', f'//user:{ADDRESS}@')}/{ADDRESS}", requests)


def leaks(*texts: str, folder: Path | None = None) -> list[str]:
    """Return each place of a canary, in texts and in the files of a folder."""
    found = [
        f"{canary} in text {at}"
        for at, text in enumerate(texts)
        for canary in CANARIES
        if canary in text
    ]
    for path in sorted(folder.rglob("*") if folder is not None else ()):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            found += [f"{canary} in {path}" for canary in CANARIES if canary.encode() in content]
    return found


def test_a_run_sends_its_messages_and_shows_no_secret_anywhere(cli: Cli) -> None:
    cli.write("told", head=f"notify: [{HEART}, {HOOK}]\n")
    with receiving() as receiver:
        shown = [
            cli("run", "told.yaml", "-v", **receiver.environment),
            cli("run", "told.yaml", "--json", **receiver.environment),
            cli("doctor", "told.yaml", "-v", **receiver.environment),
            cli("report", "outputs/told/default", **receiver.environment),
            cli("status", "outputs/told/default", "--json", **receiver.environment),
        ]
    assert [done.code for done in shown] == [0] * 5, [done.err for done in shown]
    assert leaks(*(done.out + done.err for done in shown), folder=cli.cwd) == []
    paths = [path.partition("?")[0].removeprefix(f"/{ADDRESS}") for path, _, _ in receiver.requests]
    assert sorted(paths) == sorted(["/0", "/hook"] * 3)
    assert KEY not in repr(receiver.requests)
    bodies = [body for path, headers, body in receiver.requests if path.endswith("/hook")]
    headers = [headers for path, headers, _ in receiver.requests if path.endswith("/hook")]
    assert all(Webhook(SECRET).verify(*each) for each in zip(bodies, headers, strict=True))
    assert [json.loads(body)["data"]["test"] for body in bodies] == [False, False, True]
    assert "notification of success sent to webhook env:HOOK" in shown[0].err


@pytest.mark.parametrize("status", [302])
def test_a_failure_is_a_note_and_is_reported_without_a_secret(cli: Cli, status: int) -> None:
    name = f"refused-{status}"
    cli.write(name, head=f"notify: [{HEART}, {HOOK}]\n")
    with receiving(status) as receiver:
        run = cli("run", f"{name}.yaml", "-v", **receiver.environment)
        tested = cli("doctor", f"{name}.yaml", "--json", **receiver.environment)
    assert (run.code, tested.code) == (0, 5)
    assert f"notification of success to heartbeat env:HEART failed: HTTP {status}" in " ".join(
        run.err.split()
    )
    assert tested.envelope["error"]["code"] == "DOCTOR"
    told = [row for row in tested.envelope["data"]["findings"] if row["topic"] == "notify"]
    assert [(row["grade"], row["text"].split(":")[0]) for row in told] == [
        ("bad", "heartbeat env"),
        ("bad", "webhook env"),
    ]
    assert leaks(run.out + run.err, tested.out + tested.err, folder=cli.cwd) == []


def test_a_variable_in_dotenv_is_used(cli: Cli) -> None:
    cli.write("dotted", head=f"notify: [{HEART}]\n")
    with receiving() as receiver:
        (cli.cwd / ".env").write_text(f"HEART={receiver.url}\n")
        assert cli("run", "dotted.yaml").code == 0
    assert len(receiver.requests) == 1


def test_what_is_missing_is_named_before_anything_is_spent(cli: Cli) -> None:
    cli.write("unset", head=f"notify: [{HEART}, {{on: [success], command: [sh]}}]\n")
    done = cli("run", "unset.yaml", "--json")
    assert done.code == 2
    assert done.envelope["error"]["code"] == "INVALID_NOTIFICATION"
    message = done.envelope["error"]["message"]
    assert "notify[0]: env:HEART: the variable is not set" in message
    assert "notify[1]: running sh needs your consent: add --allow-command" in message
    assert not (cli.cwd / "outputs").exists()
    tested = cli("doctor", "unset.yaml")
    assert (tested.code, "no message was sent" in tested.err, "--no-notify" in tested.err) == (
        2,
        True,
        False,
    )
    assert cli("validate", "unset.yaml").code == 0
    planned = cli("plan", "unset.yaml")
    assert planned.code == 0
    assert "run would refuse notify[0]: env:HEART: the variable is not set" in " ".join(
        planned.out.split()
    )
    assert cli("run", "unset.yaml", "--no-notify").code == 0


def test_a_command_runs_with_consent_and_without_the_key(cli: Cli) -> None:
    program = "cat > told.json; env > environment"
    cli.write("asked", head=f'notify: [{{on: [success], command: [sh, -c, "{program}"]}}]\n')
    assert "`notify` has a command: run needs --allow-command" in cli("plan", "asked.yaml").out
    done = cli("run", "asked.yaml", CRUCIBLE_BATCH_ALLOW_COMMANDS="1")
    assert done.code == 0, done.err
    assert json.loads((cli.cwd / "told.json").read_text())["type"] == "run.succeeded"
    assert KEY not in (cli.cwd / "environment").read_text()


@pytest.mark.parametrize("option", ["--allow-command", "--no-notify"])
def test_the_next_command_has_the_option_for_notifications_and_works_as_it_is(
    cli: Cli, option: str
) -> None:
    name = f"resumed{option}"
    two = "- {name: fox, prompt: a fox}\n- {name: owl, prompt: an owl}"
    manifest = cli.write(
        name, two, budget="{credits: 2}", head="notify: [{on: [success], command: [touch, ran]}]\n"
    )
    assert cli("run", manifest).code == 2
    assert cli("run", manifest, option).code == 4
    run_dir = cli.cwd / "outputs" / name / "default"
    (listed,) = cli("status", "--json").envelope["data"]["runs"]
    status = (
        cli("status", str(run_dir.relative_to(cli.cwd)))
        .out.splitlines()[-1]
        .partition("next")[2]
        .strip()
    )
    page = re.findall(r"crucible-batch run [^<]*", (run_dir / "report.html").read_text())[0]
    assert option in listed["next"]
    assert option in status
    assert option in page
    done = cli(*shlex.split(listed["next"])[1:])
    assert done.code == 0, done.err
    assert (cli.cwd / "ran").exists() == (option == "--allow-command")


def test_the_consent_is_not_read_from_dotenv(cli: Cli) -> None:
    """A folder of another person must not allow its own manifest to run a program."""
    cli.write("sly", head="notify: [{on: [success], command: [touch, ran]}]\n")
    (cli.cwd / ".env").write_text("CRUCIBLE_BATCH_ALLOW_COMMANDS=1\n")
    assert cli("run", "sly.yaml").code == 2
    assert not (cli.cwd / "ran").exists()


@pytest.mark.parametrize(
    "entry",
    [
        'heartbeat: "file:.env"',
        'webhook: "env:HOOK", secret: "env:MOLTAZINE_API_KEY"',
        'webhook: "env:HOOK", secret: "file:/etc/passwd"',
    ],
)
def test_a_manifest_can_not_send_the_key_or_a_file_to_an_address_of_its_own(
    cli: Cli, entry: str
) -> None:
    cli.write("hostile", head=f"notify: [{{on: [failure, success], {entry}}}]\n")
    (cli.cwd / ".env").write_text(f"MOLTAZINE_API_KEY={KEY}\n")
    with receiving() as receiver:
        done = cli("run", "hostile.yaml", "-v", HOOK=receiver.url)
    assert done.code == 2, done.err
    assert "INVALID_NOTIFICATION" in done.err
    assert receiver.requests == []
    assert "root:" not in done.out + done.err
    assert leaks(done.out + done.err) == []


def test_sigterm_ends_a_run_with_its_message(slow_cli: Cli) -> None:
    slow_cli.write("ended", head=f"notify: [{HEART}]\n")
    with receiving() as receiver:
        process = slow_cli.start(
            "run", "ended.yaml", env={**slow_cli.environment, **receiver.environment}
        )
        assert process.stderr is not None
        wait_until(lambda: journalled(slow_cli, "ended", "Held"))
        process.send_signal(signal.SIGTERM)
        said = []
        for line in process.stderr:
            said.append(line)
            if "stopping" in line:  # it waits for a job, if it has bought it by now
                break
        process.send_signal(signal.SIGTERM)
        out, rest = process.communicate(timeout=_PATIENCE_S)
    err = "".join(said) + rest
    assert process.returncode == 143, err
    paths = [path.partition("?")[0].removeprefix(f"/{ADDRESS}") for path, _, _ in receiver.requests]
    assert paths == ["/143"]
    assert leaks(out, err) == []
