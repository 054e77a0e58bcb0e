"""Small pictures."""

import struct
import zlib

SIDE_PX = 16


def png(seed: str) -> bytes:
    """A small picture of one colour that depends on `seed`."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    colour = struct.pack(">I", zlib.crc32(seed.encode()))[:3]
    rows = (b"\0" + colour * SIDE_PX) * SIDE_PX
    header = struct.pack(">IIBBBBB", SIDE_PX, SIDE_PX, 8, 2, 0, 0, 0)
    text = b"Comment\0" + seed.encode()
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(*each) for each in ((b"IHDR", header), (b"tEXt", text), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    )
