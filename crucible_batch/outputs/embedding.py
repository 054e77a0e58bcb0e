"""Text and properties embedded in a picture's metadata.

No pixel is decoded, and all other bytes of the file are unchanged.

    PNG     the text in an iTXt chunk before IEND (PNG specification, third edition, 11.3.3.4),
            properties in an XMP packet in one after IHDR, where all readers look (ISO 16684-3)
    JPEG    an XMP packet in an APP1 segment after the leading APP0 and APP1 (ISO 16684-3)
    WebP    an XMP chunk at the end, announced in VP8X, which a simple file gets (RFC 9649, 2.7)

In a WebP, the only other changes are a flag in VP8X and the length of the file in its header.

A picture that has an XMP packet takes no text. Properties are added to its packet, at the end.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO
from xml.sax.saxutils import escape

from crucible_batch.core.provenance import Metadata, XmpProperty

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
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_RDF_IS_BOUND = re.compile(rb"""xmlns:rdf\s*=\s*["']""" + re.escape(_RDF.encode()) + rb"""["']""")
_END_OF_PACKET = re.compile(
    rb"</rdf:RDF\s*>\s*(?:</x:x[ma]pmeta\s*>)?\s*(?:<\?xpacket\s+end=[^>]*\?>)?[\s\0]*\Z"
)
_LONGEST_PACKET = 1024 * 1024


def xmp_packet(metadata: Metadata) -> bytes:
    """Return an XMP packet with a text and properties, which must be ASCII without control
    characters.
    """
    text = metadata.text
    properties = metadata.properties
    if text is not None:
        properties = (XmpProperty("crucible", NAMESPACE, PROPERTY, text), *properties)
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        f'<rdf:RDF xmlns:rdf="{_RDF}">'
        f"{_descriptions(properties)}"
        '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    ).encode()


def _descriptions(properties: Iterable[XmpProperty]) -> str:
    return "".join(
        f'<rdf:Description rdf:about="" xmlns:{each.prefix}="{each.namespace}">'
        f"<{each.prefix}:{each.name}>{escape(each.value)}</{each.prefix}:{each.name}>"
        "</rdf:Description>"
        for each in properties
    )


def _packet(found: bytes | None, metadata: Metadata) -> bytes | None:
    """Return the XMP packet of a picture that has the packet ``found``; None if that may stay.

    Properties are added where it ends: descriptions of the same subject are one. Raises
    ``NotEmbeddableError``.
    """
    if found is None:
        return xmp_packet(metadata)
    if not metadata.properties:
        raise NotEmbeddableError("it already has an XMP packet")
    missing = [each for each in metadata.properties if not _has(found, each)]
    if not missing:
        return None
    end = _END_OF_PACKET.search(found)
    if end is None or not _RDF_IS_BOUND.search(found):
        raise NotEmbeddableError("its XMP packet is in a form that nothing can be added to")
    place = end.start()
    return found[:place] + _descriptions(missing).encode() + found[place:]


def _has(packet: bytes, wanted: XmpProperty) -> bool:
    """Whether a packet has a property. Raises ``NotEmbeddableError`` if it has another value."""
    if re.search(rb"[:\s/]" + wanted.name.encode() + rb"\b", packet) is None:
        return False
    if re.search(re.escape(wanted.value.encode()) + rb"""["'<\s]""", packet):
        return True
    raise NotEmbeddableError(f"its XMP packet has another {wanted.name}")


def _only(packets: Sequence[_Part]) -> _Part | None:
    """Return the packet of a picture; None if there is no packet. Raises ``NotEmbeddableError``."""
    if len(packets) > 1:
        raise NotEmbeddableError("it has several XMP packets")
    if packets and packets[0].length > _LONGEST_PACKET:
        raise NotEmbeddableError("its XMP packet is longer than 1 MB")
    return packets[0] if packets else None


@dataclass(frozen=True, slots=True)
class _Part:
    """A chunk or segment of a file: where it begins, its kind, and the length of its content."""

    at: int
    kind: bytes
    length: int


KEYWORD = b"crucible-batch"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_AFTER_IHDR = len(_PNG_SIGNATURE) + 25
_PNG_XMP = b"XML:com.adobe.xmp"
_PLAIN = b"\0\0\0\0\0"
"""Between keyword and text of an iTXt chunk that is neither compressed nor in a language."""
_PNG_SIGNED = b"caBX"
"""The chunk type of C2PA, a signature over all other bytes of the file."""
_SIGNED = "it is signed (C2PA), and embedding would break the signature"


