"""Sidecars: a small file of JSON beside each output, which says what made it.

Losing one costs nothing, since the journal can say it again: none is synced, and one that can't be written is a note.
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

from crucible_batch.domain.identity import Json
from crucible_batch.domain.job import Job
from crucible_batch.domain.output_path import is_planned_path
from crucible_batch.domain.plan import PlannedJob, RunTerms
from crucible_batch.domain.provenance import TOOL, sidecar
from crucible_batch.outputs.safe_fs import Folder, folder_of_output, write_all
from crucible_batch.outputs.temp_file import TEMPORARY_PREFIX

SIDECAR_SUFFIX = ".json"
_LONGEST = 16 * 1024 * 1024

logger = logging.getLogger(__name__)


class Sidecars:
    """The sidecars of one run directory. Blocking; may be used by several threads at a time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._is_told = False

    def write(self, output: str, content: Mapping[str, Json], folder: Folder | None = None) -> None:
        """Write the sidecar of the output at a path, in place of an older one of ours. Raises nothing.

        ``folder`` is the one that it goes to, if that is open already.
        """
        path = _beside(output)
        text = to_json(content, indent=2) + b"\n"  # a tenth of what json takes where it indents: 2.6 µs of 23
        try:
            opened = folder_of_output(self._directory, output) if folder is None else contextlib.nullcontext(folder)
            with opened as here:
                is_written = _put(here, path.name, text)
            if not is_written:
                self._tell(self._directory / path, "another file stands there")
        except OSError as error:
            self._tell(self._directory / path, str(error.strerror))

    def move(self, output: str, to: str) -> None:
        """Have the sidecar of an output go along with it. Raises nothing; one that isn't ours stays."""
        source = _beside(output)
        with contextlib.suppress(OSError), folder_of_output(self._directory, output) as folder:
            content = _ours(folder, source.name)
            if content is None:
                return
            about = content.get("output")
            name = PurePosixPath(to).name
            self.write(to, {**content, "output": {**about, "file": name} if isinstance(about, dict) else about})
            folder.unlink(source.name)  # in its place it would tell of a picture that is no longer there

    def complete(self, planned: PlannedJob, job: Job, terms: RunTerms) -> None:
        """Write the sidecars that are missing beside a job's outputs."""
        for saved in job.outputs.values() if terms.sidecars else ():
            # A journal may have been edited: what it names elsewhere than the plan does may be anybody's file.
            is_ours = is_planned_path(planned.output, saved.index, saved.sha256, saved.path)
            if is_ours and self._is_missing(saved.path):
                self.write(saved.path, sidecar(terms, planned, job.current, saved))

    def _is_missing(self, output: str) -> bool:
        with contextlib.suppress(OSError), folder_of_output(self._directory, output) as folder:
            picture = folder.stat(PurePosixPath(output).name)
            is_there = picture is not None and stat.S_ISREG(picture.st_mode)
            return is_there and folder.stat(_beside(output).name) is None
        return False

    def _tell(self, target: Path, reason: str) -> None:
        """Say it once: on a full disk it would be said of every output."""
        if not self._is_told:
            self._is_told = True
            logger.warning("no sidecar at %s: %s (the picture is safe)", target, reason)


def _beside(output: str) -> PurePosixPath:
    return PurePosixPath(f"{output}{SIDECAR_SUFFIX}")


def _put(folder: Folder, name: str, text: bytes) -> bool:
    """Write a file whole or not at all. False: what stands there isn't ours, and stays."""
    # A name of its own for each writer: ``report`` may be at it while a run is.
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
    """What a sidecar of ours says; None where there is none, or something else."""
    try:
        with folder.read(name) as file:
            found = json.loads(file.read(_LONGEST))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and found.get("tool") == TOOL and "schema_version" in found else None
