"""Jobs that a run may add to its plan while it is active, made from what it has saved.

A feature has the rule by which they are made. What they may cost is known by every plan, and every
run knows that a job is in its journal's plan before it is bought.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from crucible_batch.core.ports import Derivation
from crucible_batch.core.prices import Shape
from crucible_batch.features import found
from crucible_batch.journal import Journal
from crucible_batch.manifest import Manifest
from crucible_batch.object_url import ObjectUrl
from crucible_batch.runs.draft import ExpectedJobs
from crucible_batch.runs.request import RunRequest


@dataclass(frozen=True, slots=True)
class NextStage:
    """An entry of the manifest whose jobs a run may add to its plan.

    ``jobs`` counts those that are expected: one for each source without outputs, unless the picks
    name others. ``sources`` is the pattern, ``uploads`` the number of images that they may need.
    ``picks`` is the path of the picks file as in the manifest, None without one. ``is_waiting``: it
    is missing, so this run adds no job. ``is_after_waiting``: its sources are jobs of such a stage.
    """

    name: str
    sources: str
    jobs: int
    shapes: dict[Shape, int]
    uploads: int
    picks: str | None = None
    is_waiting: bool = False
    is_after_waiting: bool = False
    choices: int = 0

    @property
    def is_counted(self) -> bool:
        """Whether this run may buy its jobs."""
        return not self.is_waiting and not self.is_after_waiting


class LaterJobs(ExpectedJobs, Protocol):
    """The jobs that may be added to one plan: expected while it is made, added during its run."""

    def next_stages(self, left_out: Set[str] = frozenset()) -> tuple[NextStage, ...]:
        """Return what each entry may add to the plan, if nothing is made from the jobs
        ``left_out``."""

    def derivation(self, journal: Journal) -> Derivation:
        """Return what adds the jobs during the run, whose journal this is."""


def may_add_jobs(manifest: Manifest, request: RunRequest, directory: Path) -> bool:
    """Whether a run may add jobs to its plan.

    Raises ``UserError`` if what it depends on can't be read.
    """
    adders = found("later_jobs")
    return manifest.may_grow or any(each.may_add(manifest, request, directory) for each in adders)


def later_jobs(
    manifest: Manifest,
    request: RunRequest,
    run_id: str,
    directory: Path,
    *,
    journal: Journal | None,
    url: ObjectUrl | None,
) -> LaterJobs | None:
    """Return the jobs that may be added to a plan; None if there can't be any.

    They are made from the outputs that the journal has; without one no output is known.
    ``directory`` is that of the run, ``url`` is where its outputs are, if that is an object store.
    """
    later: LaterJobs | None = None
    if manifest.derived is not None:
        later = manifest.derived.later_jobs(manifest, run_id, directory, journal, url)
    for adder in found("later_jobs"):
        later = adder.with_later(later, manifest, request, directory, journal)
    return later
