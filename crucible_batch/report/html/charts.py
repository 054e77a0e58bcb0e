"""The geometry of the two charts: stages of jobs, and credits, over one time axis. Drawn by templates as plain SVG.

No chart library: the maintained ones in Python link scripts or fonts from elsewhere or put styles inline, which the
page's security policy forbids, and a Gantt of a thousand jobs is one path a stage here.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from heapq import heappop, heappush
from typing import Generic, TypeVar

from crucible_batch.domain.credits import ZERO, Credits, format_credits
from crucible_batch.domain.events import Event
from crucible_batch.domain.ledger import Ledger
from crucible_batch.domain.plan import RunTerms
from crucible_batch.domain.prices import PriceBook
from crucible_batch.report.html.cards import Stage, StageKind

T = TypeVar("T")


class Downsampled(Generic[T]):
    """Keeps every ``every``-th item of a series; ``every`` doubles as needed to keep fewer than twice ``most``."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: list[T] = []
        self._seen = 0
        self.every = 1

    def add(self, item: T) -> None:
        if self._seen % self.every == 0:
            self._kept.append(item)
            if len(self._kept) >= 2 * self._most:
                del self._kept[1::2]
                self.every *= 2
        self._seen += 1

    def kept(self) -> list[T]:
        """Return the items kept so far, always including the first."""
        return list(self._kept)


_MOST_POINTS = 1200
"""The minimum for a long curve; at most twice as many are drawn."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The spent and held credits from ``at`` on, in seconds since the epoch."""

    at: float
    spent: Credits
    held: Credits


def credit_curve(events: Iterable[tuple[str, Event]], terms: RunTerms) -> list[CurvePoint]:
    """Fold the events into a curve, by the ceilings of the newest run's ``terms``.

    Of a long one every n-th point is kept, and always the last.
    """
    ledger = Ledger(PriceBook.of(terms))
    points: Downsampled[CurvePoint] = Downsampled(_MOST_POINTS)
    last: CurvePoint | None = None
    before = (ZERO, ZERO)
    for subject, event in events:
        ledger.apply(subject, event)
        now = (ledger.spent, ledger.held)
        if now != before:
            last = CurvePoint(event.at, *now)
            points.add(last)
            before = now
    kept = points.kept()
    if last is not None and kept[-1] is not last:
        kept.append(last)
    return kept


_LEAST_PAUSE_S = 30.0
_PAUSE_SHARE = 0.25
"""A gap is cut out if it is longer than both of these; the second is a share of the shown time."""
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
    """Maps moments to a place from 0 to 1. ``cut_width`` is the width of a cut on the same scale."""

    def __init__(self, busy: Iterable[tuple[float, float]]) -> None:
        self.pieces = _pieces(_merged(busy))
        last = self.pieces[-1]
        self.shown_s = last.shown_before_s + last.end - last.begin
        self.cut_width = min(_CUT_WIDTH, 0.3 / len(self.pieces))
        self._begins = [piece.begin for piece in self.pieces]
        self._scale = (1 - self.cut_width * (len(self.pieces) - 1)) / self.shown_s

    def place(self, moment: float) -> float:
        """Return the place of a moment; a moment within a pause is at the beginning of the pause."""
        index = max(bisect_right(self._begins, moment) - 1, 0)
        piece = self.pieces[index]
        within = min(max(moment, piece.begin), piece.end) - piece.begin
        return self.cut_width * index + (piece.shown_before_s + within) * self._scale

    def ticks(self) -> Iterator[tuple[float, float]]:
        """Yield round numbers of seconds since the beginning, without pauses, and their places."""
        step = next((step for step in _STEPS_S if self.shown_s / step <= _MOST_TICKS), 0.0)
        step = step or math.ceil(self.shown_s / _MOST_TICKS / 86400) * 86400
        shown = [piece.shown_before_s for piece in self.pieces]
        for number in range(int(self.shown_s / step) + 1):
            index = bisect_right(shown, number * step) - 1
            yield number * step, self.cut_width * index + number * step * self._scale

    def pauses(self) -> Iterator[tuple[float, float]]:
        """Yield the real length of each cut in seconds, and the place of its middle."""
        for index, (before, after) in enumerate(zip(self.pieces, self.pieces[1:], strict=False)):
            yield after.begin - before.end, self.cut_width * (index + 0.5) + after.shown_before_s * self._scale


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
    # A single moment has no length, so it is given a tenth of a second.
    pieces.append(Piece(begin, max(end, begin + 0.1), shown_s))
    return pieces


