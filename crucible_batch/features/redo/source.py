"""Where the rejections of a run are."""

from __future__ import annotations

import os
from pathlib import Path

from crucible_batch.errors import ManifestError
from crucible_batch.features.redo.manifest_keys import redo_keys
from crucible_batch.features.redo.rejections import REJECTS_FILE, Rejection, read_rejections
from crucible_batch.features.redo.run_options import RejectsOption
from crucible_batch.journal import Journal
from crucible_batch.manifest import Manifest
from crucible_batch.manifest.files import FileFault, Files
from crucible_batch.runs.request import RunRequest

_NOTE = "rejects file"


def rejects_file(manifest: Manifest, request: RunRequest, directory: Path) -> tuple[Path, str]:
    """Return the path of the file, which may be missing, and the path as it was given.

    That of the option counts, else that of the manifest, else ``rejects.txt`` in the run directory.
    Raises ``ManifestError`` for a file outside the manifest's directory.
    """
    given = request.of(RejectsOption).rejects
    if given is not None:
        return Path(given), str(given)
    named = redo_keys(manifest.header).rejects
    if named is None:
        return directory / REJECTS_FILE, str(directory / REJECTS_FILE)
    return named_file(manifest, named), named


def note_file(journal: Journal, directory: Path, path: Path) -> None:
    """Store the path of the file in the journal of a run, in place of that of the run before."""
    text = REJECTS_FILE
    if path != directory / REJECTS_FILE:
        text = os.path.abspath(path)  # noqa: PTH100 - links are not followed here
    if journal.noted(_NOTE) != text:
        journal.note(_NOTE, text)


def noted_file(journal: Journal, directory: Path) -> Path | None:
    """Return the path of the file of the newest run, to read it; None before the first run.

    A journal may come from another person: what is written is the file of ``rejecting.py``.
    """
    text = journal.noted(_NOTE)
    return directory / text if text else None


def named_file(manifest: Manifest, named: str) -> Path:
    """Return the path of the file that the manifest names. Raises ``ManifestError``."""
    try:
        files = Files(manifest.directory, allow_outside=manifest.allow_outside)
        return files.target(named)
    except FileFault as fault:
        problem = manifest.site.problem(("rejects",), str(fault), hint=fault.hint)
        raise ManifestError([problem]) from None


def rejections_of(manifest: Manifest, request: RunRequest, directory: Path) -> list[Rejection]:
    """Return the rejections of a run. Raises ``ManifestError``."""
    return read_rejections(*rejects_file(manifest, request, directory))
