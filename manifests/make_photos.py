"""Makes the product photos of the example manifests: four small still lifes, drawn with Pillow,
free of copyright.

Run ``python manifests/make_photos.py`` to draw them again. They are committed, so that nothing
needs this at run time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

SIZE = 512
SCALE = 2  # drawn twice as large and scaled down, which smooths the edges
PHOTOS = Path(__file__).parent / "photos"
Colour = tuple[int, int, int]
Point = tuple[float, float]


def blend(first: Colour, second: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def backdrop(wall: Colour, table: Colour) -> Image.Image:
    """A wall lit from the left above, and a table in front of it."""
    image = Image.new("RGB", (SIZE * SCALE, SIZE * SCALE))
    draw = ImageDraw.Draw(image)
    horizon = int(image.height * 0.66)
    for y in range(image.height):
        if y < horizon:
            colour = blend(wall, (255, 252, 245), 0.35 * (1 - y / horizon))
        else:
            colour = blend(
                blend(table, (255, 255, 255), 0.12), table, (y - horizon) / (image.height - horizon)
            )
        draw.line([(0, y), (image.width, y)], fill=colour)
    return image.filter(ImageFilter.GaussianBlur(6))


def shadow(image: Image.Image, box: tuple[float, float, float, float]) -> None:
    layer = Image.new("L", image.size)
    ImageDraw.Draw(layer).ellipse([value * image.width for value in box], fill=120)
    image.paste((30, 24, 20), mask=layer.filter(ImageFilter.GaussianBlur(22)))


def turned(
    image: Image.Image, profile: Callable[[float], float], top: float, bottom: float, colour: Colour
) -> None:
    """Draw a body of revolution: ``profile`` gives its half width for each height from 0 (top) to
    1.
    """
    draw = ImageDraw.Draw(image)
    width, middle = image.width, image.width / 2
    for y in range(int(top * width), int(bottom * width)):
        half = profile((y / width - top) / (bottom - top)) * width
        for x in range(int(middle - half), int(middle + half)):
            angle = (x - middle) / max(half, 1)
            light = max(0.0, math.cos((angle + 0.45) * 1.35)) ** 1.4
            shine = max(0.0, 1 - abs(angle + 0.42) * 9) * 0.5
            draw.point(
                (x, y),
                fill=blend(
                    blend(blend(colour, (18, 14, 20), 0.72), colour, light), (255, 255, 255), shine
                ),
            )


def vase(image: Image.Image) -> None:
    shadow(image, (0.30, 0.76, 0.82, 0.86))
    turned(
        image,
        lambda t: 0.05 + 0.13 * math.sin(math.pi * min(1.0, t * 0.92 + 0.06)) ** 1.5,
        0.24,
        0.81,
        (58, 104, 128),
    )


def mug(image: Image.Image) -> None:
    shadow(image, (0.30, 0.72, 0.84, 0.84))
    draw = ImageDraw.Draw(image)
    handle = [value * image.width for value in (0.60, 0.49, 0.75, 0.70)]
    draw.ellipse(handle, outline=(150, 84, 52), width=int(0.028 * image.width))
    turned(image, lambda t: 0.135 - 0.012 * t**6, 0.44, 0.79, (196, 112, 70))
    draw.ellipse([value * image.width for value in (0.366, 0.415, 0.634, 0.47)], fill=(92, 48, 28))
    draw.ellipse([value * image.width for value in (0.382, 0.425, 0.618, 0.468)], fill=(44, 24, 16))


def lamp(image: Image.Image) -> None:
    shadow(image, (0.34, 0.77, 0.78, 0.85))
    turned(
        image,
        lambda t: 0.016 + 0.09 * (max(0.0, t - 0.86) / 0.14) ** 0.5,
        0.42,
        0.81,
        (150, 120, 66),
    )
    glow = Image.new("L", image.size)
    ImageDraw.Draw(glow).ellipse(
        [value * image.width for value in (0.24, 0.16, 0.76, 0.62)], fill=110
    )
    image.paste((255, 226, 160), mask=glow.filter(ImageFilter.GaussianBlur(60)))
    turned(image, lambda t: 0.085 + 0.085 * t, 0.22, 0.44, (240, 206, 140))


def bowl(image: Image.Image) -> None:
    shadow(image, (0.22, 0.72, 0.86, 0.84))
    draw = ImageDraw.Draw(image)
    for x, y in ((0.40, 0.52), (0.60, 0.52), (0.50, 0.47)):
        fruit(draw, (x * image.width, y * image.width), 0.088 * image.width)
    turned(
        image,
        lambda t: 0.235 * math.sqrt(max(0.0, 1 - abs(t) ** 2.2)) + 0.05 * t,
        0.55,
        0.79,
        (86, 122, 92),
    )


def fruit(draw: ImageDraw.ImageDraw, centre: Point, radius: float) -> None:
    for step in range(60, 0, -1):
        share, shift = step / 60, (1 - step / 60) * radius * 0.38
        box = [centre[0] - shift - radius * share, centre[1] - shift - radius * share]
        box += [centre[0] - shift + radius * share, centre[1] - shift + radius * share]
        draw.ellipse(box, fill=blend((255, 222, 128), (206, 104, 24), share))


SCENES: dict[str, tuple[Callable[[Image.Image], None], Colour, Colour]] = {
    "vase.jpg": (vase, (214, 202, 188), (150, 118, 92)),
    "mug.jpg": (mug, (190, 200, 196), (112, 94, 82)),
    "lamp.jpg": (lamp, (112, 118, 138), (84, 66, 58)),
    "bowl.png": (bowl, (226, 214, 196), (168, 140, 112)),
}


def main() -> None:
    PHOTOS.mkdir(exist_ok=True)
    for name, (draw, wall, table) in SCENES.items():
        image = backdrop(wall, table)
        draw(image)
        image = image.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
        if name.endswith(".png"):
            image.resize((320, 320), Image.Resampling.LANCZOS).save(PHOTOS / name, optimize=True)
        else:
            image.save(PHOTOS / name, quality=86, optimize=True)


if __name__ == "__main__":
    main()
