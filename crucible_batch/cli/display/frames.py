"""A live display of whole frames: drawn at once, only where something changed, and taken away whole when it shrinks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType, RenderResult
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType, Segment

FRAMES_PER_S = 5
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
"""Synchronised output: a terminal that knows it shows what is between them as one, the others pass over them."""


@dataclass(frozen=True, slots=True)
class Size:
    """Columns and lines, of a frame or of the terminal."""

    width: int
    height: int


class _Raw:
    """Bytes for the terminal that take no room."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, _console: Console, _options: ConsoleOptions) -> RenderResult:
        # Rich takes whatever has a control code for no text; which one it is means nothing here.
        yield Segment(self._text, None, [(ControlType.CARRIAGE_RETURN,)])


class Frames(Live):
    """Rich's live display. ``drawn`` is the size of the newest frame, ``changed`` says whether there is another."""

    def __init__(
        self,
        draw: Callable[[], RenderableType],
        console: Console,
        *,
        drawn: Callable[[], Size],
        changed: Callable[[], bool],
    ) -> None:
        super().__init__(get_renderable=draw, console=console, refresh_per_second=FRAMES_PER_S, transient=True)
        self._drawn = drawn
        self._changed = changed
        self._shown: tuple[Size, int] | None = None

    def refresh(self) -> None:
        """Draw, unless what stands there is right."""
        if not self.is_started or self._changed():
            super().refresh()

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Put a frame between the marks, and take the old one away whole."""
        width = self.console.width
        upwards, *rest = super().process_renderables(renderables)
        frame = [_Raw(_BEGIN), upwards, *self._reflowed(width), *rest, _Raw(_END)]
        self._shown = (self._drawn(), width)
        return frame

    def _reflowed(self, width: int) -> Iterator[Control]:
        """Take away the lines that a terminal broke the old frame into when it became narrower."""
        if self._shown is None or width >= self._shown[1]:
            return
        old = self._shown[0]
        more = old.height * (-(-old.width // width) - 1)
        yield Control(*((ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2)) * more)
