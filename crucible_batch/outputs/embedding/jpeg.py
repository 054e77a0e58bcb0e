"""JPEG: an XMP packet in an APP1 segment behind the leading APP0 and APP1 (ISO 16684-3). All other bytes stay."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from crucible_batch.outputs.embedding.splice import MAX_PARTS, NotEmbeddableError, Splice, read_at
from crucible_batch.outputs.embedding.xmp import packet

_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_LONGEST_SEGMENT = 0xFFFF - 2
"""Bytes behind a segment's length, which has two bytes and counts itself."""
_START_OF_IMAGE, _START_OF_SCAN = 0xD8, 0xDA
_APP0, _APP1, _APP2, _APP11 = 0xE0, 0xE1, 0xE2, 0xEB
_PREFIX_BYTES = 40
_REFUSED = (
    (_APP1, b"http://ns.adobe.com/x", "it has an XMP packet of its own"),
    (_APP2, b"MPF\0", "it holds several pictures, at places that would no longer be right"),
    (_APP11, b"JP", "it is signed (C2PA), and would be no longer"),
)


def plan(file: BinaryIO, size: int, text: str) -> tuple[Splice, ...]:
    """Put ``text`` behind the segments that have to come first. Raises ``NotEmbeddableError``."""
    content = _XMP + packet(text)
    if len(content) > _LONGEST_SEGMENT:
        raise NotEmbeddableError("what is to be said is more than the 64 KB of a JPEG's segment")
    place, leading = 2, True
    for marker, prefix, end in _segments(file, size):
        for refused, beginning, reason in _REFUSED:
            if marker == refused and prefix.startswith(beginning):
                raise NotEmbeddableError(reason)
        leading = leading and marker in {_APP0, _APP1}
        if leading:
            place = end
    return (Splice(place, struct.pack(">BBH", 0xFF, _APP1, len(content) + 2) + content),)


def _segments(file: BinaryIO, size: int) -> Iterator[tuple[int, bytes, int]]:
    """Yield marker, first bytes and end of each segment before the pixels. What is behind them isn't looked at."""
    if read_at(file, 0, 2) != bytes((0xFF, _START_OF_IMAGE)):
        raise NotEmbeddableError("its structure isn't understood: no start of an image")
    at = 2
    for _ in range(MAX_PARTS):
        mark, marker, length = struct.unpack(">BBH", read_at(file, at, 4))
        # Below APP0 are tables, frames and comments; 0x01 and from 0xD0 to 0xD9 have no length and no place here.
        if mark != 0xFF or marker < 0xC0 or 0xD0 <= marker < _START_OF_SCAN or length < 2 or at + 2 + length > size:
            raise NotEmbeddableError("its structure isn't understood: a segment that is none")
        if marker == _START_OF_SCAN:
            return
        yield marker, read_at(file, at + 4, min(length - 2, _PREFIX_BYTES)), at + 2 + length
        at += 2 + length
    raise NotEmbeddableError("its structure isn't understood: too many segments")
