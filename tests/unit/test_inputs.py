"""Input images are what their bytes say."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
from pathlib import Path

import pytest
from PIL import Image

from crucible_batch import input_images
from crucible_batch.input_images import InputError, load_input, read_input
from tests.harness.case_table import each_case


def drawn(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), "teal").save(buffer, kind)
    return buffer.getvalue()


@each_case("name", ["photo.jpg", "photo.png", "photo", "photo.txt", ".hidden", "фото.webp"])
@each_case(
    "kind, mime",
    [
        ("PNG", "image/png"),
        ("JPEG", "image/jpeg"),
        ("WEBP", "image/webp"),
        ("GIF", "image/gif"),
        ("BMP", "image/bmp"),
        ("TIFF", "image/tiff"),
    ],
)
def test_the_type_is_that_of_the_bytes_whatever_the_name(
    tmp_path: Path, name: str, kind: str, mime: str
) -> None:
    content = drawn(kind)
    path = tmp_path / name
    path.write_bytes(content)
    image = read_input(path)
    assert image.path == path
    assert image.spec.mime_type == mime
    assert image.spec.sha256 == hashlib.sha256(content).hexdigest()
    assert image.spec.byte_size == len(content)
    assert image.spec.filename == name


def test_a_jpeg_of_several_frames_is_a_jpeg(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 6), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "a", "MPO", save_all=True, append_images=frames[1:])
    assert read_input(tmp_path / "a").spec.mime_type == "image/jpeg"


@each_case(
    "content", [b"hello", b"%PDF-1.7\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\0" * 99]
)
def test_what_is_no_image_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is not a valid image"):
        read_input(path)


def test_too_large_is_refused_and_the_limit_itself_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = drawn("PNG")
    path = tmp_path / "photo.png"
    path.write_bytes(content)
    monkeypatch.setattr(input_images, "MAX_BYTES", len(content))
    assert read_input(path).spec.byte_size == len(content)
    monkeypatch.setattr(input_images, "MAX_BYTES", len(content) - 1)
    with pytest.raises(InputError, match="larger than"):
        read_input(path)


@each_case("obstacle", ["missing", "directory", "loop"])
def test_what_cannot_be_read_is_an_input_error(tmp_path: Path, obstacle: str) -> None:
    path = tmp_path / "photo.png"
    if obstacle == "directory":
        path.mkdir()
    if obstacle == "loop":
        path.symlink_to(path)
    with pytest.raises(InputError, match="can't be read: "):
        read_input(path)


def test_a_long_name_keeps_its_end(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 120 + ".png")
    path.write_bytes(drawn("PNG"))
    assert read_input(path).spec.filename == path.name
    assert input_images._short("a" * 300 + ".png") == "a" * 251 + ".png"


async def test_the_bytes_that_are_loaded_are_those_that_were_planned(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(drawn("PNG"))
    image = read_input(path)
    assert await load_input(image) == drawn("PNG")


async def test_a_file_that_changed_since_planning_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(drawn("PNG"))
    image = read_input(path)
    path.write_bytes(drawn("PNG") + b"\0")
    with pytest.raises(InputError, match="has changed since planning"):
        await load_input(image)


async def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(drawn("PNG"))
    image = read_input(path)
    path.unlink()
    os.mkfifo(path)
    async with asyncio.timeout(5):
        with pytest.raises(InputError, match="has changed since planning"):
            await load_input(image)


async def test_a_file_that_went_since_planning_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(drawn("PNG"))
    image = read_input(path)
    path.unlink()
    with pytest.raises(InputError, match="can no longer be read"):
        await load_input(image)
