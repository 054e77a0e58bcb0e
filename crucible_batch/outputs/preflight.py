"""The check that outputs can be saved in a run directory, made before buying.

An unsaved output is paid for too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from crucible_batch.atomic_files import TEMPORARY_PREFIX
from crucible_batch.errors import RunDirectoryError
from crucible_batch.outputs.safe_fs import Folder, folder_of

_HINT = "choose another --out-dir, on another disk; nothing was bought"
_CONTENT = b"crucible-batch tries whether it can save files here\n"
_FOREIGN = "é語"


def check_outputs_can_be_saved(directory: Path, outputs: Iterable[str]) -> None:
    """Save a test file in a directory as an output is saved.

    ``outputs`` are the path patterns of the planned outputs. Raises ``RunDirectoryError`` if
    outputs can't get their names there. The caller must hold the lock. Files left by a killed
    process are swept like temporary files of outputs.
    """
    prefix = f"{TEMPORARY_PREFIX}probe-{os.getpid()}"
    names = [f"{prefix}-{number}" for number in range(3)]
    try:
        with folder_of(directory, prefix) as folder:
            try:
                _name_a_file(folder, directory, *names)
            finally:
                for name in names:
                    folder.unlink(name)
            if not _takes(folder, f"{prefix}-{_FOREIGN}"):
                _check_names(directory, outputs)
    except OSError as error:
        message = f"the file system of {directory} can't store outputs: {error.strerror}"
        raise RunDirectoryError(message, hint=_HINT) from error


def _name_a_file(folder: Folder, directory: Path, first: str, second: str, name: str) -> None:
    _write(folder, first)
    folder.claim(first, name)
    if _read(folder, name) != _CONTENT:
        message = f"{directory} stores other bytes than those written to it"
        raise RunDirectoryError(message, hint=_HINT)
    _write(folder, second)
    try:
        folder.claim(second, name)
    except FileExistsError:
        return
    message = f"the file system of {directory} lets a new file replace an existing one"
    raise RunDirectoryError(message, hint=_HINT)


def _write(folder: Folder, name: str) -> None:
    folder.unlink(name)
    with folder.create(name) as file:
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
    """Raise ``RunDirectoryError`` if an output has a non-ASCII name.

    Call it if the file system rejects such names. ASCII names contain only characters that all file
    systems accept.
    """
    foreign = next((output for output in outputs if not output.isascii()), None)
    if foreign is not None:
        raise RunDirectoryError(
            f"the file system of {directory} does not accept file names such as {foreign!r}",
            hint=(
                "choose another --out-dir, on another disk, or use ASCII names; nothing was bought"
            ),
        )
