"""A manifest that was read and checked, with the positions of its values."""

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
    """One entry of ``jobs``: what its author wrote, and where."""

    index: int
    job: JobEntry
    site: SourceNode


@dataclass(frozen=True, slots=True, eq=False)
class Manifest:
    """What the author wrote, defaults filled in. ``jobs`` are the entries, each of which may make many jobs.

    ``sha256`` is of the file's bytes. ``vars`` holds the overrides already. ``warnings`` are what the author may
    have meant otherwise: each has a place, none stops a run.
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
        """Return where a field stands, such as ``budget.credits`` or ``jobs[2].params.size.width``.

        Where there is no such field, it is the place of the nearest thing around it.
        """
        while field:
            if (steps := self.site.steps(field)) is not None:
                return self.site.place(steps)
            field = field[: max(field.rfind("."), field.rfind("["), 0)]
        return Place(self.path)
