"""The pages of the viewer: a run, as in ``report.html``, and the list of runs."""

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


def standing(snapshot: Snapshot) -> str:
    """Return the run's state in words."""
    if snapshot.status.running:
        return "running now"
    return KILLED if snapshot.killed else ending(snapshot.status.report)


def next_step(snapshot: Snapshot) -> Advice:
    """Return what to do next."""
    said = advice(snapshot.status.report, snapshot.status.run_dir)
    if snapshot.status.running:
        return Advice("It is going on; this page follows it. Ctrl-C in its terminal stops it in good order.")
    if snapshot.killed:
        return Advice("The run was killed. The same command goes on; what is here is not paid for twice.", said.command)
    return said


def tone_of(snapshot: Snapshot) -> str:
    """Return the CSS class of the run's state in the list."""
    if snapshot.status.running:
        return "live"
    return _TONES.get(snapshot.status.report.status, "warn")


_SOURCES = ("img-src 'self'", "connect-src 'self'")


@dataclass(frozen=True, slots=True)
class Page:
    """HTML and its content security policy."""

    html: str
    policy: str


def run_page(watch: Watch, key: str) -> Page:
    """Return the page of one run; its script follows the run."""
    snapshot = watch.look()
    head = snapshot.status.report
    frame = Frame(next_step(snapshot), run_parts(), live=_live(snapshot, key), home="/")
    pieces = page_pieces(watch.run_dir, head, watch.rows(), watch.curve(), _Served(key), frame=frame)
    return Page("".join(pieces), frame.parts.policy)


def run_data(watch: Watch, key: str) -> str:
    """Return the data of a run's page as JSON, for a page that has to load everything again."""
    snapshot = watch.look()
    return _data(snapshot, key, list(watch.rows()))


def run_charts(watch: Watch) -> str:
    """Return the charts as a page of their own, from which the run's page takes them."""
    snapshot = watch.look()
    return f"<!doctype html><title>charts</title>{charts(snapshot.status.report, watch.rows(), watch.curve())}"


def run_change(watch: Watch, key: str, *, after: int) -> tuple[Snapshot, str]:
    """Return the changes after an event as JSON: the head, and each job that changed."""
    snapshot = watch.look()
    changed = watch.changed(after=after)
    cards = _data(snapshot, key, [row for _, row in changed])
    return snapshot, compact({"places": [place for place, _ in changed]})[:-1] + "," + cards[1:]


def list_page(entries: Sequence[RunEntry], root: Path) -> Page:
    """Return the page that lists the runs."""
    parts = list_parts()
    shown = [_line(entry, root) for entry in entries]
    return Page(_template().render(parts=parts, runs=shown, root=str(root)), parts.policy)


@cache
def run_parts() -> PageAssets:
    """Join the report's scripts and styles with those that follow a run."""
    scripts = report_scripts() + _read("scripts/live.js")
    return put_together(scripts, report_styles() + _read("styles/live.css"), *_SOURCES)


@cache
def list_parts() -> PageAssets:
    """Join the scripts and styles of the list."""
    scripts = report_scripts("dom", "theme") + _read("scripts/list.js")
    return put_together(scripts, report_styles("tokens", "page") + _read("styles/list.css"), *_SOURCES)


def thumbnail_address(key: str, sha256: str) -> str:
    """Return the URL path of an output's thumbnail."""
    return f"/thumbnails/{key}/{sha256}"


def _data(snapshot: Snapshot, key: str, rows: Sequence[JobRow]) -> str:
    head = snapshot.status.report
    frame = Frame(next_step(snapshot), run_parts(), live=_live(snapshot, key))
    cards = Cards(head, _Served(key))
    jobs = ",".join(cards.cards(rows))
    return f'{head_json(head, snapshot.status.run_dir, frame)},"jobs":[{jobs}],"inputs":{cards.inputs()}}}'


def _live(snapshot: Snapshot, key: str) -> Mapping[str, object]:
    return {
        "key": key,
        "edition": snapshot.edition,
        "number": snapshot.number,
        "running": snapshot.status.running,
        "standing": standing(snapshot),
    }


class _Served:
    """Links each picture of a page to the server, which makes the thumbnail on request."""

    lookahead = 0

    def __init__(self, key: str) -> None:
        self._key = key

    def begin(self, _path: str | Path, _sha256: str) -> Callable[[], Miniature | None]:
        return lambda: None

    def placed(self, _made: Miniature | None, sha256: str, *, shown_size: tuple[int, int]) -> Thumbnail:
        return Thumbnail(thumbnail_address(self._key, sha256), *shown_size)

    def of_input(self, _file: str, _sha256: str) -> Thumbnail:
        """Return none: only files of the run directory are served, and input images are outside it."""
        return Thumbnail(None, 1, 1)


@dataclass(frozen=True, slots=True)
class _Line:
    """A run in the list's template. ``report`` is None if it can't be read; then ``words`` has the reason."""

    key: str
    name: str
    place: str
    words: str
    tone: str = "warn"
    report: ReportHead | None = None
    pictures: Sequence[str] = ()


def _line(entry: RunEntry, root: Path) -> _Line:
    directory, key, snapshot = entry.run.directory, entry.run.key, entry.snapshot
    place = directory.relative_to(root).as_posix() if directory != root else directory.name
    if snapshot is None:
        return _Line(key, place, "", entry.error or "")
    report = snapshot.status.report
    name = report.manifest.name + ("" if report.run_id == "default" else f" · {report.run_id}")
    pictures = [thumbnail_address(key, output.sha256) for output in entry.newest]
    return _Line(key, name, place, standing(snapshot), tone_of(snapshot), report, pictures)


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
