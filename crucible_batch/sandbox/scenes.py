"""Six ways to fill a canvas, each drawn from a style's colours and a seeded chance."""

import math
from collections.abc import Callable
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from crucible_batch.sandbox.drawing import SOFT_SIDE, Colour, Point, Style, disc, glow, mix, ridge, sky, vignette

Scene = Callable[[Image.Image, Style, Random], Image.Image]

_SOFT_SCENES = frozenset({"wash"})

_BLACK: Colour = (0, 0, 0)


def paint(size: tuple[int, int], style: Style, rng: Random) -> Image.Image:
    """Draw one of the style's scenes."""
    name = rng.choice(style.scenes)
    # Small pictures are drawn at twice their size, for smooth edges; in large or blurred ones nobody would see it.
    scale = 2 if size[0] * size[1] <= 640 * 640 and name not in _SOFT_SCENES else 1
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
    turns, phase, bands = rng.uniform(1, 2.2), rng.uniform(0, math.tau), 11
    for band in range(bands):
        level = 0.34 + 0.6 * band / bands
        crest: list[Point] = []
        for step in range(129):
            across = step / 128
            swell = math.sin(math.tau * turns * across + phase + band * 0.75) * (0.02 + 0.003 * band)
            crest.append((across * width, (level + swell) * height))
        place = band / (bands - 1) * (len(style.layers) - 1)
        low = min(int(place), len(style.layers) - 2)
        draw.polygon(
            [*crest, (width, height), (0, height)],
            fill=mix(style.layers[low], style.layers[low + 1], place - low),
        )
        draw.line(crest, fill=mix(style.accent, style.layers[low], 0.55), width=max(1, height // 340))
    return canvas


def _orbs(canvas: Image.Image, style: Style, rng: Random) -> Image.Image:
    width, height = canvas.size
    for number in range(16):
        radius = min(width, height) * rng.uniform(0.05, 0.26) * (1 - number / 24)
        side = max(4, round(radius * 2))
        orb = Image.new("L", (side, side))
        ImageDraw.Draw(orb).ellipse((0, 0, side - 1, side - 1), fill=rng.randrange(110, 225))
        # Lit from above: each orb fades downwards.
        shade = (
            ImageOps.flip(Image.linear_gradient("L")).resize((side, side)).point(lambda light: 110 + light * 145 // 255)
        )
        place = (round(rng.uniform(-0.1, 1) * width), round(rng.uniform(-0.1, 0.95) * height))
        canvas.paste(rng.choice((*style.layers, style.accent)), place, ImageChops.multiply(orb, shade))
    return canvas


def _facets(canvas: Image.Image, style: Style, rng: Random) -> Image.Image:
    width, height = canvas.size
    draw, cells = ImageDraw.Draw(canvas), rng.choice((6, 7, 9))
    tones = (style.sky[0], style.layers[0], style.layers[1], style.sky[2])

    def corner(column: int, row: int) -> Point:
        return (
            (column + rng.uniform(-0.36, 0.36)) * width / cells,
            (row + rng.uniform(-0.36, 0.36)) * height / cells,
        )

    grid = [[corner(column, row) for column in range(-1, cells + 2)] for row in range(-1, cells + 2)]
    for row in range(cells + 2):
        for column in range(cells + 2):
            a, b, c, d = grid[row][column], grid[row][column + 1], grid[row + 1][column], grid[row + 1][column + 1]
            for triangle in ((a, b, c), (b, d, c)):
                across = sum(x / width + y / height for x, y in triangle) / 6
                place = min(max(across + rng.uniform(-0.14, 0.14), 0), 0.999) * (len(tones) - 1)
                colour = mix(tones[int(place)], tones[int(place) + 1], place % 1)
                draw.polygon(triangle, fill=mix(colour, style.accent, rng.uniform(0, 0.16)))
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


def _wash(canvas: Image.Image, style: Style, rng: Random) -> Image.Image:
    for _ in range(9):
        blot = _blot(rng)
        # A second, wider coat makes the dark rim that pigment leaves where it dries.
        rim = ImageChops.subtract(blot.filter(ImageFilter.MaxFilter(5)), blot).point(lambda value: value // 2)
        mask = ImageChops.add(blot.point(lambda value: value * 2 // 5), rim).filter(ImageFilter.GaussianBlur(0.8))
        canvas.paste(rng.choice(style.layers), mask=mask.resize(canvas.size, Image.Resampling.BICUBIC))
    draw, width = ImageDraw.Draw(canvas), canvas.width
    for _ in range(26):
        centre = (rng.random() * width, rng.random() * canvas.height)
        disc(draw, centre, width * rng.uniform(0.001, 0.005), rng.choice(style.layers))
    return canvas


def _blot(rng: Random) -> Image.Image:
    """Draw a pool of paint, as a small mask."""
    blot = Image.new("L", (SOFT_SIDE, SOFT_SIDE))
    x, y, size = rng.uniform(0.05, 0.95), rng.uniform(0.05, 0.85), rng.uniform(0.12, 0.34)
    waves = [(n, rng.uniform(0, math.tau), rng.uniform(0, 0.55) / n) for n in range(2, 9)]
    outline: list[Point] = []
    for step in range(72):
        angle = math.tau * step / 72
        reach = size * (1 + sum(swing * math.sin(n * angle + phase) for n, phase, swing in waves) * 0.6)
        outline.append(((x + reach * 1.2 * math.cos(angle)) * SOFT_SIDE, (y + reach * math.sin(angle)) * SOFT_SIDE))
    ImageDraw.Draw(blot).polygon(outline, fill=rng.randrange(150, 255))
    return blot


SCENES: dict[str, Scene] = {
    "hills": _hills,
    "waves": _waves,
    "orbs": _orbs,
    "facets": _facets,
    "skyline": _skyline,
    "wash": _wash,
}
