"""A time axis on which only the time counts in which something was going on: a night's pause is cut short."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

_LEAST_PAUSE_S = 30.0
_PAUSE_SHARE = 0.25
"""A gap is cut where it is longer than both of these: the second is a share of the time that is shown."""
_CUT_WIDTH = 0.03
_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
_MOST_TICKS = 8


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of time without a cut: seconds since the epoch, and the seconds that are shown before it."""

    begin: float
    end: float
    shown_before_s: float


class TimeAxis:
    """Maps moments to a place from 0 to 1."""

    def __init__(self, busy: Iterable[tuple[float, float]]) -> None:
        self.pieces = _pieces(_merged(busy))
        last = self.pieces[-1]
        self.shown_s = last.shown_before_s + last.end - last.begin
        self._cut = min(_CUT_WIDTH, 0.3 / len(self.pieces))
        self._begins = [piece.begin for piece in self.pieces]
        self._scale = (1 - self._cut * (len(self.pieces) - 1)) / self.shown_s

    def place(self, moment: float) -> float:
        """Return where a moment is; one within a pause is at its begin."""
        index = max(bisect_right(self._begins, moment) - 1, 0)
        piece = self.pieces[index]
        within = min(max(moment, piece.begin), piece.end) - piece.begin
        return self._cut * index + (piece.shown_before_s + within) * self._scale

    def ticks(self) -> Iterator[tuple[float, float]]:
        """Yield round numbers of seconds since the begin, pauses left out, and where they are."""
        step = next((step for step in _STEPS_S if self.shown_s / step <= _MOST_TICKS), 0.0)
        step = step or math.ceil(self.shown_s / _MOST_TICKS / 86400) * 86400
        shown = [piece.shown_before_s for piece in self.pieces]
        for number in range(int(self.shown_s / step) + 1):
            index = bisect_right(shown, number * step) - 1
            yield number * step, self._cut * index + number * step * self._scale

    def pauses(self) -> Iterator[tuple[float, float]]:
        """Yield how long each cut is in truth, in seconds, and where its middle is."""
        for index, (before, after) in enumerate(zip(self.pieces, self.pieces[1:], strict=False)):
            yield after.begin - before.end, self._cut * (index + 0.5) + after.shown_before_s * self._scale

    @property
    def cut_width(self) -> float:
        """The width of a cut, as a share of the whole."""
        return self._cut


def _merged(busy: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for begin, end in sorted(busy):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((begin, end))
    return merged or [(0.0, 1.0)]


def _pieces(stretches: Sequence[tuple[float, float]]) -> list[Piece]:
    busy_s = sum(end - begin for begin, end in stretches)
    longest_gap_s = max(_LEAST_PAUSE_S, _PAUSE_SHARE * busy_s)
    pieces: list[Piece] = []
    begin, end = stretches[0]
    shown_s = 0.0
    for later_begin, later_end in stretches[1:]:
        if later_begin - end > longest_gap_s:
            pieces.append(Piece(begin, end, shown_s))
            shown_s += end - begin
            begin = later_begin
        end = later_end
    # One moment alone has no length; a tenth of a second gives it one.
    pieces.append(Piece(begin, max(end, begin + 0.1), shown_s))
    return pieces
