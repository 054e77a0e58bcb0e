"""Which display a run gets: what was asked for, else what the streams can show."""

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
    """Shows a run while it is entered. ``notify`` returns at once and never raises."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def notify(self, message: Message) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class NoDisplay:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def notify(self, message: Message) -> None:
        """Let it pass."""

    def pause(self) -> None:
        """Nothing is shown."""

    def resume(self) -> None:
        """Nothing is shown."""


class ObserverGroup:
    """Tells several observers the same. One that can't write any more must not end a run that is paid for."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    def notify(self, message: Message) -> None:
        """Pass it on to each."""
        for observer in self._observers:
            try:  # noqa: SIM105 - an event of each job comes by here, and ``suppress`` costs more than all the rest
                observer.notify(message)
            except OSError:
                pass


def choose_display(mode: DisplayMode, answer: CommandOutput, title: str) -> Display:
    """Make the display: progress goes to stderr, so that stdout has the result alone.

    ``auto`` is the live panel on a terminal and plain lines elsewhere. With JSON it is nothing, unless stderr is a
    terminal of its own: two streams on one screen would spoil each other.
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
    """Return who is told of a run's progress: the stream of JSON, where there is one, and the others."""
    return ObserverGroup([JsonLines(answer), *others] if answer.json else others)
