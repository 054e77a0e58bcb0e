"""A text goes into a picture's metadata, and no other byte of it changes; what isn't understood is
left alone."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageSequence
from PIL.PngImagePlugin import PngInfo

from crucible_batch.core.provenance import Metadata, XmpProperty
from crucible_batch.outputs.embedding import MAX_PARTS, NotEmbeddableError, plan_embedding, spliced
from tests.harness.case_table import each_case

TEXT = (
    '{"params":{"prompt.text":"a <fox> & \\"friends\\" ]]> \\u2603"},"seed":18446744073709551615}'
)
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'


def noise(mode: str = "RGB", size: tuple[int, int] = (37, 23)) -> Image.Image:
    picture = Image.effect_noise(size, 90).convert("RGB")
    if mode in {"RGBA", "LA"}:
        picture = picture.convert(mode)
        picture.putalpha(Image.linear_gradient("L").resize(size))
    return picture.convert(mode)


def drawn(kind: str, mode: str = "RGB", **how: Any) -> bytes:
    buffer = io.BytesIO()
    noise(mode).save(buffer, kind, **how)
    return buffer.getvalue()


def animated(kind: str) -> bytes:
    return drawn(kind, save_all=True, append_images=[noise(), noise()], duration=40)


def exif() -> Image.Exif:
    found = Image.Exif()
    found[0x010F] = "a camera"
    return found


PICTURES: dict[str, tuple[str, bytes]] = {
    "png": ("image/png", drawn("PNG")),
    "png with alpha": ("image/png", drawn("PNG", "RGBA")),
    "png of a palette": ("image/png", drawn("PNG", "P")),
    "png with exif, profile and text": (
        "image/png",
        drawn("PNG", exif=exif(), icc_profile=b"icc" * 50, dpi=(72, 72)),
    ),
    "png that moves": ("image/png", animated("PNG")),
    "png with bytes behind its end": ("image/png", drawn("PNG") + b"\0" * 7),
    "jpeg": ("image/jpeg", drawn("JPEG")),
    "jpeg that is progressive": ("image/jpeg", drawn("JPEG", progressive=True)),
    "jpeg with exif, profile and comment": (
        "image/jpeg",
        drawn("JPEG", exif=exif(), icc_profile=b"icc" * 50, comment=b"hello"),
    ),
    "jpeg for print": ("image/jpeg", drawn("JPEG", "CMYK")),
    "webp": ("image/webp", drawn("WEBP")),
    "webp without loss": ("image/webp", drawn("WEBP", lossless=True)),
    "webp without loss, with alpha": ("image/webp", drawn("WEBP", "RGBA", lossless=True)),
    "webp with alpha": ("image/webp", drawn("WEBP", "RGBA")),
    "webp with exif and profile": (
        "image/webp",
        drawn("WEBP", exif=exif(), icc_profile=b"icc" * 50),
    ),
    "webp that moves": ("image/webp", animated("WEBP")),
}


Embed = Callable[..., bytes]


@pytest.fixture
def embed(tmp_path: Path) -> Embed:
    def embed(content: bytes, mime_type: str, text: str = TEXT) -> bytes:
        path = tmp_path / "picture"
        path.write_bytes(content)
        with path.open("rb") as file:
            return b"".join(spliced(file, plan_embedding(file, mime_type, Metadata(text))))

    return embed


def text_of(content: bytes) -> str:
    """What another reader finds: Pillow for the file, an XML parser for the packet."""
    with Image.open(io.BytesIO(content)) as image:
        image.seek(getattr(image, "n_frames", 1) - 1)
        image.load()  # a PNG's text may stand behind all of its pixels
        if image.format == "PNG":
            return str(image.text["crucible-batch"])
        root = ET.fromstring(image.info["xmp"].decode())
        (found,) = root.iter("{urn:crucible-batch:xmp:1#}provenance")
        return found.text or ""


def frames(content: bytes) -> list[tuple[str, tuple[int, int], bytes, object]]:
    with Image.open(io.BytesIO(content)) as image:
        return [
            (frame.mode, frame.size, frame.tobytes(), frame.info.get("duration"))
            for frame in ImageSequence.Iterator(image)
        ]


def parts(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks or segments of a file, each as a whole, by a reading of their own."""
    if content.startswith(b"\x89PNG"):
        at = 8
        while at < len(content) and content[at + 4 : at + 8].isalpha():
            end = at + 12 + int.from_bytes(content[at : at + 4], "big")
            yield content[at + 4 : at + 8], content[at:end]
            at = end
        yield b"rest", content[at:]
    elif content.startswith(b"RIFF"):
        at = 12
        while at < len(content):
            length = int.from_bytes(content[at + 4 : at + 8], "little")
            end = at + 8 + length + length % 2
            yield content[at : at + 4], content[at:end]
            at = end
    else:
        at = 2
        while content[at + 1] != 0xDA:
            end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
            yield content[at : at + 2], content[at:end]
            at = end
        yield b"rest", content[at:]


