"""``report.html`` to disk: one self-contained page, streamed job by job, written whole or not at all."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from crucible_batch.domain.budget import BUDGET_EXHAUSTED, INSUFFICIENT_CREDITS, PRICE_ABOVE_CEILING, PRICE_ROSE
from crucible_batch.domain.outcome import RunStatus
from crucible_batch.report.html.cards import card, compact, embedded, picture, stages_of
from crucible_batch.report.html.charts import CurvePoint, Downsampled, Timed, axis_of, credits_chart, timeline
from crucible_batch.report.html.page_assets import PageAssets, page_parts
from crucible_batch.report.html.thumbnails import Miniature, Pictures, Thumbnails
from crucible_batch.report.models import JobRow, ReportHead
from crucible_batch.shell_command import run_command


@dataclass(frozen=True, slots=True)
class Advice:
    """``command`` is None where there is nothing to type."""

    text: str
    command: str | None = None


def retry_command(head: ReportHead, directory: Path) -> str:
    """Return the command that tries the failed jobs again."""
    return f"{same_command(head, directory)} --retry-failed"


def same_command(head: ReportHead, directory: Path) -> str:
    """Return the command that continues this run directory."""
    is_default = directory.parts[-3:] == ("outputs", head.manifest.name, head.run_id)
    return run_command(head.manifest.path, run_id=head.run_id, out_dir=None if is_default else directory)


def advice(head: ReportHead, directory: Path) -> Advice:
    """Return what to do next, by how the run ended."""
    again = same_command(head, directory)
    match head.status:
        case RunStatus.SUCCEEDED:
            return Advice("Every picture is here. There is nothing left to do.")
        case RunStatus.PARTIAL | RunStatus.FAILED:
            return Advice("Try the failed ones again; what is here is not paid for twice.", f"{again} --retry-failed")
        case RunStatus.BLOCKED:
            return _once_blocked(head, again)
        case RunStatus.RUNNING:
            return Advice("The run was under way, or was cut short, when this page was made. This goes on:", again)
        case _:
            return Advice("The run stopped early. The same command goes on where it stopped.", again)


_ENDINGS = {
    "running": "under way when this page was made",
    "succeeded": "all done",
    "partial": "done, some failed",
    "failed": "none succeeded",
    "stopped": "stopped early",
    "interrupted": "interrupted",
}
_BLOCKED = {
    BUDGET_EXHAUSTED: "budget too small for the next job",
    PRICE_ABOVE_CEILING: "price above the declared ceiling",
    PRICE_ROSE: "price above every bound",
    INSUFFICIENT_CREDITS: "account out of credits",
}
"""What blocked the jobs, the first that applies."""


def ending(head: ReportHead) -> str:
    """Return how the run ended, in a few words."""
    if head.status == RunStatus.BLOCKED:
        return _BLOCKED.get(_blocking_code(head), "not enough credits")
    return _ENDINGS.get(head.status, head.status)


def _blocking_code(head: ReportHead) -> str:
    codes = {stop.code for stop in head.stops.values()}
    return next((code for code in _BLOCKED if code in codes), "")


def _once_blocked(head: ReportHead, again: str) -> Advice:
    match _blocking_code(head):
        case "BUDGET_EXHAUSTED":
            higher = "The budget is too small for the next job. Put a higher one in place of N:"
            return Advice(higher, f"{again} --budget N")
        case "PRICE_ABOVE_CEILING":
            return Advice("A price is above the declared ceiling. Raise it in the manifest; then this goes on:", again)
        case "PRICE_ROSE":
            return Advice("A price is above every bound. Look into it first; then this goes on:", again)
        case "INSUFFICIENT_CREDITS":
            return Advice("The account is out of credits. Top it up; then this goes on:", again)
        case _:
            return Advice("There were not enough credits. Once there are, this goes on:", again)


PAGE_FILE = "report.html"
_MOST_TIMED = 10_000
"""Jobs that the timeline draws, at least, where there are so many; at most twice as many."""


def write_page(
    directory: Path,
    head: ReportHead,
    rows: Iterable[JobRow],
    curve: Sequence[CurvePoint],
    *,
    thumbnails: Thumbnails | None = None,
) -> Path:
    """Write the page into a run directory, replacing the one that is there. Raises ``OSError``.

    ``thumbnails`` may come from outside with some made already; they are made here else.
    """
    target = directory / PAGE_FILE
    temporary = directory / f".{PAGE_FILE}.part"
    try:
        temporary.unlink(missing_ok=True)  # a killed run's, or a link that somebody has put there
        with (
            thumbnails or Thumbnails(directory, head.counts.total) as pictures,
            temporary.open("x", encoding="utf-8") as file,
        ):
            for piece in page_pieces(directory, head, rows, curve, pictures):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


@dataclass(frozen=True, slots=True)
class Frame:
    """What a page has around its jobs. ``live`` and ``home`` are for a page that is served: how it follows its run, and
    the address of the list of runs."""

    next_step: Advice
    parts: PageAssets
    live: Mapping[str, object] | None = None
    home: str | None = None


def page_pieces(
    directory: Path,
    head: ReportHead,
    rows: Iterable[JobRow],
    curve: Sequence[CurvePoint],
    thumbnails: Pictures,
    *,
    frame: Frame | None = None,
) -> Iterator[str]:
    """Yield the page's text. Names and times of a bounded number of jobs are kept for the timeline."""
    frame = frame or Frame(advice(head, directory), page_parts())
    jobs = Cards(head, thumbnails)
    template = _environment().get_template("page.html.j2")
    stream = template.stream(
        head=head,
        head_json=head_json(head, directory, frame),
        cards=jobs.cards(rows),
        inputs=jobs.inputs,
        charts=lambda: _charts(jobs.timed, curve, head),
        parts=frame.parts,
        home=frame.home,
    )
    stream.enable_buffering(16)
    return stream


