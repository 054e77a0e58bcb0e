"""Sources: the jobs from whose outputs other jobs are made. A feature decides which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SourceFile:
    """An output of a source. ``path`` is relative to the run directory, ``file`` the same file's
    path on disk.

    ``sha256`` is None for an output that is only expected: then ``path`` is a guess, since its type
    isn't known.
    """

    index: int
    path: str
    file: Path
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class SourceJob:
    """A job of an entry above. ``number`` counts all jobs of the expansion, from 1."""

    name: str
    prompt: str | None
    axes: Mapping[str, str]
    entry: int
    number: int


@dataclass(frozen=True, slots=True)
class Source:
    """One output of a source, from which a job is made."""

    job: SourceJob
    output: SourceFile

    @property
    def is_expected(self) -> bool:
        """Whether there is no such output yet."""
        return self.output.sha256 is None
