"""A real terminal, tmux, with a program in it: what is typed, and what its screen shows."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

PATIENCE_S = 40


def needed(program: str) -> str:
    """Return where a program is. These tests are about it: without it they fail."""
    found = shutil.which(program)
    if found is None:
        pytest.fail(
            f"this is tested in {program}, and there is none here "
            f"(Debian: apt-get install {program})"
        )
    return found


class Terminal:
    """A window of tmux, in a server of its own."""

    def __init__(
        self, socket: Path, command: Sequence[str], env: Mapping[str, str], cwd: Path, size: str
    ) -> None:
        self._tmux = [needed("tmux"), "-S", str(socket), "-f", "/dev/null"]
        self._env = dict(env)
        width, height = size.split("x")
        # tmux says what it is in TERM and TMUX; only a terminal that can do less has to be asked
        # for.
        told = ["env", "TERM=dumb", *command] if env["TERM"] == "dumb" else command
        self._run("new-session", "-d", "-x", width, "-y", height, "-c", str(cwd), *told)
        self._run("set-option", "remain-on-exit", "on")

    def type(self, text: str) -> None:
        self._run("send-keys", "-l", text)

    def press(self, key: str) -> None:
        self._run("send-keys", key)

    def lines(self) -> list[str]:
        """The screen as it is now."""
        return self._run("capture-pane", "-p").splitlines()

    def wait_for(self, *words: str) -> list[str]:
        """Wait until the screen shows all of the words, and return its lines."""
        return self.wait_until(lambda lines: all(word in "\n".join(lines) for word in words))

    def wait_until(self, holds: Callable[[list[str]], bool]) -> list[str]:
        until = time.monotonic() + PATIENCE_S
        while not holds(lines := self.lines()):
            assert time.monotonic() < until, "\n".join(lines)
            time.sleep(0.05)  # between two looks at another program's screen
        return lines

    def close(self) -> None:
        self._run("kill-server")

    def _run(self, *words: str) -> str:
        done = subprocess.run(
            [*self._tmux, *words],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
            env=self._env,
        )
        return done.stdout


Start = Callable[..., Terminal]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a command on a terminal; its end is the test's."""
    started: list[Terminal] = []

    def on_a_terminal(
        command: Sequence[str], env: Mapping[str, str], *, cwd: Path = tmp_path, size: str = "80x24"
    ) -> Terminal:
        socket = tmp_path / f"tmux-{len(started)}"
        started.append(Terminal(socket, command, env, cwd, size))
        return started[-1]

    yield on_a_terminal
    for terminal in started:
        terminal.close()
