"""The search for a run directory in which a new manifest's jobs are known under another manifest
name."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import cast

from crucible_batch.core.identity import Json, job_identity
from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.redaction import clean, clean_path
from crucible_batch.core.saved_plan import PlannedState
from crucible_batch.errors import CrucibleBatchError
from crucible_batch.journal import Binding, Journal, PlanFile, journals_beside
from crucible_batch.runs.context import RunContext
from crucible_batch.runs.parts import RunPart
from crucible_batch.runs.paths import relative_to_here
from crucible_batch.runs.plan_parts import PlanPart, ReadPlan
from crucible_batch.runs.plan_rows import state_of

logger = logging.getLogger(__name__)

MOST_LISTED = 1000
"""The most run directories that are listed. Of these, the newest ``MOST_JOURNALS`` are read."""
MOST_JOURNALS = 50
MOST_JOBS = 200
"""The most jobs that are compared."""

_BOUGHT = {PlannedState.DONE, PlannedState.IN_FLIGHT}


@dataclass(frozen=True, slots=True)
class KnownJobs:
    """The run directory in which ``count`` of ``compared`` jobs have been bought under another
    manifest name.

    ``is_part`` is true if there are more jobs than were compared.
    """

    directory: Path
    manifest_name: str
    count: int
    compared: int
    is_part: bool

    def __str__(self) -> str:
        name, where = clean(self.manifest_name, 200), clean_path(relative_to_here(self.directory))
        compared = f"the first {self.compared}" if self.is_part else str(self.compared)
        jobs = f"{self.count} of {compared} jobs"
        return (
            f"{jobs} were bought before under the manifest name {name!r}, in {where}; "
            "under another name they are bought again. To reuse the images, "
            f"set name: {name} in the manifest and use --out-dir {shlex.quote(where)}"
        )


class KnownJobsPart(RunPart, PlanPart):
    """Warns about jobs that were bought under another manifest name."""

    def planned(self, run: RunContext, draft: PlanFile) -> None:
        if run.request.names:  # an earlier step of a probe has warned
            return
        known = find_known_jobs(draft, run.directory, run.binding)
        if known is not None:
            logger.warning("%s", known)

    def job_notes(self, plan: ReadPlan, draft: PlanFile) -> Iterator[str]:
        known = find_known_jobs(draft, plan.directory, plan.basis.binding)
        if known is not None:
            yield str(known)


def find_known_jobs(draft: PlanFile, directory: Path, wanted: Binding) -> KnownJobs | None:
    """Return the run directory beside ``directory`` that knows most of the draft's jobs under
    another name, or None.

    Only a directory without a journal can be that of a renamed manifest. Directories of other run
    ids or gateways, and those that can't be read, are passed over.
    """
    try:
        if Journal.exists(directory):
            return None
        others = _newest_beside(directory, wanted)[:MOST_JOURNALS]
        if not others:
            return None
        jobs = list(islice(draft.jobs(), MOST_JOBS + 1))
        found = [_known_in(other, jobs, wanted) for other in others]
    except (CrucibleBatchError, OSError):  # only the warning is lost
        return None
    known = [each for each in found if each is not None]
    return max(known, key=lambda each: each.count, default=None)


def _newest_beside(directory: Path, wanted: Binding) -> list[Path]:
    """Return the run directories beside this one: those of the same run id first, then the newest
    first.
    """
    listed = islice(journals_beside(directory, wanted), MOST_LISTED)
    return sorted(
        listed, key=lambda other: (other.name == wanted.run_id, other.stat().st_mtime), reverse=True
    )


def _known_in(other: Path, jobs: Sequence[PlannedJob], wanted: Binding) -> KnownJobs | None:
    """Return how many of the jobs have been bought in another directory under its manifest's name;
    None for 0."""
    compared = jobs[:MOST_JOBS]
    try:
        with Journal.read(other) as journal:
            theirs = journal.binding()
            if theirs == wanted or replace(theirs, manifest_name=wanted.manifest_name) != wanted:
                return None
            known = (journal.known(_identity(job, theirs)) for job in compared)
            count = sum(found is not None and state_of(found[1]) in _BOUGHT for found in known)
    except (CrucibleBatchError, OSError):
        return None
    if not count:
        return None
    return KnownJobs(
        other, theirs.manifest_name, count, len(compared), is_part=len(jobs) > len(compared)
    )


def _identity(job: PlannedJob, binding: Binding) -> str:
    """Return the identity that the job has in another manifest's run directory."""
    return job_identity(
        manifest=binding.manifest_name,
        run_id=binding.run_id,
        workflow_id=job.workflow_id,
        params=cast("Mapping[str, Json]", job.content),
        images={name: image.spec.sha256 for name, image in job.images.items()},
        repeat=job.repeat,
    )
