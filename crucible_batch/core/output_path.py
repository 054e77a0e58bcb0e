"""The paths of outputs, derived from the plan alone and never from the gateway's answers."""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath

RESERVED_NAMES = frozenset(
    {
        "report.json",
        "report.html",
        "receipts.jsonl",
        "rejects.txt",
        "marks.json",
        "thumbnails",
        ".crucible",
    }
)
"""The run's own files in its directory."""

PICTURE_EXTENSIONS = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "GIF": ".gif",
    "AVIF": ".avif",
    "TIFF": ".tiff",
    "BMP": ".bmp",
}
"""The value of ``{ext}`` by the picture's type."""

MOST_PIXELS = 178_956_970
"""Twice ``Image.MAX_IMAGE_PIXELS`` of Pillow, which always rejects larger pictures."""

_INDEX = "{index}"
_EXT = "{ext}"
_SHA256 = re.compile(r"[0-9a-f]{8,64}")
_NUMBERED = re.compile(r"(.+)-[1-9][0-9]*", re.ASCII | re.DOTALL)


def output_path(pattern: str, index: int, ext: str) -> PurePosixPath:
    """Fill in a planned output pattern: ``index`` counts from 0, ``ext`` is that of the true type,
    with its dot.

    A pattern without ``{index}`` gets ``-{index}`` before its extension from the second output on.
    """
    path = pattern
    if _INDEX not in pattern and index > 0:
        head, slash, last = pattern.rpartition("/")
        stem, dot, suffix = _split_extension(last)
        path = f"{head}{slash}{stem}-{_INDEX}{dot}{suffix}"
    return PurePosixPath(path.replace(_INDEX, str(index)).replace(_EXT, ext))


def relocated_path(path: str, sha256: str) -> str:
    """Return the path to which an output is moved if another takes ``path``: the same, with 8 hex
    of its digest.
    """
    place = PurePosixPath(path)
    return place.with_name(f"{place.stem}.{sha256[:8]}{place.suffix}").as_posix()


def fold_path(path: str) -> str:
    """Return a path as a case-insensitive file system compares it."""
    return path.lower() if path.isascii() else unicodedata.normalize("NFKC", path).casefold()


def may_hold_output(path: str) -> bool:
    """Whether an output may be at a path: below the run directory, and not one of the run's own
    files.

    A path in a journal or a receipt is untrusted: it may have been written to make us read or
    replace another file.
    """
    name = fold_path(path)
    parts = name.split("/")
    if "\0" in path or any(not part or part.startswith(".") for part in parts):
        return False
    can_have_sidecar = not name.endswith(".json") and f"{name}.json" not in RESERVED_NAMES
    return can_have_sidecar and parts[0] not in RESERVED_NAMES


def is_planned_path(pattern: str, index: int, sha256: str, path: str) -> bool:
    """Whether an output of this pattern is saved at ``path``, or moved there for another output."""
    if not may_hold_output(path) or not _SHA256.fullmatch(sha256):
        return False
    ext = PurePosixPath(path).suffix
    if _EXT in pattern and ext not in PICTURE_EXTENSIONS.values():
        # Not a type that we write: with any suffix a forged journal could name the user's files.
        return False
    home = output_path(pattern, index, ext).as_posix()
    return path in {home, relocated_path(home, sha256)}


def is_picture_path(path: str) -> bool:
    """Whether an output may be at ``path`` and is named as a picture: the path of a job that has
    been renamed since.

    It is enough to read a file whose digest is known, and not to write one.
    """
    return may_hold_output(path) and PurePosixPath(path).suffix in PICTURE_EXTENSIONS.values()


def first_output_pattern(pattern: str) -> str | None:
    """Return the pattern whose later outputs may collide with the first of this one: ``a{ext}`` for
    ``a-1{ext}``.

    Returns None if there is none, as with ``{index}``.
    """
    if _INDEX in pattern:
        return None
    head, slash, last = pattern.rpartition("/")
    stem, dot, suffix = _split_extension(last)
    numbered = _NUMBERED.fullmatch(stem)
    if numbered is None:
        return None
    return f"{head}{slash}{numbered[1]}{dot}{suffix}"


def _split_extension(name: str) -> tuple[str, str, str]:
    if name.endswith(_EXT):
        return name[: -len(_EXT)], "", _EXT
    stem, dot, suffix = name.rpartition(".")
    if not stem:
        return name, "", ""
    return stem, dot, suffix
