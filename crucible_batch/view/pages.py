"""The pages: a run as ``report.html`` shows it, and the list of the runs. Pure, but for what a run's watch reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from crucible_batch.api import Snapshot, Watch, format_credits
from crucible_batch.report import JobRow, ReportHead
from crucible_batch.report.html import (
    Advice,
    Cards,
    Frame,
    Miniature,
    PageAssets,
    Thumbnail,
    advice,
    charts,
    compact,
    ending,
    head_json,
    page_pieces,
    put_together,
    report_scripts,
    report_styles,
)
from crucible_batch.view.runs import RunEntry

KILLED = "killed: the same command goes on"
_TONES = {"succeeded": "good", "partial": "bad", "failed": "bad"}


def standing(sight: Snapshot) -> str:
    """Say how it stands."""
    if sight.status.running:
        return "running now"
    return KILLED if sight.killed else ending(sight.status.report)


def next_step(sight: Snapshot) -> Advice:
    """Say what to do."""
    said = advice(sight.status.report, sight.status.run_dir)
    if sight.status.running:
        return Advice("It is going on; this page follows it. Ctrl-C in its terminal stops it in good order.")
    if sight.killed:
        return Advice("The run was killed. The same command goes on; what is here is not paid for twice.", said.command)
    return said


def tone_of(sight: Snapshot) -> str:
    """Say with which colour of the list's styles it is told."""
    if sight.status.running:
        return "live"
    return _TONES.get(sight.status.report.status, "warn")


_SOURCES = ("img-src 'self'", "connect-src 'self'")


@dataclass(frozen=True, slots=True)
class Page:
    """HTML, and the policy that goes along with it."""

    html: str
    policy: str


def run_page(watch: Watch, key: str) -> Page:
    """Return the page of one run, which then follows it."""
    sight = watch.look()
    head = sight.status.report
    frame = Frame(next_step(sight), run_parts(), live=_live(sight, key), home="/")
    pieces = page_pieces(watch.run_dir, head, watch.rows(), watch.curve(), _Served(key), frame=frame)
    return Page("".join(pieces), frame.parts.policy)


def run_data(watch: Watch, key: str) -> str:
    """Return what the page of a run holds, in JSON: for a page that has to begin anew."""
    sight = watch.look()
    return _data(sight, key, list(watch.rows()))


def run_charts(watch: Watch) -> str:
    """Return the charts, as a part of a page."""
    sight = watch.look()
    return f"<!doctype html><title>charts</title>{charts(sight.status.report, watch.rows(), watch.curve())}"


def run_change(watch: Watch, key: str, *, after: int) -> tuple[Snapshot, str]:
    """Return what is new after an event, in JSON: the head, and each job that anything happened to."""
    sight = watch.look()
    changed = watch.changed(after=after)
    cards = _data(sight, key, [row for _, row in changed])
    return sight, compact({"places": [place for place, _ in changed]})[:-1] + "," + cards[1:]


def list_page(entries: Sequence[RunEntry], root: Path) -> Page:
    """Return the list of the runs."""
    parts = list_parts()
    shown = [_line(entry, root) for entry in entries]
    return Page(_template().render(parts=parts, runs=shown, root=str(root)), parts.policy)


@cache
def run_parts() -> PageAssets:
    """Put the report's own parts together with what follows a run."""
    scripts = report_scripts() + _read("scripts/live.js")
    return put_together(scripts, report_styles() + _read("styles/live.css"), *_SOURCES)


@cache
def list_parts() -> PageAssets:
    """Put the list's parts together."""
    scripts = report_scripts("dom", "theme") + _read("scripts/list.js")
    return put_together(scripts, report_styles("tokens", "page") + _read("styles/list.css"), *_SOURCES)


def thumbnail_address(key: str, sha256: str) -> str:
    """Return where the thumbnail of an output is served."""
    return f"/thumbnails/{key}/{sha256}"


def _data(sight: Snapshot, key: str, rows: Sequence[JobRow]) -> str:
    head = sight.status.report
    frame = Frame(next_step(sight), run_parts(), live=_live(sight, key))
    cards = Cards(head, _Served(key))
    jobs = ",".join(cards.cards(rows))
    return f'{head_json(head, sight.status.run_dir, frame)},"jobs":[{jobs}],"inputs":{cards.inputs()}}}'


def _live(sight: Snapshot, key: str) -> Mapping[str, object]:
    return {
        "key": key,
        "edition": sight.edition,
        "number": sight.number,
        "running": sight.status.running,
        "standing": standing(sight),
    }


class _Served:
    """Leads each picture of a page to the server, which makes it when it is asked for."""

    lookahead = 0

    def __init__(self, key: str) -> None:
        self._key = key

    def begin(self, _path: str | Path, _sha256: str) -> Callable[[], Miniature | None]:
        return lambda: None

    def placed(self, _made: Miniature | None, sha256: str, *, shown_size: tuple[int, int]) -> Thumbnail:
        return Thumbnail(thumbnail_address(self._key, sha256), *shown_size)

    def of_input(self, _file: str, _sha256: str) -> Thumbnail:
        """Show none: an input image lies outside of the run directory, from which alone anything is served."""
        return Thumbnail(None, 1, 1)


@dataclass(frozen=True, slots=True)
class _Line:
    """A run of the list, as its template has it. ``report`` is None where it can't be read, and ``words`` say why."""

    key: str
    name: str
    place: str
    words: str
    tone: str = "warn"
    report: ReportHead | None = None
    pictures: Sequence[str] = ()


def _line(entry: RunEntry, root: Path) -> _Line:
    directory, key, sight = entry.run.directory, entry.run.key, entry.sight
    place = directory.relative_to(root).as_posix() if directory != root else directory.name
    if sight is None:
        return _Line(key, place, "", entry.trouble or "")
    report = sight.status.report
    name = report.manifest.name + ("" if report.run_id == "default" else f" · {report.run_id}")
    pictures = [thumbnail_address(key, output.sha256) for output in entry.newest]
    return _Line(key, name, place, standing(sight), tone_of(sight), report, pictures)


def _read(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader(__package__ or "", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["credits"] = format_credits
    environment.filters["grouped"] = "{:,}".format
    return environment.get_template("list.html.j2")
