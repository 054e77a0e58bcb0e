"""The thumbnails of a run directory.

They are embedded in the page if they fit, else in ``thumbnails/`` beside it. A thumbnail is made
once and kept in the run directory's hidden folder, under the digest of the picture that it shows.
What is kept there can be deleted at any time.
"""

from __future__ import annotations

import base64
import contextlib
import io
import os
import stat
import struct
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol

from PIL import Image, ImageOps

from crucible_batch.atomic_files import replacing
from crucible_batch.core.output_path import PICTURE_EXTENSIONS, may_hold_output
from crucible_batch.report.html.cards import Thumbnail

_FORMATS = tuple(PICTURE_EXTENSIONS)
MOST_PIXELS = 80_000_000
"""Decoded, that is 320 MB; a larger one is shown as a placeholder, and can be opened from its
file anyway."""
_MOST_PROFILE_BYTES = 4096
_LADDER = ((640, 80), (480, 76), (400, 72), (320, 66), (240, 60), (160, 50), (96, 40), (64, 30))
"""Longest edge in pixels, and quality: the first that fits is taken. Even noise fits 64 pixels
into 4 kB."""
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
    """Make a miniature of at most ``cap_bytes``.

    Returns None if the file is not a complete picture, or too large. The first frame of an
    animation stands for it; transparency is kept.
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
            if width * height > MOST_PIXELS:
                return None
            edge = _LADDER[first_rung(cap_bytes)][0]
            opened.draft("RGB", (2 * edge, 2 * edge))
            small = _upright(opened, edge)
            return _fitting(small, opened.info.get("icc_profile"), cap_bytes)
    except Exception:  # noqa: BLE001 - a decoder may raise anything for a malicious file
        return None


def _upright(image: Image.Image, edge: int) -> Image.Image:
    image.seek(0)
    plain = plain_mode(image)
    plain.thumbnail((edge, edge), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return ImageOps.exif_transpose(plain)


def plain_mode(image: Image.Image) -> Image.Image:
    """Bring any mode to RGB or RGBA: palettes, CMYK, sixteen bits, black and white."""
    if image.mode.startswith(("I", "F")):
        # Pillow clips sixteen bits to eight instead of scaling them.
        scale = 255.0 if image.mode == "F" else 255.0 / 65535.0
        scaled = image.convert("F").point(lambda value: value * scale)
        return scaled.convert("L").convert("RGB")
    if image.mode in {"RGBA", "RGB"}:
        return image.copy()
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("RGB")


def _fitting(image: Image.Image, profile: object, cap_bytes: int) -> Miniature | None:
    kept = b""
    if isinstance(profile, bytes) and len(profile) <= min(_MOST_PROFILE_BYTES, cap_bytes // 4):
        kept = profile
    for edge, quality in _LADDER[first_rung(cap_bytes) :]:
        image.thumbnail((edge, edge), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=quality, method=2, icc_profile=kept, exif=b"")
        if buffer.tell() <= cap_bytes:
            return Miniature(buffer.getvalue(), image.width, image.height)
    return None


FOLDER = "thumbnails"
_CACHE = Path(".crucible") / FOLDER
_INLINE_BYTES = 17_000_000
"""Of WebP; as base64 in a page that is 22.7 MB, which leaves room for a thousand jobs' words
below 25 MB."""
_MOST_INLINE_JOBS = 1000
_MOST_BYTES = 60_000
_FOLDER_BYTES = 24_000
_MOST_AHEAD = 256
"""Pictures that wait for their miniature while a run saves more: a run may be faster than their
making is."""
_SIZE = struct.Struct(">HH")


class Pictures(Protocol):
    """The source of a page's thumbnails."""

    lookahead: int
    """How many jobs' pictures may be begun before the first of them is placed."""

    def begin(self, path: str | Path, sha256: str) -> Callable[[], Miniature | None]:
        """Begin to make the miniature of a picture; the path is taken from the run directory.

        Call the result to wait for it.
        """

    def placed(
        self, made: Miniature | None, sha256: str, *, shown_size: tuple[int, int]
    ) -> Thumbnail:
        """Decide where a miniature goes, and put it there.

        If it can't be made, its place stays empty.
        """

    def of_input(self, file: str, sha256: str) -> Thumbnail:
        """Place the miniature of an input image, which may lie anywhere; ``file`` may be empty."""