def head_json(head: ReportHead, directory: Path, frame: Frame) -> Markup:
    """Return the head's JSON without its closing brace: jobs and inputs follow."""
    more: dict[str, object] = {
        "advice": {"text": frame.next_step.text, "command": frame.next_step.command},
        "retry": retry_command(head, directory),
        "ending": ending(head),
    }
    if frame.live is not None:
        more["live"] = frame.live
    return embedded(head.model_dump_json()[:-1] + "," + compact(more)[1:-1])


def charts(head: ReportHead, rows: Iterable[JobRow], curve: Sequence[CurvePoint]) -> Markup:
    """Draw the charts alone."""
    timed: Downsampled[Timed] = Downsampled(_MOST_TIMED)
    for number, row in enumerate(rows):
        timed.add(Timed(number, row.name, row.status, stages_of(row)))
    return _charts(timed, curve, head)


@dataclass(slots=True)
class Cards:
    """Rows of the report to the page's cards; the thumbnails of the next few rows are made ahead."""

    head: ReportHead
    thumbnails: Pictures
    timed: Downsampled[Timed] = field(default_factory=lambda: Downsampled(_MOST_TIMED))
    _written: int = 0
    _inputs: dict[str, str] = field(default_factory=dict)

    def cards(self, rows: Iterable[JobRow]) -> Iterator[Markup]:
        ahead: deque[tuple[JobRow, list[Callable[[], Miniature | None]]]] = deque()
        for row in rows:
            ahead.append((row, [self.thumbnails.begin(output.path, output.sha256) for output in row.outputs]))
            if len(ahead) > self.thumbnails.lookahead:
                yield self._card(*ahead.popleft())
        while ahead:
            yield self._card(*ahead.popleft())

    def inputs(self) -> Markup:
        """Return the input images of all jobs by their digests; asked for once the jobs are written."""
        made = {sha: picture(self.thumbnails.of_input(file, sha)) for sha, file in self._inputs.items()}
        return embedded(compact(made))

    def _card(self, row: JobRow, made: Sequence[Callable[[], Miniature | None]]) -> Markup:
        stages = stages_of(row)
        self.timed.add(Timed(self._written, row.name, row.status, stages))
        self._written += 1
        for param, sha256 in row.images.items():
            self._inputs.setdefault(sha256, row.image_files.get(param, ""))
        small = [
            self.thumbnails.placed(miniature(), output.sha256, shown_size=(output.width, output.height))
            for output, miniature in zip(row.outputs, made, strict=True)
        ]
        return card(row, self.head.manifest, stages, small)


def _charts(timed: Downsampled[Timed], curve: Sequence[CurvePoint], head: ReportHead) -> Markup:
    drawn = timed.kept()
    axis = axis_of(drawn, curve)
    template = _environment().get_template("charts.html.j2")
    credits = credits_chart(curve, head.credits.budget, axis)
    return Markup(template.render(timeline=timeline(drawn, axis), every=timed.every, credits=credits, head=head))  # noqa: S704 - autoescaped


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader(__package__ or "", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
