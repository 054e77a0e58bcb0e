"""A command on a terminal of its own: what is typed into it, and what it showed."""

import codecs
import fcntl
import os
import pty
import select
import struct
import termios
import time
from collections.abc import Sequence

from tests.harness.commands import Cli


class Screen:
    """A terminal with a command on it."""

    def __init__(
        self,
        cli: Cli,
        args: Sequence[str],
        width: int,
        *,
        is_installed: bool = False,
        **environment: str,
    ) -> None:
        self._ours, theirs = pty.openpty()
        self.resize(width)
        start = cli.start_installed if is_installed else cli.start
        self.process = start(
            *args,
            env={**cli.environment, **environment},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.text = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")(
            "replace"
        )  # a read may end within a character

    def read_until(self, what: str, within_s: float = 120) -> None:
        until = time.monotonic() + within_s
        while what not in self.text:
            assert time.monotonic() < until, self.text
            if not self._read():
                break
        assert what in self.text

    def resize(self, width: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def finish(self) -> int:
        until = time.monotonic() + 120
        while self._read():
            assert time.monotonic() < until, self.text
        return self.process.wait(timeout=120)

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
        self.text += self._decoder.decode(found)
        return bool(found)
