"""Plain progress: single lines for logs and dumb terminals, at growing intervals."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from rich.console import Console

from crucible_batch.cli.display import Display
from crucible_batch.cli.display.progress_state import NotableEvent, ProgressState
from crucible_batch.cli.display.progress_text import GAP, money_parts, pace_parts, state_parts
from crucible_batch.cli.terminal import say
from crucible_batch.core.progress import Message, RunBegan, RunEnded

SHORTEST_S = 2.0
LONGEST_S = 60.0


class PlainDisplay(Display):
    """A display that prints a line for every tenth of the jobs, and one for each failure.

    It prints at most one line of counts per two seconds. In between it prints a line after a tenth
    of the elapsed time, and at least one a minute: the log shows that the run is alive, and the log
    of a run of hours stays readable.
    """

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._state = ProgressState()
        self._printed_at = 0.0
        self._printed_tenth = 0
        self._printed = list[str]()
        self._beat: asyncio.TimerHandle | None = None

    def notify(self, message: Message) -> None:
        now = self._clock()
        notable = self._state.take(message, now)
        if notable is not None:
            say(self._console, f"{_wall_clock()}  {_words(notable)}")
        if isinstance(message, RunBegan):
            self._print_counts(now)
            self._keep_beating()
        elif isinstance(message, RunEnded):
            self.pause()
            if self._counts() != self._printed:
                self._print_counts(now)
        elif self._is_due(now):
            self._print_counts(now)

    def _is_due(self, now: float) -> bool:
        silent_s = now - self._printed_at
        if silent_s < SHORTEST_S or not self._state.has_begun:
            return False
        interval_s = min(LONGEST_S, max(SHORTEST_S, self._state.elapsed_s(now) / 10))
        return silent_s >= interval_s or self._tenth() > self._printed_tenth

    def _tenth(self) -> int:
        return self._state.done * 10 // max(1, self._state.total)

    def _counts(self) -> list[str]:
        states = GAP.join(part.plain for part in state_parts(self._state))
        return [
            f"{self._state.done}/{self._state.total}  {states}",
            GAP.join(money_parts(self._state)),
        ]

    def _print_counts(self, now: float) -> None:
        if not self._state.total:  # such as the first run of a probe
            return
        self._printed_at = now
        self._printed_tenth = self._tenth()
        self._printed = self._counts()
        figures = list(self._printed)
        pace = pace_parts(self._state, now)
        if pace and not self._state.ended:
            figures.append(GAP.join(pace))
        say(self._console, f"{_wall_clock()}  {'  |  '.join(figures)}")

    def _keep_beating(self) -> None:
        """Print a line each minute even if no message arrives."""
        self.pause()

        def beat() -> None:
            if self._clock() - self._printed_at >= LONGEST_S - 1:
                self._print_counts(self._clock())
            self._beat = loop.call_later(LONGEST_S, beat)

        loop = asyncio.get_running_loop()
        self._beat = loop.call_later(LONGEST_S, beat)

    def pause(self) -> None:
        """Print no further line unless a message arrives."""
        if self._beat is not None:
            self._beat.cancel()
            self._beat = None


def _words(notable: NotableEvent | str) -> str:
    if isinstance(notable, str):
        return notable
    what = notable.message
    if notable.code:
        what = f"{notable.code}: {what}"
    word = "FAILED"
    if notable.retry:
        word = "retry"
    elif notable.unknown:
        word = "unknown"
    return f"{word}  {notable.name}  {what}"


def _wall_clock() -> str:
    return time.strftime("%H:%M:%S")
