"""The prompt written into a picture, like the label beside a painting."""

from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

_MAX_LINES = 4
_PANEL = (14, 14, 24)
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
    lines = _wrap(" ".join(text.split()), font, width - margin * 4)
    line_height = round(size * 1.3)
    panel_height = line_height * len(lines) + round(size * 0.95) + margin
    panel = (margin, height - margin - panel_height, width - margin, height - margin)
    veil = Image.new("L", image.size)
    ImageDraw.Draw(veil).rounded_rectangle(panel, size * 0.5, fill=200)
    image = Image.composite(Image.new("RGB", image.size, _PANEL), image, veil)
    draw = ImageDraw.Draw(image)
    x, y = margin * 2, panel[1] + margin * 0.75
    for line in lines:
        draw.text((x, y), line, font=font, fill=(250, 248, 240))
        y += line_height
    draw.text((x, y), note, font=small, fill=(190, 190, 205))
    return image


@lru_cache(maxsize=32)
def _font(size: int) -> Font:
    return ImageFont.load_default(size)


def _wrap(text: str, font: Font, width: float) -> list[str]:
    """Break a text into lines of at most `width` pixels; what does not fit ends in an ellipsis."""
    lines: list[str] = []
    rest = text
    while rest and len(lines) < _MAX_LINES:
        count = _fitting(rest, font, width)
        if count < len(rest) and " " in rest[: count + 1]:
            count = rest[: count + 1].rindex(" ")
        lines.append(rest[:count].rstrip())
        rest = rest[count:].lstrip()
    if rest:
        last = lines[-1]
        lines[-1] = last[: _fitting(last, font, width - font.getlength(" ..."))].rstrip() + " ..."
    return lines


def _fitting(text: str, font: Font, width: float) -> int:
    """Count the characters of `text`, at least one, that fit into `width` pixels."""
    low, high = 1, min(len(text), 400)
    while low < high:
        middle = (low + high + 1) // 2
        if font.getlength(text[:middle]) <= width:
            low = middle
        else:
            high = middle - 1
    return low
