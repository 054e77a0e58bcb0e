"""The live panel and the question about money, on a terminal of the standard library's pty."""

import os
import re
from contextlib import closing

import pytest
from rich.text import Text

from .conftest import Cli
from .screen import Screen
from .vt import Vt

TEN = "- {name: fox, prompt: a fox, repeat: 9}\n- {name: bad, prompt: nsfw}"
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.mark.parametrize("width", [60, pytest.param(100, marks=pytest.mark.slow)])
def test_the_panel_fits_the_terminal_and_is_gone_at_the_end(cli: Cli, width: int) -> None:
    cli.write(f"panel-{width}", TEN)
    with closing(Screen(cli, ["run", f"panel-{width}.yaml"], width)) as screen:
        assert screen.finish() == 1
    lines = [line.strip("\r") for line in _ESCAPE.sub("", screen.text).split("\n")]
    frame = [line for line in lines if line.startswith(("│", "╭", "╰"))]
    assert frame, screen.text
    assert {Text(line.rpartition("\r")[2]).cell_len for line in frame} == {width}
    assert any("/10 " in line for line in frame)
    assert any("credits" in line and "of 100" in line for line in frame)
    assert "9 of 10 jobs succeeded" in screen.text
    assert screen.text.count("\x1b[?25l") == screen.text.count("\x1b[?25h")  # the cursor is there again


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
def test_without_a_budget_a_terminal_is_asked_and_no_is_the_default(cli: Cli, typed: str, code: int) -> None:
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


def screens(text: str, width: int) -> list[list[str]]:
    """Play what a terminal got, and return its lines after each frame."""
    screen, seen = Vt(width), []
    for part in re.split(r"(?<=\x1b\[\?2026l)", text):
        screen.feed(part)
        seen.append([line.rstrip() for line in screen.lines])
    assert screen.frames == len(seen) - 1
    return seen


def tops(lines: list[str]) -> int:
    return sum(line.startswith("╭") for line in lines)


@pytest.mark.parametrize("width", [40, pytest.param(80, marks=pytest.mark.slow)])
def test_frames_replace_each_other_without_a_full_clear_and_leave_nothing(cli: Cli, width: int) -> None:
    cli.write(f"still-{width}", TEN)
    with closing(Screen(cli, ["run", f"still-{width}.yaml"], width)) as screen:
        assert screen.finish() == 1
    seen = screens(screen.text, width)
    assert {tops(lines) for lines in seen} == {0, 1}
    assert not any(line.startswith(("╭", "│", "╰")) for line in seen[-1])


def test_the_echo_of_ctrl_c_and_typed_letters_double_no_line_of_the_panel(slow_cli: Cli) -> None:
    slow_cli.write("echoed")
    with closing(Screen(slow_cli, ["run", "echoed.yaml"], 80)) as screen:
        screen.read_until("in flight")
        screen.type("q\x03")
        os.killpg(screen.process.pid, 2)
        screen.read_until("waiting up to")
        frames = screen.text.count("\x1b[?2026l")
        while screen.text.count("\x1b[?2026l") < frames + 2:  # the countdown goes on
            screen.read_until("waiting up to")
            screen._read()
        os.killpg(screen.process.pid, 2)
        assert screen.finish() == 130
    assert "^C" in screen.text
    seen = screens(screen.text, 80)
    assert max(tops(lines) for lines in seen) == 1
    assert not any("^C" in line for line in seen[-1])
    assert "nothing is lost" in screen.text


def test_a_panel_follows_the_terminals_width_while_the_run_continues(slow_cli: Cli) -> None:
    slow_cli.write("resized")
    with closing(Screen(slow_cli, ["run", "resized.yaml"], 100)) as screen:
        screen.read_until("in flight")
        screen.resize(50)
        frames = screen.text.count("\x1b[?2026l")
        while screen.text.count("\x1b[?2026l") < frames + 3:
            assert screen._read()
        newest = _ESCAPE.sub("", screen.text.rpartition("╭")[2].partition("\x1b[?2026l")[0])
        os.killpg(screen.process.pid, 2)
        screen.read_until("waiting up to")
        os.killpg(screen.process.pid, 2)
        assert screen.finish() == 130
    assert {Text(line).cell_len for line in f"╭{newest}".split("\r\n") if line} == {50}
