"""The installed command with ``after``: consent, what the program receives, and how it may end."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.harness.commands import Cli, check_stream, wait_until

THREE = '- {name: heron, prompt: "a heron, {{ repeat }}", repeat: 3}'
HEAD = "after: [./post]\n"
NOTE = 'read -r line; echo "$line" >> posted'


def script(cli: Cli, text: str) -> None:
    path = cli.cwd / "post"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)


def posted(cli: Cli) -> list[dict[str, Any]]:
    file = cli.cwd / "posted"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_a_program_is_refused_without_consent_and_nothing_is_spent(cli: Cli) -> None:
    script(cli, NOTE)
    cli.write("consent", THREE, head=HEAD)
    done = cli("run", "consent.yaml")
    assert done.code == 2
    assert "INVALID_AFTER" in done.err
    assert "consent.yaml:5:8: running ./post needs your consent: add --allow-command" in done.err
    assert not (cli.cwd / "outputs").exists()
    assert "`after` has a command: run needs --allow-command" in cli("plan", "consent.yaml").out


def test_a_program_that_is_missing_is_refused_and_nothing_is_spent(cli: Cli) -> None:
    cli.write("missing", THREE, head=HEAD)
    done = cli("run", "missing.yaml", "--allow-command")
    assert done.code == 2
    assert "missing.yaml:5:8: ./post is not an executable program" in done.err
    assert not (cli.cwd / "outputs").exists()
    assert "run would refuse missing.yaml:5:8: ./post is not" in cli("plan", "missing.yaml").out


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("[]", "after.run: is an empty list"),
        ("{timeout: 5s}", "after.run: `run` is missing"),
        ("{run: [./post], then: fail}", "after.then: unknown key 'then'"),
        ("./post", "after: must be"),
        ("", "after: is empty; set a value or remove the key"),
    ],
)
def test_a_mistake_has_its_place(cli: Cli, value: str, words: str) -> None:
    cli.write("wrong", head=f"after: {value}\n")
    done = cli("validate", "wrong.yaml")
    assert done.code == 2
    assert "wrong.yaml:5:" in done.err
    assert words in done.err


def test_a_program_is_run_once_for_each_output(cli: Cli, report_of: Any) -> None:
    script(cli, NOTE)
    cli.write("once", THREE, head=HEAD)
    done = cli("run", "once.yaml", "--allow-command")
    assert done.code == 0
    assert "after    run for 3 outputs\n" in done.out
    run_dir = cli.cwd / "outputs" / "once" / "default"
    outputs = {row["name"]: row["outputs"][0] for row in report_of(run_dir)["jobs"]}
    messages = {message["job"]: message for message in posted(cli)}
    assert messages.keys() == outputs.keys()
    assert messages["heron-2"] == {
        "version": 1,
        "manifest": "once",
        "run_id": "default",
        "job": "heron-2",
        "index": 0,
        "generation": 0,
        "file": str(run_dir / "heron-2" / "0.png"),
        "path": "heron-2/0.png",
        "sha256": outputs["heron-2"]["sha256"],
        "mime_type": "image/png",
        "width": outputs["heron-2"]["width"],
        "height": outputs["heron-2"]["height"],
        "workflow_id": "zimage-base",
        "prompt": "a heron, 2",
        "params": {"prompt.text": "a heron, 2"},
        "axes": {},
        "row": {},
    }
    again = cli("run", "once.yaml", "--allow-command", "--json")
    data = check_stream(again, "run")["data"]
    assert data["after"] == {"done": 3, "failed": 0, "waiting": 0}
    assert data["notify_option"] == "--allow-command"
    assert len(posted(cli)) == 3
    assert "after    run for 3 outputs" in cli("status", run_dir.as_posix()).out


def test_a_changed_program_is_not_run_again_for_outputs_that_are_done(cli: Cli) -> None:
    script(cli, NOTE)
    cli.write("changed", THREE, head=HEAD)
    assert cli("run", "changed.yaml", "--allow-command").code == 0
    more = f"{THREE}\n- {{name: otter, prompt: an otter}}"
    cli.write("changed", more, head="after: {run: [./post, --album, birds], timeout: 5s}\n")
    assert cli("run", "changed.yaml", "--allow-command").code == 0
    assert sorted(message["job"] for message in posted(cli)) == [
        "heron-1", "heron-2", "heron-3", "otter",
    ]  # fmt: skip


def test_a_failure_is_a_note_and_only_what_failed_is_run_again(cli: Cli) -> None:
    script(cli, f"{NOTE}\ncase $line in *heron-2*) printf '\\033[31mno \\007place'; exit 7;; esac")
    cli.write("failing", THREE, head=HEAD)
    done = cli("run", "failing.yaml", "--allow-command")
    assert done.code == 0
    assert "3 of 3 jobs succeeded" in done.out
    assert "after    run for 2 outputs · 1 failed" in done.out
    assert "after heron-2/0: ./post: exit code 7: " in done.err
    assert "\x1b[31m" not in done.out + done.err
    assert "\x07" not in done.out + done.err
    script(cli, NOTE)
    done = cli("run", "failing.yaml", "--allow-command")
    assert (done.code, "after    run for 3 outputs\n" in done.out) == (0, True)
    jobs = [message["job"] for message in posted(cli)]
    assert sorted(jobs) == ["heron-1", "heron-2", "heron-2", "heron-3"]


def test_a_program_that_hangs_is_stopped_and_fails_no_run(cli: Cli) -> None:
    script(cli, "sleep 3600")
    cli.write("hanging", head="after: {run: [./post], timeout: 1s}\n")
    done = cli("run", "hanging.yaml", "--allow-command")
    assert done.code == 0
    assert "after fox/0: ./post: did not end within 1 s and was stopped" in done.err


def test_a_run_without_the_key_shows_no_counts(cli: Cli) -> None:
    script(cli, NOTE)
    cli.write("gone", THREE, head=HEAD)
    assert cli("run", "gone.yaml", "--allow-command").code == 0
    cli.write("gone", THREE)
    done = cli("run", "gone.yaml")
    assert (done.code, "after " in done.out) == (0, False)


def test_a_kill_while_the_program_runs_loses_nothing(cli: Cli, report_of: Any) -> None:
    """The next run runs it again, and buys nothing."""
    script(cli, f"{NOTE}\n[ -e go ] || exec sleep 3600")
    cli.write("killed", head=HEAD)
    process = cli.start("run", "killed.yaml", "--allow-command")
    wait_until((cli.cwd / "posted").exists)
    process.kill()
    process.communicate(timeout=120)
    (cli.cwd / "go").touch()
    done = cli("run", "killed.yaml", "--allow-command")
    assert "after    run for 1 output\n" in done.out
    report = report_of(cli.cwd / "outputs" / "killed" / "default")
    assert (report["credits"]["spent"], len(report["jobs"][0]["attempts"])) == ("2", 1)
    assert [message["job"] for message in posted(cli)] == ["fox", "fox"]
    assert cli("run", "killed.yaml", "--allow-command").code == 0
    assert len(posted(cli)) == 2


def test_ctrl_c_stops_the_program_and_the_next_run_runs_it_again(cli: Cli) -> None:
    script(cli, f"{NOTE}\n[ -e go ] || {{ echo $$ > pid; exec sleep 3600; }}")
    cli.write("stopped", head=HEAD)
    process = cli.start_installed("run", "stopped.yaml", "--allow-command")
    wait_until((cli.cwd / "pid").exists)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert any("Ctrl-C again exits now" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    pid = (cli.cwd / "pid").read_text().strip()
    wait_until(lambda: not Path(f"/proc/{pid}").exists())
    (cli.cwd / "go").touch()
    assert cli("run", "stopped.yaml", "--allow-command").code == 0
    assert [message["job"] for message in posted(cli)] == ["fox", "fox"]
