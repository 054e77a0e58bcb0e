"""Where an output goes: a path made of the plan alone, never of what the gateway says."""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath

RESERVED_NAMES = frozenset({"report.json", "report.html", "receipts.jsonl", "thumbnails", ".crucible"})
"""What the run keeps for itself in its directory."""

PICTURE_EXTENSIONS = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "GIF": ".gif",
    "AVIF": ".avif",
    "TIFF": ".tiff",
    "BMP": ".bmp",
}
"""What ``{ext}`` becomes, by the picture's type."""

_INDEX = "{index}"
_EXT = "{ext}"
_SHA256 = re.compile(r"[0-9a-f]{8,64}")
_NUMBERED = re.compile(r"(.+)-[1-9][0-9]*", re.ASCII | re.DOTALL)


def output_path(pattern: str, index: int, ext: str) -> PurePosixPath:
    """Fill in a planned output pattern: ``index`` counts from 0, ``ext`` is that of the true type, with its dot.

    A pattern without ``{index}`` gets ``-{index}`` before its extension from the second output on.
    """
    path = pattern
    if _INDEX not in pattern and index > 0:
        head, slash, last = pattern.rpartition("/")
        stem, dot, suffix = _split_extension(last)
        path = f"{head}{slash}{stem}-{_INDEX}{dot}{suffix}"
    return PurePosixPath(path.replace(_INDEX, str(index)).replace(_EXT, ext))


def relocated_path(path: str, sha256: str) -> str:
    """Where the file of that digest goes, to make way for another at ``path``: beside it, by 8 hex of the digest."""
    place = PurePosixPath(path)
    return place.with_name(f"{place.stem}.{sha256[:8]}{place.suffix}").as_posix()


def fold_path(path: str) -> str:
    """Return a path as disks compare it that know no case."""
    return path.lower() if path.isascii() else unicodedata.normalize("NFKC", path).casefold()


def may_hold_output(path: str) -> bool:
    """Whether an output may ever stand at a path: below the run directory, and not where the run keeps its own files.

    What a journal or a receipt names is a claim: whoever wrote it may want us to read, or to replace, another file.
    """
    name = fold_path(path)
    parts = name.split("/")
    if "\0" in path or any(not part or part.startswith(".") for part in parts):
        return False
    can_have_sidecar = not name.endswith(".json") and f"{name}.json" not in RESERVED_NAMES
    return can_have_sidecar and parts[0] not in RESERVED_NAMES


def is_planned_path(pattern: str, index: int, sha256: str, path: str) -> bool:
    """Whether a plan with this pattern puts the output at the path itself, or moves it there when it makes way."""
    if not may_hold_output(path) or not _SHA256.fullmatch(sha256):
        return False
    ext = PurePosixPath(path).suffix
    if _EXT in pattern and ext not in PICTURE_EXTENSIONS.values():
        return False  # no type that we write: with any suffix a stranger's journal could name the user's notes
    home = output_path(pattern, index, ext).as_posix()
    return path in {home, relocated_path(home, sha256)}


def first_output_pattern(pattern: str) -> str | None:
    """Return the pattern of which a later output may be called as the first of this one: ``a{ext}`` for ``a-1{ext}``.

    None where there is none, as with ``{index}``.
    """
    if _INDEX in pattern:
        return None
    head, slash, last = pattern.rpartition("/")
    stem, dot, suffix = _split_extension(last)
    numbered = _NUMBERED.fullmatch(stem)
    return None if numbered is None else f"{head}{slash}{numbered[1]}{dot}{suffix}"


def _split_extension(name: str) -> tuple[str, str, str]:
    if name.endswith(_EXT):
        return name[: -len(_EXT)], "", _EXT
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot, suffix) if stem else (name, "", "")
