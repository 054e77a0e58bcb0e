"""The choice of a run's display: the requested one, else one that the streams can show."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from crucible_batch.api import Message, Observer
from crucible_batch.cli.answer import CommandOutput
from crucible_batch.cli.display.json_lines import JsonLines
from crucible_batch.cli.display.live import LiveDisplay
from crucible_batch.cli.display.plain import PlainDisplay
from crucible_batch.cli.options import DisplayMode
from crucible_batch.cli.terminal import is_lively


class Display(Protocol):
    """A context manager that shows a run's progress. ``notify`` returns at once and never raises."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def notify(self, message: Message) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class NoDisplay:
    """A display that shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def notify(self, message: Message) -> None:
        """Do nothing."""

    def pause(self) -> None:
        """Do nothing."""

    def resume(self) -> None:
        """Do nothing."""


class ObserverGroup:
    """An observer that passes messages to several others. An observer that can't write must not end a paid run."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    def notify(self, message: Message) -> None:
        """Pass the message to each observer."""
        for observer in self._observers:
            try:  # noqa: SIM105 - this runs for each event of each job, and ``suppress`` costs more than the rest
                observer.notify(message)
            except OSError:
                pass


def choose_display(mode: DisplayMode, answer: CommandOutput, title: str) -> Display:
    """Return the display for a mode. Progress goes to stderr, so that stdout contains only the result.

    ``auto`` is the live panel on a terminal and plain lines elsewhere. With JSON it shows nothing, unless stderr is a
    terminal and stdout is not: two streams on one screen would garble each other.
    """
    lively = is_lively(answer.err)
    if mode is DisplayMode.AUTO:
        if answer.quiet or (answer.json and (answer.stdout_is_screen or not lively)):
            mode = DisplayMode.NONE
        else:
            mode = DisplayMode.RICH if lively else DisplayMode.PLAIN
    match mode:
        case DisplayMode.RICH if not lively:
            return PlainDisplay(answer.err)
        case DisplayMode.RICH:
            return LiveDisplay(answer.err, title)
        case DisplayMode.PLAIN:
            return PlainDisplay(answer.err)
        case _:
            return NoDisplay()


def observer_of(answer: CommandOutput, *others: Observer) -> Observer:
    """Return the observer of a run's progress: the JSON stream, if there is one, and ``others``."""
    return ObserverGroup([JsonLines(answer), *others] if answer.json else others)
