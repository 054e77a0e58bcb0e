"""The list of the runs with their totals, and the page of a run: a live ``report.html``."""

from __future__ import annotations

import hashlib
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from itertools import islice
from pathlib import Path

from markupsafe import Markup

from crucible_batch.core.credits import format_credits
from crucible_batch.features import found
from crucible_batch.features.view.runs import RunEntry
from crucible_batch.features.view.watching import KeptCards, Snapshot, Watch, journal_mark
from crucible_batch.report import ReportHead
from crucible_batch.report.html import (
    Advice,
    Cards,
    Frame,
    Miniature,
    PageAssets,
    Thumbnail,
    compact,
    ending,
    environment,
    head_json,
    make_assets,
    page_of_cards,
    page_pieces,
    report_scripts,
    report_styles,
)
from crucible_batch.runs.reporting import page_commands
from crucible_batch.runs.status import advice_for, codes_never_retried

_SOURCES = ("img-src 'self'", "connect-src 'self'")
"""What a page may load besides its own scripts and styles, as directives of its content security
policy.
"""
FIRST_JOBS = 200
MOST_JOBS_AT_ONCE = 1000
KILLED = "process exited unexpectedly (killed?)"
_LONGEST_NAME = 200
_TONES = {"succeeded": "good", "partial": "bad", "failed": "bad"}


@dataclass(frozen=True, slots=True)
class Page:
    """HTML and its content security policy."""

    html: str
    policy: str


def _read_file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def state_text(snapshot: Snapshot) -> str:
    status = snapshot.status
    if status.paused is not None:
        since = _time(status.paused.at)
        return f"paused by {status.paused.source.by} since {since}: nothing new is bought"
    if status.running:
        return "running now"
    if status.shards is not None:
        total = len(status.shards.allowances)
        merged = total - len(status.shards.missing)
        return f"waiting for shards: {merged} of {total} shards merged"
    words = KILLED if snapshot.killed else ending(status.report)
    if status.pruned is not None:
        words += f"; outputs pruned on {status.pruned}"
    return words


def next_step(snapshot: Snapshot) -> Advice:
    location = shlex.quote(str(snapshot.status.location))
    if snapshot.status.paused is not None:
        resume = f"crucible-batch ctl {location} resume"
        return Advice(
            "The run is paused: it collects the jobs in flight, and buys nothing."
            " Continue it with:",
            resume,
        )
    if snapshot.status.running:
        return Advice(
            "The run is in progress, and this page is updated live."
            " Ctrl-C in the run's terminal stops it cleanly."
        )
    if snapshot.status.shards is not None:
        merge = f"crucible-batch merge {location}"
        return Advice(
            "The shards of its plan are not merged yet. When all of them have ended:", merge
        )
    if snapshot.status.pruned is not None:
        deleted = f"The outputs were deleted by prune on {snapshot.status.pruned}."
        again = "To download them again, at no cost while the gateway has them:"
        return Advice(f"{deleted} {again}", f"crucible-batch check {location} --fix")
    advice = advice_for(snapshot.status.run_dir, snapshot.status.report)
    if snapshot.killed:
        return Advice(
            "The run's process exited unexpectedly. Completed jobs are not paid for again."
            " Resume with:",
            advice.command,
        )
    return advice


def tone_of(snapshot: Snapshot) -> str:
    """Return the CSS class of the run's state in the list."""
    if snapshot.status.running:
        return "live"
    return _TONES.get(snapshot.status.report.status, "warn")


def _time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%H:%M} UTC"


