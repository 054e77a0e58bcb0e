"""One job as the page knows it: the report's row in JSON, with its pictures, its stages and its snippet. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from markupsafe import Markup

from crucible_batch.report.html.embedding import compact, embedded
from crucible_batch.report.html.snippet import snippet
from crucible_batch.report.html.stages import Stage
from crucible_batch.report.models import JobRow, ManifestRow


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small picture. ``source`` is a data URL or a path relative to the page; None where there is none to show."""

    source: str | None
    width: int
    height: int


def card(
    row: JobRow,
    manifest: ManifestRow,
    stages: Sequence[Stage],
    thumbnails: Sequence[Thumbnail],
) -> Markup:
    """Return the JSON of a job. Parameters come as text, since a script's numbers would round a large seed."""
    known = row.model_dump(mode="json", exclude_none=True, exclude={"params", "images", "image_files"})
    known["params"] = [[name, shown(value)] for name, value in row.params.items()]
    known["thumbnails"] = [picture(thumbnail) for thumbnail in thumbnails]
    known["inputs"] = [[param, PurePath(file).name, row.images.get(param)] for param, file in row.image_files.items()]
    known["stages"] = [[stage.kind.value, round(stage.end - stage.begin, 2)] for stage in stages]
    known["snippet"] = snippet(row, manifest)
    return embedded(compact(known))


def shown(value: object) -> str:
    """Return a parameter as people read it: text as it is, everything else as exact JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def picture(thumbnail: Thumbnail) -> list[object]:
    """Return a thumbnail as the page knows it."""
    return [thumbnail.source, thumbnail.width, thumbnail.height]
