"""The standard streams and the consoles on them: closed streams and pipes, encodings, styles."""

from __future__ import annotations

import io
import os
import select
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, TypeAlias

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text
from rich.theme import Theme

from crucible_batch.errors import DeadlineError

Json: TypeAlias = "str | int | float | bool | Mapping[str, Json] | list[Json] | None"
"""The values that ``--json`` writes."""
PIPED_WIDTH = 120
"""The width in columns without a terminal.

It is enough for a table with UUIDs, and text isn't cut at 80.
"""

_LEAST_ROOM = 24
"""The least number of columns next to a label for wrapping text.

With fewer, wrapping is left to the terminal.
"""

_THEME = Theme(
    {
        "good": "green",
        "bad": "red",
        "warn": "yellow",
        "busy": "cyan",
        "quiet": "dim",
        "label": "dim",
        "strong": "bold",
        "command": "bold cyan",
    }
)


_STREAMS = (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w"))


def repair_streams() -> None:
    """Open closed streams on the null device, and make stdout and stderr survive a closed pipe.

    May be called again. Otherwise the next opened file, such as the journal, would get the closed
    descriptor, and output for the stream would be written into that file.
    """
    for name, number, mode in _STREAMS:
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, _open_null(number, mode))
        elif mode == "w" and type(stream) is io.TextIOWrapper:
            setattr(sys, name, _surviving_closed_pipe(stream))


class SteadyFile(io.FileIO):
    """A file that discards output once its pipe is closed.

    The command still ends with its own exit code.
    """

    def write(self, content: Any, /) -> int:
        try:
            return super().write(content)
        except BrokenPipeError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            return super().write(content)


def _surviving_closed_pipe(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    file = SteadyFile(stream.fileno(), "w", closefd=False)
    is_unbuffered = isinstance(stream.buffer, io.RawIOBase)  # as with PYTHONUNBUFFERED
    return io.TextIOWrapper(
        file if is_unbuffered else io.BufferedWriter(file),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _open_null(number: int, mode: str) -> IO[str]:
    try:
        os.fstat(number)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
    # If something else uses the descriptor, it is not replaced.
    # The file stays open until the process exits.
    return open(os.devnull, mode, encoding="utf-8")  # noqa: PTH123 - a device


def open_console(*, stderr: bool = False) -> Console:
    """Return a console for a stream.

    Colours follow Rich's rules: ``NO_COLOR``, ``FORCE_COLOR``, a terminal or not.
    """
    stream = sys.stderr if stderr else sys.stdout
    if hasattr(stream, "reconfigure"):
        # An ASCII terminal shows ? for other characters instead of a traceback.
        stream.reconfigure(errors="replace")
    width = None
    if not stream.isatty() and "COLUMNS" not in os.environ:
        width = PIPED_WIDTH
    return Console(
        stderr=stderr, theme=_THEME, highlight=False, markup=False, emoji=False, width=width
    )


def silence(stream: IO[str]) -> None:
    """Redirect a stream with a closed pipe to the null device: the flush at exit raises nothing."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, stream.fileno())
    except (OSError, ValueError):  # not a real file, so no flush at exit either
        return
    finally:
        os.close(null)


def say(console: Console, *parts: str | tuple[str, str] | Text) -> None:
    """Print one line without line breaks, which the terminal wraps and which is copied as one."""
    console.print(Text.assemble(*parts), soft_wrap=True)


def say_note(console: Console, text: str) -> None:
    say_indented(console, Text("note  ", "label"), text)


def say_sentence(console: Console, *parts: str | tuple[str, str] | Text) -> None:
    """Print a sentence, wrapped between words on a terminal, and as one line elsewhere."""
    console.print(Text.assemble(*parts), soft_wrap=not console.is_terminal)


def say_indented(console: Console, head: Text, *parts: str | tuple[str, str] | Text) -> None:
    """Print text after ``head``, wrapped between words on a terminal.

    Further lines are indented as far as the first. It stays one line, which can be copied as such,
    if it is not printed on a terminal, has a command, or has a word that does not fit.
    """
    text = Text.assemble(*parts)
    room = console.width - head.cell_len
    has_command = any(span.style == "command" for span in text.spans)
    fits = room >= max([_LEAST_ROOM, *map(cell_len, text.plain.split())])
    lines: Iterable[Text] = [text]
    if console.is_terminal and fits and not has_command:
        lines = text.wrap(console, room)
    before = head
    for line in lines:
        line.rstrip()
        say(console, before, line)
        before = Text(" " * head.cell_len)


def fact(
    console: Console, label: str, *parts: str | tuple[str, str] | Text, width: int = 8
) -> None:
    """Print a line of a result: a label in a column of ``width``, and what it labels."""
    say_indented(console, Text(f"  {label:<{width}} ", "label"), *parts)


def advise(console: Console, label: str, text: str, *, indent: int = 0) -> None:
    say_indented(console, Text(f"{'':{indent}}{label}  ", "label"), text)


def say_more(console: Console, count: int) -> None:
    """Print that so many more rows are only in the JSON output; nothing if there are none."""
    if count > 0:
        say(console, (f"  … and {count:,} more; --json has them all", "quiet"))


def can_ask(console: Console) -> bool:
    """Return whether someone can be asked: stdin and the console are terminals."""
    return sys.stdin.isatty() and console.is_terminal


def ask(console: Console, question: str, *, end: float | None = None) -> str:
    """Print a question, and return the line that is typed, stripped and in lower case.

    Raises ``DeadlineError`` if there is none until ``end`` on the monotonic clock.
    """
    console.print(f"{question} ", end="")
    if end is not None:
        left_s = max(0.0, end - time.monotonic())
        is_typed = select.select([sys.stdin], [], [], left_s)[0]
        if not is_typed:
            raise DeadlineError
    return sys.stdin.readline().strip().lower()


def agrees(console: Console, question: str, *, end: float | None = None) -> bool:
    """Ask a question that only ``y`` or ``yes`` answers with yes. Raises as ``ask`` does."""
    return ask(console, f"{question} [y/N]", end=end) in {"y", "yes"}


def is_lively(console: Console) -> bool:
    """Return whether the console is a terminal that can redraw lines."""
    return console.is_terminal and not console.is_dumb_terminal


@contextmanager
def working(console: Console, doing: str) -> Iterator[None]:
    """Show a spinner on a terminal while the block runs; do nothing elsewhere."""
    if not is_lively(console):
        yield
        return
    with console.status(Text(doing, style="dim"), spinner="dots", spinner_style="cyan"):
        yield


def error_json(error: Any) -> Json:
    """Return the code, the message and the hint of an error; None if there is none."""
    if error is None:
        return None
    return {"code": error.code, "message": error.message, "hint": error.hint or None}
