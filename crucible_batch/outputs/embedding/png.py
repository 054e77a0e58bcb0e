"""PNG: an iTXt chunk before IEND (PNG specification, third edition, 11.3.3.4). Every other chunk stays as it is."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from crucible_batch.outputs.embedding.splice import MAX_PARTS, NotEmbeddableError, Splice, read_at

KEYWORD = b"crucible-batch"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SIGNED = b"caBX"
"""C2PA: a signature over all other bytes of the file."""


def plan(file: BinaryIO, size: int, text: str) -> tuple[Splice, ...]:
    """Put ``text`` before the end. Raises ``NotEmbeddableError``."""
    if read_at(file, 0, len(_SIGNATURE)) != _SIGNATURE:
        raise NotEmbeddableError("its structure isn't understood: no PNG signature")
    kinds: set[bytes] = set()
    for at, kind in _chunks(file, size):
        if not kinds and kind != b"IHDR":
            raise NotEmbeddableError("its structure isn't understood: it doesn't begin with IHDR")
        if kind == _SIGNED:
            raise NotEmbeddableError("it is signed (C2PA), and would be no longer")
        if kind == b"IEND":
            if b"IDAT" not in kinds:
                break
            return (Splice(at, _chunk(b"iTXt", KEYWORD + b"\0\0\0\0\0" + text.encode("ascii"))),)
        kinds.add(kind)
    raise NotEmbeddableError("its structure isn't understood: it has no pixels or no end")


def _chunks(file: BinaryIO, size: int) -> Iterator[tuple[int, bytes]]:
    """Yield each chunk's place and type; what doesn't fit into the file ends it."""
    at = len(_SIGNATURE)
    for _ in range(MAX_PARTS):
        length, kind = struct.unpack(">I4s", read_at(file, at, 8))
        if at + 12 + length > size or not kind.isalpha():
            raise NotEmbeddableError("its structure isn't understood: a chunk that is none")
        yield at, kind
        at += 12 + length
    raise NotEmbeddableError("its structure isn't understood: too many chunks")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
