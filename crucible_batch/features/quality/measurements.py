"""What is measured on a picture, from a thumbnail of it. Pure.

Each threshold is in levels of 256. They were chosen between what pictures of a kind have at the
most, and what others have at the least: ``python -m tests.features.quality.table`` measures both,
and prints the table of ``docs/checks.md``.
"""

from __future__ import annotations

import base64
import binascii
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageMath

EDGE = 256
"""The edges of a thumbnail. At 1024 pixels, a cell is the average of 16 of them: a star of a few
pixels is still seen, and the noise of a compressed flat area is not."""
BORDER = 20
"""The cells at each edge that don't count for ``blank``: 8 %, since an empty picture may have a
frame of 4 %, which compression blurs by up to 16 pixels."""
COARSE_EDGE = 64
COARSE_SPREAD = 6
"""A picture whose coarse cells differ by no more than this in any channel shows no shape: steps of
6 levels can't be seen on a screen in a lit room. Empty frames of decoders have up to 4 (a slight
vignette), fog and night scenes 15 and more."""
FINE_SPREAD = 12
"""A picture with fine cells that differ by more has lines, letters or stars, even if there are few.
Noise with a standard deviation of 2 levels has up to 5, a line of one pixel of 1024 about 60."""

GRID = 16
"""The edges of the grid whose neighbouring cells a difference hash compares."""
COLOURS = 4
SURE = 4
"""Neighbouring cells that differ by no more are left out of a hash: compression and scaling may
change which one is brighter."""
MOST_CONFLICTS = 2
"""Of the 480 comparisons of two hashes, so many may contradict each other. Copies have 0; two
unrelated pictures contradict each other in about a half of what both are sure of."""
CELL = 8
"""The most by which the brightness of one of 256 cells may differ. Copies that were scaled by 0.5
to 2, or compressed at a quality of 50 and more, have up to 5."""
COLOUR = 10
"""The same for each channel of 16 cells: a cup in another colour is another picture. Copies have up
to 3."""
SHAPE = 0.03
"""The share by which the aspect ratios of copies may differ, by rounding of their sizes."""
BLOCKS = 16
OWN_SHARE = 0.5
"""Of 256 blocks, each is compared cell by cell. The mean square of the differences is the sum of
both variances for unrelated textures, and less than a fifth of it for copies."""
NOISE = 16.0
"""The mean square of what compression changes in a smooth block: 4 levels. A star of three pixels
of 1024 has 40 and more."""


def spread(thumbnail: Image.Image, edge: int) -> int:
    """Return the largest difference between two cells of ``edge`` by ``edge``, in any channel.

    The border doesn't count.
    """
    inner = thumbnail.crop((BORDER, BORDER, EDGE - BORDER, EDGE - BORDER))
    if edge < inner.width:
        inner = inner.resize((edge, edge), Image.Resampling.BOX)
    ranges = (channel.getextrema() for channel in inner.split())
    return max(int(high) - int(low) for low, high in ranges)  # type: ignore[arg-type]


