"""The live panel: one calm picture of a run, redrawn in place and gone when the run is over."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.spinner import Spinner
from rich.text import Text

from crucible_batch.api import Message, Throttled, clean, format_credits
from crucible_batch.cli.display.tally import SLOWER, Notable, Tally, jobs_at_once
from crucible_batch.cli.durations import format_duration

WIDEST = 100
FRAMES_PER_S = 8
NOTABLE_LINES = 3
RETRY_SHOWN_S = 4.0


class LiveDisplay:
    """Draws a run on a terminal. ``notify`` only counts; a thread of Rich draws, so the run never waits for it."""

    def __init__(self, console: Console, title: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._title = title
        self._clock = clock
        self._tally = Tally()
        # Replaced as a whole, never changed: the drawing thread reads it at any moment.
        self._failures: tuple[Notable, ...] = ()
        self._retry: tuple[float, Notable] | None = None
        self._live = self._new_live()

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def pause(self) -> None:
        """Leave the terminal to a question."""
        self._live.stop()

    def resume(self) -> None:
        """Go on drawing after a pause."""
        self._live = self._new_live()
        self._live.start()

    def notify(self, message: Message) -> None:
        """Take a progress message in."""
        now = self._clock()
        notable = self._tally.take(message, now)
        if notable is None or notable.name == SLOWER:  # a row of its own shows that, for as long as it is so
            return
        if notable.code == "RETRY":
            self._retry = (now, notable)
        else:
            self._failures = (*self._failures, notable)[-NOTABLE_LINES:]

    def _new_live(self) -> Live:
        return Live(get_renderable=self._draw, console=self._console, refresh_per_second=FRAMES_PER_S, transient=True)

    def _draw(self) -> RenderableType:
        now = self._clock()
        tally = self._tally
        if not tally.total:
            return Spinner("dots", Text("reading the manifest, asking the gateway", style="dim"), style="cyan")
        width = min(self._console.width, WIDEST)
        lines: list[RenderableType] = [
            bar(tally, width - 4),
            states(tally),
            _row("credits", money(tally)),
        ]
        if images := _images(tally):
            lines.append(_row("images", images))
        if tally.throttled is not None:
            lines.append(_slower(tally.throttled))
        lines += [_failure(notable, width) for notable in self._failures]
        if self._retry is not None and now - self._retry[0] < RETRY_SHOWN_S:
            lines.append(_retrying(self._retry[1]))
        clock = _elapsed(tally.elapsed_s(now))
        return Panel(
            Group(*lines),
            title=Text(self._title, style="bold"),
            title_align="left",
            subtitle=Text(" · ".join(part for part in (pace(tally, now), clock) if part), style="dim"),
            subtitle_align="right",
            box=box.ROUNDED,
            border_style="dim",
            width=width,
        )


def bar(tally: Tally, width: int) -> Text:
    """Draw the jobs by state as one bar, and how many are done."""
    figures = f"  {tally.done}/{tally.total}"
    cells = max(10, width - len(figures))
    text = Text(no_wrap=True)
    used = 0
    edge = 0
    for count, style in (
        (tally.succeeded, "green"),
        (tally.failed, "red"),
        (tally.unknown, "yellow"),
        (tally.in_flight, "cyan"),
    ):
        edge += count
        upto = min(cells, edge * cells // tally.total)
        if count and upto == used < cells:
            upto = used + 1  # a single failure among thousands is worth a cell
        text.append("━" * (upto - used), style=style)
        used = max(used, upto)
    text.append("━" * (cells - used), style="bright_black")
    return text.append(figures, style="bold")


def states(tally: Tally) -> Text:
    """Say how many jobs are in which state; those without any are left out, but for the first."""
    text = Text.assemble((f"{tally.succeeded} succeeded", "green"))
    for count, word, style in (
        (tally.failed, "failed", "red"),
        (tally.unknown, "unknown", "yellow"),
        (tally.in_flight, "in flight", "cyan"),
        (tally.waiting, "waiting", ""),
    ):
        if count:
            text.append(" · ", style="dim").append(f"{count} {word}", style=style)
    return text


def money(tally: Tally) -> str:
    """Say what was spent, what is held, and what the budget leaves."""
    balance = tally.balance
    held = f" · {format_credits(balance.held)} held" if balance.held else ""
    if balance.budget is None or balance.left is None:
        return f"{format_credits(balance.spent)} spent{held}"
    left = f" · {format_credits(max(balance.left, balance.left * 0))} left"
    return f"{format_credits(balance.spent)} spent{held}{left} of {format_credits(balance.budget)}"


def pace(tally: Tally, now: float) -> str:
    """Say how fast it goes and how long the rest will take, as far as that is known."""
    rate = tally.rate_per_min(now)
    if rate is None:
        return ""
    left_s = tally.left_s(now)
    left = f" · {format_duration(math.ceil(left_s), whole=True)} left" if left_s else ""
    return f"{rate:.0f} jobs/min{left}"


def _images(tally: Tally) -> str:
    parts = [(tally.uploaded, "uploaded"), (tally.found, "there already")]
    return " · ".join(f"{count} {word}" for count, word in parts if count)


def _row(label: str, figures: str) -> Text:
    return Text.assemble((f"{label:<9}", "dim"), figures, no_wrap=True, overflow="ellipsis")


def _slower(throttled: Throttled) -> Text:
    at_most = f"at most {jobs_at_once(throttled.limit)}"
    words = (f"{'slower':<9}", "dim"), (at_most, "yellow"), f"  {clean(throttled.reason or '', 60)}"
    return Text.assemble(*words, no_wrap=True, overflow="ellipsis")


def _failure(notable: Notable, width: int) -> Text:
    mark, style = ("↻ ", "yellow") if notable.retry else ("✗ ", "red")
    name = Text(notable.name)
    name.truncate(max(16, width // 3), overflow="ellipsis")
    words = ((mark, style), name, "  ", (notable.code, style), f"  {notable.message}")
    return Text.assemble(*words, no_wrap=True, overflow="ellipsis")


def _retrying(notable: Notable) -> Text:
    return Text.assemble(
        ("↻ ", "yellow"), (f"{notable.name}: {notable.message}", "dim"), no_wrap=True, overflow="ellipsis"
    )


def _elapsed(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
