"""A live display of whole frames: drawn at once, only where something changed, and taken away whole when it shrinks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType, RenderResult
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType, Segment

FRAMES_PER_S = 5
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
"""Synchronised output: a terminal that knows it shows what is between them as one, the others pass over them."""


def does_reflow(environ: Mapping[str, str]) -> bool:
    """Whether a terminal breaks lines anew when it becomes narrower: nearly all do.

    xterm, the Linux console and GNU screen cut them off. What they name themselves in is inherited by what is started
    in them, so a tmux or a VTE terminal that says its own name counts as itself.
    """
    if environ.get("TMUX") or environ.get("VTE_VERSION"):
        return True
    kind = environ.get("TERM", "")
    return not (environ.get("XTERM_VERSION") or kind == "linux" or kind.startswith("screen"))


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
        reflows: bool | None = None,
    ) -> None:
        super().__init__(get_renderable=draw, console=console, refresh_per_second=FRAMES_PER_S, transient=True)
        self._drawn = drawn
        self._changed = changed
        self._reflows = does_reflow(os.environ) if reflows is None else reflows
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
        """Take away the lines that a terminal broke the old frame into when it became narrower.

        Where none were broken, what stands above the frame is somebody else's, and is left alone.
        """
        if not self._reflows or self._shown is None or width >= self._shown[1]:
            return
        old = self._shown[0]
        more = old.height * (-(-old.width // width) - 1)
        yield Control(*((ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2)) * more)