def _plan_png(file: BinaryIO, size: int, metadata: Metadata) -> Iterator[Splice]:
    """Plan ``metadata`` before IEND. Raises ``NotEmbeddableError``."""
    if _read_at(file, 0, len(_PNG_SIGNATURE)) != _PNG_SIGNATURE:
        raise NotEmbeddableError("its structure is invalid: no PNG signature")
    kinds: set[bytes] = set()
    packets: list[_Part] = []
    for chunk in _png_chunks(file, size):
        if not kinds and (chunk.kind, chunk.length) != (b"IHDR", 13):
            raise NotEmbeddableError("its structure is invalid: it doesn't begin with IHDR")
        if chunk.kind == _PNG_SIGNED:
            raise NotEmbeddableError(_SIGNED)
        if chunk.kind == b"IEND" and b"IDAT" not in kinds:
            break
        if chunk.kind == b"IEND":
            yield from _png_splices(file, chunk.at, _only(packets), metadata)
            return
        kinds.add(chunk.kind)
        if metadata.properties and _is_png_packet(file, chunk):
            packets.append(chunk)
    raise NotEmbeddableError("its structure is invalid: it has no pixels or no end")


def _png_splices(
    file: BinaryIO, end: int, chunk: _Part | None, metadata: Metadata
) -> Iterator[Splice]:
    """Yield the splices of a PNG whose IEND is at ``end``; ``chunk`` is that of its packet."""
    properties = Metadata(properties=metadata.properties)
    if metadata.properties and chunk is None:
        yield Splice(_AFTER_IHDR, _png_text(_PNG_XMP, xmp_packet(properties)))
    elif chunk is not None:
        found, start = _read_at(file, chunk.at + 8, chunk.length), _PNG_XMP + _PLAIN
        if not found.startswith(start):
            raise NotEmbeddableError("its XMP packet is compressed, or has a language")
        packet = _packet(found.removeprefix(start), properties)
        if packet is not None:
            yield Splice(chunk.at, _png_text(_PNG_XMP, packet), skip=12 + chunk.length)
    if metadata.text is not None:
        yield Splice(end, _png_text(KEYWORD, metadata.text.encode("ascii")))


def _is_png_packet(file: BinaryIO, chunk: _Part) -> bool:
    keyword = _PNG_XMP + b"\0"
    if chunk.kind != b"iTXt" or chunk.length < len(keyword):
        return False
    return _read_at(file, chunk.at + 8, len(keyword)) == keyword


def _png_chunks(file: BinaryIO, size: int) -> Iterator[_Part]:
    """Yield each chunk.

    Raises ``NotEmbeddableError`` for a chunk that doesn't fit into the file.
    """
    at = len(_PNG_SIGNATURE)
    for _ in range(MAX_PARTS):
        length, kind = struct.unpack(">I4s", _read_at(file, at, 8))
        if at + 12 + length > size or not kind.isalpha():
            raise NotEmbeddableError("its structure is invalid: not a chunk")
        yield _Part(at, kind, length)
        at += 12 + length
    raise NotEmbeddableError("its structure is invalid: too many chunks")


def _png_text(keyword: bytes, text: bytes) -> bytes:
    return _png_chunk(b"iTXt", keyword + _PLAIN + text)


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_LONGEST_SEGMENT = 0xFFFF - 2
"""Bytes of content after a segment's length field, which has two bytes and includes itself."""
_START_OF_IMAGE, _START_OF_SCAN = 0xD8, 0xDA
_APP0, _APP1, _APP2, _APP11 = 0xE0, 0xE1, 0xE2, 0xEB
_PREFIX_BYTES = 40
_REFUSED = (
    (_APP1, b"http://ns.adobe.com/xmp/extension/", "its XMP packet has an extension"),
    (_APP2, b"MPF\0", "it contains several pictures, whose offsets would become wrong"),
    (_APP11, b"JP", _SIGNED),
)