@each_case("name", PICTURES)
def test_another_reader_finds_the_text_and_the_very_same_pixels(embed: Embed, name: str) -> None:
    mime_type, content = PICTURES[name]
    made = embed(content, mime_type)
    assert text_of(made) == TEXT
    assert frames(made) == frames(content)


@each_case("name", PICTURES)
def test_every_other_chunk_stays_byte_for_byte_and_in_its_place(embed: Embed, name: str) -> None:
    mime_type, content = PICTURES[name]
    made = list(parts(embed(content, mime_type)))
    ours = {
        "image/png": b"crucible-batch\0",
        "image/jpeg": b"http://ns.adobe.com/xap/1.0/\0",
        "image/webp": b"XMP ",
    }
    others = [part for _, part in made if ours[mime_type] not in part[:40]]
    before = [part for _, part in parts(content)]
    if mime_type == "image/webp":  # which has to say in VP8X what else there is
        others, before = (
            [part for part in each if not part.startswith(b"VP8X")] for each in (others, before)
        )
    assert others == before
    assert len(made) - len(list(parts(content))) in {1, 2}


def test_what_a_webp_says_of_itself_is_kept_but_for_one_flag(embed: Embed) -> None:
    mime_type, content = PICTURES["webp with exif and profile"]
    before, after = (dict(parts(each))[b"VP8X"] for each in (content, embed(content, mime_type)))
    assert after[8] == before[8] | 0x04
    assert after[:8] + after[9:] == before[:8] + before[9:]


def test_a_jpegs_text_comes_behind_what_has_to_come_first(embed: Embed) -> None:
    content = drawn("JPEG", exif=exif(), icc_profile=b"icc" * 50)
    kinds = [kind for kind, _ in parts(embed(content, "image/jpeg"))]
    assert kinds[:4] == [b"\xff\xe0", b"\xff\xe1", b"\xff\xe1", b"\xff\xe2"]


# -- what is left as it is


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    made = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + made


def with_segment(marker: int, data: bytes) -> bytes:
    content = drawn("JPEG")
    return content[:20] + struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data + content[20:]


def mpo() -> bytes:
    return drawn("MPO", save_all=True, append_images=[noise()])


def with_chunk(kind: bytes) -> bytes:
    content = drawn("WEBP", "RGBA") + kind + struct.pack("<I", 2) + b"xx"
    return content[:4] + struct.pack("<I", len(content) - 8) + content[8:]


