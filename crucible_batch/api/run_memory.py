"""The user's list of run directories by manifest, so that a run started in another folder finds the earlier one.

It is only a help: it may be deleted at any time, and a list that can't be read or written counts as empty.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from crucible_batch.atomic_files import replacing
from crucible_batch.settings import state_directory

MOST_ENTRIES = 500
_MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RememberedRun:
    """A run's manifest and directory, as absolute paths with links resolved."""

    manifest: str
    run_id: str
    run_dir: str

    @classmethod
    def of(cls, manifest: Path, run_id: str, run_dir: Path) -> RememberedRun:
        return cls(os.path.realpath(manifest), run_id, os.path.realpath(run_dir))


def list_file(environ: Mapping[str, str]) -> Path | None:
    """Return the path of the list; None if the environment names no home directory."""
    directory = state_directory(environ)
    return None if directory is None else directory / "runs.json"


def remember(file: Path | None, run: RememberedRun) -> None:
    """Put a run at the head of the list. Two runs that do so at the same moment may lose one entry."""
    if file is None or next(_entries(file), None) == run:
        return
    entries = [run, *(entry for entry in _entries(file) if entry != run)][:MOST_ENTRIES]
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(file, synced=False) as target:
            target.write(json.dumps([asdict(entry) for entry in entries], indent=0).encode())
    except OSError:
        return


def recall(file: Path | None, manifest: Path, run_id: str) -> Iterator[Path]:
    """Yield the directories of runs of this manifest file and run id, newest first."""
    real = os.path.realpath(manifest)
    for entry in _entries(file) if file is not None else ():
        if (entry.manifest, entry.run_id) == (real, run_id):
            yield Path(entry.run_dir)


def _entries(file: Path) -> Iterator[RememberedRun]:
    try:
        if not file.is_file():
            return
        with file.open("rb") as source:
            found = json.loads(source.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return
    for entry in found if isinstance(found, list) else ():
        found_texts = entry.values() if isinstance(entry, dict) else ()
        if all(isinstance(each, str) and _is_path(each) for each in found_texts):
            with contextlib.suppress(TypeError):  # other names
                yield RememberedRun(**entry)


def _is_path(text: str) -> bool:
    """Return whether a text can be the name of a file: functions of ``os`` raise ``ValueError`` for any other."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False
