"""Output files named by the user: checked before they are overwritten."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

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
        raise UserError(f"{target} can't be written: {error.strerror}", hint="give another file with -o") from error
    if stat.S_ISLNK(mode):
        raise UserError(f"{target} is a symbolic link, which is not followed", hint="give the file itself with -o")
    if not stat.S_ISREG(mode):
        raise UserError(f"{target} is not a regular file", hint=f"give a file for {what} with -o")
    if not force and not is_ours(target):
        raise UserError(
            f"{target} exists and is not {what}; it was not overwritten",
            hint="give another file with -o, or overwrite it with --force",
        )
