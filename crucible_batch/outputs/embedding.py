"""Text embedded in a picture's metadata.

No pixel is decoded, and all other bytes of the file are unchanged.

    PNG     an iTXt chunk before IEND (PNG specification, third edition, 11.3.3.4)
    JPEG    an XMP packet in an APP1 segment after the leading APP0 and APP1 (ISO 16684-3)
    WebP    an XMP chunk at the end, announced in VP8X, which a simple file gets (RFC 9649, 2.7)

In a WebP, the only other changes are a flag in VP8X and the length of the file in its header.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO
from xml.sax.saxutils import escape

MAX_PARTS = 100_000
"""Chunks or segments of a file. A picture has dozens; millions of empty ones would occupy a
thread for minutes."""

_BLOCK_BYTES = 256 * 1024


class NotEmbeddableError(Exception):
    """A file in which no text can be embedded; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Splice:
    """A replacement of ``skip`` bytes of a file, at byte ``at``, with ``insert``."""

    at: int
    insert: bytes
    skip: int = 0


def spliced(file: BinaryIO, splices: Iterable[Splice]) -> Iterator[bytes]:
    """Yield a file's bytes with splices applied.

    The splices must be sorted by ``at`` and must not overlap.
    """
    position = 0
    for splice in splices:
        file.seek(position)
        yield from _blocks(file, splice.at - position)
        yield splice.insert
        position = splice.at + splice.skip
    file.seek(position)
    yield from iter(lambda: file.read(_BLOCK_BYTES), b"")


def _read_at(file: BinaryIO, at: int, count: int) -> bytes:
    """Read exactly ``count`` bytes. Raises ``NotEmbeddableError`` if the file ends before."""
    file.seek(at)
    found = file.read(count)
    if len(found) != count:
        raise NotEmbeddableError("its structure is invalid: it ends too early")
    return found


def _blocks(file: BinaryIO, count: int) -> Iterator[bytes]:
    while count > 0:
        block = file.read(min(count, _BLOCK_BYTES))
        if not block:
            raise NotEmbeddableError("it became shorter while it was read")
        count -= len(block)
        yield block


NAMESPACE = "urn:crucible-batch:xmp:1#"
PROPERTY = "provenance"


def _xmp_packet(text: str) -> bytes:
    """Return an XMP packet with ``text`` as its only property.

    ``text`` must be ASCII without control characters.
    """
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:crucible="{NAMESPACE}">'
        f"<crucible:{PROPERTY}>{escape(text)}</crucible:{PROPERTY}>"
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    ).encode()


KEYWORD = b"crucible-batch"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_SIGNED = b"caBX"
"""The chunk type of C2PA, a signature over all other bytes of the file."""


def _plan_png(file: BinaryIO, size: int, text: str) -> tuple[Splice, ...]:
    """Plan ``text`` before IEND. Raises ``NotEmbeddableError``."""
    if _read_at(file, 0, len(_PNG_SIGNATURE)) != _PNG_SIGNATURE:
        raise NotEmbeddableError("its structure is invalid: no PNG signature")
    kinds: set[bytes] = set()
    for at, kind in _png_chunks(file, size):
        if not kinds and kind != b"IHDR":
            raise NotEmbeddableError("its structure is invalid: it doesn't begin with IHDR")
        if kind == _PNG_SIGNED:
            raise NotEmbeddableError("it is signed (C2PA), and embedding would break the signature")
        if kind == b"IEND":
            if b"IDAT" not in kinds:
                break
            content = KEYWORD + b"\0\0\0\0\0" + text.encode("ascii")
            return (Splice(at, _png_chunk(b"iTXt", content)),)
        kinds.add(kind)
    raise NotEmbeddableError("its structure is invalid: it has no pixels or no end")


def _png_chunks(file: BinaryIO, size: int) -> Iterator[tuple[int, bytes]]:
    """Yield each chunk's offset and type.

    Raises ``NotEmbeddableError`` for a chunk that doesn't fit into the file.
    """
    at = len(_PNG_SIGNATURE)
    for _ in range(MAX_PARTS):
        length, kind = struct.unpack(">I4s", _read_at(file, at, 8))
        if at + 12 + length > size or not kind.isalpha():
            raise NotEmbeddableError("its structure is invalid: not a chunk")
        yield at, kind
        at += 12 + length
    raise NotEmbeddableError("its structure is invalid: too many chunks")


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_LONGEST_SEGMENT = 0xFFFF - 2
"""Bytes of content after a segment's length field, which has two bytes and includes itself."""
_START_OF_IMAGE, _START_OF_SCAN = 0xD8, 0xDA
_APP0, _APP1, _APP2, _APP11 = 0xE0, 0xE1, 0xE2, 0xEB
_PREFIX_BYTES = 40
_REFUSED = (
    (_APP1, b"http://ns.adobe.com/x", "it already has an XMP packet"),
    (_APP2, b"MPF\0", "it contains several pictures, whose offsets would become wrong"),
    (_APP11, b"JP", "it is signed (C2PA), and embedding would break the signature"),
)


def _plan_jpeg(file: BinaryIO, size: int, text: str) -> tuple[Splice, ...]:
    """Plan ``text`` after the segments that must come first. Raises ``NotEmbeddableError``."""
    content = _JPEG_XMP + _xmp_packet(text)
    if len(content) > _LONGEST_SEGMENT:
        raise NotEmbeddableError("the metadata is larger than a JPEG segment of 64 KB")
    place, leading = 2, True
    for marker, prefix, end in _jpeg_segments(file, size):
        for refused, beginning, reason in _REFUSED:
            if marker == refused and prefix.startswith(beginning):
                raise NotEmbeddableError(reason)
        leading = leading and marker in {_APP0, _APP1}
        if leading:
            place = end
    return (Splice(place, struct.pack(">BBH", 0xFF, _APP1, len(content) + 2) + content),)