def _plan_jpeg(file: BinaryIO, size: int, metadata: Metadata) -> Iterator[Splice]:
    """Plan ``metadata`` after the segments that must come first. Raises ``NotEmbeddableError``."""
    place, leading = 2, True
    packets: list[_Part] = []
    for segment, prefix in _jpeg_segments(file, size):
        marker = segment.kind[0]
        for refused, beginning, reason in _REFUSED:
            if marker == refused and prefix.startswith(beginning):
                raise NotEmbeddableError(reason)
        if marker == _APP1 and prefix.startswith(_JPEG_XMP):
            packets.append(segment)
        leading = leading and marker in {_APP0, _APP1}
        if leading:
            place = segment.at + 4 + segment.length
    old, found = _only(packets), None
    if old is not None:
        found = _read_at(file, old.at + 4, old.length).removeprefix(_JPEG_XMP)
    packet = _packet(found, metadata)
    if packet is None:
        return
    content = _JPEG_XMP + packet
    if len(content) > _LONGEST_SEGMENT:
        raise NotEmbeddableError("the metadata is larger than a JPEG segment of 64 KB")
    inserted = struct.pack(">BBH", 0xFF, _APP1, len(content) + 2) + content
    if old is None:
        yield Splice(place, inserted)
    else:
        yield Splice(old.at, inserted, skip=4 + old.length)


def _jpeg_segments(file: BinaryIO, size: int) -> Iterator[tuple[_Part, bytes]]:
    """Yield each segment before the pixels, with its first bytes; its kind is the marker."""
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
        prefix = _read_at(file, at + 4, min(length - 2, _PREFIX_BYTES))
        yield _Part(at, bytes((marker,)), length - 2), prefix
        at += 2 + length
    raise NotEmbeddableError("its structure is invalid: too many segments")


_HEADER_BYTES = 12
_FLAGS_AT = _HEADER_BYTES + 8
_HAS_XMP, _HAS_ALPHA = 0x04, 0x10
_LOSSY_START = b"\x9d\x01\x2a"
_LOSSLESS_START = 0x2F
_VP8X_BYTES = 10
_LONGEST_FILE = 2**32 - 10


def _plan_webp(file: BinaryIO, size: int, metadata: Metadata) -> Iterator[Splice]:
    """Plan ``metadata`` at the end. Raises ``NotEmbeddableError``."""
    riff, length, form = struct.unpack("<4sI4s", _read_at(file, 0, _HEADER_BYTES))
    if (riff, form) != (b"RIFF", b"WEBP") or length + 8 != size:
        raise NotEmbeddableError("its structure is invalid: its length isn't that of the file")
    chunks = list(_webp_chunks(file, size))
    kinds = [chunk.kind for chunk in chunks]
    if b"C2PA" in kinds:
        raise NotEmbeddableError(_SIGNED)
    old, found = _only([chunk for chunk in chunks if chunk.kind == b"XMP "]), None
    if old is not None:
        found = _read_at(file, old.at + 8, old.length)
    packet = _packet(found, metadata)
    if packet is None:
        return
    announced, xmp = _announced(file, kinds), _webp_chunk(b"XMP ", packet)
    placed = Splice(size, xmp)
    if old is not None:
        placed = Splice(old.at, xmp, skip=8 + old.length + old.length % 2)
    longer = length + len(announced.insert) - announced.skip + len(placed.insert) - placed.skip
    if longer > _LONGEST_FILE:
        raise NotEmbeddableError("it already has the maximum length of a WebP file")
    yield Splice(4, struct.pack("<I", longer), skip=4)
    yield announced
    yield placed


def _webp_chunks(file: BinaryIO, size: int) -> Iterator[_Part]:
    """Yield each chunk.

    Raises ``NotEmbeddableError`` if the chunks don't fill the file exactly.
    """
    at = _HEADER_BYTES
    for _ in range(MAX_PARTS):
        if at == size:
            return
        kind, length = struct.unpack("<4sI", _read_at(file, at, 8))
        chunk = _Part(at, kind, length)
        at += 8 + length + length % 2
        if at > size:
            break
        yield chunk
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


def plan_embedding(file: BinaryIO, mime_type: str, metadata: Metadata) -> tuple[Splice, ...]:
    """Return the splices that embed ``metadata``, which is not empty.

    A text becomes a PNG's iTXt chunk, or a part of a JPEG's or WebP's XMP packet; properties are in
    the packet of any of them. The result is deterministic, since a damaged output is restored by
    embedding again. Raises ``NotEmbeddableError`` for a file that should be left unchanged.
    """
    plan = _PLANNERS.get(mime_type)
    if plan is None:
        raise NotEmbeddableError(f"metadata can't be embedded in {mime_type}")
    splices = tuple(plan(file, os.fstat(file.fileno()).st_size, metadata))
    if not splices:
        raise NotEmbeddableError("its XMP packet already has the same")
    return splices