class Thumbnails(Pictures):
    """Makes thumbnails in threads.

    Decoding, which takes nearly all of the time, lets other threads run.
    """

    def __init__(
        self, directory: Path, jobs: int, opened: Callable[[str], BinaryIO] | None = None
    ) -> None:
        """Start threads for the thumbnails of ``jobs`` jobs.

        ``opened`` opens an output by its path if outputs are not in the directory. It may raise
        ``OSError``.
        """
        self._directory = directory
        self._opened = opened
        self._left, self._cap = 0, _FOLDER_BYTES
        if jobs <= _MOST_INLINE_JOBS:
            self._left = _INLINE_BYTES
            self._cap = min(_MOST_BYTES, _INLINE_BYTES // max(jobs, 1))
        threads = _usable_cpus()
        self.lookahead = 4 * threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="thumbnails")
        self._room = threading.Semaphore(_MOST_AHEAD)

    def __enter__(self) -> Thumbnails:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def begin(self, path: str | Path, sha256: str) -> Callable[[], Miniature | None]:
        # A run directory may belong to another user: a path or a link that leads out of it shows
        # nothing.
        if not may_hold_output(Path(path).as_posix()):
            return lambda: None
        if self._opened is None and not _is_within(self._directory, Path(path)):
            return lambda: None
        return self._begin(self._directory / path, sha256)

    def begin_ahead(self, path: str | Path, sha256: str) -> None:
        """Begin to make a miniature that the page will ask for.

        It is left to the page if too many wait already.
        """
        if self._room.acquire(blocking=False):
            made = self._pool.submit(self._kept, self._directory / path, sha256)
            made.add_done_callback(lambda _made: self._room.release())

    def placed(
        self, made: Miniature | None, sha256: str, *, shown_size: tuple[int, int]
    ) -> Thumbnail:
        if made is None:
            return Thumbnail(None, *shown_size)
        if len(made.content) <= self._left:
            self._left -= len(made.content)
            source = "data:image/webp;base64," + base64.b64encode(made.content).decode()
            return Thumbnail(source, made.width, made.height)
        name = f"{sha256[:40]}.webp"
        if not _write(self._directory / FOLDER / name, made.content):
            return Thumbnail(None, *shown_size)
        return Thumbnail(f"{FOLDER}/{name}", made.width, made.height)

    def of_input(self, file: str, sha256: str) -> Thumbnail:
        made = None
        if file:
            made = self._begin(Path(file).absolute(), sha256)()
        return self.placed(made, sha256, shown_size=(1, 1))

    def _begin(self, path: Path, sha256: str) -> Callable[[], Miniature | None]:
        made: Future[Miniature | None] = self._pool.submit(self._kept, path, sha256)
        return made.result

    def _kept(self, path: Path, sha256: str) -> Miniature | None:
        kept = self._directory / _CACHE / f"{sha256[:40]}-{first_rung(self._cap)}"
        with contextlib.suppress(OSError, struct.error):
            content = kept.read_bytes()
            width, height = _SIZE.unpack_from(content)
            return Miniature(content[_SIZE.size :], width, height)
        made = self._made(path)
        if made is not None:
            _write(kept, _SIZE.pack(made.width, made.height) + made.content)
        return made

    def _made(self, path: Path) -> Miniature | None:
        if self._opened is None or not path.is_relative_to(self._directory):
            return make_miniature(path, self._cap)
        try:
            with self._opened(path.relative_to(self._directory).as_posix()) as file:
                return miniature_of(file, self._cap)
        except OSError:
            return None


def _usable_cpus() -> int:
    if sys.version_info >= (3, 13):
        return os.process_cpu_count() or 1
    return os.cpu_count() or 1


def _is_within(directory: Path, path: Path) -> bool:
    if path.is_absolute():
        return False
    try:
        return (directory / path).parent.resolve() == directory.resolve() / path.parent
    except (OSError, RuntimeError, ValueError):  # links in a circle, a NUL
        return False


def _write(path: Path, content: bytes) -> bool:
    """Write a file atomically. If that fails, only this picture is missing in the page."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.parent.is_symlink():  # the thumbnail would be written to the target of the link
            return False
        if _has_content(path, content):
            return True
        with replacing(path, synced=False) as file:
            file.write(content)
    except OSError:
        return False
    return True


def _has_content(path: Path, content: bytes) -> bool:
    """Whether a regular file has this content; False for a link.

    Replacing a file is slow: ext4 then writes the new content to the disk immediately.
    """
    with contextlib.suppress(OSError):
        found = path.lstat()
        if stat.S_ISREG(found.st_mode) and found.st_size == len(content):
            return path.read_bytes() == content
    return False
