"""A picture file to a small WebP within bounds: nothing that lies on the disk can raise, hang or fill the memory."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageOps

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "TIFF", "BMP")
_MOST_PIXELS = 80_000_000
"""Decoded, that is 320 MB; a larger one is shown as a placeholder, and opens from its file all the same."""
_MOST_PROFILE_BYTES = 4096
_LADDER = ((640, 80), (480, 76), (400, 72), (320, 66), (240, 60), (160, 50), (96, 40), (64, 30))
"""Longest edge in pixels, and quality: the first that fits is taken. Even noise fits 64 pixels into 4 kB."""
_BYTES_PER_PIXEL = 0.12


@dataclass(frozen=True, slots=True)
class Miniature:
    """WebP bytes and their size in pixels."""

    content: bytes
    width: int
    height: int


def first_rung(cap_bytes: int) -> int:
    """Return the rung of the ladder on which a usual photo is likely to fit."""
    for rung, (edge, _) in enumerate(_LADDER):
        if edge * edge * 0.75 * _BYTES_PER_PIXEL <= cap_bytes:
            return rung
    return len(_LADDER) - 1


def make_miniature(path: Path, cap_bytes: int) -> Miniature | None:
    """Make a miniature of at most ``cap_bytes``. None for what is no picture, is cut, too large, or no plain file.

    The first frame of an animation stands for it; transparency is kept.
    """
    try:
        if path.is_symlink() or not path.is_file():
            return None
        with path.open("rb") as file:
            return miniature_of(file, cap_bytes)
    except OSError:
        return None


def miniature_of(file: BinaryIO, cap_bytes: int) -> Miniature | None:
    """Make the miniature of a file that is open already, as ``make_miniature`` does."""
    try:
        with Image.open(file, formats=_FORMATS) as opened:
            width, height = opened.size
            if width * height > _MOST_PIXELS:
                return None
            edge = _LADDER[first_rung(cap_bytes)][0]
            opened.draft("RGB", (2 * edge, 2 * edge))
            small = _upright(opened, edge)
            return _fitting(small, opened.info.get("icc_profile"), cap_bytes)
    except Exception:  # noqa: BLE001 - a decoder may raise anything at all for a file that was made to upset it
        return None


def _upright(image: Image.Image, edge: int) -> Image.Image:
    image.seek(0)
    plain = _plain_mode(image)
    plain.thumbnail((edge, edge), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return ImageOps.exif_transpose(plain)


def _plain_mode(image: Image.Image) -> Image.Image:
    """Bring any mode to RGB or RGBA: palettes, CMYK, sixteen bits, black and white."""
    if image.mode.startswith(("I", "F")):
        highest = 65535.0 if image.mode != "F" else 1.0
        # Pillow clips sixteen bits to eight instead of scaling them.
        return image.convert("F").point(lambda value: value * (255.0 / highest)).convert("L").convert("RGB")
    if image.mode in {"RGBA", "RGB"}:
        return image.copy()
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _fitting(image: Image.Image, profile: object, cap_bytes: int) -> Miniature | None:
    kept = profile if isinstance(profile, bytes) and len(profile) <= min(_MOST_PROFILE_BYTES, cap_bytes // 4) else b""
    for edge, quality in _LADDER[first_rung(cap_bytes) :]:
        image.thumbnail((edge, edge), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=quality, method=2, icc_profile=kept, exif=b"")
        if buffer.tell() <= cap_bytes:
            return Miniature(buffer.getvalue(), image.width, image.height)
    return None