def run_page(watch: Watch, key: str, *, is_controlled: bool) -> Page:
    """Return the page of one run; its script follows the run.

    Of more than ``MOST_JOBS_AT_ONCE`` jobs it has the first ``FIRST_JOBS``, which takes a moment
    only; its script loads all of them (``run_data``) when the first pictures are there.

    ``is_controlled``: it can give commands as well.
    """
    snapshot = watch.look()
    head = snapshot.status.report
    never = codes_never_retried(watch.run_dir)
    assets = run_assets(is_controlled)
    has_rest = head.counts.total > MOST_JOBS_AT_ONCE and _kept_cards(watch) is None
    location = snapshot.status.location
    frame = Frame(
        next_step(snapshot),
        assets,
        live={**_live(snapshot, key), "rest": has_rest},
        home="/",
        never=never,
        more={**page_commands(location), **features_fields(watch.run_dir)},
    )
    if has_rest:
        with closing(watch.rows()) as rows:
            first = islice(rows, FIRST_JOBS)
            pieces = page_pieces(location, head, first, _Served(key), frame=frame)
            return Page("".join(pieces), frame.assets.policy)
    cards = _all_cards(watch, snapshot, key)
    jobs, inputs = Markup(cards.jobs), Markup(cards.inputs)  # noqa: S704 - embedded already
    pieces = page_of_cards(location, head, [jobs], lambda: inputs, frame=frame)
    return Page("".join(pieces), frame.assets.policy)


def _kept_cards(watch: Watch) -> KeptCards | None:
    kept = watch.kept_cards
    return kept if kept is not None and kept.mark == journal_mark(watch.run_dir) else None


def _all_cards(watch: Watch, snapshot: Snapshot, key: str) -> KeptCards:
    """Return the cards of all jobs; those that are kept, if the journal is as it was."""
    kept = _kept_cards(watch)
    if kept is None:
        mark, cards = journal_mark(watch.run_dir), Cards(_Served(key))
        kept = KeptCards(mark, ",".join(cards.cards(watch.rows())), cards.inputs())
        watch.kept_cards = None if snapshot.status.running else kept
    return kept


def run_data(watch: Watch, key: str) -> str:
    """Return the data of a run's page as JSON, for a page that has to load everything again."""
    snapshot = watch.look()
    return _data(snapshot, key, _all_cards(watch, snapshot, key), features_fields(watch.run_dir))


def run_change(watch: Watch, key: str, *, after: int) -> tuple[Snapshot, str]:
    """Return the changes after an event as JSON: the head, and each job that changed."""
    snapshot = watch.look()
    changed = watch.changed(after=after)
    cards = Cards(_Served(key))
    jobs = ",".join(cards.cards(row for _, row in changed))
    data = _data(snapshot, key, KeptCards(None, jobs, cards.inputs()))
    return snapshot, compact({"places": [place for place, _ in changed]})[:-1] + "," + data[1:]


def features_fields(run_dir: Path) -> Mapping[str, object]:
    """Read the fields that features add to the page of a run.

    By the digests of them (``fields``), a feed knows what the page has.
    """
    more: dict[str, object] = {}
    digests = list[str]()
    for module in found("page_fields"):
        fields = module.read(run_dir)[0]
        digests.append(fields_digest(fields))
        more |= fields
    return more | {"fields": "-".join(digests)}


def fields_digest(fields: Mapping[str, object]) -> str:
    return hashlib.sha256(compact(fields).encode()).hexdigest()[:16]


@cache
def run_assets(is_controlled: bool = False) -> PageAssets:
    """Join the report's scripts and styles with those that follow and control a run."""
    scripts = report_scripts() + _read_file("scripts/live.js")
    if is_controlled:
        scripts = _read_file("scripts/token.js") + scripts + _read_file("scripts/control.js")
        scripts += "".join(module.script() for module in found("page_posts"))
    return make_assets(scripts, report_styles() + _read_file("styles/live.css"), *_SOURCES)


def thumbnail_address(key: str, sha256: str) -> str:
    return f"/thumbnails/{key}/{sha256}"


def _data(
    snapshot: Snapshot, key: str, cards: KeptCards, more: Mapping[str, object] | None = None
) -> str:
    head = snapshot.status.report
    never = codes_never_retried(snapshot.status.run_dir)
    location = snapshot.status.location
    frame = Frame(
        next_step(snapshot),
        run_assets(),
        live=_live(snapshot, key),
        never=never,
        more={**page_commands(location), **(more or {})},
    )
    opened = head_json(head, location, frame)
    return f'{opened},"jobs":[{cards.jobs}],"inputs":{cards.inputs}}}'