def _jpeg_segments(file: BinaryIO, size: int) -> Iterator[tuple[int, bytes, int]]:
    """Yield the marker, first bytes and end offset of each segment before the pixels."""
    if _read_at(file, 0, 2) != bytes((0xFF, _START_OF_IMAGE)):
        raise NotEmbeddableError("its structure is invalid: no start of an image")
    at = 2
    for _ in range(MAX_PARTS):
        mark, marker, length = struct.unpack(">BBH", _read_at(file, at, 4))
        # Markers from 0xC0 to below APP0 are tables and frames; 0x01 and 0xD0 to 0xD9 have no
        # length and aren't valid here.
        is_marker = mark == 0xFF and marker >= 0xC0 and not 0xD0 <= marker < _START_OF_SCAN
        has_content = length >= 2 and at + 2 + length <= size
        if not is_marker or not has_content:
            raise NotEmbeddableError("its structure is invalid: not a segment")
        if marker == _START_OF_SCAN:
            return
        yield marker, _read_at(file, at + 4, min(length - 2, _PREFIX_BYTES)), at + 2 + length
        at += 2 + length
    raise NotEmbeddableError("its structure is invalid: too many segments")


_HEADER_BYTES = 12
_FLAGS_AT = _HEADER_BYTES + 8
_HAS_XMP, _HAS_ALPHA = 0x04, 0x10
_LOSSY_START = b"\x9d\x01\x2a"
_LOSSLESS_START = 0x2F
_VP8X_BYTES = 10
_LONGEST_FILE = 2**32 - 10


def _plan_webp(file: BinaryIO, size: int, text: str) -> tuple[Splice, ...]:
    """Plan ``text`` at the end. Raises ``NotEmbeddableError``."""
    riff, length, form = struct.unpack("<4sI4s", _read_at(file, 0, _HEADER_BYTES))
    if (riff, form) != (b"RIFF", b"WEBP") or length + 8 != size:
        raise NotEmbeddableError("its structure is invalid: its length isn't that of the file")
    kinds = list(_webp_chunks(file, size))
    if b"XMP " in kinds:
        raise NotEmbeddableError("it already has an XMP packet")
    if b"C2PA" in kinds:
        raise NotEmbeddableError("it is signed (C2PA), and embedding would break the signature")
    announced = _announced(file, kinds)
    xmp = _webp_chunk(b"XMP ", _xmp_packet(text))
    longer = length + len(xmp) + len(announced.insert) - announced.skip
    if longer > _LONGEST_FILE:
        raise NotEmbeddableError("it already has the maximum length of a WebP file")
    return Splice(4, struct.pack("<I", longer), skip=4), announced, Splice(size, xmp)


def _webp_chunks(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield each chunk's type.

    Raises ``NotEmbeddableError`` if the chunks don't fill the file exactly.
    """
    at = _HEADER_BYTES
    for _ in range(MAX_PARTS):
        if at == size:
            return
        kind, length = struct.unpack("<4sI", _read_at(file, at, 8))
        at += 8 + length + length % 2
        if at > size:
            break
        yield kind
    raise NotEmbeddableError("its structure is invalid: not a chunk")


def _announced(file: BinaryIO, kinds: list[bytes]) -> Splice:
    """Return the splice that announces XMP: a flag in VP8X, or a new VP8X chunk."""
    match kinds:
        case [b"VP8X", _, *_]:
            length, flags = struct.unpack("<IB", _read_at(file, _FLAGS_AT - 4, 5))
            if length != _VP8X_BYTES:
                raise NotEmbeddableError("its structure is invalid: VP8X is too short or too long")
            return Splice(_FLAGS_AT, bytes((flags | _HAS_XMP,)), skip=1)
        case [b"VP8 "]:
            start, width, height = struct.unpack("<3sHH", _read_at(file, _FLAGS_AT + 3, 7))
            if start != _LOSSY_START:
                raise NotEmbeddableError("its structure is invalid: no key frame")
            return _extended(_HAS_XMP, width & 0x3FFF, height & 0x3FFF)
        case [b"VP8L"]:
            start, bits = struct.unpack("<BI", _read_at(file, _FLAGS_AT, 5))
            if start != _LOSSLESS_START:
                raise NotEmbeddableError("its structure is invalid: no lossless image")
            flags = _HAS_XMP
            if bits >> 28 & 1:
                flags |= _HAS_ALPHA
            return _extended(flags, (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        case _:
            raise NotEmbeddableError(
                "its structure is invalid: it is neither a simple nor an extended file"
            )


def _extended(flags: int, width: int, height: int) -> Splice:
    if not (width and height):
        raise NotEmbeddableError("its structure is invalid: it has no size")
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return Splice(_HEADER_BYTES, _webp_chunk(b"VP8X", bytes((flags, 0, 0, 0)) + canvas))


def _webp_chunk(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


_PLANNERS = {"image/png": _plan_png, "image/jpeg": _plan_jpeg, "image/webp": _plan_webp}


def plan_embedding(file: BinaryIO, mime_type: str, text: str) -> tuple[Splice, ...]:
    """Return the splices that embed an ASCII ``text``.

    It becomes a PNG's iTXt chunk, or a JPEG's or WebP's XMP packet. The result is deterministic,
    since a damaged output is restored by embedding again. Raises ``NotEmbeddableError`` for a file
    that should be left unchanged.
    """
    plan = _PLANNERS.get(mime_type)
    if plan is None:
        raise NotEmbeddableError(f"metadata can't be embedded in {mime_type}")
    return plan(file, os.fstat(file.fileno()).st_size, text)
