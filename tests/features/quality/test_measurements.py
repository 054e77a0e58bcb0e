"""The measurements, on pictures of each kind: what is empty, and which ones are copies."""

from __future__ import annotations

import io
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageDraw

from crucible_batch.features.quality.measurements import (
    COARSE_SPREAD,
    EDGE,
    Fingerprint,
    are_copies,
    is_blank,
)
from crucible_batch.features.quality.thumbnail import UnmeasurableError, scaled, thumbnail_of
from tests.features.quality.pictures import COPIES, EMPTY, GOOD, PHOTOS, SIZE, encoded
from tests.features.quality.table import RELATED, alike, thumb
from tests.harness.case_table import each_case

SOME = settings(max_examples=3, deadline=None)
"""A picture takes 0.1 s. ``test_table.py`` measures hundreds of each kind."""
SEEDS = st.integers(0, 2**31)
WAYS = st.sampled_from(["PNG", "JPEG", "WEBP"])
EDGES = st.tuples(st.integers(512, 1500), st.integers(512, 1500))


def sent(image: Image.Image, way: str, quality: int) -> bytes:
    """The bytes of a picture, as a gateway may send it."""
    if way == "JPEG" and image.mode == "RGBA":
        way = "PNG"
    return encoded(image, way, quality=quality)


def blank(content: bytes) -> bool:
    return is_blank(thumbnail_of(io.BytesIO(content)))


@pytest.mark.parametrize("kind", list(EMPTY))
def test_empty_pictures_are_blank_however_they_are_sent(kind: str) -> None:
    @SOME
    @given(SEEDS, EDGES, WAYS, st.integers(50, 95))
    def check(seed: int, size: tuple[int, int], way: str, quality: int) -> None:
        image = EMPTY[kind](Random(seed)).resize(size)
        assert blank(sent(image, way, quality))

    check()