IHDR = (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
IDAT, IEND = (b"IDAT", zlib.compress(b"\0\0")), (b"IEND", b"")
WEBP = drawn("WEBP")

LEFT_ALONE = [
    pytest.param(
        "image/gif", drawn("GIF", "P"), "metadata can't be embedded in image/gif", id="a GIF"
    ),
    pytest.param("image/png", drawn("JPEG"), "no PNG signature", id="another type"),
    pytest.param("image/png", png(IHDR, IDAT), "ends too early", id="a PNG without an end"),
    pytest.param("image/png", png(IHDR, IEND), "no pixels", id="a PNG without pixels"),
    pytest.param(
        "image/png", png(IDAT, IEND), "doesn't begin with IHDR", id="a PNG without a head"
    ),
    pytest.param(
        "image/png", png(IHDR, (b"ab\0d", b""), IDAT, IEND), "not a chunk", id="a PNG's odd chunk"
    ),
    pytest.param(
        "image/png", png(IHDR) + b"\xff\xff\xff\xffIDAT", "not a chunk", id="a PNG's long chunk"
    ),
    pytest.param(
        "image/png", png(IHDR, (b"caBX", b"jumbf"), IDAT, IEND), "signed", id="a PNG that is signed"
    ),
    pytest.param(
        "image/png",
        png(IHDR) + png((b"teSt", b""))[8:] * MAX_PARTS,
        "too many",
        id="a PNG of too many chunks",
    ),
    pytest.param(
        "image/jpeg", drawn("JPEG", xmp=XMP), "already has an XMP packet", id="a JPEG with XMP"
    ),
    pytest.param("image/jpeg", mpo(), "several pictures", id="a JPEG of several pictures"),
    pytest.param("image/jpeg", with_segment(0xEB, b"JP\0\1"), "signed", id="a JPEG that is signed"),
    pytest.param(
        "image/jpeg", b"\xff\xd8\xff\xd9\0\0", "not a segment", id="a JPEG that ends at once"
    ),
    pytest.param(
        "image/jpeg", b"\xff\xd8\xff\xe0\0\1" * 3, "not a segment", id="a JPEG's short segment"
    ),
    pytest.param(
        "image/jpeg", b"\xff\xd8\xff\xe0\xff\xffabc", "not a segment", id="a JPEG's long segment"
    ),
    pytest.param(
        "image/webp", drawn("WEBP", xmp=XMP), "already has an XMP packet", id="a WebP with XMP"
    ),
    pytest.param("image/webp", with_chunk(b"C2PA"), "signed", id="a WebP that is signed"),
    pytest.param(
        "image/webp",
        WEBP + b"\0",
        "its length isn't that of the file",
        id="a WebP with bytes behind it",
    ),
    pytest.param(
        "image/webp",
        WEBP[:16] + b"\xff\xff\xff\x7f" + WEBP[20:],
        "not a chunk",
        id="a WebP's chunk",
    ),
    pytest.param(
        "image/webp",
        WEBP[:23] + b"xyz" + WEBP[26:],
        "no key frame",
        id="a WebP without a key frame",
    ),
    pytest.param(
        "image/webp",
        b"RIFF\x04\0\0\0WEBP",
        "neither a simple nor an extended file",
        id="a WebP of nothing",
    ),
]


@pytest.mark.parametrize(("mime_type", "content", "reason"), LEFT_ALONE)
def test_what_is_better_left_alone_is_and_why_is_said(
    embed: Embed, mime_type: str, content: bytes, reason: str
) -> None:
    with pytest.raises(NotEmbeddableError, match=reason):
        embed(content, mime_type)


def test_more_than_a_jpegs_segment_holds_is_left_out_and_the_most_is_not(embed: Embed) -> None:
    content = drawn("JPEG")
    frame = len(embed(content, "image/jpeg", "")) - len(content) - 4
    longest = "x" * (0xFFFF - 2 - frame)
    assert text_of(embed(content, "image/jpeg", longest)) == longest
    with pytest.raises(NotEmbeddableError, match="64 KB"):
        embed(content, "image/jpeg", longest + "x")


@each_case("name", ["png", "jpeg", "webp", "webp without loss", "webp with exif and profile"])
def test_a_file_that_is_cut_anywhere_before_its_pixels_end_is_left_alone_or_kept_whole(
    embed: Embed, name: str
) -> None:
    mime_type, content = PICTURES[name]
    for length in [*range(min(len(content), 300)), len(content) - 1]:
        try:
            made = embed(content[:length], mime_type)
        except NotEmbeddableError:
            continue
        # The pixels of a JPEG aren't looked at: a cut in them is found by others, and stays as it
        # was.
        assert mime_type == "image/jpeg"
        assert made.endswith(content[20:length])


@given(data=st.data())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_hostile_file_is_refused_in_words_or_only_added_to(
    tmp_path: Path, data: st.DataObject
) -> None:
    mime_type, content = data.draw(st.sampled_from(list(PICTURES.values())))
    hostile = bytearray(content)
    for at in data.draw(
        st.lists(st.integers(0, min(len(content), 120) - 1), min_size=1, max_size=6)
    ):
        hostile[at] = data.draw(st.integers(0, 255))
    path = tmp_path / "hostile"
    path.write_bytes(hostile)
    try:
        with path.open("rb") as file:
            splices = plan_embedding(file, mime_type, Metadata(TEXT))
    except NotEmbeddableError:
        return
    assert sum(splice.skip for splice in splices) <= 5
    with path.open("rb") as file:
        made = b"".join(spliced(file, splices))
    at = 0
    for splice in splices:  # taken out again, what is left is what was there
        at = made.index(splice.insert, at)
        made = (
            made[:at]
            + bytes(hostile[splice.at : splice.at + splice.skip])
            + made[at + len(splice.insert) :]
        )
        at += splice.skip
    assert made == hostile


MARK = XmpProperty("Iptc4xmpExt", "http://iptc.org/x/", "DigitalSourceType", "http://cv/trained")
RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
OTHERS = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    f'{RDF}><rdf:Description rdf:about="" xmlns:dc="urn:dc" dc:title="A fox"/>'
    '</rdf:RDF></x:xmpmeta>\n   <?xpacket end="w"?>'
).encode()
KINDS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}


def with_packet(mime_type: str, packet: bytes) -> bytes:
    if mime_type == "image/png":
        added = PngInfo()
        added.add_itxt("XML:com.adobe.xmp", packet.decode())
        return drawn("PNG", pnginfo=added)
    return drawn(KINDS[mime_type], xmp=packet)


