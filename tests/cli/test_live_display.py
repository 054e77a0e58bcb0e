"""The live panel and the question about money, on a terminal of the standard library's pty."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Sequence
from contextlib import closing

import pytest
from rich.text import Text

from .conftest import COMMAND, Cli

TEN = "- {name: fox, prompt: a fox, repeat: 9}\n- {name: bad, prompt: nsfw}"
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Screen:
    """A terminal with a command on it."""

    def __init__(self, cli: Cli, args: Sequence[str], width: int, **environment: str) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        env = {**cli.environment, **environment}
        self.process = subprocess.Popen(
            [COMMAND, *args], cwd=cli.cwd, env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        self.text = ""

    def read_until(self, what: str, within_s: float = 15) -> None:
        until = time.monotonic() + within_s
        while what not in self.text:
            assert time.monotonic() < until, self.text
            if not self._read():
                break
        assert what in self.text

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def finish(self) -> int:
        until = time.monotonic() + 30
        while self._read():
            assert time.monotonic() < until, self.text
        return self.process.wait(timeout=10)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def _read(self) -> bool:
        """Read what there is; False at the end."""
        if not select.select([self._ours], [], [], 1.0)[0]:
            return True
        try:
            found = os.read(self._ours, 65536)
        except OSError:  # EIO: the other side is closed
            return False
        self.text += found.decode(errors="replace")
        return bool(found)


@pytest.mark.parametrize("width", [60, 100])
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


def test_ctrl_c_leaves_the_cursor_and_the_way_to_go_on(slow_cli: Cli) -> None:
    slow_cli.write("stopped")
    with closing(Screen(slow_cli, ["run", "stopped.yaml"], 100)) as screen:
        screen.read_until("in flight")
        os.killpg(screen.process.pid, 2)
        screen.read_until("stopping")
        os.killpg(screen.process.pid, 2)
        assert screen.finish() == 130
    assert screen.text.count("\x1b[?25l") == screen.text.count("\x1b[?25h")
    assert "crucible-batch run stopped.yaml" in screen.text
