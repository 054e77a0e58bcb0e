"""Pictures: the same params, the same bytes; other params, another picture."""

import io
import struct
import zlib
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat

from crucible_batch.sandbox.assets import NotAnImageError, inspect
from crucible_batch.sandbox.drawing import STYLES, paint
from crucible_batch.sandbox.pictures import render
from crucible_batch.sandbox.records import Job, OutputShape
from tests.harness.case_table import each_case


def job(
    workflow_id: str,
    size: tuple[int, int] = (160, 120),
    mime_type: str = "image/png",
    **params: object,
) -> Job:
    shape = OutputShape(mime_type, *size)
    named = {name.replace("__", "."): value for name, value in params.items()}
    return Job(
        "j",
        "a",
        workflow_id,
        named,
        None,
        "",
        Decimal(1),
        0,
        0,
        0,
        0,
        None,
        None,
        (shape, shape),
        None,
    )


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def difference(first: bytes, second: bytes) -> float:
    """Give the mean difference of two pictures per channel, 0 to 255."""
    apart = ImageChops.difference(opened(first).convert("RGB"), opened(second).convert("RGB"))
    return sum(ImageStat.Stat(apart).mean) / 3


def test_the_same_params_give_the_same_bytes() -> None:
    made = {
        render(job("zimage-base", prompt__text="a lighthouse", sampler__seed=7), 0, None)
        for _ in range(3)
    }
    assert len(made) == 1


@each_case(
    "other",
    [
        job("zimage-base", prompt__text="a lighthouse", sampler__seed=2),
        job("zimage-base", prompt__text="a lighthouse at sunset", sampler__seed=1),
        job("zimage-base", prompt__text="a lighthouse in noir", sampler__seed=1),
        job("zimage-base", prompt__text="a lighthouse", sampler__seed=1, sampler__steps=40),
        job("zimage-sheet", prompt__text="a lighthouse", sampler__seed=1),
    ],
)
def test_other_params_give_another_picture(other: Job) -> None:
    first = render(job("zimage-base", prompt__text="a lighthouse", sampler__seed=1), 0, None)
    assert difference(first, render(other, 0, None)) > 3


@each_case("workflow_id", ["qwen-edit", "upscale-2x"])
def test_another_input_gives_another_picture(workflow_id: str, picture: Any) -> None:
    first, second = (render(job(workflow_id), 0, picture(colour)) for colour in ("navy", "white"))
    assert difference(first, second) > 3


def test_outputs_of_one_job_differ() -> None:
    sheet = job("zimage-sheet", prompt__text="a lighthouse")
    assert difference(render(sheet, 0, None), render(sheet, 1, None)) > 3


def test_every_style_can_be_painted() -> None:
    for style in STYLES:
        for seed in range(6):
            assert paint((70, 64), style, Random(seed)).size == (70, 64)


@each_case("size", [(64, 64), (64, 2048), (2048, 64), (700, 333)])
def test_a_picture_has_the_size_and_type_that_it_should_have(size: tuple[int, int]) -> None:
    for mime_type in ("image/png", "image/jpeg"):
        facts = inspect(
            render(job("zimage-base", size, mime_type, prompt__text="x " * 500), 0, None)
        )
        assert (facts.mime_type, facts.width, facts.height) == (mime_type, *size)


@each_case(
    "text",
    [
        "",
        "x" * 32_000,
        "word " * 6000,
        "a\nb\tc\x00d",
        "\u65e5\u672c\u8a9e \U0001f426 e\u0301",
        "\u202e\u200b",
    ],
)
def test_any_prompt_can_be_written(text: str) -> None:
    assert inspect(render(job("zimage-base", prompt__text=text), 0, None)).width == 160


@each_case("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "I;16"])
def test_inputs_of_any_mode_are_taken(mode: str) -> None:
    buffer = io.BytesIO()
    Image.new(mode, (20, 20)).save(buffer, "TIFF" if mode == "CMYK" else "PNG")
    assert inspect(render(job("upscale-2x", (40, 40)), 0, buffer.getvalue())).width == 40


def test_what_is_no_image_is_not_inspected(picture: Any) -> None:
    for content in (b"", b"GIF89a", b"<svg/>", picture()[:-30], picture(kind="JPEG")[:100]):
        with pytest.raises(NotAnImageError):
            inspect(content)


def test_an_image_too_large_for_memory_is_refused(picture: Any) -> None:
    for side in (7000, 30_000):
        header = b"IHDR" + struct.pack(">II", side, side) + b"\x08\x02\x00\x00\x00"
        bomb = picture()[:12] + header + struct.pack(">I", zlib.crc32(header)) + picture()[33:]
        with pytest.raises(NotAnImageError):
            inspect(bomb)
