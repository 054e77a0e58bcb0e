"""What a picture is by its own bytes."""

from __future__ import annotations

import io
from pathlib import Path
from random import Random

import pytest
from PIL import Image

from crucible_batch.outputs import image_check
from crucible_batch.outputs.image_check import NoPictureError, Picture
from tests.harness.case_table import each_case


def examine(path: Path, *, whole: bool) -> Picture:
    with path.open("rb") as file:
        return image_check.examine(file, whole=whole)


def drawn(kind: str, size: tuple[int, int] = (40, 30)) -> bytes:
    """Return a picture of noise, the same each time: by chance, the bytes before a cut look like
    GIF's end marker.
    """
    buffer = io.BytesIO()
    noise = Random(1).randbytes(size[0] * size[1])
    Image.frombytes("L", size, noise).convert("RGB").save(buffer, kind)
    return buffer.getvalue()


TYPES = [
    ("PNG", "image/png", ".png"),
    ("JPEG", "image/jpeg", ".jpg"),
    ("WEBP", "image/webp", ".webp"),
    ("GIF", "image/gif", ".gif"),
    ("TIFF", "image/tiff", ".tiff"),
    ("BMP", "image/bmp", ".bmp"),
]


@each_case("whole", [False, True])
@each_case("kind, mime, ext", TYPES)
def test_type_and_size_are_those_of_the_bytes(
    tmp_path: Path, kind: str, mime: str, ext: str, whole: bool
) -> None:
    path = tmp_path / "picture.txt"
    path.write_bytes(drawn(kind))
    assert examine(path, whole=whole) == Picture(mime, ext, 40, 30)


@each_case("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"])
@each_case("share", [0.3, 0.6, 0.9])
def test_a_cut_is_seen_where_all_of_it_is_decoded(tmp_path: Path, kind: str, share: float) -> None:
    content = drawn(kind, (200, 200))
    path = tmp_path / "picture"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(NoPictureError):
        examine(path, whole=True)


@each_case("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_no_cut_is_too_short_to_be_seen(tmp_path: Path, kind: str) -> None:
    content = drawn(kind)
    path = tmp_path / "picture"
    for missing in range(1, 40):
        path.write_bytes(content[:-missing])
        with pytest.raises(NoPictureError):
            examine(path, whole=True)


@each_case("kind", ["PNG", "JPEG", "GIF"])
@each_case("missing", [2, 5, 500])
def test_a_cut_is_seen_where_the_length_was_counted_after_it(
    tmp_path: Path, kind: str, missing: int
) -> None:
    path = tmp_path / "picture"
    path.write_bytes(drawn(kind, (200, 200))[:-missing])
    with pytest.raises(NoPictureError, match="truncated"):
        examine(path, whole=False)


def test_the_end_of_a_thumbnail_is_not_that_of_its_jpeg(tmp_path: Path) -> None:
    content, small = drawn("JPEG", (200, 200)), drawn("JPEG", (8, 8))
    thumbnail = (
        b"\xff\xe1" + (2 + len(small)).to_bytes(2) + small
    )  # as a segment behind the first marker
    path = tmp_path / "picture"
    for padding in (0, 100):
        path.write_bytes(content[:2] + thumbnail + content[2:] + b"\0" * padding)
        assert examine(path, whole=False).width == 200
    path.write_bytes(content[:2] + thumbnail + content[2:-2])
    with pytest.raises(NoPictureError, match="truncated"):
        examine(path, whole=False)


@each_case("kind", ["PNG", "JPEG"])
@each_case("whole", [False, True])
@each_case("size", [16, 100_000])
def test_padding_behind_a_picture_is_no_cut(
    tmp_path: Path, kind: str, whole: bool, size: int
) -> None:
    path = tmp_path / "picture"
    path.write_bytes(drawn(kind) + b"\0" * size)
    assert examine(path, whole=whole).width == 40


@each_case(
    "content, is_another_type",
    [
        (b"%PDF-1.7", True),
        (b"\0" * 100, True),
        (b"", False),
        (b"<!doctype html><p>busy", False),
        (b"\xef\xbb\xbf \r\n\t<html>", False),
        (b'{"error": "busy"}', False),
        (b"[]", False),
        (b"XX[", True),
    ],
)
def test_a_page_is_worth_asking_again_and_another_type_of_file_is_not(
    tmp_path: Path, content: bytes, is_another_type: bool
) -> None:
    path = tmp_path / "picture"
    path.write_bytes(content)
    with pytest.raises(NoPictureError, match=r"^not an image of a supported type$") as caught:
        examine(path, whole=False)
    assert caught.value.is_another_type is is_another_type


def test_a_picture_that_is_broken_or_cut_is_worth_asking_again(tmp_path: Path) -> None:
    content, path = drawn("PNG", (200, 200)), tmp_path / "picture"
    for cut, words in (
        (content[:8], r"not a complete image of a supported type \(\w+Error\)"),
        (content[:2000], "truncated after its last pixel"),
    ):
        path.write_bytes(cut)
        with pytest.raises(NoPictureError, match=f"^{words}$") as caught:
            examine(path, whole=False)
        assert caught.value.is_another_type is False
    path.write_bytes(content[:2000])
    with pytest.raises(
        NoPictureError, match=r"^not a complete image of a supported type \(OSError\)$"
    ):
        examine(path, whole=True)


def test_a_jpeg_of_several_frames_is_a_jpeg(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 6), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "picture", "MPO", save_all=True, append_images=frames[1:])
    assert examine(tmp_path / "picture", whole=True) == Picture("image/jpeg", ".jpg", 8, 6)
