"""The page that lists the runs, with their totals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from crucible_batch.report import ReportHead
from crucible_batch.view.pages import standing, thumbnail_address, tone_of
from crucible_batch.view.runs import RunEntry
from crucible_batch.view.templating import Page, parts_of, template

_LONGEST = 200


@dataclass(frozen=True, slots=True)
class ListTotals:
    """The sums over the listed runs. ``unlisted`` is the number of older runs that are not listed."""

    runs: int
    running: int
    pictures: int
    spent: Decimal
    held: Decimal
    unlisted: int


@dataclass(frozen=True, slots=True)
class _Line:
    """A run in the template. ``report`` is None if it can't be read; then ``words`` has the reason."""

    key: str
    name: str
    place: str
    words: str
    tone: str = "warn"
    report: ReportHead | None = None
    pictures: Sequence[str] = ()
    picture_count: int = 0


def list_page(
    entries: Sequence[RunEntry], root: Path, *, count: int | None = None, is_controlled: bool = False
) -> Page:
    """Return the page that lists the runs; ``count`` is the number of runs including those that are not listed."""
    parts = parts_of("list", is_controlled=is_controlled)
    shown = [_line(entry, root) for entry in entries]
    totals = _totals(entries, len(entries) if count is None else count)
    html = template("list.html.j2").render(parts=parts, runs=shown, totals=totals, root=str(root))
    return Page(html, parts.policy)


def name_of(report: ReportHead) -> str:
    """Return a run's name in the list: that of its manifest, and its run id unless that is ``default``."""
    name = report.manifest.name + ("" if report.run_id == "default" else f" · {report.run_id}")
    return name if len(name) <= _LONGEST else name[:_LONGEST] + "…"


def _line(entry: RunEntry, root: Path) -> _Line:
    directory, key, snapshot = entry.run.directory, entry.run.key, entry.snapshot
    place = directory.relative_to(root).as_posix() if directory != root else directory.name
    if snapshot is None:
        return _Line(key, place, "", entry.error or "")
    report = snapshot.status.report
    pictures = [thumbnail_address(key, output.sha256) for output in entry.newest]
    return _Line(
        key, name_of(report), place, standing(snapshot), tone_of(snapshot), report, pictures, snapshot.pictures
    )


def _totals(entries: Sequence[RunEntry], count: int) -> ListTotals:
    read = [entry.snapshot for entry in entries if entry.snapshot is not None]
    amounts = [snapshot.status.report.credits for snapshot in read]
    return ListTotals(
        runs=count,
        running=sum(snapshot.status.is_active for snapshot in read),
        pictures=sum(snapshot.pictures for snapshot in read),
        spent=sum((each.spent for each in amounts), start=Decimal(0)),
        held=sum((each.held for each in amounts), start=Decimal(0)),
        unlisted=count - len(entries),
    )
