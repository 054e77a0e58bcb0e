"""What a picture is by its own bytes: its true type and size."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image, ImageFile

from crucible_batch.domain.output_path import PICTURE_EXTENSIONS

_ENDS = {"PNG": (b"IEND\xaeB`\x82", 1 << 20), "JPEG": (b"\xff\xd9", 1 << 20), "GIF": (b"\0;", 64)}
"""What these end with: their decoders stop at the last pixel and don't miss it; those of the other types do. And so far
before the end of the file it is looked for: some writers pad, or put more behind it. Two bytes may be found anywhere,
but for a JPEG's, whose pixels never look like a marker."""
_SCAN = b"\xff\xda"
"""Where a JPEG's pixels begin. Before it there may be a whole smaller JPEG, with an end of its own."""
_HEAD_BYTES = 64
_TAIL_BYTES = 64
"""Most pictures end with their end: only where it isn't there is all of its reach read."""
_PAGE_STARTS = (b"<", b"{", b"[")
MOST_PIXELS = 178_956_970
"""Twice ``Image.MAX_IMAGE_PIXELS``: beyond it Pillow refuses a picture whatever we say."""


class NoPictureError(ValueError):
    """The bytes are no picture that we know, or a cut one. ``is_another_type``: they are whole, and something else."""

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
    """Read a picture's header and look for its end; with ``whole`` decode all of it too, which shows any cut.

    A right length doesn't do: whatever stands in front of a storage may have cut a body, and counted what was left.

    Raises ``NoPictureError`` where it is none, or is cut.
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
    except Exception as error:  # a decoder may raise anything at all for a file that was made to upset it
        raise NoPictureError(f"not a whole picture of a known type ({type(error).__name__})") from error
    if not _has_end(kind, file):
        raise NoPictureError("cut short behind its last pixel")
    return Picture(Image.MIME[kind], PICTURE_EXTENSIONS[kind], width, height)


def _opened(file: BinaryIO, head: bytes) -> ImageFile.ImageFile:
    """Read the header as ``Image.open`` does, less its warning: which size is too large is for our caller to say."""
    Image.init()
    for kind in PICTURE_EXTENSIONS:
        factory, accept = Image.OPEN.get(kind, (None, None))
        if factory is None or (accept is not None and accept(head[:16]) is not True):
            continue
        file.seek(0)
        try:
            return factory(file, "")
        except (SyntaxError, IndexError, TypeError, ValueError) as error:
            raise NoPictureError(f"not a whole picture of a known type ({type(error).__name__})") from error
    # A storage that is busy, or whose link has expired, may answer 200 and say so in words: then it pays to ask again.
    is_page = not head or head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(_PAGE_STARTS)
    raise NoPictureError("not a picture of a known type", is_another_type=not is_page)


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
    """A JPEG of several frames comes back as MPO; it is a JPEG to everybody else."""
    return "JPEG" if kind == "MPO" else kind or ""
