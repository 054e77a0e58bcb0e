"""A command as a channel: what it receives, what it may not have, and how it is stopped."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from pathlib import Path

import pytest

from crucible_batch.features.notify.command_channel import Command
from crucible_batch.features.notify.http_channels import SendError
from crucible_batch.runs.programs import environment_of_commands, find_program
from tests.features.notify.receiving import message

KEY = "moltazine_key-of-the-account-1"
_LIMIT_S = 60.0


def command(tmp_path: Path, program: str, *words: str, **limits: float) -> Command:
    environ = environment_of_commands(
        {**os.environ, "MOLTAZINE_API_KEY": KEY}, "MOLTAZINE_API_KEY", KEY
    )
    return Command(
        "notify[0] (python)", (sys.executable, "-c", program, *words), tmp_path, environ, **limits
    )


async def test_it_reads_the_message_in_the_manifests_folder_with_its_arguments_unchanged(
    tmp_path: Path,
) -> None:
    program = (
        "import sys, os; "
        "open('got', 'w').write(repr([sys.argv[1:], os.getcwd(), sys.stdin.read()]))"
    )
    await command(tmp_path, program, "$HOME; *", "`id`").send(message())
    words, folder, text = eval((tmp_path / "got").read_text())
    assert (words, folder) == (["$HOME; *", "`id`"], str(tmp_path))
    assert json.loads(text) == json.loads(message().to_json())
    assert text.endswith("\n")  # so that appended messages are lines


async def test_it_does_not_have_the_api_key(tmp_path: Path) -> None:
    await command(tmp_path, "import os; open('got', 'w').write(repr(dict(os.environ)))").send(
        message()
    )
    assert KEY not in (tmp_path / "got").read_text()
    assert "PATH" in (tmp_path / "got").read_text()


def test_the_key_is_removed_under_whatever_name() -> None:
    environ = {"MOLTAZINE_API_KEY": "another", "COPY": f"Bearer {KEY}", "PATH": "/bin"}
    assert environment_of_commands(environ, "MOLTAZINE_API_KEY", KEY) == {"PATH": "/bin"}
    assert environment_of_commands({"A": "x"}, "MOLTAZINE_API_KEY", None) == {"A": "x"}


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("raise SystemExit(3)", "exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", "ended by signal 9"),
    ],
)
async def test_a_command_that_fails_is_a_failure_that_is_not_tried_again(
    tmp_path: Path, program: str, error: str
) -> None:
    with pytest.raises(SendError) as caught:
        await command(tmp_path, program).send(message())
    assert (str(caught.value), caught.value.is_final) == (error, True)


async def test_a_command_that_does_not_read_its_input_succeeds(tmp_path: Path) -> None:
    await command(tmp_path, "pass").send(message(next_command="x" * 1_000_000))


async def test_a_command_that_can_not_be_started_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(SendError, match=r"^can't be started: no such file or directory$"):
        await Command("x", ("./missing.sh",), tmp_path, {}).send(message())


async def test_what_it_prints_is_logged_bounded_and_without_escapes_and_links(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="crucible_batch")
    program = (
        "import sys; print('\\x1b[31mred', flush=True); "
        "print('https://s.test/x?token=canary', file=sys.stderr)"
    )
    await command(tmp_path, f"{program}; print('x' * 10_000_000)").send(message())
    (record,) = [record for record in caplog.records if "red" in record.getMessage()]
    assert (record.levelname, len(record.getMessage()) < 1000) == ("INFO", True)
    assert record.getMessage().startswith("notify[0] (python): red")
    assert "\x1b" not in record.getMessage()
    assert "canary" not in record.getMessage()


def _with_child(tmp_path: Path, trap: str, **limits: float) -> Command:
    """A shell that starts another one, which writes its process id and stays."""
    child = f"trap {trap} TERM; echo $$ > pid.new; mv pid.new pid; while :; do sleep 1; done"
    return Command(
        "x",
        ("sh", "-c", f"sh -c '{child}' & wait"),
        tmp_path,
        {"PATH": os.environ["PATH"]},
        **limits,
    )


async def _gone(tmp_path: Path) -> bool:
    pid = int((tmp_path / "pid").read_text())
    end = time.monotonic() + _LIMIT_S
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":  # nobody reaps it in this container
            return True
        await asyncio.sleep(0.01)
    return False


@pytest.mark.parametrize("trap", ["-", '""'], ids=["obeys", "ignores SIGTERM"])
async def test_at_the_time_limit_the_command_and_its_children_are_stopped(
    tmp_path: Path, trap: str
) -> None:
    slow = _with_child(tmp_path, trap, time_limit_s=1.0, grace_s=0.2)
    with pytest.raises(SendError, match=r"^did not end within 1 s and was stopped$"):
        await slow.send(message())
    assert await _gone(tmp_path)


async def test_a_cancelled_command_is_stopped(tmp_path: Path) -> None:
    task = asyncio.create_task(_with_child(tmp_path, "-").send(message()))
    end = time.monotonic() + _LIMIT_S
    while not (tmp_path / "pid").exists() and time.monotonic() < end:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await _gone(tmp_path)


async def test_a_process_that_the_command_leaves_behind_is_not_waited_for(tmp_path: Path) -> None:
    wanted = tmp_path / "wanted"
    wanted.touch()
    left = "(while [ -e wanted ]; do sleep 0.1; done) &"
    try:
        await Command("x", ("sh", "-c", left), tmp_path, {"PATH": os.environ["PATH"]}).send(
            message()
        )
    finally:
        wanted.unlink()


def test_a_program_is_found_in_the_path_or_relative_to_the_manifest(tmp_path: Path) -> None:
    script = tmp_path / "tell.sh"
    script.write_text("#!/bin/sh\n")
    assert find_program("./tell.sh", tmp_path) is None
    script.chmod(0o755)
    assert find_program("./tell.sh", tmp_path) == script
    assert find_program("tell.sh", tmp_path) is None
    assert find_program(str(script), Path("/")) == script
    assert find_program("sh", tmp_path) is not None
