"""Where an output goes: a path made of the plan alone, never of what the gateway says."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

_INDEX = "{index}"
_EXT = "{ext}"
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


def aside_path(path: str, sha256: str) -> str:
    """Where the file of that digest goes, to make way for another at ``path``: beside it, by 8 hex of the digest."""
    place = PurePosixPath(path)
    return place.with_name(f"{place.stem}.{sha256[:8]}{place.suffix}").as_posix()


def leading_path(pattern: str) -> str | None:
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
