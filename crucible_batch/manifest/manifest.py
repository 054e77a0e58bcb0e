"""A manifest that was read and checked: what its author wrote, and where each thing stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
from crucible_batch.manifest.problems import ProblemCollector
from crucible_batch.manifest.shape_errors import salvaged
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
    site: SourceNode = field(repr=False)

    def entries(self) -> Iterator[ManifestEntry]:
        """Yield the entries of ``jobs`` in order."""
        for index, site in enumerate(self.site.items("jobs")):
            if index not in self.broken:
                unknown = self.faulty.get(index, _NONE)
                yield ManifestEntry(index, _sound_job(site.value, unknown), site, unknown)

    @property
    def lists_jobs(self) -> bool:
        return isinstance(self.site.value.get("jobs"), list)

    def place(self, field: str) -> Place:
        """Return where a field stands, such as ``budget.credits`` or ``jobs[2].params.size.width``.

        Where there is no such field, it is the place of the nearest thing around it.
        """
        while field:
            if (steps := self.site.steps(field)) is not None:
                return self.site.place(steps)
            field = field[: max(field.rfind("."), field.rfind("["), 0)]
        return Place(self.path)


def _sound_job(value: Any, unknown: frozenset[str]) -> JobEntry:
    if unknown:
        return salvaged(JobEntry, value, unknown, name=UNNAMED)
    return JobEntry.model_validate(value)


@dataclass(frozen=True, slots=True)
class Reading:
    """What reading a manifest came to: a ``Manifest``, and the ``problems`` of its form that were found on the way.

    Where there are any it must not be run. It can be expanded, to hear of what else is wrong.
    """

    manifest: Manifest
    problems: ProblemCollector


SETS_VARIABLES = frozenset({"matrix", "zip", "foreach"})


class ExcusedVariables:
    """A set of names; it holds all there are where a mapping of them is lost whole, so that no name can be told."""

    __slots__ = ("_everything", "_names")

    def __init__(self, entry: ManifestEntry, manifest: Manifest) -> None:
        self._everything = False
        self._names: set[str] = set()
        if entry.unknown or manifest.unknown:
            self._lose(entry, manifest)

    def _lose(self, entry: ManifestEntry, manifest: Manifest) -> None:
        lost: list[tuple[SourceNode, str]] = [(entry.site, key) for key in ("matrix", "zip") if key in entry.unknown]
        if "vars" in manifest.unknown:
            lost.append((manifest.site, "vars"))
        if "matrix" in manifest.unknown and entry.job.matrix is None:
            lost.append((manifest.site, "matrix"))
        self._everything = not all(_is_named(site, key) for site, key in lost)
        self._names = {name for site, key in lost for name in _names(site, key)}
        if "foreach" in entry.unknown:
            self.add("row")

    def __contains__(self, name: object) -> bool:
        return self._everything or name in self._names

    def add(self, name: str) -> None:
        self._names.add(name)


def _is_named(site: SourceNode, key: str) -> bool:
    return isinstance(site.value.get(key), dict) and site.is_sound((key,), within=False)


def _names(site: SourceNode, key: str) -> Iterator[str]:
    mapping = site.value.get(key)
    yield from mapping if isinstance(mapping, dict) else ()
