"""What a run directory has to be able to do, tried before anything is bought: an output that can't be saved is paid
for nevertheless."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from crucible_batch.errors import RunDirectoryError
from crucible_batch.outputs.exclusive_rename import RenameMethod
from crucible_batch.outputs.safe_fs import Folder, folder_of
from crucible_batch.outputs.temp_file import TEMPORARY_PREFIX

_HINT: Final = "choose another --out-dir, on another disk; nothing was bought"
_CONTENT: Final = b"crucible-batch tries whether it can save files here\n"
_FOREIGN: Final = "é語"


def check_ground(directory: Path, outputs: Iterable[str]) -> RenameMethod:
    """Try to save a file in a directory as an output is saved. ``outputs`` are the patterns of the paths to be.

    Returns by what means outputs will get their names. Raises ``RunDirectoryError`` where they won't. The caller holds
    the lock; what a killed process leaves is swept as the parts of outputs are.
    """
    prefix = f"{TEMPORARY_PREFIX}probe-{os.getpid()}"
    names = [f"{prefix}-{number}" for number in range(3)]
    try:
        with folder_of(directory, prefix) as folder:
            try:
                means = _name_a_file(folder, directory, *names)
            finally:
                for name in names:
                    folder.unlink(name)
            if not _takes(folder, f"{prefix}-{_FOREIGN}"):
                _check_names(directory, outputs)
            return means
    except OSError as error:
        message = f"the file system of {directory} can't give an output its name: {error.strerror}"
        raise RunDirectoryError(message, hint=_HINT) from error


def _name_a_file(folder: Folder, directory: Path, first: str, second: str, name: str) -> RenameMethod:
    _write(folder, first)
    means = folder.claim(first, name)
    if _read(folder, name) != _CONTENT:
        raise RunDirectoryError(f"{directory} keeps other bytes than are written", hint=_HINT)
    _write(folder, second)
    try:
        folder.claim(second, name)
    except FileExistsError:
        return means
    raise RunDirectoryError(f"the file system of {directory} gives a name that another file has", hint=_HINT)


def _write(folder: Folder, name: str) -> None:
    folder.unlink(name)
    with os.fdopen(folder.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
        file.write(_CONTENT)


def _read(folder: Folder, name: str) -> bytes:
    with folder.read(name) as file:
        return file.read()


def _takes(folder: Folder, name: str) -> bool:
    try:
        os.close(folder.open(name, os.O_WRONLY | os.O_CREAT))
        folder.unlink(name)
    except OSError:
        return False
    return True


def _check_names(directory: Path, outputs: Iterable[str]) -> None:
    """Names are made of letters that all file systems take, and of those of other scripts, which some don't."""
    foreign = next((output for output in outputs if not output.isascii()), None)
    if foreign is not None:
        raise RunDirectoryError(
            f"the file system of {directory} takes no name like {foreign!r}",
            hint="choose another --out-dir, on another disk, or names in ASCII; nothing was bought",
        )