@pytest.mark.parametrize("kind", list(GOOD))
def test_good_pictures_are_not_blank_however_they_are_sent(kind: str) -> None:
    @SOME
    @given(SEEDS, st.integers(512, 1500), WAYS, st.integers(50, 95))
    def check(seed: int, edge: int, way: str, quality: int) -> None:
        image = GOOD[kind](Random(seed))
        size = (edge, edge * image.height // image.width)
        assert not blank(sent(image.resize(size, Image.Resampling.LANCZOS), way, quality))

    check()


@each_case("path", PHOTOS)
def test_no_picture_of_the_repository_is_blank(path) -> None:
    assert not blank(path.read_bytes())


def test_a_shade_that_is_one_level_too_deep_is_not_blank() -> None:
    image = Image.new("RGB", SIZE, (100, 100, 100))
    draw = ImageDraw.Draw(image)
    draw.rectangle((300, 300, 700, 700), fill=(100 + COARSE_SPREAD,) * 3)
    assert is_blank(thumb(image))
    draw.rectangle((300, 300, 700, 700), fill=(101 + COARSE_SPREAD,) * 3)
    assert not is_blank(thumb(image))


def test_a_shape_of_another_hue_and_the_same_brightness_is_not_blank() -> None:
    image = Image.new("RGB", SIZE, (120, 120, 120))
    ImageDraw.Draw(image).rectangle((300, 300, 700, 700), fill=(150, 112, 96))
    assert not is_blank(thumb(image))


def test_a_frame_is_ignored_up_to_its_share_and_not_beyond() -> None:
    for width, is_empty in ((40, True), (100, False)):
        image = Image.new("RGB", SIZE, "black")
        ImageDraw.Draw(image).rectangle((0, 0, 1023, 1023), outline="white", width=width)
        assert is_blank(thumb(image)) is is_empty, width


@each_case("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_pictures_of_all_modes_are_measured(mode: str) -> None:
    plain = Image.new("L", (300, 200), 0)
    drawn = plain.copy()
    ImageDraw.Draw(drawn).line((40, 40, 250, 150), fill=255, width=8)
    for image, is_empty in ((plain, True), (drawn, False)):
        deep = image.convert("I").point(lambda value: value * 256).convert("I;16")
        made = deep if mode == "I;16" else image.convert(mode)
        assert blank(encoded(made, "PNG")) is is_empty


@each_case(
    "content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", encoded(Image.new("L", (9, 9)), "PPM")]
)
def test_what_is_not_a_picture_cannot_be_measured(content: bytes) -> None:
    with pytest.raises(UnmeasurableError, match="can't be decoded"):
        thumbnail_of(io.BytesIO(content))


def test_a_cut_picture_cannot_be_measured() -> None:
    whole = encoded(GOOD["static"](Random(1)), "PNG")
    with pytest.raises(UnmeasurableError):
        thumbnail_of(io.BytesIO(whole[: len(whole) // 2]))


def test_a_picture_with_too_many_pixels_is_not_decoded() -> None:
    huge = encoded(Image.new("1", (8_950, 8_950)), "PNG")
    with pytest.raises(UnmeasurableError, match="at most 80,000,000"):
        thumbnail_of(io.BytesIO(huge))


@pytest.mark.parametrize("way", list(COPIES))
def test_copies_are_found_however_they_are_made(way: str) -> None:
    @SOME
    @given(SEEDS, st.sampled_from(sorted(GOOD)))
    def check(seed: int, kind: str) -> None:
        image = GOOD[kind](Random(seed))
        assert alike(image, COPIES[way](image))

    check()


@pytest.mark.parametrize("kind", list(GOOD))
def test_two_pictures_of_a_kind_are_not_copies(kind: str) -> None:
    @SOME
    @given(SEEDS, SEEDS)
    def check(one: int, other: int) -> None:
        first, second = GOOD[kind](Random(one)), GOOD[kind](Random(other))
        differences = ImageChops.difference(first.convert("RGB"), second.convert("RGB"))
        # Two draws of a kind may be nearly the same picture by chance: no level of one of its
        # channels differs by more than copies may.
        assume(max(high for _, high in differences.getextrema()) > 12)
        assert not alike(first, second)

    check()


@pytest.mark.parametrize("change", ["in another tint", "mirrored", "with the camera moved"])
def test_variants_of_a_picture_are_not_copies(change: str) -> None:
    made, kinds = RELATED[change]
    for seed, kind in enumerate(kinds):
        image = GOOD[kind](Random(seed))
        assert not alike(image, made(image.copy(), Random(seed)))


def test_a_picture_in_another_shape_is_not_a_copy() -> None:
    image = GOOD["photograph (1/f noise)"](Random(4))
    assert not alike(image, image.resize((1024, 700)))


@SOME
@given(SEEDS, SEEDS, st.sampled_from(sorted(GOOD)), st.sampled_from(sorted(GOOD)))
def test_the_comparison_is_symmetric(one: int, other: int, kind: str, second: str) -> None:
    some, others = thumb(GOOD[kind](Random(one))), thumb(GOOD[second](Random(other)))
    first, last = Fingerprint.of(some, SIZE), Fingerprint.of(others, SIZE)
    assert first.is_alike(last) == last.is_alike(first)
    assert are_copies(some, others) == are_copies(others, some)
    assert first.is_alike(first)
    assert are_copies(some, some)


@SOME
@given(SEEDS, st.sampled_from(sorted(GOOD)))
def test_a_fingerprint_is_read_from_its_text(seed: int, kind: str) -> None:
    found = Fingerprint.of(thumb(GOOD[kind](Random(seed))), (1024, 768))
    read = Fingerprint.read(found.text)
    assert read is not None
    assert (read.cells, read.colours, read.rising) == (found.cells, found.colours, found.rising)
    assert read.is_alike(found)


@given(st.one_of(st.text(max_size=40), st.just("1.0 AAAA"), st.just("nan " + "A" * 408)))
def test_any_other_text_is_not_a_fingerprint(text: str) -> None:
    assert Fingerprint.read(text) is None


def test_a_thumbnail_has_one_size_and_mode() -> None:
    for image in (Image.new("RGB", (3, 2000)), Image.new("RGBA", (1, 1))):
        made = scaled(image)
        assert (made.size, made.mode) == ((EDGE, EDGE), "RGBA")
