"""The true type and size of a picture, determined from its bytes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image, ImageFile

from crucible_batch.core.output_path import PICTURE_EXTENSIONS

_ENDS = {
    "PNG": (b"IEND\xaeB`\x82", 1 << 20),
    "JPEG": (b"\xff\xd9", 1 << 20),
    "GIF": (b"\0;", 64),
}
"""End markers, and how many bytes before the end of the file they are searched for, since some
writers pad or append.

Only these types need the check: their decoders stop at the last pixel and don't notice a missing
end, those of other types do. GIF's two-byte marker may occur anywhere, so its range is short; a
JPEG's pixels never look like a marker.
"""
_SCAN = b"\xff\xda"
"""The start of a JPEG's pixels. Before it there may be a complete smaller JPEG with its own end
marker."""
_HEAD_BYTES = 64
_TAIL_BYTES = 64
"""Most pictures end with their end marker, so only these bytes are read first."""
_PAGE_STARTS = (b"<", b"{", b"[")


class NoPictureError(ValueError):
    """Bytes that are not a picture of a known type, or a cut one.

    ``is_another_type`` is True if they are complete but of another type.
    """

    def __init__(self, message: str, *, is_another_type: bool = False) -> None:
        super().__init__(message)
        self.is_another_type = is_another_type


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture's true type, its usual extension with the dot, and its size in pixels."""

    mime_type: str
    ext: str
    width: int
    height: int


def examine(file: BinaryIO, *, whole: bool) -> Picture:
    """Read a picture's header and check its end marker.

    On request, decode it completely, which detects any cut. A correct length isn't enough: a
    proxy in front of the storage may cut a body and declare the remaining length.

    Raises ``NoPictureError`` if the file is not a picture or is cut.
    """
    head = _part(file, 0, _HEAD_BYTES)
    try:
        with _opened(file, head) as image:
            kind = _plain(image.format)
            if whole:
                image.load()
            width, height = image.size
    except NoPictureError:
        raise
    except Exception as error:  # a decoder may raise any exception for a malicious file
        raise NoPictureError(
            f"not a complete image of a supported type ({type(error).__name__})"
        ) from error
    if not _has_end(kind, file):
        raise NoPictureError("truncated after its last pixel")
    return Picture(Image.MIME[kind], PICTURE_EXTENSIONS[kind], width, height)


def _opened(file: BinaryIO, head: bytes) -> ImageFile.ImageFile:
    """Read the header as ``Image.open`` does, but without its size warning.

    The caller checks the size.
    """
    Image.init()
    for kind in PICTURE_EXTENSIONS:
        factory, accept = Image.OPEN.get(kind, (None, None))
        if factory is None:
            continue
        if accept is not None and accept(head[:16]) is not True:
            continue
        file.seek(0)
        try:
            return factory(file, "")
        except (SyntaxError, IndexError, TypeError, ValueError) as error:
            raise NoPictureError(
                f"not a complete image of a supported type ({type(error).__name__})"
            ) from error
    # A storage that is busy, or whose link has expired, may answer 200 with an error page: a retry
    # may help then.
    is_page = not head or head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(_PAGE_STARTS)
    raise NoPictureError("not an image of a supported type", is_another_type=not is_page)


def _part(file: BinaryIO, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(count)


def _has_end(kind: str, file: BinaryIO) -> bool:
    end, reach = _ENDS.get(kind, (b"", 0))
    size = file.seek(0, os.SEEK_END)
    for far in (min(reach, _TAIL_BYTES), reach):
        tail = _part(file, max(0, size - far), far)
        place = tail.rfind(end)
        if place >= 0:
            return not (kind == "JPEG" and _SCAN in tail[place:])
    return False


def _plain(kind: str | None) -> str:
    """Return Pillow's format name, but JPEG for MPO.

    Pillow reports a JPEG with several frames as MPO.
    """
    if kind == "MPO":
        return "JPEG"
    return kind or ""
