"""``report.html`` to disk: one self-contained page, streamed job by job, and written completely or not at all."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from crucible_batch.atomic_files import replacing
from crucible_batch.domain.budget import BUDGET_EXHAUSTED, INSUFFICIENT_CREDITS, PRICE_ABOVE_CEILING, PRICE_ROSE
from crucible_batch.domain.credits import Credits, format_credits
from crucible_batch.domain.outcome import RunStatus
from crucible_batch.domain.retry_rule import PAID_CODES, Remedy
from crucible_batch.report.html.cards import card, compact, embedded, picture, stages_of
from crucible_batch.report.html.charts import CurvePoint, Downsampled, Timed, axis_of, credits_chart, timeline
from crucible_batch.report.html.page_assets import PageAssets, report_assets
from crucible_batch.report.html.thumbnails import Miniature, Pictures, Thumbnails
from crucible_batch.report.models import JobRow, ReportHead
from crucible_batch.shell_command import DEFAULT_DIRECTORY, run_command, shell_command


@dataclass(frozen=True, slots=True)
class Advice:
    """``command`` is None if there is no command to run."""

    text: str
    command: str | None = None


def retry_command(head: ReportHead, directory: Path) -> str:
    """Return the command that retries the failed jobs."""
    return f"{same_command(head, directory)} --retry-failed"


def same_command(head: ReportHead, directory: Path, budget: Credits | None = None) -> str:
    """Return the command that continues this run directory, with its budget or with ``budget``."""
    # The budget of a run with a period is what the period had left, which changes.
    if budget is None and head.budget_source == "command" and head.period is None:
        budget = head.credits.budget
    is_default = directory.parts[-3:] == (DEFAULT_DIRECTORY.name, head.manifest.name, head.run_id)
    return run_command(
        head.manifest.path,
        *(() if budget is None else ("--budget", format_credits(budget))),
        run_id=head.run_id,
        scheduled_at=head.scheduled_at,
        out_dir=None if is_default else directory,
        notify_option=head.notify_option,
    )


def is_short_of_budget(head: ReportHead) -> bool:
    """Return whether the run ended because the next job didn't fit its own budget."""
    if head.period is not None and head.period.exhausted:
        return False
    return head.status == RunStatus.BLOCKED and _blocking_code(head) == BUDGET_EXHAUSTED


def advice(
    head: ReportHead, directory: Path, enough: Credits | None = None, remedy: Remedy | None = Remedy.RETRY
) -> Advice:
    """Return what to do next, by how the run ended.

    ``enough`` is a budget for the rest, None if there is none. ``remedy`` is what to do about the failed jobs.
    """
    if head.shard is not None:
        return _of_a_shard(head)
    again = same_command(head, directory)
    match head.status:
        case RunStatus.SUCCEEDED if head.waiting:
            picks = ", ".join(stage.pick for stage in head.waiting)
            steps = "Star its pictures, select Save picks, then run:"
            return Advice(f"All jobs so far are complete. The next stage waits for {picks}. {steps}", again)
        case RunStatus.SUCCEEDED:
            return Advice("All jobs are complete. Nothing is left to do.")
        case RunStatus.PARTIAL | RunStatus.FAILED:
            return _once_some_failed(again, remedy)
        case RunStatus.BLOCKED:
            return _once_blocked(head, directory, again, enough)
        case RunStatus.RUNNING:
            return Advice("The run was in progress or interrupted when this page was written. Resume with:", again)
        case _:
            return Advice("The run stopped early. Resume with:", again)


def _of_a_shard(head: ReportHead) -> Advice:
    """Return what to do next about a shard. Its plan, and so the command that resumes it, isn't known here."""
    match head.status:
        case RunStatus.SUCCEEDED:
            return Advice("All jobs of this shard are complete. Merge the shards once all have ended.")
        case RunStatus.PARTIAL | RunStatus.FAILED | RunStatus.BLOCKED:
            return Advice("Merge the shards once all have ended; the next plan of the run admits what is left.")
        case _:
            return Advice(f"Shard {head.shard} was in progress or stopped early. Resume it with the same command.")


def _once_some_failed(again: str, remedy: Remedy | None) -> Advice:
    match remedy:
        case None:
            return Advice("Some jobs are not done. Correct what the error of each asks for, then run:", again)
        case Remedy.BUY_AGAIN:
            known = "Some jobs were bought by a run directory that is lost; with a copy of it, they cost nothing."
            return Advice(f"{known} To buy them again:", f"{again} --retry-failed")
        case Remedy.RETRY:
            return Advice("Retry the failed jobs; completed jobs are not paid for again:", f"{again} --retry-failed")
        case Remedy.CHANGE:
            return Advice("Another attempt cannot succeed. Change the failed jobs in the manifest, then run:", again)
        case _:
            return Advice("No new attempt is needed. See the error of each failed job, then run:", again)


_ENDINGS = {
    "running": "in progress when this page was written",
    "succeeded": "all done",
    "partial": "done, some failed",
    "failed": "none succeeded",
    "stopped": "stopped early",
    "interrupted": "interrupted",
}
_BLOCKED = {
    BUDGET_EXHAUSTED: (
        "budget too small for the next job",
        "The budget is too small for the next job. Resume with:",
    ),
    PRICE_ABOVE_CEILING: (
        "price above the declared ceiling",
        "A price is above the declared ceiling. Raise the ceiling in the manifest, then resume with:",
    ),
    PRICE_ROSE: ("price above every bound", "A price is above every bound. Check the price, then resume with:"),
    INSUFFICIENT_CREDITS: (
        "account out of credits",
        "The account is out of credits. Add credits, then resume with:",
    ),
}
"""What blocked the jobs, the first that applies: how the run ended, and what to do next."""
_OTHERWISE_BLOCKED = ("not enough credits", "There were not enough credits. Add credits, then resume with:")


