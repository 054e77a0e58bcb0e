"""The two streams: consoles that survive a closed pipe and a narrow encoding, and the few styles that we use."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from rich.console import Console
from rich.text import Text
from rich.theme import Theme

PIPED_WIDTH = 120
"""Columns where there is no terminal to ask: enough for a table with UUIDs, and nothing is cut at 80."""

_LEAST_ROOM = 24
"""Columns below which text behind a label is a tower of single words: then the terminal wraps it as it likes."""

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


class SteadyConsole(Console):
    """A console that falls silent when its reader has gone: a run that is paid for must not die of ``| head``."""

    def on_broken_pipe(self) -> None:
        """Be quiet from now on; the command goes on and ends with its own exit code."""
        self.quiet = True
        silence(self.file)


def open_console(*, stderr: bool = False) -> Console:
    """Make the console of a stream. Colours by Rich's rules: ``NO_COLOR``, ``FORCE_COLOR``, a terminal or not."""
    stream = sys.stderr if stderr else sys.stdout
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")  # an ASCII terminal shows ? for what it lacks, and never a traceback
    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPED_WIDTH
    return SteadyConsole(stderr=stderr, theme=_THEME, highlight=False, markup=False, emoji=False, width=width)


def silence(stream: IO[str]) -> None:
    """Point a stream whose reader has gone to nowhere, so that the last flush at exit raises nothing."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, stream.fileno())
    except (OSError, ValueError):  # not a real file: then there is no flush to fear either
        return
    finally:
        os.close(nowhere)


def say(console: Console, *parts: str | tuple[str, str] | Text) -> None:
    """Print one line without breaking it: the terminal wraps what is too long for it, and it copies whole."""
    console.print(Text.assemble(*parts), soft_wrap=True)


def tell(console: Console, *parts: str | tuple[str, str] | Text) -> None:
    """Print a sentence, broken between words where a terminal is too narrow for it; in a log it stays one line."""
    console.print(Text.assemble(*parts), soft_wrap=not console.is_terminal)


def advise(console: Console, label: str, text: str, *, indent: int = 0) -> None:
    """Print a sentence behind a label, its further lines under the first; in a log it stays one line."""
    head = f"{'':{indent}}{label}  "
    room = console.width - len(head)
    lines = Text(text).wrap(console, room) if console.is_terminal and room >= _LEAST_ROOM else [Text(text)]
    for number, line in enumerate(lines):
        say(console, (head if number == 0 else " " * len(head), "label"), line)


def is_lively(console: Console) -> bool:
    """Whether the console is a terminal that can redraw lines."""
    return console.is_terminal and not console.is_dumb_terminal


@contextmanager
def working(console: Console, doing: str) -> Iterator[None]:
    """Show a spinner on a terminal while something takes its time; nothing elsewhere."""
    if not is_lively(console):
        yield
        return
    with console.status(Text(doing, style="dim"), spinner="dots", spinner_style="cyan"):
        yield