LEFT, RIGHT = 190.0, 984.0
_MOST_ROWS = 300
"""With more jobs, consecutive jobs share a lane instead of having a row each."""
_ROW, _LANE = 18.0, 7.0
_NAME_LENGTH = 27


@dataclass(frozen=True, slots=True)
class Timed:
    """A job in the timeline: its index in the page's list, its name, its stages."""

    number: int
    name: str
    status: str
    stages: Sequence[Stage]


@dataclass(frozen=True, slots=True)
class ChartMark:
    """Something at a place of the time axis."""

    x: float
    text: str
    width: float = 0.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One job's row."""

    number: int
    name: str
    label: str
    status: str
    y: float
    paths: Sequence[tuple[str, str]]
    spans: Sequence[tuple[str, str]]
    """Each stage and how long it was, in words."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """A row a job, or lanes with one path a stage."""

    height: float
    bars: Sequence[Bar]
    paths: Sequence[tuple[str, str]]
    ticks: Sequence[ChartMark]
    pauses: Sequence[ChartMark]
    kinds: Sequence[str]
    lanes: int


@dataclass(frozen=True, slots=True)
class CreditsChart:
    """Two areas, and the line of the budget unless it is far above them."""

    height: float
    spent: str
    committed: str
    budget_y: float | None
    levels: Sequence[tuple[float, str]]
    ticks: Sequence[ChartMark]
    pauses: Sequence[ChartMark]


def axis_of(jobs: Iterable[Timed], curve: Iterable[CurvePoint]) -> TimeAxis:
    def busy() -> Iterator[tuple[float, float]]:
        for job in jobs:
            yield from ((stage.begin, stage.end) for stage in job.stages)
        yield from ((point.at, point.at) for point in curve)

    return TimeAxis(busy())


def timeline(jobs: Sequence[Timed], axis: TimeAxis) -> Timeline:
    """Lay out the stages, the earliest job first."""
    begun = sorted((job for job in jobs if job.stages), key=lambda job: (job.stages[0].begin, job.number))
    kinds = {stage.kind for job in begun for stage in job.stages}
    in_rows = len(begun) <= _MOST_ROWS
    places = [float(place) for place in range(len(begun))] if in_rows else _lanes(begun)
    step = _ROW if in_rows else _LANE
    lanes = int(max(places, default=-1)) + 1
    return Timeline(
        height=lanes * step + 34,
        bars=[_bar(job, place * step, axis) for job, place in zip(begun, places, strict=True)] if in_rows else [],
        paths=[] if in_rows else _shared_paths(begun, places, axis),
        ticks=_ticks(axis),
        pauses=_pauses(axis),
        kinds=[kind.value for kind in StageKind if kind in kinds],
        lanes=0 if in_rows else lanes,
    )


def credits_chart(curve: Sequence[CurvePoint], budget: Credits | None, axis: TimeAxis) -> CreditsChart | None:
    """Lay out the credits over time; None if they never changed."""
    if not curve:
        return None
    peak = max(point.spent + point.held for point in curve)
    within_reach = budget is not None and budget <= 4 * peak
    top = float(max(peak, budget) if budget is not None and within_reach else peak) * 1.08 or 1.0
    height, base = 220.0, 190.0

    def y(amount: Decimal) -> float:
        return base - float(amount) / top * (base - 12)

    levels = [(y(amount), format_credits(amount)) for amount in _levels(Decimal(str(top)))]
    return CreditsChart(
        height=height,
        spent=_area([(_x(axis, point.at), y(point.spent)) for point in curve], base),
        committed=_area([(_x(axis, point.at), y(point.spent + point.held)) for point in curve], base),
        budget_y=y(budget) if budget is not None and within_reach else None,
        levels=levels,
        ticks=_ticks(axis),
        pauses=_pauses(axis),
    )


def _bar(job: Timed, y: float, axis: TimeAxis) -> Bar:
    paths = [(stage.kind.value, _box(stage, y + 4, _ROW - 8, axis)) for stage in job.stages]
    spans = [(stage.kind.value, lasting(stage.end - stage.begin)) for stage in job.stages]
    return Bar(job.number, job.name, _shortened(job.name), job.status, y, paths, spans)


def _shortened(name: str) -> str:
    """Shorten a name in the middle, since jobs of one matrix mostly differ at the end."""
    half = (_NAME_LENGTH - 1) // 2
    return name if len(name) <= _NAME_LENGTH else f"{name[:half]}…{name[-half:]}"


def _shared_paths(jobs: Sequence[Timed], places: Sequence[float], axis: TimeAxis) -> list[tuple[str, str]]:
    boxes: dict[StageKind, list[str]] = {}
    for job, place in zip(jobs, places, strict=True):
        for stage in job.stages:
            boxes.setdefault(stage.kind, []).append(_box(stage, place * _LANE + 1, _LANE - 2, axis))
    return [(kind.value, "".join(boxes[kind])) for kind in StageKind if kind in boxes]


def _lanes(jobs: Sequence[Timed]) -> list[float]:
    """Give each job the lowest lane that is free when it begins."""
    free: list[int] = []
    taken: list[tuple[float, int]] = []
    places: list[float] = []
    for job in jobs:
        while taken and taken[0][0] <= job.stages[0].begin:
            heappush(free, heappop(taken)[1])
        lane = heappop(free) if free else len(taken)
        heappush(taken, (max(stage.end for stage in job.stages), lane))
        places.append(float(lane))
    return places


def _box(stage: Stage, y: float, height: float, axis: TimeAxis) -> str:
    x = _x(axis, stage.begin)
    width = max(_x(axis, stage.end) - x, 0.6)
    return f"M{x:.1f} {y:g}h{width:.1f}v{height:g}h-{width:.1f}z"


def _area(points: Sequence[tuple[float, float]], base: float) -> str:
    steps = "".join(f"H{x:.1f}V{y:.1f}" for x, y in points)
    return f"M{points[0][0]:.1f} {base:g}{steps}H{RIGHT:g}V{base:g}z"


def _levels(top: Decimal) -> list[Decimal]:
    """Two to five round amounts below ``top``."""
    unit = Decimal(10) ** (top.adjusted() - 1)
    step = next(unit * factor for factor in (2, 5, 10, 20, 25, 50) if top / (unit * factor) <= 5)
    return [step * number for number in range(int(top / step) + 1)]


def _x(axis: TimeAxis, moment: float) -> float:
    return LEFT + axis.place(moment) * (RIGHT - LEFT)


def _ticks(axis: TimeAxis) -> list[ChartMark]:
    return [ChartMark(LEFT + place * (RIGHT - LEFT), duration(seconds)) for seconds, place in axis.ticks()]


def _pauses(axis: TimeAxis) -> list[ChartMark]:
    width = axis.cut_width * (RIGHT - LEFT)
    return [
        ChartMark(LEFT + place * (RIGHT - LEFT), f"{duration(seconds)} pause", width)
        for seconds, place in axis.pauses()
    ]


def lasting(seconds: float) -> str:
    """Format a duration that may be very short."""
    return f"{seconds * 1000:.0f} ms" if seconds < 0.1 else duration(round(seconds, 1))


def duration(seconds: float) -> str:
    """Format a duration in its two largest units."""
    if seconds < 60:
        return f"{seconds:g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} d"
