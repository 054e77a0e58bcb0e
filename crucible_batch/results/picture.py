"""What a picture is by its own bytes: its true type and size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

_EXTENSIONS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif", "AVIF": ".avif"}
_EXTENSIONS |= {"TIFF": ".tiff", "BMP": ".bmp"}
_FORMATS = tuple(_EXTENSIONS)
_ENDS = {"PNG": b"IEND\xaeB`\x82", "JPEG": b"\xff\xd9", "GIF": b"\0;"}
"""What these end with. Their decoders stop at the last pixel and don't miss it; those of the other types do."""
_TAIL_BYTES = 64
"""So far before the end of the file it is looked for: some writers pad."""


class NoPictureError(ValueError):
    """The bytes are no picture that we know, or a cut one."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture's true type, its usual extension with the dot, and its size in pixels."""

    mime_type: str
    ext: str
    width: int
    height: int


def examine(path: Path, *, whole: bool) -> Picture:
    """Read a picture's header; with ``whole`` decode all of it too, which shows a cut that no length would.

    Raises ``NoPictureError`` where it is none, or is cut.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            kind = _plain(image.format)
            if whole:
                image.load()
            width, height = image.size
        is_cut = whole and _ENDS.get(kind, b"") not in _tail(path)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise NoPictureError(f"not a whole picture of a known type ({type(error).__name__})") from error
    if is_cut:
        raise NoPictureError("cut short behind its last pixel")
    return Picture(Image.MIME[kind], _EXTENSIONS[kind], width, height)


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        return file.read()


def _plain(kind: str | None) -> str:
    """A JPEG of several frames comes back as MPO; it is a JPEG to everybody else."""
    return "JPEG" if kind == "MPO" else kind or ""
