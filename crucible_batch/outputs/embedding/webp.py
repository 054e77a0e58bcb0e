"""WebP: an XMP chunk at the end, announced in VP8X (RFC 9649, 2.7). A simple file becomes an extended one by that.

The chunks that are there stay as they are, but for one flag of VP8X and the length of the whole.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from crucible_batch.outputs.embedding.splice import MAX_PARTS, NotEmbeddableError, Splice, read_at
from crucible_batch.outputs.embedding.xmp import packet

_HEADER_BYTES = 12
_FLAGS_AT = _HEADER_BYTES + 8
_HAS_XMP, _HAS_ALPHA = 0x04, 0x10
_LOSSY_START = b"\x9d\x01\x2a"
_LOSSLESS_START = 0x2F
_VP8X_BYTES = 10
_LONGEST_FILE = 2**32 - 10


def plan(file: BinaryIO, size: int, text: str) -> tuple[Splice, ...]:
    """Put ``text`` at the end. Raises ``NotEmbeddableError``."""
    riff, length, form = struct.unpack("<4sI4s", read_at(file, 0, _HEADER_BYTES))
    if (riff, form) != (b"RIFF", b"WEBP") or length + 8 != size:
        raise NotEmbeddableError("its structure isn't understood: its length isn't that of the file")
    kinds = list(_chunks(file, size))
    if b"XMP " in kinds:
        raise NotEmbeddableError("it has an XMP packet of its own")
    if b"C2PA" in kinds:
        raise NotEmbeddableError("it is signed (C2PA), and would be no longer")
    announced = _announced(file, kinds)
    xmp = _chunk(b"XMP ", packet(text))
    longer = length + len(xmp) + len(announced.insert) - announced.skip
    if longer > _LONGEST_FILE:
        raise NotEmbeddableError("it is as long as a WebP can be")
    return Splice(4, struct.pack("<I", longer), skip=4), announced, Splice(size, xmp)


def _chunks(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield each chunk's type; they have to fill the file exactly."""
    at = _HEADER_BYTES
    for _ in range(MAX_PARTS):
        if at == size:
            return
        kind, length = struct.unpack("<4sI", read_at(file, at, 8))
        at += 8 + length + length % 2
        if at > size:
            break
        yield kind
    raise NotEmbeddableError("its structure isn't understood: a chunk that is none")


def _announced(file: BinaryIO, kinds: list[bytes]) -> Splice:
    """Return what tells readers that there is XMP: a flag, or a VP8X chunk where there is none."""
    match kinds:
        case [b"VP8X", _, *_]:
            length, flags = struct.unpack("<IB", read_at(file, _FLAGS_AT - 4, 5))
            if length != _VP8X_BYTES:
                raise NotEmbeddableError("its structure isn't understood: VP8X is too short or too long")
            return Splice(_FLAGS_AT, bytes((flags | _HAS_XMP,)), skip=1)
        case [b"VP8 "]:
            start, width, height = struct.unpack("<3sHH", read_at(file, _FLAGS_AT + 3, 7))
            if start != _LOSSY_START:
                raise NotEmbeddableError("its structure isn't understood: no key frame")
            return _extended(_HAS_XMP, width & 0x3FFF, height & 0x3FFF)
        case [b"VP8L"]:
            start, bits = struct.unpack("<BI", read_at(file, _FLAGS_AT, 5))
            if start != _LOSSLESS_START:
                raise NotEmbeddableError("its structure isn't understood: no lossless image")
            alpha = _HAS_ALPHA if bits >> 28 & 1 else 0
            return _extended(_HAS_XMP | alpha, (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        case _:
            raise NotEmbeddableError("its structure isn't understood: it is neither simple nor extended")


def _extended(flags: int, width: int, height: int) -> Splice:
    if not (width and height):
        raise NotEmbeddableError("its structure isn't understood: it has no size")
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return Splice(_HEADER_BYTES, _chunk(b"VP8X", bytes((flags, 0, 0, 0)) + canvas))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
