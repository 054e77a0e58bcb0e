"""The live panel and the question about money, on a terminal of the standard library's pty."""

import os
import re
from contextlib import closing

import pytest

from tests.harness.commands import Cli
from tests.harness.screen import Screen

TEN = "- {name: fox, prompt: a fox, repeat: 9}\n- {name: bad, prompt: nsfw}"


def test_no_color_draws_without_colours(cli: Cli) -> None:
    cli.write("grey", TEN)
    with closing(Screen(cli, ["run", "grey.yaml"], 80, NO_COLOR="1")) as screen:
        assert screen.finish() == 1
    assert not re.search(r"\x1b\[[0-9;]*3[0-7][;m]", screen.text)


def test_a_dumb_terminal_gets_plain_lines(cli: Cli) -> None:
    cli.write("dumb", TEN)
    with closing(Screen(cli, ["run", "dumb.yaml"], 80, TERM="dumb")) as screen:
        assert screen.finish() == 1
    assert "\x1b[" not in screen.text
    assert "0/10  0 succeeded" in screen.text


@pytest.mark.parametrize(("typed", "code"), [("\n", 2), ("y\n", 0), ("\x03", 130)])
def test_without_a_budget_a_terminal_is_asked_and_no_is_the_default(
    cli: Cli, typed: str, code: int
) -> None:
    name = f"asked-{code}"
    cli.write(name, budget="")
    with closing(Screen(cli, ["run", f"{name}.yaml"], 100)) as screen:
        screen.read_until("[y/N]")
        if typed == "\x03":
            os.killpg(screen.process.pid, 2)
        else:
            screen.type(typed)
        assert screen.finish() == code
    assert (cli.cwd / "outputs").exists() is (code == 0)


def test_ctrl_c_leaves_the_cursor_and_the_way_to_continue(slow_cli: Cli) -> None:
    slow_cli.write("stopped")
    with closing(Screen(slow_cli, ["run", "stopped.yaml"], 100)) as screen:
        screen.read_until("in flight")
        os.killpg(screen.process.pid, 2)
        screen.read_until("stopping")
        os.killpg(screen.process.pid, 2)
        assert screen.finish() == 130
    assert screen.text.count("\x1b[?25l") == screen.text.count("\x1b[?25h")
    assert "crucible-batch run stopped.yaml" in screen.text
