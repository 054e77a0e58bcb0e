"""The brushes that scenes are painted with: gradients, ridges, discs and light."""

import math
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageOps

from crucible_batch.sandbox.styles import Colour, Style

Point = tuple[float, float]

# Soft things are drawn this small and enlarged: a blur that costs nothing.
SOFT_SIDE = 160


def sky(size: tuple[int, int], style: Style) -> Image.Image:
    """Fill a new canvas with the three colours of the style's sky, from top to bottom."""
    top, middle, bottom = style.sky
    strip = Image.linear_gradient("L").resize((8, size[1]), Image.Resampling.BILINEAR)
    return ImageOps.colorize(strip, top, bottom, middle).resize(size, Image.Resampling.NEAREST)


def vignette(image: Image.Image) -> Image.Image:
    """Darken the corners."""
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
    """Draw a filled circle."""
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
