"""Adoption of the outputs of a shard's directory into the main run directory.

They are linked or copied, checked, and never replace another file. Both directories may come from
other machines or people: no link below them is followed, and the bytes are checked by their digest
where they get their name. All functions block.
"""

from __future__ import annotations

import enum
import errno
import os
import shutil
import stat
from pathlib import Path, PurePosixPath

from crucible_batch.atomic_files import TEMPORARY_PREFIX
from crucible_batch.outputs.errors import ResultsError
from crucible_batch.outputs.exclusive_rename import NOT_SUPPORTED
from crucible_batch.outputs.publish import link_into_place
from crucible_batch.outputs.safe_fs import Folder, folder_of_output

_CAN_NOT_LINK = NOT_SUPPORTED | {errno.EXDEV}


class Adoption(enum.Enum):
    """What was done for an output.

    ``ABSENT``: its source has no regular file with the recorded bytes.
    """

    PRESENT = "present"
    LINKED = "linked"
    COPIED = "copied"
    ABSENT = "absent"


def adopt_output(source: Path, path: str, directory: Path, target: str, sha256: str) -> Adoption:
    """Give the output at ``path`` in ``source`` the name ``target`` in ``directory``.

    May be called twice. It gets a hard link if that is possible and the file is the user's own,
    otherwise a synced copy. Raises ``OutputError`` if a file with other bytes is at ``target``, and
    ``ResultsError`` if ``directory`` can't be written or ``target`` leads out of it.
    """
    name = PurePosixPath(target).name
    try:
        with folder_of_output(directory, target) as folder:
            if folder.digest(name) == sha256:
                return Adoption.PRESENT
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise _unwritable(directory, target, error) from error
    try:
        with folder_of_output(source, path) as found:
            return _bring(found, PurePosixPath(path).name, directory, PurePosixPath(target), sha256)
    except OSError:
        return Adoption.ABSENT


def _bring(
    source: Folder, name: str, directory: Path, target: PurePosixPath, sha256: str
) -> Adoption:
    with source.read(name) as file:
        is_own = os.fstat(file.fileno()).st_uid == os.geteuid()
        temporary = f"{TEMPORARY_PREFIX}merge-{sha256[:16]}"
        try:
            with folder_of_output(directory, target, make=True) as folder:
                try:
                    # Left by a killed merge; it may be a link to another file
                    folder.unlink(temporary)
                    is_linked = is_own and _linked(source, name, folder, temporary)
                    if not is_linked:
                        with folder.create(temporary) as copy:
                            shutil.copyfileobj(file, copy)
                    if folder.digest(temporary) != sha256:
                        return Adoption.ABSENT
                    folder.sync_file(temporary)
                    link_into_place(folder, temporary, target, sha256)
                    if is_linked:
                        return Adoption.LINKED
                    return Adoption.COPIED
                finally:
                    folder.unlink(temporary)
        except OSError as error:
            raise _unwritable(directory, str(target), error) from error


def _linked(source: Folder, name: str, folder: Folder, temporary: str) -> bool:
    try:
        source.link(name, temporary, folder)
    except OSError as error:
        if error.errno not in _CAN_NOT_LINK:
            raise
        return False
    found = folder.stat(temporary)
    if found is not None and stat.S_ISREG(found.st_mode):
        return True
    folder.unlink(temporary)  # a link took the file's place after it was opened
    return False


def _unwritable(directory: Path, target: str, error: OSError) -> ResultsError:
    return ResultsError(
        f"the output {target} can't be saved in {directory}: {error.strerror}",
        hint="fix the disk problem, then run the same command again; nothing was merged yet",
    )