def is_blank(thumbnail: Image.Image) -> bool:
    """Whether a picture shows nothing: one colour, apart from noise and a thin frame.

    ``thumbnail`` is RGBA of ``EDGE`` by ``EDGE``.
    """
    if spread(thumbnail, EDGE) > FINE_SPREAD:
        return False
    return spread(thumbnail, COARSE_EDGE) <= COARSE_SPREAD


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What copies of a picture have in common, however they are scaled and compressed.

    ``cells`` is the brightness of ``GRID`` by ``GRID`` cells, ``colours`` are RGB of ``COLOURS`` by
    ``COLOURS`` cells, and ``aspect`` is width by height. ``rising`` and ``falling`` are the
    difference hash: a bit for each two neighbours, set if the second one is clearly brighter or
    clearly darker.
    """

    cells: bytes
    colours: bytes
    aspect: float
    rising: int
    falling: int

    @classmethod
    def of(cls, thumbnail: Image.Image, size: tuple[int, int]) -> Fingerprint:
        """Return the fingerprint of a picture of this size in pixels."""
        flat = flattened(thumbnail)
        cells = flat.convert("L").resize((GRID, GRID), Image.Resampling.BOX).tobytes()
        colours = flat.resize((COLOURS, COLOURS), Image.Resampling.BOX).tobytes()
        return cls.made_of(cells, colours, size[0] / size[1])

    @classmethod
    def made_of(cls, cells: bytes, colours: bytes, aspect: float) -> Fingerprint:
        steps = list(_steps(cells))
        rising = _bits([step > SURE for step in steps])
        falling = _bits([step < -SURE for step in steps])
        return cls(cells, colours, aspect, rising, falling)

    @property
    def text(self) -> str:
        """The fingerprint as text, which ``read`` reads again."""
        encoded = base64.b64encode(self.cells + self.colours).decode()
        return f"{self.aspect:.4f} {encoded}"

    @classmethod
    def read(cls, text: str) -> Fingerprint | None:
        """Return the fingerprint of its text; None if it is another text."""
        shape, _, encoded = text.partition(" ")
        try:
            aspect, content = float(shape), base64.b64decode(encoded, validate=True)
        except (ValueError, binascii.Error):
            return None
        if len(content) != GRID * GRID + 3 * COLOURS * COLOURS or not aspect > 0:
            return None
        return cls.made_of(content[: GRID * GRID], content[GRID * GRID :], aspect)

    def is_alike(self, other: Fingerprint) -> bool:
        """Whether both may be of copies of one picture. Symmetric, and not transitive.

        Two textures or two night skies may be alike as well: ``are_copies`` compares the pictures.
        """
        conflicts = (self.rising & other.falling) | (self.falling & other.rising)
        if conflicts.bit_count() > MOST_CONFLICTS:
            return False
        if abs(self.aspect - other.aspect) > SHAPE * max(self.aspect, other.aspect):
            return False
        is_near = _furthest(self.cells, other.cells) <= CELL
        return is_near and _furthest(self.colours, other.colours) <= COLOUR


def are_copies(one: Image.Image, other: Image.Image) -> bool:
    """Whether two thumbnails with fingerprints that are alike show the same in each block."""
    some, others = (flattened(each).convert("YCbCr").split() for each in (one, other))
    if not _is_same(some[0].convert("F"), others[0].convert("F")):
        return False
    # JPEG and WebP keep colours at half of the resolution.
    return all(
        _is_same(_smaller(first), _smaller(second))
        for first, second in zip(some[1:], others[1:], strict=True)
    )


def _smaller(channel: Image.Image) -> Image.Image:
    return channel.resize((COARSE_EDGE, COARSE_EDGE), Image.Resampling.BOX).convert("F")


def _is_same(one: Image.Image, other: Image.Image) -> bool:
    square = _mean(ImageMath.lambda_eval(_squared_difference, a=one, b=other))
    return not any(
        found > NOISE + OWN_SHARE * (first + second)
        for found, first, second in zip(square, _variance(one), _variance(other), strict=True)
    )


def _squared_difference(values: dict[str, Any]) -> Any:
    difference = values["a"] - values["b"]
    return difference * difference


def _variance(image: Image.Image) -> list[float]:
    """Return the variance of each block."""
    squares = _mean(ImageMath.lambda_eval(lambda values: values["a"] * values["a"], a=image))
    return [square - mean * mean for square, mean in zip(squares, _mean(image), strict=True)]


def _mean(image: Image.Image) -> list[float]:
    """Return the mean of each block."""
    blocks = image.resize((BLOCKS, BLOCKS), Image.Resampling.BOX)
    return [float(value) for value in array("f", blocks.tobytes())]


def flattened(thumbnail: Image.Image) -> Image.Image:
    """Return the picture as RGB.

    What is transparent gets a colour that few pictures have, so that a shape is seen on it.
    """
    ground = Image.new("RGBA", thumbnail.size, (255, 0, 255, 255))
    return Image.alpha_composite(ground, thumbnail).convert("RGB")


def _steps(cells: bytes) -> Iterator[int]:
    """Yield the differences to the next cell of the row, then to the next one of the column."""
    for row in range(GRID):
        for column in range(GRID - 1):
            yield cells[row * GRID + column + 1] - cells[row * GRID + column]
    for row in range(GRID - 1):
        for column in range(GRID):
            yield cells[(row + 1) * GRID + column] - cells[row * GRID + column]


def _bits(values: Sequence[bool]) -> int:
    bits = 0
    for value in values:
        bits = bits << 1 | value
    return bits


def _furthest(some: bytes, others: bytes) -> int:
    return max(abs(one - other) for one, other in zip(some, others, strict=True))
