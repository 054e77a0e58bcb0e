"""The program that judges outputs: what it receives, and what each of its ends means."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.core.events import Saved
from crucible_batch.core.plan import PlannedJob
from crucible_batch.features.quality.judge import Judge
from crucible_batch.features.quality.rule import COMMAND, Check, CheckResult
from crucible_batch.outputs import OutputStore
from crucible_batch.runs.output_programs import OutputPrograms
from crucible_batch.runs.programs import environment_of_commands
from tests.harness.run_terms import run_terms

KEY = "moltazine_key-of-the-account-1"
PLANNED = PlannedJob(
    0, "1" * 64, "hero", "zimage-base", {"size.width": 64}, prompt="a heron", axes={"style": "ink"}
)
SAVED = Saved(
    at=1.0,
    index=0,
    path="hero/0.png",
    sha256="ab" * 32,
    byte_size=3,
    mime_type="image/png",
    width=64,
    height=48,
)


async def ask(tmp_path: Path, program: str, *, timeout_s: float | None = None) -> CheckResult:
    words = (sys.executable, "-c", program)
    return await judge(tmp_path).find(
        Check(COMMAND, "command", "reject", words=words, timeout_s=timeout_s), PLANNED, SAVED
    )


def judge(tmp_path: Path) -> Judge:
    run_dir = tmp_path / "out"
    (run_dir / "hero").mkdir(parents=True, exist_ok=True)
    (run_dir / "hero" / "0.png").write_bytes(b"png")
    environ = environment_of_commands(
        {**os.environ, "MOLTAZINE_API_KEY": KEY}, "MOLTAZINE_API_KEY", KEY
    )
    return Judge(OutputPrograms(OutputStore(run_dir), run_terms(5, 2), tmp_path, environ))


async def test_it_reads_the_output_and_its_job_as_json(tmp_path: Path) -> None:
    program = (
        "import json, os, sys; got = json.load(sys.stdin);"
        "open('got', 'w').write(json.dumps([got, os.getcwd(), open(got['file']).read(),"
        " 'MOLTAZINE_API_KEY' in os.environ]))"
    )
    assert (await ask(tmp_path, program)).passes is True
    message, folder, content, has_key = json.loads((tmp_path / "got").read_text())
    assert (folder, content, has_key) == (str(tmp_path), "png", False)
    assert message["file"] == str(tmp_path / "out" / "hero" / "0.png")
    shown = ("job", "index", "path", "sha256", "width", "height", "prompt", "params", "axes")
    assert {name: message[name] for name in shown} == {
        "job": "hero",
        "index": 0,
        "path": "hero/0.png",
        "sha256": "ab" * 32,
        "width": 64,
        "height": 48,
        "prompt": "a heron",
        "params": {"size.width": 64},
        "axes": {"style": "ink"},
    }


@pytest.mark.parametrize(
    ("program", "passes", "reason"),
    [
        ("", True, ""),
        ("print('fine')", True, ""),
        ("import sys; sys.exit(10)", False, "rejected by "),
        ("import sys; print('six fingers\\nmore'); sys.exit(10)", False, "six fingers"),
        ("import sys; sys.exit(1)", None, "exit code 1"),
        ("import sys; sys.exit(11)", None, "exit code 11"),
        ("raise ValueError('broken')", None, "exit code 1: Traceback"),
        ("import os; os.kill(os.getpid(), 9)", None, "was ended by signal 9"),
        ("import os; os.close(0); os._exit(10)", False, "rejected by "),
    ],
)
async def test_only_its_exit_code_decides(
    tmp_path: Path, program: str, passes: bool | None, reason: str
) -> None:
    found = await ask(tmp_path, program)
    assert found.passes is passes
    assert reason in found.reason


@pytest.mark.parametrize("code", [10, 3])
async def test_what_it_prints_is_one_short_line_that_no_terminal_obeys(
    tmp_path: Path, code: int
) -> None:
    program = (
        "import sys; sys.stdout.buffer.write(b'\\x1b]0;owned\\x07\\x1b[31mred\\xff\\x00'"
        " + 'https://x.test/a?X-Amz-Signature=abc'.encode() + b'y' * 100_000);"
        f" sys.stdout.flush(); sys.exit({code})"
    )
    found = await ask(tmp_path, program)
    assert "\x1b" not in found.reason
    assert "\x00" not in found.reason
    assert "abc" not in found.reason
    assert len(found.reason) < 400
    assert len(found.reason.splitlines()) == 1


async def test_it_is_stopped_after_its_time(tmp_path: Path) -> None:
    program = "import time; print('thinking', flush=True); time.sleep(3600)"
    found = await ask(tmp_path, program, timeout_s=0.5)
    assert found.passes is None
    assert "did not end within 0.5 s and was stopped: thinking" in found.reason


async def test_a_program_that_cannot_be_started_rejects_nothing(tmp_path: Path) -> None:
    (tmp_path / "judge").write_text("#!/no/such/shell\n")
    (tmp_path / "judge").chmod(0o700)
    check = Check(COMMAND, "command", "reject", words=(str(tmp_path / "judge"),))
    found = await judge(tmp_path).find(check, PLANNED, SAVED)
    assert found.passes is None
    assert "can't be started: no such file or directory" in found.reason


async def test_a_link_in_place_of_the_output_is_not_given_to_it(tmp_path: Path) -> None:
    asked: Any = judge(tmp_path)
    file = tmp_path / "out" / "hero" / "0.png"
    file.unlink()
    file.symlink_to("/etc/hostname")
    check = Check(COMMAND, "command", "reject", words=(sys.executable, "-c", ""))
    with pytest.raises(OSError, match="no such file"):
        await asked.find(check, PLANNED, SAVED)


async def test_the_end_of_a_run_stops_it(tmp_path: Path) -> None:
    program = "import time; open('began', 'w').close(); time.sleep(3600)"
    asking = asyncio.create_task(ask(tmp_path, program))
    while not (tmp_path / "began").exists():
        await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
