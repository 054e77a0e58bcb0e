"""Sidecars: a small JSON file beside each output that describes how it was made.

A lost sidecar can be written again from the journal. Therefore sidecars are not synced, and one
that can't be written is only logged.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import stat
import threading
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from pydantic_core import to_json

from crucible_batch.atomic_files import TEMPORARY_PREFIX
from crucible_batch.core.identity import Json
from crucible_batch.core.job import Job
from crucible_batch.core.output_path import is_planned_path
from crucible_batch.core.plan import PlannedJob, RunTerms
from crucible_batch.core.provenance import TOOL, sidecar
from crucible_batch.outputs.safe_fs import Folder, folder_of_output, write_all

SIDECAR_SUFFIX = ".json"
_LONGEST = 16 * 1024 * 1024

logger = logging.getLogger(__name__)


class Sidecars:
    """The sidecars of one run directory. Methods block; several threads may use it at a time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._is_told = False

    def write(self, output: str, content: Mapping[str, Json], folder: Folder | None = None) -> None:
        """Write the sidecar of the output at path ``output``, replacing an older sidecar.

        Raises nothing. ``folder`` is the output's folder if it is already open.
        """
        path = _beside(output)
        text = to_json(content, indent=2) + b"\n"  # 2.6 µs; json with indentation takes 23 µs
        try:
            if folder is not None:
                is_written = _put(folder, path.name, text)
            else:
                with folder_of_output(self._directory, output) as opened:
                    is_written = _put(opened, path.name, text)
            if not is_written:
                self._tell(self._directory / path, "another file exists there")
        except OSError as error:
            self._tell(self._directory / path, str(error.strerror))

    def move(self, output: str, to: str) -> None:
        """Move an output's sidecar along with the output.

        Raises nothing; a file that isn't a sidecar is left alone.
        """
        source = _beside(output)
        try:
            with folder_of_output(self._directory, output) as folder:
                content = _ours(folder, source.name)
                if content is None:
                    return
                about = content.get("output")
                if isinstance(about, dict):
                    content["output"] = {**about, "file": PurePosixPath(to).name}
                self.write(to, content)
                folder.unlink(source.name)  # it would describe a picture that is no longer there
        except OSError:
            return

    def complete(self, planned: PlannedJob, job: Job, terms: RunTerms) -> None:
        """Write the sidecars that are missing beside a job's outputs."""
        if not terms.sidecars:
            return
        for saved in job.outputs.values():
            # A journal may have been edited: a path that differs from the plan may be another
            # program's file.
            is_ours = is_planned_path(planned.output, saved.index, saved.sha256, saved.path)
            if is_ours and self._is_missing(saved.path):
                self.write(saved.path, sidecar(terms, planned, job.current, saved))

    def _is_missing(self, output: str) -> bool:
        with contextlib.suppress(OSError), folder_of_output(self._directory, output) as folder:
            picture = folder.stat(PurePosixPath(output).name)
            is_there = picture is not None and stat.S_ISREG(picture.st_mode)
            return is_there and folder.stat(_beside(output).name) is None
        return False

    def _tell(self, target: object, reason: str) -> None:
        """Log the first failure only: on a full disk, every output has one."""
        if not self._is_told:
            self._is_told = True
            logger.warning(
                "can't write the sidecar of %s: %s (the output itself is saved)", target, reason
            )


def is_sidecar(folder: Folder, name: str) -> bool:
    """Return whether a file is a sidecar that this package has written."""
    return _ours(folder, name) is not None


def _beside(output: str) -> PurePosixPath:
    return PurePosixPath(f"{output}{SIDECAR_SUFFIX}")


def _put(folder: Folder, name: str, text: bytes) -> bool:
    """Write a file completely or not at all.

    Returns False if a file that isn't a sidecar has the name; it is kept.
    """
    # Each writer has its own temporary name, since ``report`` may write sidecars during a run.
    temporary = f"{TEMPORARY_PREFIX}{os.getpid()}-{threading.get_ident()}"
    descriptor = folder.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        _write(descriptor, text)
        try:
            folder.claim(temporary, name)
        except FileExistsError:
            if _ours(folder, name) is None:
                return False
            folder.replace(temporary, name)
        return True
    finally:
        folder.unlink(temporary)


def _write(descriptor: int, text: bytes) -> None:
    try:
        write_all(descriptor, text)
    finally:
        os.close(descriptor)


def _ours(folder: Folder, name: str) -> dict[str, Json] | None:
    """Return the content of a sidecar; None if there is no file or it isn't a sidecar."""
    try:
        with folder.read(name) as file:
            found = json.loads(file.read(_LONGEST))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    if found.get("tool") != TOOL or "schema_version" not in found:
        return None
    return found
