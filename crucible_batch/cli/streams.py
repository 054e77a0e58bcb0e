"""The three standard streams made fit for use: none of them closed, and none that fails because its reader has gone."""

from __future__ import annotations

import io
import os
import sys
from typing import IO, Any

_STREAMS = (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w"))


def mend_streams() -> None:
    """Open closed streams on nothing, and let the other two outlive their readers. May be called again.

    A descriptor that is left closed would be the next file's that is opened, such as the journal's, and be written to
    by whoever means the stream.
    """
    for name, number, mode in _STREAMS:
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, _opened_on_nothing(number, mode))
        elif mode == "w" and type(stream) is io.TextIOWrapper:
            setattr(sys, name, _outliving(stream))


class SteadyFile(io.FileIO):
    """A descriptor that swallows what is written once its reader has gone: the command ends with its own exit code."""

    def write(self, content: Any, /) -> int:
        """Write bytes as ``FileIO`` does; what they come in is its own business."""
        try:
            return super().write(content)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return super().write(content)


def _outliving(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    file = SteadyFile(stream.fileno(), "w", closefd=False)
    is_unbuffered = isinstance(stream.buffer, io.RawIOBase)  # as PYTHONUNBUFFERED makes it
    return io.TextIOWrapper(
        file if is_unbuffered else io.BufferedWriter(file),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _opened_on_nothing(number: int, mode: str) -> IO[str]:
    try:
        os.fstat(number)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
    # Where somebody has the descriptor already, it is left to them.
    return open(os.devnull, mode, encoding="utf-8")  # noqa: PTH123 - as long as the process lives
