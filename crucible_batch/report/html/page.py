"""Writing of ``report.html``.

It is one page with its scripts and styles, streamed job by job, and written completely or not at
all.
"""

from __future__ import annotations

import base64
import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from crucible_batch.atomic_files import replacing
from crucible_batch.core.retry_rule import PAID_CODES
from crucible_batch.report.html.cards import card, compact, embedded, picture
from crucible_batch.report.html.endings import Advice, ending, same_command
from crucible_batch.report.html.thumbnails import Miniature, Pictures, Thumbnails
from crucible_batch.report.models import JobRow, ReportHead

PAGE_FILE = "report.html"
_SCRIPTS = (
    "dom", "words", "facets", "model", "address", "theme", "menus", "pieces", "summary", "toolbar",
    "rows", "lists", "gallery", "selection", "sums", "compare", "copying", "sources", "marks",
    "culling", "reasons", "picks", "rejects", "notes", "zip", "exports", "versus", "stage",
    "detail", "flip", "keys", "render",
)  # fmt: skip
"""In the order in which they build on each other; each is one function of the page's own scope."""
_STYLES = ("tokens", "page", "gallery", "compare", "dialogs", "culling")


@dataclass(frozen=True, slots=True)
class Frame:
    """The parts of a page other than its jobs.

    ``live`` and ``home`` are for a served page: the data to follow its run, and the address of the
    list of runs. ``never`` are the error codes, in upper case, that are never retried. ``more`` are
    fields of features.
    """

    next_step: Advice
    assets: PageAssets
    live: Mapping[str, object] | None = None
    home: str | None = None
    never: Set[str] = frozenset()
    more: Mapping[str, object] = field(default_factory=dict)


def write_page(
    directory: Path,
    location: str | Path,
    head: ReportHead,
    rows: Iterable[JobRow],
    thumbnails: Thumbnails,
    *,
    frame: Frame,
) -> Path:
    """Write the page into a run directory, replacing an existing one. Raises ``OSError``.

    ``location`` is that of ``page_pieces``. ``thumbnails``, some of which may be made already, are
    closed.
    """
    target = directory / PAGE_FILE
    with thumbnails, replacing(target) as file:
        for piece in page_pieces(location, head, rows, thumbnails, frame=frame):
            file.write(piece.encode())
    return target


def page_pieces(
    location: str | Path,
    head: ReportHead,
    rows: Iterable[JobRow],
    thumbnails: Pictures,
    *,
    frame: Frame,
) -> Iterator[str]:
    """Yield the page's text.

    ``location`` is the run directory in commands: its path, or the URL of its outputs.
    """
    jobs = Cards(thumbnails)
    return page_of_cards(location, head, jobs.cards(rows), jobs.inputs, frame=frame)


def page_of_cards(
    location: str | Path,
    head: ReportHead,
    cards: Iterable[Markup],
    inputs: Callable[[], Markup],
    *,
    frame: Frame,
) -> Iterator[str]:
    """Yield the page's text from the cards of its jobs. ``inputs`` is called after the last one."""
    template = environment(__package__).get_template("page.html.j2")
    stream = template.stream(
        head=head,
        head_json=head_json(head, location, frame),
        cards=cards,
        inputs=inputs,
        assets=frame.assets,
        home=frame.home,
    )
    stream.enable_buffering(16)
    return stream


def head_json(head: ReportHead, location: str | Path, frame: Frame) -> Markup:
    """Return the head's JSON without its closing brace: jobs and inputs follow."""
    again = same_command(head, location)
    more: dict[str, object] = {
        "advice": {"text": frame.next_step.text, "command": frame.next_step.command},
        "retry": f"{again} --retry-failed",
        "again": again,
        "never": sorted(frame.never | PAID_CODES),
        "ending": ending(head),
        **frame.more,
    }
    if frame.live is not None:
        more["live"] = frame.live
    return embedded(head.model_dump_json()[:-1] + "," + compact(more)[1:-1])


@dataclass(slots=True)
class Cards:
    """Converts rows of the report to the page's cards.

    It makes the thumbnails of the next few rows in advance.
    """

    thumbnails: Pictures
    _inputs: dict[str, str] = field(default_factory=dict)

    def cards(self, rows: Iterable[JobRow]) -> Iterator[Markup]:
        ahead: deque[tuple[JobRow, list[Callable[[], Miniature | None]]]] = deque()
        for row in rows:
            begun = [self.thumbnails.begin(output.path, output.sha256) for output in row.outputs]
            ahead.append((row, begun))
            if len(ahead) > self.thumbnails.lookahead:
                yield self._card(*ahead.popleft())
        while ahead:
            yield self._card(*ahead.popleft())

    def inputs(self) -> Markup:
        """Return the input images of all jobs by their digests.

        Call it after the jobs are written.
        """
        made = {
            sha256: picture(self.thumbnails.of_input(file, sha256))
            for sha256, file in self._inputs.items()
        }
        return embedded(compact(made))

    def _card(self, row: JobRow, made: Sequence[Callable[[], Miniature | None]]) -> Markup:
        for param, sha256 in row.images.items():
            # The source's own card has its picture
            if row.source is None or sha256 != row.source.sha256:
                self._inputs.setdefault(sha256, row.image_files.get(param, ""))
        small = [
            self.thumbnails.placed(
                miniature(), output.sha256, shown_size=(output.width, output.height)
            )
            for output, miniature in zip(row.outputs, made, strict=True)
        ]
        return card(row, small)


@cache
def environment(package: str | None) -> Environment:
    """Return the environment of a package's templates."""
    return Environment(
        loader=PackageLoader(package or "", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )


@dataclass(frozen=True, slots=True)
class PageAssets:
    """The inlined scripts and styles, and the policy that permits only these."""

    script: Markup
    style: Markup
    policy: str


@cache
def report_assets() -> PageAssets:
    """Read the files of the package; once in a process."""
    # Pictures may come from beside the page, which is file: on a disk.
    return make_assets(report_scripts(), report_styles(), "img-src 'self' data: file:")


def report_scripts(*names: str) -> str:
    """Return the text of the page's scripts; of all of them, unless some are named."""
    return _joined("scripts", names or _SCRIPTS, ".js")


def report_styles(*names: str) -> str:
    """Return the text of the page's styles; of all of them, unless some are named."""
    return _joined("styles", names or _STYLES, ".css")


def make_assets(scripts: str, style: str, *sources: str) -> PageAssets:
    """Return the assets of a page.

    ``sources`` are the directives of its policy for other resources.
    """
    script = "'use strict';\n(() => {\n" + scripts + "})();\n"
    policy = _policy(script, style, sources)
    return PageAssets(Markup(script), Markup(style), policy)  # noqa: S704 - our own files


def _joined(folder: str, names: tuple[str, ...], suffix: str) -> str:
    root = resources.files(__package__) / folder
    return "\n".join((root / (name + suffix)).read_text(encoding="utf-8") for name in names)


def _policy(script: str, style: str, sources: tuple[str, ...]) -> str:
    """Return a policy by which only resources that ``sources`` permits are loaded."""
    return "; ".join(
        (
            "default-src 'none'",
            *sources,
            f"style-src '{_digest(style)}'",
            f"script-src '{_digest(script)}'",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
        )
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
