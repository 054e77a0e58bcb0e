"""The live panel on a real terminal: one picture that stays, at any width, and goes at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.commands import Cli, running_sandbox
from tests.harness.forked_commands import COMMAND
from tests.verification.terminal.conftest import Start

JOBS = """\
- {name: harbour, prompt: a harbour, repeat: 9}
- {name: refused, prompt: nsfw}
"""


@pytest.fixture(scope="module")
def queueing() -> Iterator[str]:
    with running_sandbox("--time-scale", "2", "--runners", "2") as url:
        yield url


@pytest.fixture
def cli(tmp_path: Path, queueing: str) -> Cli:
    return Cli(tmp_path, queueing)


def borders(lines: list[str]) -> tuple[int, int]:
    return sum(line.startswith("╭") for line in lines), sum(line.startswith("╰") for line in lines)


@pytest.mark.parametrize(("size", "bars"), [("80x24", ["sent", "made", "done"]), ("40x24", [])])
def test_a_run_is_one_panel_and_ends_as_at_most_ten_lines(
    cli: Cli, start: Start, size: str, bars: list[str]
) -> None:
    name = cli.write(f"panel-{size}", JOBS)
    command = ["sh", "-c", f"{COMMAND} run {name}; echo ended with $?; exec sleep 600"]
    terminal = start(command, cli.environment, size=size)
    # The budget is shown with the first price, which the gateway's answer has.
    lines = terminal.wait_until(
        lambda lines: (
            borders(lines) == (1, 1)
            and all(words in "".join(lines) for words in ("in flight", "of 100"))
        )
    )
    assert {len(line) for line in lines if line.startswith(("╭", "╰"))} == {int(size[:2])}
    assert [line[2:6] for line in lines[1:4] if line[2:6] in {"sent", "made", "done"}] == bars
    said = [line for line in terminal.wait_for("ended with 1") if line]
    assert borders(said) == (0, 0)
    assert said[0].startswith("✗ 9 of 10 jobs succeeded, 1 failed")
    if size == "80x24":
        assert len(said) <= 10 + 1
        assert (
            said[-2].strip() == f"next     change the failed jobs, then: crucible-batch run {name}"
        )


def test_the_echo_of_ctrl_c_and_typed_letters_double_no_line_of_the_panel(
    cli: Cli, start: Start
) -> None:
    name = cli.write("echoed", JOBS)
    terminal = start([COMMAND, "run", name], cli.environment)
    terminal.wait_for("in flight", "/10 │")
    terminal.type("q")
    terminal.press("C-c")
    lines = terminal.wait_for("waiting up to", "nothing is lost")
    assert borders(lines) == (1, 1)
