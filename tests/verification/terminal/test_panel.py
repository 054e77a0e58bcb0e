"""The live panel on a real terminal: one picture that stays, at any width, and is gone at the end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Cli, running_sandbox
from tests.preloaded import COMMAND

from .conftest import Start

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
def test_a_run_is_one_panel_and_ends_as_at_most_ten_lines(cli: Cli, start: Start, size: str, bars: list[str]) -> None:
    name = cli.write(f"panel-{size}", JOBS)
    command = ["sh", "-c", f"{COMMAND} run {name}; echo ended with $?; exec sleep 600"]
    terminal = start(command, cli.environment, size=size)
    # The budget is shown with the first price, which the gateway's answer has.
    lines = terminal.wait_until(
        lambda lines: borders(lines) == (1, 1) and all(words in "".join(lines) for words in ("in flight", "of 100"))
    )
    assert {len(line) for line in lines if line.startswith(("╭", "╰"))} == {int(size[:2])}
    assert [line[2:6] for line in lines[1:4] if line[2:6] in {"sent", "made", "done"}] == bars
    said = [line for line in terminal.wait_for("ended with 1") if line]
    assert borders(said) == (0, 0)
    assert said[0].startswith("✗ 9 of 10 jobs succeeded, 1 failed")
    if size == "80x24":
        assert len(said) <= 10 + 1
        assert said[-2].strip() == f"next     change the failed jobs, then: crucible-batch run {name}"


def test_a_panel_in_a_terminal_that_becomes_narrower_stays_one(cli: Cli, start: Start) -> None:
    name = cli.write("narrower", JOBS)
    terminal = start([COMMAND, "run", name], cli.environment, size="100x40")
    terminal.wait_for("in flight", "/10 │")
    terminal.resize(70, 40)
    terminal.wait_until(lambda lines: any(line.startswith("╭") and len(line) == 70 for line in lines))
    terminal.wait_until(lambda lines: borders(lines) == (1, 1))


def test_without_colours_the_bars_still_tell_what_is_done(cli: Cli, start: Start) -> None:
    name = cli.write("grey", JOBS)
    terminal = start([COMMAND, "run", name], {**cli.environment, "NO_COLOR": "1"})
    under_way = re.compile(r"^│ done .* [1-4]/10 │$")
    lines = terminal.wait_until(lambda lines: any(under_way.match(line) for line in lines))
    (done,) = [line for line in lines if line.startswith("│ done")]
    assert 0 < done.count("━") < done.count("─")


def test_a_dumb_terminal_gets_lines_and_no_panel(cli: Cli, start: Start) -> None:
    name = cli.write("dumb", JOBS)
    command = ["sh", "-c", f"{COMMAND} run {name}; exec sleep 600"]  # tmux moves the screen up where a command ended
    lines = start(command, {**cli.environment, "TERM": "dumb"}, size="80x100").wait_for("change the failed jobs, then:")
    assert borders(lines) == (0, 0)
    assert "0/10  0 succeeded" in "\n".join(lines)
