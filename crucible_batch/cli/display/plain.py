"""Plain progress: single lines for logs and dumb terminals, at growing intervals."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console

from crucible_batch.api import Message, RunBegan, RunEnded
from crucible_batch.cli.display.progress_state import SLOWER, NotableEvent, ProgressState
from crucible_batch.cli.display.progress_text import money, pace, states
from crucible_batch.cli.terminal import say

SHORTEST_S = 2.0
LONGEST_S = 60.0


class PlainDisplay:
    """A display that prints a line for every tenth of the jobs, at most one per two seconds, and one for each failure.

    In between it prints a line after a tenth of the elapsed time, and at least one a minute: the log shows that the
    run is alive, and the log of a run of hours stays readable.
    """

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._tally = ProgressState()
        self._said_at = 0.0
        self._said_tenth = 0
        self._beat: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_beating()

    def pause(self) -> None:
        """Do nothing: lines are not redrawn."""

    def resume(self) -> None:
        """Do nothing: see ``pause``."""

    def notify(self, message: Message) -> None:
        """Process a progress message, and print any line that is due."""
        now = self._clock()
        notable = self._tally.take(message, now)
        if notable is not None:
            self._tell(notable)
        if isinstance(message, RunBegan):
            self._say(now)
            self._keep_beating()
        elif isinstance(message, RunEnded):
            self._stop_beating()
            self._say(now)
        elif self._is_due(now):
            self._say(now)

    def _is_due(self, now: float) -> bool:
        silent_s = now - self._said_at
        if silent_s < SHORTEST_S or not self._tally.total:
            return False
        interval_s = min(LONGEST_S, max(SHORTEST_S, self._tally.elapsed_s(now) / 10))
        return silent_s >= interval_s or self._tenth() > self._said_tenth

    def _tenth(self) -> int:
        return self._tally.done * 10 // max(1, self._tally.total)

    def _say(self, now: float) -> None:
        self._said_at = now
        self._said_tenth = self._tenth()
        figures = f"{self._tally.done}/{self._tally.total}  {states(self._tally)}  |  {money(self._tally)}"
        speed = pace(self._tally, now)
        say(self._console, f"{_wall_clock()}  {figures}" + (f"  |  {speed}" if speed and not self._tally.ended else ""))

    def _tell(self, notable: NotableEvent) -> None:
        if notable.name == SLOWER:
            say(self._console, f"{_wall_clock()}  {SLOWER}  {notable.message}: {notable.code}")
            return
        word = "retry" if notable.retry else "unknown" if notable.unknown else "FAILED"
        word = "stop" if notable.name == "stopping" else word
        code = "" if notable.code == "RETRY" else f"{notable.code}: "
        say(self._console, f"{_wall_clock()}  {word}  {notable.name}  {code}{notable.message}")

    def _keep_beating(self) -> None:
        """Print a line each minute even if no message arrives."""
        self._stop_beating()

        def beat() -> None:
            if self._clock() - self._said_at >= LONGEST_S - 1:
                self._say(self._clock())
            self._beat = loop.call_later(LONGEST_S, beat)

        loop = asyncio.get_running_loop()
        self._beat = loop.call_later(LONGEST_S, beat)

    def _stop_beating(self) -> None:
        if self._beat is not None:
            self._beat.cancel()
            self._beat = None


def _wall_clock() -> str:
    return time.strftime("%H:%M:%S")
