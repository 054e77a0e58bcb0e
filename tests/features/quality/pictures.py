"""Pictures for the checks, drawn by name: empty ones, and good ones of many kinds.

Each is a function of a seed. What looks like a photograph is 1/f noise, as the spectrum of natural
scenes is, with shapes in it.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, ImageMath, ImageOps

from crucible_batch.sandbox.drawing import STYLES, caption, paint

SIZE = (1024, 1024)
ROOT = Path(__file__).parents[3]
PHOTOS = (
    *sorted((ROOT / "manifests" / "photos").iterdir()),
    ROOT / "crucible_batch" / "cli" / "templates" / "teapot.png",
    ROOT / "docs" / "images" / "demo.webp",
)
"""The pictures that are in the repository."""

Draw = Callable[[Random], Image.Image]


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(content: bytes) -> Image.Image:
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        return image.copy()


def colour(rng: Random) -> tuple[int, int, int]:
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)


def noise(rng: Random, size: tuple[int, int], sigma: float, mean: int = 128) -> Image.Image:
    """Grey noise of this standard deviation, by a seed."""
    patch = Image.frombytes("L", (256, 256), rng.randbytes(256 * 256))
    scale = sigma / 73.9  # of equal chances for 256 levels
    tile = patch.point(lambda value: min(255, max(0, round(mean + (value - 127.5) * scale))))
    wall = Image.new("L", size)
    for x in range(0, size[0], 256):
        for y in range(0, size[1], 256):
            turned = tile.transpose(rng.choice(list(Image.Transpose)))
            wall.paste(turned, (x, y))
    return wall


def plasma(rng: Random, size: tuple[int, int] = SIZE, contrast: float = 1.0) -> Image.Image:
    """1/f noise around the middle grey: octaves, the finer the weaker."""
    sums = Image.new("F", size, 128.0)
    for octave in range(1, 8):
        edge = 2**octave
        small = Image.frombytes("L", (edge, edge), rng.randbytes(edge * edge)).convert("F")
        large = small.resize(size, Image.Resampling.BICUBIC)
        share = contrast * 0.9 / 1.8**octave
        sums = ImageMath.lambda_eval(
            lambda args, share=share: args["sums"] + (args["more"] - 127.5) * share,
            sums=sums,
            more=large,
        )
    return sums.convert("L")


# -- empty pictures


def of_one_colour(rng: Random) -> Image.Image:
    return Image.new("RGB", SIZE, colour(rng))


def black(_rng: Random) -> Image.Image:
    return Image.new("RGB", SIZE)


def white(_rng: Random) -> Image.Image:
    return Image.new("RGB", SIZE, "white")


def with_noise(rng: Random) -> Image.Image:
    flat = noise(rng, SIZE, rng.uniform(0.5, 2.0), mean=rng.randrange(8, 248))
    return flat.convert("RGB")


def with_frame(rng: Random) -> Image.Image:
    image = of_one_colour(rng)
    width = rng.randrange(1, round(0.04 * SIZE[0]))
    ImageDraw.Draw(image).rectangle(
        (0, 0, SIZE[0] - 1, SIZE[1] - 1), outline=colour(rng), width=width
    )
    return image


def with_vignette(rng: Random) -> Image.Image:
    """As a decoder makes it of an empty latent: a shade that is 4 levels darker at the corners."""
    shade = ImageOps.invert(Image.radial_gradient("L")).resize(SIZE)
    base = rng.randrange(20, 236)
    return shade.point(lambda value: base + round(value * 4 / 255)).convert("RGB")


def transparent(_rng: Random) -> Image.Image:
    return Image.new("RGBA", SIZE, (0, 0, 0, 0))


def as_poor_jpeg(rng: Random) -> Image.Image:
    return decoded(encoded(with_noise(rng), "JPEG", quality=rng.randrange(20, 60)))


EMPTY: Mapping[str, Draw] = {
    "black": black,
    "white": white,
    "one colour": of_one_colour,
    "one colour with noise": with_noise,
    "one colour in a thin frame": with_frame,
    "one colour with a vignette of 4 levels": with_vignette,
    "noise as a poor JPEG": as_poor_jpeg,
    "transparent": transparent,
}


# -- good pictures


def night_sky(rng: Random) -> Image.Image:
    """A black sky with some hundred stars of one to three pixels."""
    image = Image.new("RGB", SIZE, (rng.randrange(6), rng.randrange(6), rng.randrange(12)))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.randrange(30, 300)):
        x, y, size = rng.randrange(60, 960), rng.randrange(60, 960), rng.randrange(1, 4)
        light = rng.randrange(110, 256)
        draw.rectangle((x, y, x + size - 1, y + size - 1), fill=(light, light, light))
    return image


def fog(rng: Random) -> Image.Image:
    """A ridge that is just darker than the fog around it."""
    ground = rng.randrange(120, 225)
    image = Image.new("RGB", SIZE, (ground, ground, ground))
    draw = ImageDraw.Draw(image)
    level = rng.uniform(0.4, 0.7) * SIZE[1]
    points = [(x, level + 90 * math.sin(x / 160 + rng.random())) for x in range(0, SIZE[0] + 1, 32)]
    shade = ground - rng.randrange(10, 30)
    draw.polygon([*points, SIZE, (0, SIZE[1])], fill=(shade, shade, shade + 2))
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(4, 30)))


def few_lines(rng: Random) -> Image.Image:
    """A drawing of two to nine strokes on paper."""
    image = Image.new("RGB", SIZE, rng.choice(["white", "#fbf7ee", "#f4f4f4"]))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.randrange(2, 10)):
        ends = [(rng.randrange(120, 900), rng.randrange(120, 900)) for _ in range(3)]
        draw.line(ends, fill=rng.choice(["black", "#333", "#224"]), width=rng.randrange(1, 5))
    return image


def dark_room(rng: Random) -> Image.Image:
    """A photograph without light: nearly all is darker than 25."""
    return ImageChops.multiply(plasma(rng), noise(rng, SIZE, 2, mean=40)).convert("RGB")


def chalk(rng: Random) -> Image.Image:
    return ImageOps.invert(few_lines(rng))


def smooth_gradient(rng: Random) -> Image.Image:
    """A backdrop of two colours."""
    strip = Image.linear_gradient("L").rotate(rng.choice([0, 90, 180, 270])).resize(SIZE)
    return ImageOps.colorize(strip, colour(rng), colour(rng))


def photo(rng: Random) -> Image.Image:
    return ImageOps.colorize(plasma(rng), colour(rng), colour(rng), colour(rng))


def pale_photo(rng: Random) -> Image.Image:
    return plasma(rng, contrast=0.15).convert("RGB")


def on_white(rng: Random) -> Image.Image:
    """A product on a white ground."""
    image = Image.new("RGB", SIZE, "white")
    x, y, size = rng.randrange(200, 700), rng.randrange(200, 700), rng.randrange(60, 300)
    shape = rng.choice([ImageDraw.ImageDraw.ellipse, ImageDraw.ImageDraw.rectangle])
    shape(
        ImageDraw.Draw(image), (x, y, x + size, y + size * rng.uniform(0.5, 1.5)), fill=colour(rng)
    )
    return image


def white_on_white(rng: Random) -> Image.Image:
    """A porcelain bowl on white paper: only its shadow is seen."""
    image = Image.new("RGB", SIZE, (250, 250, 250))
    x, y, size = rng.randrange(250, 600), rng.randrange(250, 600), rng.randrange(120, 300)
    shade = rng.randrange(222, 238)
    ImageDraw.Draw(image).ellipse((x, y, x + size, y + size), fill=(shade, shade, shade + 2))
    return image.filter(ImageFilter.GaussianBlur(12))


def scene(rng: Random) -> Image.Image:
    """A landscape of the sandbox."""
    image = paint(SIZE, rng.choice(STYLES), rng)
    return caption(image, "A heron in the reeds", f"seed {rng.randrange(10**6)}")


def page_of_text(rng: Random) -> Image.Image:
    image = Image.new("RGB", SIZE, "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(rng.randrange(18, 40))
    for line in range(rng.randrange(1, 20)):
        text = " ".join("".join(rng.choices("aeinorst", k=rng.randrange(2, 9))) for _ in range(7))
        draw.text((80, 80 + line * 46), text, fill="black", font=font)
    return image


def cutout(rng: Random) -> Image.Image:
    """A shape on a transparent ground, in a colour near the one that shows through."""
    image = Image.new("RGBA", SIZE, (0, 0, 0, 0))
    x, y, grey = rng.randrange(200, 600), rng.randrange(200, 600), rng.randrange(110, 146)
    ImageDraw.Draw(image).ellipse((x, y, x + 250, y + 200), fill=(grey, grey, grey, 255))
    return image


def static(rng: Random) -> Image.Image:
    return noise(rng, SIZE, rng.uniform(20, 70)).convert("RGB")


def lonely_moon(rng: Random) -> Image.Image:
    image = Image.new("RGB", SIZE, (3, 4, 9))
    x, y, size = rng.randrange(100, 900), rng.randrange(100, 900), rng.randrange(8, 40)
    ImageDraw.Draw(image).ellipse((x, y, x + size, y + size), fill=(240, 238, 225))
    return image


GOOD: Mapping[str, Draw] = {
    "night sky": night_sky,
    "moon on black": lonely_moon,
    "dark room": dark_room,
    "fog": fog,
    "drawing with few lines": few_lines,
    "chalk on black": chalk,
    "page of text": page_of_text,
    "backdrop of two colours": smooth_gradient,
    "photograph (1/f noise)": photo,
    "pale photograph (1/f noise)": pale_photo,
    "product on white": on_white,
    "white on white": white_on_white,
    "landscape with a caption": scene,
    "shape on transparency": cutout,
    "static": static,
}


# -- copies, and pictures that only resemble each other


def smaller(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)


def larger(image: Image.Image) -> Image.Image:
    return image.resize((image.width * 3 // 2, image.height * 3 // 2), Image.Resampling.BICUBIC)


def jpeg(quality: int) -> Callable[[Image.Image], Image.Image]:
    return lambda image: decoded(encoded(_opaque(image), "JPEG", quality=quality))


def webp(quality: int) -> Callable[[Image.Image], Image.Image]:
    return lambda image: decoded(encoded(image, "WEBP", quality=quality))


def _opaque(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    ground = Image.new("RGBA", image.size, (255, 0, 255, 255))
    return Image.alpha_composite(ground, image).convert("RGB")


COPIES: Mapping[str, Callable[[Image.Image], Image.Image]] = {
    "the same pixels": lambda image: image,
    "JPEG of quality 90": jpeg(90),
    "JPEG of quality 50": jpeg(50),
    "WebP of quality 75": webp(75),
    "half as large": smaller,
    "half as large and JPEG of quality 70": lambda image: jpeg(70)(smaller(image)),
    "1.5 times as large": larger,
}


def other_caption(image: Image.Image, rng: Random) -> Image.Image:
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(64)
    text = "".join(rng.choices("ABEHKMNORSUWX", k=6))
    draw.text((rng.randrange(100, 500), rng.randrange(100, 800)), text, fill="red", font=font)
    return image


def other_colour(image: Image.Image, rng: Random) -> Image.Image:
    """The same picture in another tint, as a product has variants."""
    tint = rng.choice(["#c33", "#3c3", "#33c", "#cc3"])
    return Image.blend(image.convert("RGB"), Image.new("RGB", image.size, tint), 0.3)


def mirrored(image: Image.Image, _rng: Random) -> Image.Image:
    return ImageOps.mirror(image)


def shifted(image: Image.Image, rng: Random) -> Image.Image:
    """The same scene, with the camera moved."""
    return ImageChops.offset(image, rng.randrange(120, 400), rng.randrange(60, 300))
