"""Makes another form of a picture. Its bytes are another party's, and may be anything."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from PIL import Image, ImageOps, features

from crucible_batch.core.output_path import PICTURE_EXTENSIONS
from crucible_batch.core.provenance import Metadata, XmpProperty
from crucible_batch.features.derive.manifest_keys import Format
from crucible_batch.features.derive.rule import DerivedForm
from crucible_batch.outputs.embedding import xmp_packet
from crucible_batch.report.html.thumbnails import MOST_PIXELS, plain_mode

_FORMATS = tuple(PICTURE_EXTENSIONS)
_MODULES: dict[Format, str] = {"webp": "webp", "jpeg": "jpg", "avif": "avif"}
_RGB_PROFILE = b"RGB "
"""Bytes 16 to 19 of a colour profile that fits to what is encoded."""


class NotDerivableError(Exception):
    """A picture of which no other form can be made. The message has the reason."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A picture in its other form."""

    content: bytes
    width: int
    height: int

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def can_encode(kind: Format) -> bool:
    """Whether Pillow can write a format on this machine."""
    return bool(features.check(_MODULES[kind]))


def encode(file: BinaryIO, form: DerivedForm, may_have: Sequence[XmpProperty] = ()) -> Encoded:
    """Make a form of a picture. Raises ``NotDerivableError``.

    The first frame of an animation is taken, turned as its metadata has it. Of the metadata, only
    the colour profile stays, and those of the properties ``may_have`` that the picture has.
    Transparency becomes white in JPEG.
    """
    try:
        with Image.open(file, formats=_FORMATS) as opened:
            _check_size(*opened.size)
            if form.max_edge is not None:
                opened.draft("RGB", (2 * form.max_edge, 2 * form.max_edge))
            opened.seek(0)
            upright = ImageOps.exif_transpose(plain_mode(opened))
            profile, packet = opened.info.get("icc_profile"), opened.info.get("xmp")
        kept = [each for each in may_have if _has(packet, each)]
        properties = tuple(dict.fromkeys([*form.properties, *kept]))
        return _written(_fitted(upright, form), form, properties, profile)
    except NotDerivableError:
        raise
    except Exception as error:  # a decoder may raise anything for a malicious file
        raise NotDerivableError(f"it can't be decoded or encoded: {_words(error)}") from error


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise NotDerivableError(
            f"it has {width:,} × {height:,} pixels; at most {MOST_PIXELS:,} are decoded"
        )


def _fitted(image: Image.Image, form: DerivedForm) -> Image.Image:
    longest = max(image.size)
    if form.max_edge is not None and longest > form.max_edge:
        scale = form.max_edge / longest
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    if form.format == "jpeg" and image.mode == "RGBA":
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        image = white
    return image


def _has(packet: object, wanted: XmpProperty) -> bool:
    return isinstance(packet, bytes) and f">{wanted.value}<".encode() in packet


def _written(
    image: Image.Image, form: DerivedForm, properties: tuple[XmpProperty, ...], profile: object
) -> Encoded:
    image.info.clear()  # Pillow would write some of it
    options: dict[str, Any] = {"quality": form.quality}
    if properties:
        options["xmp"] = xmp_packet(Metadata(properties=properties))
    if isinstance(profile, bytes) and profile[16:20] == _RGB_PROFILE:
        options["icc_profile"] = profile
    if form.format == "jpeg":
        options |= {"optimize": True, "progressive": True}
    buffer = io.BytesIO()
    image.save(buffer, form.format.upper(), **options)
    return Encoded(buffer.getvalue(), image.width, image.height)


def _words(error: Exception) -> str:
    words = " ".join(str(error).split())[:100]
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