def ending(head: ReportHead) -> str:
    """Return how the run ended, in a few words."""
    if head.status == RunStatus.BLOCKED:
        return _BLOCKED.get(_blocking_code(head), _OTHERWISE_BLOCKED)[0]
    if head.status == RunStatus.SUCCEEDED and head.waiting:
        return "waits for picks"
    return _ENDINGS.get(head.status, head.status)


def _blocking_code(head: ReportHead) -> str:
    codes = {stop.code for stop in head.stops.values()}
    return next((code for code in _BLOCKED if code in codes), "")


def _once_blocked(head: ReportHead, directory: Path, again: str, enough: Credits | None) -> Advice:
    if head.period is not None and head.period.exhausted:
        until = head.period.until
        return Advice(f"The budget of the {head.period.per} is used up. Resume after {until} with:", again)
    code = _blocking_code(head)
    text = _BLOCKED.get(code, _OTHERWISE_BLOCKED)[1]
    if code != BUDGET_EXHAUSTED:
        return Advice(text, again)
    if enough is None:
        declare = "Set budget.max_credits_per_upload in the manifest, then resume with:"
        return Advice(f"The budget is too small for the next job. {declare}", again)
    return Advice(text, same_command(head, directory, max(enough, head.credits.budget or enough)))


PAGE_FILE = "report.html"
_MOST_TIMED = 10_000
"""Number of jobs in the timeline of a larger run: at least this many, at most twice as many."""


def write_page(
    directory: Path,
    head: ReportHead,
    rows: Iterable[JobRow],
    curve: Sequence[CurvePoint],
    *,
    thumbnails: Thumbnails | None = None,
    enough: Credits | None = None,
    remedy: Remedy | None = Remedy.RETRY,
    never: Set[str] = frozenset(),
) -> Path:
    """Write the page into a run directory, replacing an existing one. Raises ``OSError``.

    ``thumbnails`` may be passed with some of them made already; without it, all are made here. For ``enough`` and
    ``remedy`` see ``advice``, for ``never`` see ``Frame``.
    """
    target = directory / PAGE_FILE
    with thumbnails or Thumbnails(directory, head.counts.total) as pictures, replacing(target) as file:
        frame = Frame(advice(head, directory, enough, remedy), report_assets(), never=never)
        for piece in page_pieces(directory, head, rows, curve, pictures, frame=frame):
            file.write(piece.encode())
    return target


@dataclass(frozen=True, slots=True)
class Frame:
    """The parts of a page other than its jobs. ``live`` and ``home`` are for a served page: the data to follow its run,
    and the address of the list of runs. ``never`` are the error codes, in upper case, that are never retried."""

    next_step: Advice
    assets: PageAssets
    live: Mapping[str, object] | None = None
    home: str | None = None
    never: Set[str] = frozenset()


def page_pieces(
    directory: Path,
    head: ReportHead,
    rows: Iterable[JobRow],
    curve: Sequence[CurvePoint],
    thumbnails: Pictures,
    *,
    frame: Frame,
) -> Iterator[str]:
    """Yield the page's text. Names and times of a bounded number of jobs are kept for the timeline."""
    jobs = Cards(head, thumbnails)
    template = _environment().get_template("page.html.j2")
    stream = template.stream(
        head=head,
        head_json=head_json(head, directory, frame),
        cards=jobs.cards(rows),
        inputs=jobs.inputs,
        charts=lambda: _charts(jobs.timed, curve, head),
        assets=frame.assets,
        home=frame.home,
    )
    stream.enable_buffering(16)
    return stream


def head_json(head: ReportHead, directory: Path, frame: Frame) -> Markup:
    """Return the head's JSON without its closing brace: jobs and inputs follow."""
    more: dict[str, object] = {
        "advice": {"text": frame.next_step.text, "command": frame.next_step.command},
        "retry": retry_command(head, directory),
        "again": same_command(head, directory),
        "pick": shell_command("pick", directory),
        "never": sorted(frame.never | PAID_CODES),
        "ending": ending(head),
    }
    if frame.live is not None:
        more["live"] = frame.live
    return embedded(head.model_dump_json(exclude={"notifications"})[:-1] + "," + compact(more)[1:-1])


def charts(head: ReportHead, rows: Iterable[JobRow], curve: Sequence[CurvePoint]) -> Markup:
    """Draw only the charts."""
    timed: Downsampled[Timed] = Downsampled(_MOST_TIMED)
    for number, row in enumerate(rows):
        timed.add(Timed(number, row.name, row.status, stages_of(row)))
    return _charts(timed, curve, head)


@dataclass(slots=True)
class Cards:
    """Converts rows of the report to the page's cards; makes the thumbnails of the next few rows in advance."""

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
        """Return the input images of all jobs by their digests; called after the jobs are written."""
        made = {sha: picture(self.thumbnails.of_input(file, sha)) for sha, file in self._inputs.items()}
        return embedded(compact(made))

    def _card(self, row: JobRow, made: Sequence[Callable[[], Miniature | None]]) -> Markup:
        stages = stages_of(row)
        self.timed.add(Timed(self._written, row.name, row.status, stages))
        self._written += 1
        for param, sha256 in row.images.items():
            if row.source is None or sha256 != row.source.sha256:  # the source's own card has its picture
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
