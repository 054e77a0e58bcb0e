"""The jobs of an expansion whose outputs entries with ``from`` may take."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from crucible_batch.manifest import JobSpec, SourceFile, SourceJob
from crucible_batch.manifest.source_map import nearest


def expected_output(name: str, index: int) -> SourceFile:
    """Return an output that isn't there yet. Its path is a guess."""
    path = f"{name}/{index}.png"
    return SourceFile(index, path, Path(path))


def is_source(job: SourceJob, pattern: str, entry: int) -> bool:
    """Whether an entry takes the outputs of a job: it is below, and its pattern matches."""
    return job.entry < entry and fnmatch.fnmatchcase(job.name, pattern)


@dataclass(slots=True)
class SourceJobs:
    """The jobs of an expansion so far, by name, in order."""

    _jobs: dict[str, SourceJob] = field(default_factory=dict)

    def add(self, job: JobSpec) -> None:
        """Add a job. A job that was expected before and is there now keeps its number."""
        if job.name not in self._jobs:
            number = len(self._jobs) + 1
            self._jobs[job.name] = SourceJob(job.name, job.prompt, job.axes, job.entry, number)

    def named(self, name: str) -> SourceJob | None:
        return self._jobs.get(name)

    def matching(self, pattern: str, entry: int) -> Iterator[SourceJob]:
        """Yield the jobs of entries before ``entry`` whose names match, in manifest order."""
        return (job for job in self._jobs.values() if is_source(job, pattern, entry))

    def nearest(self, pattern: str, entry: int) -> str | None:
        return nearest(pattern, [job.name for job in self._jobs.values() if job.entry < entry])
