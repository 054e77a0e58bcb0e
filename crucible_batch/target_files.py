"""Output files named by the user: checked before they are overwritten, and replaced atomically."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from crucible_batch.errors import UserError


def check_target(target: Path, what: str, is_ours: Callable[[Path], bool], *, force: bool = False) -> None:
    """Raise ``UserError`` unless ``target`` is absent or a regular file for which ``is_ours`` is true.

    ``force`` allows any regular file. ``what`` names the kind of file in messages.
    """
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"{target} can't be written: {error.strerror}", hint="name another file with -o") from error
    if stat.S_ISLNK(mode):
        raise UserError(f"{target} is a link; {what} is not written through one", hint="name the file itself with -o")
    if not stat.S_ISREG(mode):
        raise UserError(f"{target} is no regular file", hint=f"name a file for {what} with -o")
    if not force and not is_ours(target):
        raise UserError(
            f"{target} is there already and is not {what}; it was not overwritten",
            hint="name another file with -o, or overwrite it with --force",
        )


@contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``target``; at the end of the block it is synced and replaces ``target``.

    After an error in the block, ``target`` is unchanged. Raises ``OSError``.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    temporary.unlink(missing_ok=True)  # left by a killed process, or a link created by another user
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
