"""How pictures are drawn: the style that a prompt asks for, a scene in its colours, and the caption.

A scene is drawn from the colours of its style and a seeded chance.
"""

import math
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFont, ImageOps

from crucible_batch.sandbox.records import digest

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Style:
    """Colours and scenes that go together; `words` are those of a prompt that ask for them."""

    words: frozenset[str]
    scenes: tuple[str, ...]
    """Names in `SCENES`; the seed chooses among them."""
    sky: tuple[Colour, Colour, Colour]
    """Top, middle and bottom of the background."""
    layers: tuple[Colour, ...]
    """From far to near."""
    accent: Colour


def _styles(table: str) -> tuple[Style, ...]:
    """Read a table of styles, one a line; colours are RGB in hex."""
    return tuple(_style(*(cell.split() for cell in line.split("|"))) for line in table.strip().splitlines())


def _style(words: list[str], scenes: list[str], sky: list[str], layers: list[str], accent: list[str]) -> Style:
    top, middle, bottom = map(_colour, sky)
    return Style(
        frozenset(words), tuple(scenes), (top, middle, bottom), tuple(map(_colour, layers)), _colour(accent[0])
    )


def _colour(text: str) -> Colour:
    red, green, blue = bytes.fromhex(text)
    return red, green, blue


# The words, the scenes, the sky from top to bottom, the layers from far to near, the accent.
NAMED_STYLES = _styles("""
noir monochrome detective film shadow shadows | skyline | 0b0b0d 3a3a3f 8d8d90 | 6a6a6e 454549 28282b 0c0c0e | f2efe6
watercolor watercolour aquarelle ink wash | hills | fbf7ee f6efe0 efe4d0 | 7fb3c8 e3a18f 9dbf9e d9b95f 8c87b8 | f2a65a
blueprint schematic technical diagram plan | skyline | 123a72 0f3263 0a2549 | 2f62a3 5f8fc7 9fc0e6 d7e6f8 | ffffff
neon cyberpunk synthwave cyber glowing night | skyline | 0a0420 1b0a3c 3a0f5c | ff2fa0 21e6ff 9d4dff 170734 | fff36b
pastel soft candy dreamy kawaii | hills waves | fde2e8 fbeee0 e4f0fb | f7c5d5 f9dcc0 cfe5cf c3d8f2 d8c9ee | ffe3a3
sunset sunrise dusk dawn golden | hills waves | 2f1b52 d9526b ffc778 | b8436b 8a2f63 571f55 2b1240 | ffe9a8
forest wood woods jungle green moss meadow | hills | e7efd2 b9d3a6 7fae83 | 7fa878 4f8460 2f6150 173c38 | f6e27a
ocean sea water wave waves lake river | waves | d9f1f2 86cfd8 2f8fb0 | 56b4c6 2b8bb0 1a6391 0f3d6b | fff4d6
winter snow ice arctic frost frozen | hills | 5c7fa8 a9c4dc eef4f8 | b8cfe2 d3e2ee e8f0f6 ffffff | fbe7c3
space galaxy cosmic star stars moon planet | skyline hills | 05061a 131642 3a2565 | 7b5cd6 c86fc9 f2a0a8 2a2f6e | fff7d6
""")

# For prompts that name no style: a prompt always gets the same one of these.
PLAIN_STYLES = _styles("""
| hills | 0f4c5c 5f9ea0 e8d8a8 | 2c7a7b e36414 fb8b24 9a031e | fff1d0
| waves | 22223b 4a4e69 c9ada7 | 9a8c98 c9ada7 f2e9e4 4a4e69 | ffd6a5
| waves hills | 264653 2a9d8f e9c46a | f4a261 e76f51 2a9d8f 264653 | fff3d9
| waves | 3d2645 832161 da4167 | f0eff4 da4167 832161 3d2645 | ffe0ec
| hills waves | 335c67 9fb8ad fff3b0 | e09f3e 9e2a2b 540b0e 335c67 | fffbe6
| skyline | 1b263b 415a77 e0e1dd | 778da9 415a77 1b263b 0d1b2a | ffcb77
""")


def style_of(prompt: str) -> Style:
    """Choose the style that the most words of a prompt ask for, the first of the table among equals."""
    words = set(re.findall(r"\w+", prompt.casefold()))
    best = max(NAMED_STYLES, key=lambda style: len(style.words & words))
    if best.words & words:
        return best
    return PLAIN_STYLES[digest("style", prompt)[0] % len(PLAIN_STYLES)]


Point = tuple[float, float]

# Soft shapes are drawn this small and enlarged, which blurs them at no cost.
SOFT_SIDE = 160


def sky(size: tuple[int, int], style: Style) -> Image.Image:
    """Fill a new canvas with the three colours of the style's sky, from top to bottom."""
    top, middle, bottom = style.sky
    strip = Image.linear_gradient("L").resize((8, size[1]), Image.Resampling.BILINEAR)
    return ImageOps.colorize(strip, top, bottom, middle).resize(size, Image.Resampling.NEAREST)


