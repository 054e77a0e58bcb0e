"""A thumbnail of a picture, for measurements: read from a file with limits, since its content is
another party's."""

from __future__ import annotations

from typing import BinaryIO

from PIL import Image

from crucible_batch.core.output_path import PICTURE_EXTENSIONS
from crucible_batch.features.quality.measurements import EDGE
from crucible_batch.report.html.thumbnails import MOST_PIXELS, plain_mode

_FORMATS = tuple(PICTURE_EXTENSIONS)
_DRAFT_EDGE = 2 * EDGE


class UnmeasurableError(Exception):
    """A picture that can't be measured. The message has the reason."""


def thumbnail_of(file: BinaryIO) -> Image.Image:
    """Return RGBA of ``EDGE`` by ``EDGE`` cells, each the average of its pixels.

    The first frame of an animation counts. Raises ``UnmeasurableError``.
    """
    try:
        with Image.open(file, formats=_FORMATS) as opened:
            _check_size(*opened.size)
            opened.draft("RGB", (_DRAFT_EDGE, _DRAFT_EDGE))
            opened.seek(0)
            return scaled(plain_mode(opened))
    except UnmeasurableError:
        raise
    except Exception as error:  # a decoder may raise anything for a malicious file
        raise UnmeasurableError(f"it can't be decoded: {type(error).__name__}") from error


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise UnmeasurableError(
            f"{width:,} × {height:,} pixels; at most {MOST_PIXELS:,} are measured"
        )


def scaled(image: Image.Image) -> Image.Image:
    """Return the thumbnail of a decoded picture, in RGB or RGBA."""
    small = image.resize((EDGE, EDGE), Image.Resampling.BOX)
    return small.convert("RGBA")
