"""What a journal notes about derived files: each by its path, about the job of its output.

A file is noted before it has its name. One that is not as noted was made by someone else.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import TypeAdapter

from crucible_batch.features.derive.rule import DerivedFile
from crucible_batch.journal import Journal

_BEGUN = "derived"
_PREFIX = "derived "
_END = "derived!"
_FILE: TypeAdapter[DerivedFile] = TypeAdapter(DerivedFile)


class NotedFiles:
    """The derived files of one journal. One that can't be read is left out."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._has_notes = False

    def begin(self) -> None:
        """Store that files are derived, from now on in each run of the directory."""
        if not self.is_begun():
            self._journal.note(_BEGUN, "1")

    def is_begun(self) -> bool:
        """Whether there may be derived files."""
        return bool(self._journal.noted(_BEGUN))

    def of_job(self, identity: str) -> dict[str, DerivedFile]:
        """Return those of a job, by path."""
        self._has_notes = self._has_notes or self._journal.has_job_notes()
        if not self._has_notes:
            return {}
        notes = self._journal.job_notes(identity).items()
        files = (_read(name, value) for name, value in notes if name.startswith(_PREFIX))
        return {file.path: file for file in files if file is not None}

    def all(self) -> Iterator[tuple[str, DerivedFile]]:
        """Yield those of all jobs, with the job's identity."""
        return self._between(_PREFIX, _END)

    def at(self, path: str) -> list[tuple[str, DerivedFile]]:
        """Return those that were made for a path, with the job's identity."""
        name = f"{_PREFIX}{path}"
        return list(self._between(name, f"{name}\0"))

    async def keep(self, identity: str, file: DerivedFile) -> None:
        """Store what is known of a file, and return when it is durable. Raises ``JournalError``."""
        value = _FILE.dump_json(file).decode()
        await self._journal.note_job(identity, f"{_PREFIX}{file.path}", value)

    async def forget(self, identity: str, file: DerivedFile) -> None:
        """Store that a file is no longer there. Raises ``JournalError``."""
        await self._journal.note_job(identity, f"{_PREFIX}{file.path}", "")

    def _between(self, first: str, end: str) -> Iterator[tuple[str, DerivedFile]]:
        if not self.is_begun():
            return
        for identity, name, value in self._journal.notes_of_jobs(first, end):
            file = _read(name, value)
            if file is not None:
                yield identity, file


def _read(name: str, value: str) -> DerivedFile | None:
    try:
        file = _FILE.validate_json(value)
    except ValueError:  # ValidationError is one; a file that is gone has no value
        return None
    return file if file.path == name.removeprefix(_PREFIX) else None