def vignette(image: Image.Image) -> Image.Image:
    mask = Image.radial_gradient("L").point(lambda distance: max(0, distance - 110) // 2)
    return Image.composite(Image.new("RGB", image.size, (8, 8, 20)), image, mask.resize(image.size))


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Go from the first colour (share 0) to the second (share 1)."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def ridge(width: int, height: int, level: float, rough: float, rng: Random) -> list[Point]:
    """Draw a horizon: a sum of waves around `level` (a share of the height), closed along the bottom."""
    waves = [(rng.uniform(0.6, 1.6) * 2**n, rng.uniform(0, math.tau), rough / 1.9**n) for n in range(5)]
    points: list[Point] = []
    for step in range(129):
        across = step / 128
        lift = sum(size * math.sin(math.tau * turns * across + phase) for turns, phase, size in waves)
        points.append((across * width, (level + lift) * height))
    return [*points, (width, height), (0, height)]


def disc(draw: ImageDraw.ImageDraw, centre: Point, radius: float, colour: Colour) -> None:
    x, y = centre
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def glow(canvas: Image.Image, *spots: tuple[Point, float, Colour]) -> Image.Image:
    """Add light around points, each given with the radius and the colour of its light."""
    halo = ImageOps.invert(Image.radial_gradient("L")).point(lambda value: max(0, value - 75))
    shrink = SOFT_SIDE / max(canvas.size)
    light = Image.new("RGB", (max(1, round(canvas.width * shrink)), max(1, round(canvas.height * shrink))))
    for (x, y), radius, colour in spots:
        side = max(2, round(2 * radius * shrink))
        light.paste(colour, (round((x - radius) * shrink), round((y - radius) * shrink)), halo.resize((side, side)))
    return ImageChops.screen(canvas, light.resize(canvas.size, Image.Resampling.BICUBIC))


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


Scene = Callable[[Image.Image, Style, Random], Image.Image]

_BLACK: Colour = (0, 0, 0)


def paint(size: tuple[int, int], style: Style, rng: Random) -> Image.Image:
    """Draw one of the style's scenes."""
    name = rng.choice(style.scenes)
    # Small pictures are drawn at twice their size, for smooth edges; in large ones nobody would see it.
    scale = 2 if size[0] * size[1] <= 640 * 640 else 1
    canvas = sky((size[0] * scale, size[1] * scale), style)
    return vignette(SCENES[name](canvas, style, rng).reduce(scale))


def _hills(canvas: Image.Image, style: Style, rng: Random) -> Image.Image:
    width, height = canvas.size
    sun = (width * rng.uniform(0.2, 0.8), height * rng.uniform(0.22, 0.42))
    radius = min(width, height) * rng.uniform(0.07, 0.13)
    canvas = glow(canvas, (sun, radius * 4, style.accent))
    draw = ImageDraw.Draw(canvas)
    disc(draw, sun, radius, style.accent)
    count = len(style.layers)
    for number, colour in enumerate(style.layers):
        level = 0.48 + 0.4 * number / count
        far = mix(colour, style.sky[2], 0.35 * (1 - number / count))
        draw.polygon(ridge(width, height, level, 0.05 + 0.015 * number, rng), fill=far)
    return canvas


def _waves(canvas: Image.Image, style: Style, rng: Random) -> Image.Image:
    width, height = canvas.size
    draw = ImageDraw.Draw(canvas)
    disc(draw, (width * rng.uniform(0.25, 0.75), height * 0.3), min(width, height) * 0.14, style.accent)
    bands = 11
    for band in range(bands):
        place = band / (bands - 1) * (len(style.layers) - 1)
        low = min(int(place), len(style.layers) - 2)
        crest = ridge(width, height, 0.38 + 0.6 * band / bands, 0.012, rng)
        draw.polygon(crest, fill=mix(style.layers[low], style.layers[low + 1], place - low))
    return canvas


def _skyline(canvas: Image.Image, style: Style, rng: Random) -> Image.Image:
    width, height = canvas.size
    moon = (width * rng.uniform(0.2, 0.8), height * rng.uniform(0.2, 0.32))
    canvas = glow(canvas, (moon, min(width, height) * 0.42, mix(style.accent, _BLACK, 0.3)))
    draw = ImageDraw.Draw(canvas)
    disc(draw, moon, min(width, height) * 0.085, style.accent)
    rows = 3
    for row in range(rows):
        colour = mix(style.layers[-1], style.sky[1], 0.55 * (1 - row / (rows - 1)))
        left = -0.03
        while left < 1:
            right = left + rng.uniform(0.05, 0.13)
            top = 0.34 + 0.14 * row + rng.uniform(0, 0.2)
            draw.rectangle((left * width, top * height, right * width, height), fill=colour)
            _windows(draw, (left * width, top * height, right * width), height, mix(style.accent, colour, 0.25), rng)
            left = right + rng.uniform(-0.01, 0.02)
    return canvas


def _windows(
    draw: ImageDraw.ImageDraw, house: tuple[float, float, float], height: int, colour: Colour, rng: Random
) -> None:
    left, top, right = house
    pane = height / 90
    y = top + pane * 2
    while y < height * 0.95:
        x = left + pane * 1.5
        while x < right - pane * 2:
            if rng.random() < 0.16:
                draw.rectangle((x, y, x + pane, y + pane * 1.3), fill=colour)
            x += pane * 2.4
        y += pane * 3


SCENES: dict[str, Scene] = {
    "hills": _hills,
    "waves": _waves,
    "skyline": _skyline,
}