def _live(snapshot: Snapshot, key: str) -> Mapping[str, object]:
    return {
        "key": key,
        "edition": snapshot.edition,
        "number": snapshot.number,
        "running": snapshot.status.running,
        "standing": state_text(snapshot),
        "paused": snapshot.status.paused is not None,
        "commands": snapshot.commands,
        "pace": pace(snapshot, time.time()),
    }


def pace(snapshot: Snapshot, now: float) -> Mapping[str, object] | None:
    """Return a run's jobs per minute and its estimated time left in seconds, for its page.

    None if the run is paused or not running, and while there is no estimate.
    """
    if not snapshot.status.running or snapshot.status.paused is not None:
        return None
    per_min = snapshot.pace.per_min(now)
    left = snapshot.pace.left(snapshot.status.report.counts.pending, now)
    if per_min is None or left is None:
        return None
    return {
        "per_min": per_min,
        "likely_s": left.likely_s,
        "low_s": left.low_s,
        "high_s": left.high_s,
    }


class _Served:
    """Links each picture of a page to the server, which makes the thumbnail on request."""

    lookahead = 0

    def __init__(self, key: str) -> None:
        self._key = key

    def begin(self, _path: str | Path, _sha256: str) -> Callable[[], Miniature | None]:
        return lambda: None

    def placed(
        self, _made: Miniature | None, sha256: str, *, shown_size: tuple[int, int]
    ) -> Thumbnail:
        return Thumbnail(thumbnail_address(self._key, sha256), *shown_size)

    def of_input(self, _file: str, _sha256: str) -> Thumbnail:
        """Return no address: input images are outside the run directory, and not served."""
        return Thumbnail(None, 1, 1)


@dataclass(frozen=True, slots=True)
class _Line:
    """A run in the template.

    ``report`` is None if it can't be read; then ``words`` has the reason.
    """

    key: str
    name: str
    place: str
    words: str
    tone: str = "warn"
    report: ReportHead | None = None
    pictures: Sequence[str] = ()
    picture_count: int = 0


def list_page(entries: Sequence[RunEntry], root: Path, *, count: int, is_controlled: bool) -> Page:
    """Return the page that lists the runs.

    ``count`` is the number of runs including those that are not listed.
    """
    templates = environment(__package__)
    templates.filters["credits"] = format_credits
    templates.filters["grouped"] = "{:,}".format
    assets = _list_assets(is_controlled)
    shown = [_line(entry, root) for entry in entries]
    template = templates.get_template("list.html.j2")
    html = template.render(assets=assets, runs=shown, count=count, root=str(root))
    return Page(html, assets.policy)


@cache
def _list_assets(is_controlled: bool) -> PageAssets:
    """Join the scripts and styles of the list.

    ``is_controlled``: it takes the session's token from its address.
    """
    scripts = report_scripts("dom", "theme") + _read_file("scripts/list.js")
    if is_controlled:
        scripts = _read_file("scripts/token.js") + scripts
    return make_assets(
        scripts, report_styles("tokens", "page") + _read_file("styles/list.css"), *_SOURCES
    )


def name_of(report: ReportHead) -> str:
    """Return a run's name in the list: its manifest's, with its run id unless it is the default."""
    name = report.manifest.name
    if report.run_id != "default":
        name += f" · {report.run_id}"
    if len(name) > _LONGEST_NAME:
        name = name[:_LONGEST_NAME] + "…"
    return name


def _line(entry: RunEntry, root: Path) -> _Line:
    directory, key, snapshot = entry.run.directory, entry.run.key, entry.snapshot
    place = directory.name
    if directory != root:
        place = directory.relative_to(root).as_posix()
    if snapshot is None:
        return _Line(key, place, "", entry.error or "")
    report = snapshot.status.report
    pictures = [thumbnail_address(key, output.sha256) for output in entry.newest]
    return _Line(
        key,
        name_of(report),
        place,
        state_text(snapshot),
        tone_of(snapshot),
        report,
        pictures,
        snapshot.pictures,
    )
