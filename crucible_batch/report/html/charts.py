"""The geometry of the two charts: stages of jobs, and credits, over one time axis. Drawn by templates as plain SVG.

No chart library: the maintained ones in Python link scripts or fonts from elsewhere or put styles inline, which the
page's security policy forbids, and a Gantt of a thousand jobs is one path a stage here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from heapq import heappop, heappush

from crucible_batch.core.credits import Credits, format_credits
from crucible_batch.report.html.axis import TimeAxis
from crucible_batch.report.html.curve import CurvePoint
from crucible_batch.report.html.stages import Stage, StageKind

WIDTH = 1000.0
LEFT, RIGHT = 190.0, 984.0
_MOST_ROWS = 300
"""Beyond this a job has no row of its own: those that follow each other share a lane."""
_ROW, _LANE = 18.0, 7.0
_NAME_LENGTH = 27


@dataclass(frozen=True, slots=True)
class Timed:
    """A job as the timeline knows it: its place in the page's list, its name, its stages."""

    number: int
    name: str
    status: str
    stages: Sequence[Stage]


@dataclass(frozen=True, slots=True)
class Mark:
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
    ticks: Sequence[Mark]
    pauses: Sequence[Mark]
    kinds: Sequence[str]
    lanes: int


@dataclass(frozen=True, slots=True)
class CreditsChart:
    """Two areas, and the line of the budget where it is within reach."""

    height: float
    spent: str
    committed: str
    budget_y: float | None
    levels: Sequence[tuple[float, str]]
    ticks: Sequence[Mark]
    pauses: Sequence[Mark]


def axis_of(jobs: Iterable[Timed], curve: Iterable[CurvePoint]) -> TimeAxis:
    """Make the axis on which both charts stand."""

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
    """Lay out the books over time; None where nothing ever moved."""
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
    """Cut a name in the middle: what tells jobs of one matrix apart is mostly at its end."""
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


def _ticks(axis: TimeAxis) -> list[Mark]:
    return [Mark(LEFT + place * (RIGHT - LEFT), duration(seconds)) for seconds, place in axis.ticks()]


def _pauses(axis: TimeAxis) -> list[Mark]:
    width = axis.cut_width * (RIGHT - LEFT)
    return [
        Mark(LEFT + place * (RIGHT - LEFT), f"{duration(seconds)} pause", width) for seconds, place in axis.pauses()
    ]


def lasting(seconds: float) -> str:
    """Write how long something took, which may be next to nothing."""
    return f"{seconds * 1000:.0f} ms" if seconds < 0.1 else duration(round(seconds, 1))


def duration(seconds: float) -> str:
    """Write a length of time in its two largest units."""
    if seconds < 60:
        return f"{seconds:g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} d"
