"""The data of one job in the page: the report's row as JSON, with pictures and stages. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from markupsafe import Markup

from crucible_batch.report.models import AttemptRow, JobRow


def stages_of(row: JobRow) -> list[tuple[str, float]]:
    """Return the stages of all attempts in order: what the job was waiting for, and the seconds.

    Stages that have not started or not ended are left out. ``gateway`` is ``queue`` and ``run``
    together, if no poll distinguished them.
    """
    found: list[tuple[str, float]] = []
    for attempt in row.attempts:
        found.extend(_of_attempt(attempt))
    if row.attempts and row.outputs:
        ended_at = row.attempts[-1].ended_at
        saved_at = max(output.saved_at for output in row.outputs)
        if ended_at is not None:
            found.append(("download", saved_at - ended_at))
    # A clock that was set back can make a stage's duration negative.
    return [(stage, seconds) for stage, seconds in found if seconds > 0]


def _of_attempt(attempt: AttemptRow) -> Iterator[tuple[str, float]]:
    accepted, running, ended = attempt.accepted_at, attempt.running_at, attempt.ended_at
    sent = attempt.held_at
    if attempt.prepared_at is not None:
        yield "upload", attempt.prepared_at - attempt.held_at
        sent = attempt.prepared_at
    answered = accepted or ended
    if answered is not None:
        yield "send", answered - sent
    if accepted is None or ended is None:
        return
    if running is None:
        yield "gateway", ended - accepted
    else:
        yield "queue", running - accepted
        yield "run", ended - running


_ESCAPES = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"},
)
"""``<`` could end the script element or begin a comment in it; U+2028 and U+2029 end a line in
older scripts."""


def embedded(json_text: str) -> Markup:
    """Return equivalent JSON that is safe in a script element.

    The escaped characters only occur within strings.
    """
    return Markup(json_text.translate(_ESCAPES))  # noqa: S704 - made safe just here


def compact(value: object) -> str:
    """Write JSON without spaces. Raises ``ValueError`` for NaN and infinity."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small picture.

    ``source`` is a data URL or a path relative to the page; None if there is no picture to show.
    """

    source: str | None
    width: int
    height: int


def card(row: JobRow, thumbnails: Sequence[Thumbnail]) -> Markup:
    """Return the JSON of a job.

    Parameters are text, since JavaScript numbers would round a large seed.
    """
    known = row.model_dump(
        mode="json", exclude_none=True, exclude={"params", "images", "image_files"}
    )
    known["params"] = [[name, shown(value)] for name, value in row.params.items()]
    known["thumbnails"] = [picture(thumbnail) for thumbnail in thumbnails]
    known["inputs"] = [
        [param, _input_name(row, param), row.images.get(param)] for param in row.image_files
    ]
    known["stages"] = [[stage, round(seconds, 2)] for stage, seconds in stages_of(row)]
    return embedded(compact(known))


def _input_name(row: JobRow, param: str) -> str:
    """Return the name of an input image: that of its file, or of the job that made it."""
    if row.source is not None and row.images.get(param) == row.source.sha256:
        return row.source.name
    return PurePath(row.image_files[param]).name


def shown(value: object) -> str:
    """Return a parameter for display: text unchanged, other values as exact JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def picture(thumbnail: Thumbnail) -> list[object]:
    return [thumbnail.source, thumbnail.width, thumbnail.height]
