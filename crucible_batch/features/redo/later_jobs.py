"""What a run may add to its plan: the next generations of jobs whose outputs are rejected.

What makes these jobs is imported when there are rejections.
"""

# ruff: noqa: PLC0415 - imported when it is used

from __future__ import annotations

from pathlib import Path

from crucible_batch.features.redo.source import rejections_of
from crucible_batch.journal import Journal
from crucible_batch.manifest import Manifest
from crucible_batch.runs.later_jobs import LaterJobs
from crucible_batch.runs.request import RunRequest
from crucible_batch.runs.run_journal import journal_of


def may_add(manifest: Manifest, request: RunRequest, directory: Path) -> bool:
    """Whether there are rejections, or were some. Raises ``ManifestError``."""
    if rejections_of(manifest, request, directory):
        return True
    with journal_of(directory) as journal:
        return journal is not None and journal.is_created() and journal.has_generations()


def with_later(
    later: LaterJobs | None,
    manifest: Manifest,
    request: RunRequest,
    directory: Path,
    journal: Journal | None,
) -> LaterJobs | None:
    """Return the jobs that may be added to a plan, beside those of ``later``."""
    if not may_add(manifest, request, directory):
        return later
    from crucible_batch.features.redo.generations import NextGenerations

    return NextGenerations.of(later, manifest, rejections_of(manifest, request, directory), journal)
