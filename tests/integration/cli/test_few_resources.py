"""Too little memory, or a thread that can't be started:

an ending with a code of its own, and never "this is a bug".
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
import typer
from PIL import Image

from crucible_batch.cli.command_output import answering
from crucible_batch.error_codes import find_code
from tests.harness.commands import Cli, Done
from tests.harness.forked_commands import start_program

WITH_THREADS = """
import sys, threading

left, *words = sys.argv[1:]
sys.argv = ["crucible-batch", *words]
left, start = [int(left)], threading.Thread.start


def start_if_permitted(thread):
    left[0] -= 1
    if left[0] < 0:
        raise RuntimeError("can't start new thread")
    start(thread)


threading.Thread.start = start_if_permitted

from crucible_batch.cli import main

main()
"""
PHOTO = "- {name: edit, prompt: at night, workflow: qwen-edit, image: a.png}"


def started(program: str, amount: int, cli: Cli, *words: str) -> Done:
    process = start_program(
        program, str(amount), *words, cwd=cli.cwd, env=cli.environment, stdout=PIPE, stderr=PIPE
    )
    out, err = process.communicate(timeout=240)
    return Done(process.returncode or 0, out, err)


def with_photo(cli: Cli, name: str) -> str:
    Image.new("RGB", (64, 64), "teal").save(cli.cwd / "a.png")
    return cli.write(name, PHOTO)


def state(cli: Cli) -> Any:
    with urllib.request.urlopen(f"{cli.url}/_sandbox/state") as answer:
        return json.load(answer, parse_float=Decimal)


def code_of(error: BaseException) -> tuple[int, str]:
    """Return the exit code of a command that raised an error, and the code in its envelope."""
    with pytest.raises(typer.Exit) as ending, answering("run", json=True) as output:
        raise error
    assert output.error is not None
    return ending.value.exit_code, str(output.error["code"])


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("can't start new thread"),
        ExceptionGroup("unhandled errors in a TaskGroup", [MemoryError()]),
        ExceptionGroup(
            "outer", [ExceptionGroup("inner", [RuntimeError("can't start new thread")])]
        ),
    ],
    ids=["memory", "thread", "in a group", "in two groups"],
)
def test_the_lack_of_memory_or_threads_has_a_code_of_its_own(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    exit_code, code = code_of(error)
    said = capsys.readouterr().err
    assert exit_code not in {0, 1, 2, 70}
    assert code not in {"BUG", "ERROR", "DISK", "JOURNAL"}
    described = find_code(code)
    assert described is not None
    assert exit_code in described.exit_codes
    assert "bug" not in said
    assert "memory" in said or "thread" in said
    assert "hint" in said


def test_another_runtime_error_is_still_a_bug(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(RuntimeError("dictionary changed size during iteration")) == (70, "BUG")
    assert "bug" in capsys.readouterr().err


@pytest.mark.parametrize("threads", [0, 1, 2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_thread_that_can_not_be_started_is_no_bug(
    cli: Cli, report_of: Callable[[Path], dict[str, Any]], threads: int
) -> None:
    name = f"threads-{threads}"
    before = len(state(cli)["jobs"])
    done = started(WITH_THREADS, threads, cli, "run", with_photo(cli, name))
    assert done.code not in {0, 70}, done.err
    assert "bug" not in done.err
    assert "Traceback" not in done.err
    again = cli("run", f"{name}.yaml")
    assert again.code == 0, again.err
    assert len(state(cli)["jobs"]) == before + 1
    report = report_of(cli.cwd / f"outputs/{name}/default")
    assert (report["credits"]["held"], report["counts"]["succeeded"]) == ("0", 1)
