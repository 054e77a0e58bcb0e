"""A manifest that was read and found sound in itself: what its author wrote, and where each thing stands."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from crucible_batch.errors import Place, Problem
from crucible_batch.manifest.models import Assets, Budget, Fields, Job, Output, Retry, Workflow
from crucible_batch.manifest.site import Site

__all__ = ["Assets", "Budget", "Entry", "Fields", "Job", "Manifest", "Output", "Retry", "Workflow"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of ``jobs``: what its author wrote, and where."""

    index: int
    job: Job
    site: Site


@dataclass(frozen=True, slots=True, eq=False)
class Manifest:
    """What the author wrote, defaults filled in. Entries of ``jobs`` are made one by one, by ``entries``.

    ``sha256`` is of the file's bytes. ``vars`` holds the overrides already. ``warnings`` are what the author may
    have meant otherwise: each has a place, none stops a run.
    """

    name: str
    path: Path
    directory: Path
    sha256: str
    workflow: str | None
    params: Mapping[str, Any]
    workflows: Mapping[str, Workflow]
    budget: Budget
    vars: Mapping[str, Any]
    matrix: Mapping[str, list[Any]]
    output: Output
    retry: Retry
    assets: Assets
    duplicates: Literal["error", "once", "each"]
    warnings: tuple[Problem, ...]
    allow_outside: bool
    max_jobs: int
    site: Site = field(repr=False)
    nodes: array[int] = field(repr=False)
    broken: frozenset[int] = frozenset()

    def entries(self) -> Iterator[Entry]:
        """Yield the entries of ``jobs`` in order, but for those that are broken."""
        for index, node in enumerate(self.nodes):
            if index not in self.broken:
                raw = self.site.value["jobs"][index]
                site = Site(self.site.document, raw, node, ("jobs", index))
                yield Entry(index, Job.model_validate(raw), site)

    def place(self, field: str) -> Place:
        """Return where a field stands, such as ``budget.credits`` or ``jobs[2].params.size.width``.

        Where there is no such field, it is the place of the nearest thing around it.
        """
        while field:
            if (steps := self.site.steps(field)) is not None:
                return self.site.place(steps)
            field = field[: max(field.rfind("."), field.rfind("["), 0)]
        return Place(self.path)
