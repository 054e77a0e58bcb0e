"""The live panel: a run's state, redrawn in place and removed when the run ends."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.spinner import Spinner
from rich.text import Text

from crucible_batch.cli.display import Display
from crucible_batch.cli.display.message_text import jobs_at_once
from crucible_batch.cli.display.progress_state import (
    NotableEvent,
    ProgressState,
    paused_words,
    stopping_words,
)
from crucible_batch.cli.display.progress_text import (
    LABEL,
    NARROW,
    bar,
    elapsed,
    error_parts,
    fitting,
    image_parts,
    money_parts,
    one_line,
    output_parts,
    pace_parts,
    rows,
    shorten,
    stage_bars,
    state_parts,
    task_row,
)
from crucible_batch.core.progress import Message, Throttled
from crucible_batch.core.redaction import clean

WIDEST = 100
NOTABLE_LINES = 3
TASK_LINES = 4
ROOMY_LINES = 16
"""The number of terminal lines from which each stage has its own bar; with fewer, all stages share
one.
"""
RETRY_SHOWN_S = 4.0


class LiveDisplay(Display):
    """A display that draws a run on a terminal.

    ``notify`` only counts; a Rich thread draws, so the run never waits.
    """

    def __init__(
        self, console: Console, title: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._title = title
        self._clock = clock
        self._state = ProgressState()
        # Replaced, never mutated: the drawing thread may read it at any time.
        self._failures: tuple[NotableEvent, ...] = ()
        self._retry: tuple[float, NotableEvent] | None = None
        self._frames = self._new_frames()

    def pause(self) -> None:
        self._frames.stop()

    def resume(self) -> None:
        self._frames = self._new_frames()
        self._frames.start()

    def notify(self, message: Message) -> None:
        now = self._clock()
        notable = self._state.take(message, now)
        if notable is None or isinstance(notable, str):
            return  # the states of a run have their own row while they last
        if not notable.code:
            self._retry = (now, notable)
        else:
            self._failures = (*self._failures, notable)[-NOTABLE_LINES:]

    def _new_frames(self) -> Live:
        return Live(get_renderable=self._draw, console=self._console, transient=True)

    def _draw(self) -> RenderableType:
        now, state = self._clock(), self._state
        if not state.has_begun:
            text = Text("reading the manifest, querying the gateway", style="dim")
            if state.unreachable:
                text = Text(state.unreachable, style="yellow")
            return Spinner("dots", text, style="cyan")
        width = min(self._console.width, WIDEST)
        lines = self._lines(now, width - 4, self._console.height - 4)
        panel = Panel(
            Group(*lines),
            title=Text(self._title, style="bold"),
            title_align="left",
            subtitle=Text(
                fitting([*pace_parts(state, now), elapsed(state.elapsed_s(now))], width - 6),
                style="dim",
            ),
            subtitle_align="right",
            box=box.ROUNDED,
            border_style="dim",
            width=width,
        )
        # The cursor is on a separate line, so that what the terminal echoes there (^C) doesn't
        # damage the frame.
        return Group(panel, Text(""))

    def _lines(self, now: float, width: int, height: int) -> list[Text]:
        """Return the panel's lines.

        With too little height, active jobs are left out first, then recent failures.
        """
        state = self._state
        head = [bar(state, width)]
        if width >= NARROW and height >= ROOMY_LINES:
            head = stage_bars(state, width)
        head += rows("jobs", state_parts(state), width)
        head += rows("credits", money_parts(state), width)
        for label, parts in (("images", image_parts(state)), ("outputs", output_parts(state))):
            if parts:
                head += rows(label, parts, width)
        tail = self._warnings(now, width)
        room = max(0, height - len(head) - len(tail))
        failures: list[Text] = []
        if room:
            failures = [_failure(notable, width) for notable in self._failures][-room:]
        tasks = self._at_work(now, width, min(TASK_LINES, room - len(failures) - 1))
        return [*head, *tasks, *tail, *failures][: max(1, height)]

    def _warnings(self, now: float, width: int) -> list[Text]:
        """Return the lines about errors, and about what delays or stops the run."""
        state = self._state
        tail: list[Text] = []
        errors = error_parts(state)
        if errors:
            tail += rows("errors", errors, width, "red")
        if state.unreachable is not None:
            tail += rows("waiting", state.unreachable.split("; "), width, "yellow")
        if state.paused is not None:
            tail += rows("paused", paused_words(state, now), width, "yellow")
        if state.throttled is not None:
            tail.append(_slower(state.throttled))
        if state.retries:
            tail.append(self._retries(now))
        if state.stop_at is not None:
            tail += rows("stopping", stopping_words(state, now).split("; "), width, "yellow")
        return tail

    def _at_work(self, now: float, width: int, count: int) -> list[Text]:
        """Return lines for the oldest active jobs, which include any job that hangs."""
        if count <= 0:
            return []
        indent = LABEL if width >= NARROW else 2
        label = "oldest" if width >= NARROW else ""
        lines = []
        for task in self._state.oldest(count):
            row = task_row(task, now, width - indent)
            lines.append(one_line((label.ljust(indent), "dim"), row))
            label = ""
        more = self._state.in_flight - len(lines)
        if lines and more > 0:
            lines.append(Text(f"{'':{indent}}and {more} more", style="dim"))
        return lines

    def _retries(self, now: float) -> Text:
        """Return the line of retries: their number, and the reason of the last one.

        The reason is shown for ``RETRY_SHOWN_S``.
        """
        text = one_line((f"{'retries':<{LABEL}}", "dim"), str(sum(self._state.retries.values())))
        if self._retry is not None and now - self._retry[0] < RETRY_SHOWN_S:
            last = self._retry[1]
            text.append(f" · {last.name}: {last.message}", style="yellow")
        return text


def _slower(throttled: Throttled) -> Text:
    at_most = f"at most {jobs_at_once(throttled.limit)}"
    return one_line(
        (f"{'slower':<{LABEL}}", "dim"),
        (at_most, "yellow"),
        f"  {clean(throttled.reason or '', 60)}",
    )


def _failure(notable: NotableEvent, width: int) -> Text:
    mark, style = "✗ ", "red"
    if notable.retry:
        mark, style = "↻ ", "yellow"
    name = shorten(notable.name, max(16, width // 3))
    return one_line((mark, style), name, "  ", (notable.code, style), f"  {notable.message}")
