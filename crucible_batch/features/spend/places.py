"""Which run directories there are: those below a directory, or all that this user's runs have."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from crucible_batch.object_url import ObjectUrl
from crucible_batch.runs.earlier_runs import list_file, remembered
from crucible_batch.runs.run_journal import local_directory
from crucible_batch.runs.run_list import RunDirectories
from crucible_batch.shell_command import DEFAULT_DIRECTORY


@dataclass(frozen=True, slots=True)
class RunPlaces:
    """Run directories, each once; some may have vanished.

    ``is_complete`` is false if a directory has too many entries to search all of them.
    """

    paths: tuple[Path, ...]
    is_complete: bool

    @classmethod
    def known(cls, directory: Path | None) -> RunPlaces:
        """Return the runs below a directory, or that of a URL. None: those below ``outputs``, and
        those of the user's list of runs.

        Raises as ``local_directory``.
        """
        if directory is not None and ObjectUrl.parse(directory) is not None:
            return cls((local_directory(directory),), is_complete=True)
        found = RunDirectories.below(directory or DEFAULT_DIRECTORY)
        paths = {os.path.realpath(path): path for path in found.paths}
        if directory is None:
            for path in _listed():
                paths.setdefault(os.path.realpath(path), path)
        return cls(tuple(paths.values()), found.is_complete)


def _listed() -> Iterator[Path]:
    """Yield the directories of the list of runs that have begun."""
    for run in remembered(list_file(os.environ)):
        if not run.code:
            yield Path(run.run_dir)
