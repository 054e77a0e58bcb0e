"""Who else may write in a run directory: another's hand could put another journal, or another picture, in its place."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from crucible_batch.errors import RunDirectoryError
from crucible_batch.journal.trouble import DIRECTORY

PRIVATE = 0o775
"""The mode of what is made, less the user's own mask, which may take nothing away."""
_ROOT = 0


def check_rights(directory: Path) -> None:
    """Refuse a run directory that is another's, or that everybody may write in, with ``RunDirectoryError``.

    Root may run anywhere, as containers do, and what is root's is everybody's to trust. Raises ``OSError`` as well.
    """
    us = os.geteuid()
    for folder in (directory, directory / DIRECTORY):
        if not folder.exists():
            continue
        status = folder.stat()
        if status.st_uid not in {us, _ROOT} and us != _ROOT:
            raise RunDirectoryError(f"{folder} belongs to another user", hint="choose another --out-dir")
        if status.st_mode & stat.S_IWOTH and _keeps_modes(folder):
            raise RunDirectoryError(
                f"everybody may write in {folder}",
                hint=f"take that away (chmod o-w {folder}), or choose another --out-dir: a folder in this one will do",
            )


def _keeps_modes(folder: Path) -> bool:
    """Whether a folder can be private here: some file systems (FAT, Windows' own) let everybody do everything."""
    probe = Path(tempfile.mkdtemp(prefix=".crucible-part-", dir=folder))
    try:
        return not probe.stat().st_mode & stat.S_IWOTH
    finally:
        probe.rmdir()
