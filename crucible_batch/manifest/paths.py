"""What keeps a path from being used here, told before anything is bought: the encoding and the length of names.

The journal, the report and the gateway hold text, so that a name must be UTF-8; the file system takes what the locale's
encoding has characters for.
"""

from __future__ import annotations

import os
import sys
from pathlib import PurePath

MAX_PART_BYTES = 255
"""The longest file name that common file systems take."""


def path_fault(path: str) -> tuple[str, str] | None:
    """Return what is wrong with a path, and what to do about it; None where it can be used."""
    if (fault := text_fault(path)) is not None:
        return fault
    if any(len(os.fsencode(part)) > MAX_PART_BYTES for part in PurePath(path).parts):
        return f"has a part of more than {MAX_PART_BYTES} bytes, which no file name may have", "use a shorter name"
    return None


def text_fault(path: str) -> tuple[str, str] | None:
    """Return what is wrong with a path as text; None where text and the file system both have all of its characters."""
    if "\0" in path:
        return "holds a NUL character", "use another path"
    if path.isascii():  # as nearly all are
        return None
    try:
        path.encode("utf-8")  # a byte that is no character of the locale's stands for itself as half a surrogate pair
        os.fsencode(path)
    except UnicodeEncodeError:
        return _not_encodable(sys.getfilesystemencoding())
    return None


def _not_encodable(encoding: str) -> tuple[str, str]:
    if encoding.lower() in {"utf-8", "utf8"}:
        return "is not UTF-8", "use a name that is UTF-8"
    return (
        f"holds a character that the encoding of this locale ({encoding}) does not have",
        "use a UTF-8 locale, such as LC_ALL=C.UTF-8",
    )
