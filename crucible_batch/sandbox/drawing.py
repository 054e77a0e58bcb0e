"""How pictures are drawn: in the colours that a prompt asks for, with hills and a caption.

Hills are drawn from the colours of a style and a seeded chance.
"""

import math
import re
import textwrap
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from PIL import Image, ImageDraw, ImageFont, ImageOps

from crucible_batch.sandbox.records import digest

Colour = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Style:
    """Colours that go together; `words` are those of a prompt that ask for them."""

    words: frozenset[str]
    sky: tuple[Colour, ...]
    """Top, middle and bottom of the background."""
    layers: tuple[Colour, ...]
    """From far to near."""
    accent: Colour


def _style(row: str) -> Style:
    """Read a row of the table of styles; colours are RGB in hex."""
    words, *colours = (cell.split() for cell in row.split("|"))
    sky, layers, (accent,) = (
        tuple(tuple(bytes.fromhex(colour)) for colour in cell) for cell in colours
    )
    return Style(frozenset(words), sky, layers, accent)


# The words, the sky from top to bottom, the layers from far to near, the accent.
_TABLE = """
noir monochrome detective film shadow shadows
| 0b0b0d 3a3a3f 8d8d90 | 6a6a6e 454549 28282b 0c0c0e | f2efe6

watercolor watercolour aquarelle ink wash
| fbf7ee f6efe0 efe4d0 | 7fb3c8 e3a18f 9dbf9e d9b95f 8c87b8 | f2a65a

blueprint schematic technical diagram plan
| 123a72 0f3263 0a2549 | 2f62a3 5f8fc7 9fc0e6 d7e6f8 | ffffff

neon cyberpunk synthwave cyber glowing night
| 0a0420 1b0a3c 3a0f5c | ff2fa0 21e6ff 9d4dff 170734 | fff36b

pastel soft candy dreamy kawaii
| fde2e8 fbeee0 e4f0fb | f7c5d5 f9dcc0 cfe5cf c3d8f2 d8c9ee | ffe3a3

sunset sunrise dusk dawn golden
| 2f1b52 d9526b ffc778 | b8436b 8a2f63 571f55 2b1240 | ffe9a8

forest wood woods jungle green moss meadow
| e7efd2 b9d3a6 7fae83 | 7fa878 4f8460 2f6150 173c38 | f6e27a

ocean sea water wave waves lake river
| d9f1f2 86cfd8 2f8fb0 | 56b4c6 2b8bb0 1a6391 0f3d6b | fff4d6

winter snow ice arctic frost frozen
| 5c7fa8 a9c4dc eef4f8 | b8cfe2 d3e2ee e8f0f6 ffffff | fbe7c3

space galaxy cosmic star stars moon planet
| 05061a 131642 3a2565 | 7b5cd6 c86fc9 f2a0a8 2a2f6e | fff7d6
"""
STYLES = tuple(map(_style, _TABLE.strip().split("\n\n")))


def style_of(prompt: str) -> Style:
    """Choose the style that the most words of a prompt ask for.

    If none does, the prompt always gets the same one.
    """
    words = set(re.findall(r"\w+", prompt.casefold()))
    best = max(STYLES, key=lambda style: len(style.words & words))
    if best.words & words:
        return best
    return STYLES[digest("style", prompt)[0] % len(STYLES)]


def paint(size: tuple[int, int], style: Style, rng: Random) -> Image.Image:
    width, height = size
    top, middle, bottom = style.sky
    strip = Image.linear_gradient("L").resize(size, Image.Resampling.BILINEAR)
    canvas = ImageOps.colorize(strip, top, bottom, middle)
    draw = ImageDraw.Draw(canvas)
    sun = (width * rng.uniform(0.2, 0.8), height * rng.uniform(0.22, 0.42))
    draw.circle(sun, min(size) * rng.uniform(0.07, 0.13), fill=style.accent)
    for number, colour in enumerate(style.layers):
        level = 0.48 + 0.4 * number / len(style.layers)
        draw.polygon(_ridge(width, height, level, 0.05 + 0.015 * number, rng), fill=colour)
    return canvas


def _ridge(
    width: int, height: int, level: float, rough: float, rng: Random
) -> list[tuple[float, float]]:
    """Return a horizon, closed along the bottom.

    It is a sum of waves around `level`, a share of the height.
    """
    waves = [
        (rng.uniform(0.6, 1.6) * 2**n, rng.uniform(0, math.tau), rough / 1.9**n) for n in range(5)
    ]
    points: list[tuple[float, float]] = []
    for step in range(129):
        across = step / 128
        lift = sum(
            size * math.sin(math.tau * turns * across + phase) for turns, phase, size in waves
        )
        points.append((across * width, (level + lift) * height))
    return [*points, (width, height), (0, height)]


_MAX_LINES = 4
_PANEL = (14, 14, 24, 200)
# A picture lower than this has no room for a label that could be read.
_LEAST_SIDE = 96

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def caption(image: Image.Image, text: str, note: str) -> Image.Image:
    """Write `text`, wrapped, and below it `note` in small, on a dark panel at the bottom."""
    width, height = image.size
    if min(width, height) < _LEAST_SIDE:
        return image
    size = max(10, round(min(width, height * 1.4) / 24))
    margin, font, small = round(size * 0.7), _font(size), _font(max(9, round(size * 0.62)))
    text = " ".join(text.split())
    sample = text[:400]
    chars = int((width - margin * 4) * len(sample) / max(1, font.getlength(sample)))
    lines = textwrap.wrap(text, max(5, chars), max_lines=_MAX_LINES, placeholder=" ...")
    line_height = round(size * 1.3)
    panel_height = line_height * len(lines) + round(size * 0.95) + margin
    panel = (margin, height - margin - panel_height, width - margin, height - margin)
    draw = ImageDraw.Draw(image, "RGBA")
    draw.rounded_rectangle(panel, size * 0.5, fill=_PANEL)
    x, y = margin * 2, panel[1] + margin * 0.75
    for line in lines:
        draw.text((x, y), line, font=font, fill=(250, 248, 240))
        y += line_height
    draw.text((x, y), note, font=small, fill=(190, 190, 205))
    return image


@lru_cache(maxsize=32)
def _font(size: int) -> Font:
    return ImageFont.load_default(size)
