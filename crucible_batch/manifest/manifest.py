"""A loaded and checked manifest, with the positions of its values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from crucible_batch.errors import Place, Problem
from crucible_batch.manifest.models import (
    Assets,
    Budget,
    Fields,
    JobEntry,
    Output,
    Provenance,
    Retry,
    WorkflowDefaults,
)
from crucible_batch.manifest.source_map import SourceNode

__all__ = [
    "Assets",
    "Budget",
    "Fields",
    "JobEntry",
    "Manifest",
    "ManifestEntry",
    "Output",
    "Provenance",
    "Retry",
    "WorkflowDefaults",
]


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """One entry of ``jobs`` as written, with its position."""

    index: int
    job: JobEntry
    site: SourceNode


@dataclass(frozen=True, slots=True, eq=False)
class Manifest:
    """A manifest as written, with defaults filled in. ``jobs`` are its entries, each of which may make many jobs.

    ``sha256`` is the digest of the file's bytes. ``vars`` includes the overrides. ``warnings`` are about values that
    the author may have meant differently; each has a place, and they don't stop a run.
    """

    name: str
    path: Path
    directory: Path
    sha256: str
    workflow: str | None
    params: Mapping[str, Any]
    workflows: Mapping[str, WorkflowDefaults]
    budget: Budget
    vars: Mapping[str, Any]
    matrix: Mapping[str, list[Any]]
    output: Output
    retry: Retry
    assets: Assets
    provenance: Provenance
    duplicates: Literal["error", "once", "each"]
    warnings: tuple[Problem, ...]
    allow_outside: bool
    max_jobs: int
    jobs: tuple[ManifestEntry, ...] = field(repr=False)
    site: SourceNode = field(repr=False)

    def place(self, field: str) -> Place:
        """Return the place of a field, such as ``budget.credits`` or ``jobs[2].params.size.width``.

        If there is no such field, returns the place of the innermost field that encloses it, or of the file.
        """
        while field:
            if (steps := self.site.steps(field)) is not None:
                return self.site.place(steps)
            field = field[: max(field.rfind("."), field.rfind("["), 0)]
        return Place(self.path)
