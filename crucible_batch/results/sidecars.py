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
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from crucible_batch.core.identity import Json
from crucible_batch.core.job import Job
from crucible_batch.core.plan import PlannedJob, RunTerms
from crucible_batch.core.provenance import TOOL, sidecar
from crucible_batch.results.store import TEMPORARY_PREFIX

SIDECAR_SUFFIX = ".json"
_LONGEST = 16 * 1024 * 1024

logger = logging.getLogger(__name__)


class Sidecars:
    """The sidecars of one run directory. Blocking; may be used by several threads at a time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._is_told = False

    def write(self, output: str, content: Mapping[str, Json]) -> None:
        """Write the sidecar of the output at a path, in place of an older one of ours. Raises nothing."""
        target = self._directory / f"{output}{SIDECAR_SUFFIX}"
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        try:
            if not _put(target, text.encode()):
                self._tell(target, "another file stands there")
        except OSError as error:
            self._tell(target, str(error.strerror))

    def move(self, output: str, to: str) -> None:
        """Have the sidecar of an output go along with it. Raises nothing; one that isn't ours stays."""
        source = self._directory / f"{output}{SIDECAR_SUFFIX}"
        content = _ours(source)
        if content is None:
            return
        about = content.get("output")
        name = PurePosixPath(to).name
        self.write(to, {**content, "output": {**about, "file": name} if isinstance(about, dict) else about})
        with contextlib.suppress(OSError):
            source.unlink()  # in its place it would tell of a picture that is no longer there

    def completing(self, jobs: Iterable[tuple[PlannedJob, Job]], terms: RunTerms) -> Iterator[tuple[PlannedJob, Job]]:
        """Pass jobs on, and write what sidecars are missing beside their outputs on the way."""
        for planned, job in jobs:
            for saved in job.outputs.values() if terms.sidecars else ():
                path = self._directory / saved.path
                if path.is_file() and not os.path.lexists(f"{path}{SIDECAR_SUFFIX}"):
                    self.write(saved.path, sidecar(terms, planned, job.current, saved))
            yield planned, job

    def _tell(self, target: Path, reason: str) -> None:
        """Say it once: on a full disk it would be said of every output."""
        if not self._is_told:
            self._is_told = True
            logger.warning("no sidecar at %s: %s (the picture is safe)", target, reason)


def _put(target: Path, text: bytes) -> bool:
    """Write a file whole or not at all. False: what stands there isn't ours, and stays."""
    # A name of its own for each writer: ``report`` may be at it while a run is.
    temporary = target.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{threading.get_ident()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o644)
    try:
        _write(descriptor, text)
        if not os.path.lexists(target):
            os.link(temporary, target, follow_symlinks=False)
            return True
        if _ours(target) is None:
            return False
        temporary.replace(target)
        return True
    finally:
        temporary.unlink(missing_ok=True)


def _write(descriptor: int, text: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)


def _ours(path: Path) -> dict[str, Json] | None:
    """What a sidecar of ours says; None where there is none, or something else."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return None
        with open(path, "rb", opener=_open) as file:
            found = json.loads(file.read(_LONGEST))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and found.get("tool") == TOOL and "schema_version" in found else None


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
