"""Files that a user names to be written: what may be overwritten, and a file written whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from crucible_batch.errors import UserError


def check_target(target: Path, what: str, is_ours: Callable[[Path], bool], *, force: bool = False) -> None:
    """Refuse a target whose loss its owner may not want: anything but a file that ``is_ours``, unless ``force``.

    ``what`` is the kind of file, for people. Raises ``UserError``.
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
    """Open a file beside ``target`` that takes its place, synced, once all of it is written; else nothing has changed.

    Raises ``OSError``.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    temporary.unlink(missing_ok=True)  # a killed run's, or a link that somebody has put there
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
