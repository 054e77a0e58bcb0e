"""A loaded and checked manifest, with the positions of its values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

from crucible_batch.errors import Place, Problem
from crucible_batch.manifest.models import Header, JobEntry
from crucible_batch.manifest.source_map import SourceNode
from crucible_batch.scheduled_time import time_variables


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """One entry of ``jobs`` as written, with its position."""

    index: int
    job: JobEntry
    site: SourceNode


@dataclass(frozen=True, slots=True, eq=False)
class Manifest:
    """A manifest as written, with defaults filled in. ``jobs`` are its entries, each of which may
    make many jobs.

    ``header`` has all other keys. ``sha256`` is the digest of the file's bytes. ``vars`` are those
    of the header with the overrides. ``warnings`` are about values that the author may have meant
    differently; each has a place, and they don't stop a run. ``zone`` is that of the variables
    ``date``, ``week``, ``month`` and ``scheduled_at``, which templates have if ``scheduled_at`` is
    set: a time in UTC.

    If the manifest is made of several files, ``bases`` are the paths of the others, ``merged`` has
    all of them in one, and ``sha256`` is the digest of that.
    """

    header: Header
    path: Path
    directory: Path
    sha256: str
    vars: Mapping[str, Any]
    zone: tzinfo
    warnings: tuple[Problem, ...]
    allow_outside: bool
    max_jobs: int
    jobs: tuple[ManifestEntry, ...] = field(repr=False)
    site: SourceNode = field(repr=False)
    scheduled_at: datetime | None = None
    merged: bytes | None = field(default=None, repr=False)
    bases: tuple[Path, ...] = ()

    def content(self) -> bytes:
        """Return the bytes of a file with all of the manifest. Raises ``OSError``."""
        if self.merged is not None:
            return self.merged
        return self.path.read_bytes()

    @property
    def name(self) -> str:
        """The name of its runs."""
        return self.header.name

    @property
    def may_grow(self) -> bool:
        """Whether a run may add jobs to its plan, since they are made from outputs of others."""
        return self.derived is not None

    @property
    def derived(self) -> JobEntry | None:
        """The first entry whose jobs are made from outputs of others."""
        return next((entry.job for entry in self.jobs if entry.job.is_derived), None)

    @property
    def variables(self) -> dict[str, Any]:
        """The template variables of the manifest: those of the scheduled time, and ``vars``, which
        hide them.
        """
        if self.scheduled_at is None:
            return {**self.vars}
        return {**time_variables(self.scheduled_at, self.zone), **self.vars}

    def programs(self) -> Iterator[str]:
        """Yield the programs that its runs start, which has to be allowed."""
        yield from self.header.programs()
        for entry in self.jobs:
            yield from entry.job.programs()

    def place(self, field: str) -> Place:
        """Return the place of a field, such as ``budget.credits`` or ``jobs[2].params.size.width``.

        If there is no such field, returns the place of the innermost field that encloses it, or of
        the file.
        """
        while field:
            steps = self.site.steps(field)
            if steps is not None:
                return self.site.place(steps)
            field = field[: max(field.rfind("."), field.rfind("["), 0)]
        return Place(self.path)