def packet_of(content: bytes) -> bytes:
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        return bytes(image.info["xmp"])


def mark(tmp_path: Path, content: bytes, mime_type: str, text: str | None = None) -> bytes:
    path = tmp_path / "picture"
    path.write_bytes(content)
    with path.open("rb") as file:
        plan = plan_embedding(file, mime_type, Metadata(text, (MARK,)))
        return b"".join(spliced(file, plan))


@pytest.mark.parametrize("mime_type", KINDS)
@pytest.mark.parametrize("text", [None, TEXT])
def test_a_property_stands_in_a_packet_and_no_pixel_changes(
    tmp_path: Path, mime_type: str, text: str | None
) -> None:
    content = drawn(KINDS[mime_type])
    marked = mark(tmp_path, content, mime_type, text)
    root = ET.fromstring(packet_of(marked))
    assert [each.text for each in root.iter("{http://iptc.org/x/}DigitalSourceType")] == [
        MARK.value
    ]
    if text is not None:
        assert text_of(marked) == text
    assert frames(marked) == frames(content)


@pytest.mark.parametrize("mime_type", KINDS)
def test_a_property_is_added_to_the_packet_that_a_picture_has(
    tmp_path: Path, mime_type: str
) -> None:
    content = with_packet(mime_type, OTHERS)
    marked = mark(tmp_path, content, mime_type)
    packet = packet_of(marked)
    root = ET.fromstring(packet)
    titles = [each.get("{urn:dc}title") for each in root.iter(f"{{{RDF[11:-1]}}}Description")]
    assert titles == ["A fox", None]
    assert root.find(".//{http://iptc.org/x/}DigitalSourceType").text == MARK.value
    assert packet.endswith(b'</rdf:RDF></x:xmpmeta>\n   <?xpacket end="w"?>')
    assert frames(marked) == frames(content)
    with pytest.raises(NotEmbeddableError, match="already has the same"):
        mark(tmp_path, marked, mime_type)


@pytest.mark.parametrize("mime_type", KINDS)
@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (OTHERS.replace(b"A fox", b"DigitalSourceType").replace(b"dc:title", b"y:Digital"), None),
        (
            OTHERS.replace(
                b'dc:title="A fox"', b'xmlns:I="u" I:DigitalSourceType="http://cv/photo"'
            ),
            "another DigitalSourceType",
        ),
        (
            OTHERS.replace(
                b'dc:title="A fox"', b'xmlns:I="u" I:DigitalSourceType="http://cv/trainedMore"'
            ),
            "another DigitalSourceType",
        ),
        (b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>', "nothing can be added to"),
        (OTHERS.replace(b"rdf:", b"r:").replace(b":rdf", b":r"), "nothing can be added to"),
        (OTHERS + b"<!-- more -->", "nothing can be added to"),
        (b" " * 1_100_000, "longer than 1 MB|nothing can be added"),
    ],
)
def test_a_packet_that_is_not_understood_is_left_alone(
    tmp_path: Path, mime_type: str, packet: bytes, reason: str | None
) -> None:
    if mime_type == "image/jpeg" and len(packet) > 65_000:
        packet = packet[:65_000]
    content = with_packet(mime_type, packet)
    if reason is None:
        mark(tmp_path, content, mime_type)
        return
    with pytest.raises(NotEmbeddableError, match=reason):
        mark(tmp_path, content, mime_type)


def test_a_compressed_packet_of_a_png_is_left_alone(tmp_path: Path) -> None:
    added = PngInfo()
    added.add_itxt("XML:com.adobe.xmp", OTHERS.decode(), zip=True)
    with pytest.raises(NotEmbeddableError, match="compressed"):
        mark(tmp_path, drawn("PNG", pnginfo=added), "image/png")


def test_of_two_packets_none_is_chosen(tmp_path: Path) -> None:
    added = PngInfo()
    added.add_itxt("XML:com.adobe.xmp", OTHERS.decode())
    added.add_itxt("XML:com.adobe.xmp", OTHERS.decode())
    with pytest.raises(NotEmbeddableError, match="several XMP packets"):
        mark(tmp_path, drawn("PNG", pnginfo=added), "image/png")


def test_the_text_of_a_png_is_embedded_beside_a_mark_that_is_there(tmp_path: Path) -> None:
    marked = mark(tmp_path, drawn("PNG"), "image/png")
    both = mark(tmp_path, marked, "image/png", TEXT)
    assert text_of(both) == TEXT
    assert packet_of(both) == packet_of(marked)
