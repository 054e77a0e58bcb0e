"""Input images, read from disk and identified by their content."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import BinaryIO

from aiofiles.threadpool import wrap
from PIL import Image, UnidentifiedImageError

from crucible_batch.atomic_files import open_at_once
from crucible_batch.core.gateway_types import AssetSpec
from crucible_batch.core.plan import InputImage
from crucible_batch.core.redaction import clean

MAX_BYTES = 256 * 1024 * 1024
"""The largest input image, in bytes. Inputs are held in memory, so that the uploaded bytes are
the hashed ones."""

_ACCEPTED_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
"""The main brands of files of the phones' format (ISO/IEC 23008-12)."""
_FILENAME_LIMIT = 255


class InputError(ValueError):
    """A file that can't be an input image. The message is the reason."""


def read_input(path: Path) -> InputImage:
    """Return an image's digest, size and type, determined from its content.

    The file's extension is ignored. Raises ``InputError`` if it is not an image, is too large or
    can't be read.
    """
    try:
        with _opened(path) as file:
            byte_size = _size(file)
            # Memory for so many bytes is allocated before
            content = file.read(byte_size + 1) or b""
    except OSError as error:
        raise InputError(f"can't be read: {error.strerror}") from error
    if len(content) > byte_size:
        raise InputError("was written to while it was read")
    return InputImage(_describe(content, path), path)


def input_of_output(path: Path, sha256: str, byte_size: int, mime_type: str) -> InputImage | str:
    """Return a saved output as an input image, or why it can't be one.

    It is made from what was recorded when the output was saved. The file is not read.
    ``load_input`` compares its bytes with the digest before they are sent.
    """
    if byte_size > MAX_BYTES:
        return f"is larger than {MAX_BYTES // 1024**2} MiB"
    if mime_type not in {f"image/{name.lower()}" for name in _ACCEPTED_FORMATS}:
        return f"is an image of an unsupported type: {clean(mime_type, 60)}"
    return InputImage(AssetSpec(sha256, byte_size, mime_type, _short(path.name)), path)


def _size(file: BinaryIO) -> int:
    """Return a file's size in bytes. Raises ``InputError`` if it is too large."""
    byte_size = os.fstat(file.fileno()).st_size
    if byte_size > MAX_BYTES:
        raise InputError(f"is larger than {MAX_BYTES // 1024**2} MiB")
    return byte_size


def _describe(content: bytes, path: Path) -> AssetSpec:
    return AssetSpec(
        sha256=hashlib.sha256(content).hexdigest(),
        byte_size=len(content),
        mime_type=_sniff(io.BytesIO(content)),
        filename=_short(path.name),
    )


def _sniff(file: BinaryIO) -> str:
    try:
        with Image.open(file, formats=_ACCEPTED_FORMATS) as image:
            found = image.format or ""
    except (
        UnidentifiedImageError,
        OSError,
        ValueError,
        SyntaxError,
        Image.DecompressionBombError,
    ) as error:
        file.seek(0)
        start = file.read(12)
        if not start:
            raise InputError("is empty") from error
        if start[4:8] == b"ftyp" and start[8:12] in _HEIF_BRANDS:
            raise InputError(
                "is a HEIC photo, which is not supported; convert it to JPEG or PNG"
            ) from error
        raise InputError(
            f"is not a valid image (supported: {', '.join(_ACCEPTED_FORMATS[:6])})"
        ) from error
    if found == "MPO":  # Pillow's name for a JPEG with several frames
        found = "JPEG"
    mime = Image.MIME.get(found, "")
    if not mime.startswith("image/"):
        raise InputError(f"is an image of an unsupported type: {found}")
    return mime


def _short(name: str) -> str:
    """Return a name shortened to the contract's 255 characters, keeping its end."""
    return name[-_FILENAME_LIMIT:]


def _opened(path: Path) -> BinaryIO:
    # A pipe that has taken the image's place is not waited for
    return open(path, "rb", opener=open_at_once)


async def load_input(image: InputImage) -> bytes:
    """Return an image's content for its upload.

    Raises ``InputError`` if it can't be read or has changed since planning.
    """
    try:
        # Not opened by aiofiles: if the run were cancelled meanwhile, the file would stay open.
        with _opened(image.path) as file:
            content: bytes = await wrap(file).read(image.spec.byte_size + 1) or b""
    except OSError as error:
        raise InputError(f"{image.path} can no longer be read: {error.strerror}") from error
    return checked_content(image, content)


def checked_content(image: InputImage, content: bytes) -> bytes:
    """Return the content if it is that of the image. Raises ``InputError`` otherwise."""
    if hashlib.sha256(content).hexdigest() != image.spec.sha256:
        raise InputError(f"{image.path} has changed since planning")
    return content
