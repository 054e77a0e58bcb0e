"""Files that are written completely or not at all, through a temporary file beside them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

TEMPORARY_PREFIX: Final = ".crucible-part-"
"""With this begin the names of all temporary files in a run directory. The next run removes those of killed runs."""


def temporary_path(target: Path) -> Path:
    """Return the path of the temporary file of ``target``: another one for each process and thread."""
    return target.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{threading.get_ident()}-{target.name}")


@contextmanager
def replacing(target: Path, *, synced: bool = True) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``target``; at the end of the block it is synced and replaces ``target``.

    After an error in the block, ``target`` is unchanged. A link at ``target`` is replaced, not followed. Without
    ``synced``, a power cut may leave a part of the file. Raises ``OSError``.
    """
    temporary = temporary_path(target)
    temporary.unlink(missing_ok=True)  # left by a killed process, or a link created by another user
    try:
        with temporary.open("xb") as file:
            yield file
            if synced:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
