"""What becomes of pictures of all kinds, and of what is none."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image, ImageCms

from crucible_batch.features.derive import encoder
from crucible_batch.features.derive.encoder import NotDerivableError, encode
from crucible_batch.features.derive.manifest_keys import EXTENSIONS, Format
from crucible_batch.features.derive.rule import DerivedForm

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def drawn(kind: str, mode: str = "RGB", size: tuple[int, int] = (60, 30), **how: Any) -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert(mode).save(buffer, kind, **how)
    return buffer.getvalue()


def made(content: bytes, kind: Format = "webp", **form: Any) -> Image.Image:
    wanted = DerivedForm(kind, form.pop("quality", 80), form.pop("max_edge", None))
    result = encode(io.BytesIO(content), wanted)
    image = Image.open(io.BytesIO(result.content))
    image.load()
    assert image.size == (result.width, result.height)
    return image


@pytest.mark.parametrize("kind", EXTENSIONS)
@pytest.mark.parametrize(
    ("source", "mode"),
    [
        ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("PNG", "1"), ("PNG", "L"), ("PNG", "LA"),
        ("PNG", "I;16"), ("JPEG", "CMYK"), ("JPEG", "L"), ("WEBP", "RGBA"), ("GIF", "P"),
        ("TIFF", "F"), ("BMP", "RGB"), ("AVIF", "RGB"),
    ],
)  # fmt: skip
def test_each_kind_of_picture_is_encoded(kind: Format, source: str, mode: str) -> None:
    image = made(drawn(source, mode), kind, max_edge=20)
    assert image.format == kind.upper()
    assert image.size == (20, 10)


def test_a_smaller_picture_keeps_its_size() -> None:
    assert made(drawn("PNG"), max_edge=61).size == (60, 30)


def test_an_edge_has_at_least_one_pixel() -> None:
    assert made(drawn("PNG", size=(3000, 2)), max_edge=10).size == (10, 1)


def test_transparency_becomes_white_in_jpeg_and_stays_in_the_others() -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(buffer, "PNG")
    assert min(made(buffer.getvalue(), "jpeg").getpixel((4, 4))) > 250
    for kind in ("webp", "avif"):
        assert made(buffer.getvalue(), kind).getpixel((4, 4))[3] == 0


def test_a_picture_is_turned_as_its_metadata_has_it_which_is_then_left_out() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "a camera"
    for kind in EXTENSIONS:
        image = made(drawn("JPEG", exif=exif, comment=b"a secret"), kind)
        assert image.size == (30, 60)
        assert not image.getexif()
        assert "comment" not in image.info
        assert "xmp" not in image.info


def test_the_colour_profile_stays_if_it_fits() -> None:
    for kind in EXTENSIONS:
        assert made(drawn("PNG", icc_profile=PROFILE), kind).info["icc_profile"] == PROFILE
        assert not made(drawn("PNG", icc_profile=b"junk"), kind).info.get("icc_profile")


def test_of_an_animation_the_first_frame_is_taken() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    image = made(buffer.getvalue())
    assert getattr(image, "n_frames", 1) == 1
    assert image.convert("RGB").getpixel((4, 4))[0] > 200


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>", drawn("PNG")[:60], b"\x89PNG\r\n\x1a\n" + b"\xff" * 100, b"%PDF-1.4"],
)
def test_what_is_no_picture_has_no_form(content: bytes) -> None:
    with pytest.raises(NotDerivableError, match="can't be decoded or encoded: "):
        encode(io.BytesIO(content), DerivedForm("webp", 80, None))


def test_a_huge_picture_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "MOST_PIXELS", 1000)
    with pytest.raises(NotDerivableError, match="60 × 30 pixels; at most 1,000 are decoded"):
        encode(io.BytesIO(drawn("PNG")), DerivedForm("webp", 80, None))


def test_an_edge_that_a_format_can_not_have_is_told() -> None:
    with pytest.raises(NotDerivableError, match="can't be decoded or encoded"):
        encode(io.BytesIO(drawn("PNG", size=(16_500, 2))), DerivedForm("webp", 80, None))
