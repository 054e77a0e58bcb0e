"""The local directory of a run's journal, and the URL of its outputs if they are in an object store."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from crucible_batch.api.run_paths import state_directory_of
from crucible_batch.errors import RunDirectoryError
from crucible_batch.journal import Journal
from crucible_batch.object_url import ObjectUrl

OUTPUTS_AT: Final = "outputs_at"
"""The name under which a journal stores the URL of its outputs."""


def local_directory(run_dir: str | Path) -> Path:
    """Return the directory of a run's journal: that of an object store's URL, any other path unchanged.

    Raises ``UserError`` for an invalid URL, and ``RunDirectoryError`` if this machine has no journal of a run there.
    """
    url = ObjectUrl.parse(run_dir)
    if url is None:
        return Path(run_dir)
    directory = state_directory_of(url)
    if not Journal.exists(directory):
        raise RunDirectoryError(
            f"this machine has no journal of a run at {url}",
            hint=f"run the manifest with --out-dir {url}: what it bought before is found again at no cost",
        )
    return directory


def journal_outputs_url(journal: Journal) -> ObjectUrl | None:
    """Return the URL in an object store that a journal has noted for its outputs; None if they are in its directory."""
    text = journal.noted(OUTPUTS_AT)
    return None if text is None else ObjectUrl.parse(text)


def directory_outputs_url(directory: Path) -> ObjectUrl | None:
    """Return the URL that the journal of a run directory has noted for its outputs; None without a journal, too."""
    if not Journal.exists(directory):
        return None
    with Journal.read(directory) as journal:
        return journal_outputs_url(journal)


def run_outputs_url(out_dir: Path | None, directory: Path) -> ObjectUrl | None:
    """Return the URL of a run's outputs: that of ``--out-dir``, or else that of its journal. None if they are local."""
    url = None if out_dir is None else ObjectUrl.parse(out_dir)
    return url or directory_outputs_url(directory)
