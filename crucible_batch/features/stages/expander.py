"""The jobs of entries with ``from``, by the outputs that there are, or that are expected."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from crucible_batch.errors import Problem
from crucible_batch.features.stages.entry import DerivingEntry
from crucible_batch.features.stages.sources import SourceJobs, expected_output
from crucible_batch.manifest import JobSpec, Source, SourceFile, SourceJob
from crucible_batch.manifest.job_template import ExpansionContext, MadeJob
from crucible_batch.manifest.manifest import ManifestEntry
from crucible_batch.manifest.validation import too_many

OutputsOf = Callable[[str], "Sequence[SourceFile] | None"]
"""Returns the outputs of the job with this name: saved ones, or one that is expected.

None if there is no such job.
"""

OrderSources = Callable[["Sequence[SourceJob]"], "Sequence[SourceJob]"]
"""Returns the sources of an entry in the order in which their jobs are made.

Of two equal jobs, the first is kept.
"""


def _all_expected(name: str) -> Sequence[SourceFile]:
    return [expected_output(name, 0)]


class StageExpander:
    """Expands the entries with ``from`` of one manifest, as ``EntryExpander`` describes.

    It remembers the names that were taken, so that the expansion can be continued by ``derive``.
    """

    def __init__(
        self,
        outputs_of: OutputsOf = _all_expected,
        order: OrderSources = list,
        run_dir: Path = Path(),
    ) -> None:
        self._outputs_of = outputs_of
        self._order = order
        self._run_dir = run_dir
        self.jobs_so_far = SourceJobs()
        """The jobs that were made, those that are only expected included."""
        self.stages: list[DerivingEntry] = []
        """The entries with ``from`` that have been expanded."""
        self.rejected: dict[str, Mapping[int, str]] = {}
        """What rejects outputs that are not bought again yet, by the name of their job and their
        number.
        """
        self._count = 0
        self._context: ExpansionContext

    def begin(self, context: ExpansionContext) -> None:
        self._context = context

    def note(self, job: JobSpec) -> None:
        self._count += 1
        self.jobs_so_far.add(job)

    def jobs(self, entry: ManifestEntry) -> Iterator[MadeJob]:
        """Yield the jobs of an entry.

        ``outputs_of`` is called with names of jobs of entries above.
        """
        stage = DerivingEntry(self._context, entry, self.jobs_so_far, self.stages)
        self.stages.append(stage)
        yield from ((None, [problem]) for problem in stage.problems)
        for source in stage.sources:
            for index, line in self.rejected.get(source.name, {}).items():
                yield None, list(stage.picked(source.name, index, line, self._run_dir))
        for source in self._order(stage.sources):
            outputs = self._outputs_of(source.name)
            if outputs is None:
                continue
            for output in outputs:
                if stage.is_waiting and output.sha256 is not None:  # it may be picked later
                    yield from stage.make(Source(source, replace(output, sha256=None)))
                elif output.sha256 is not None and stage.takes(source, output.index):
                    yield from stage.make(Source(source, output))
            if all(output.sha256 is None for output in outputs):
                for index in stage.expected(source):
                    yield from stage.make(Source(source, expected_output(source.name, index)))

    def derive(
        self, name: str, output: SourceFile
    ) -> Iterator[tuple[DerivingEntry, list[JobSpec | Problem]]]:
        """Yield the jobs that are made from an output, saved after the expansion, by entry.

        ``name`` is the job's, which may itself have been made here.
        """
        for stage in self.stages:
            source = self.jobs_so_far.named(name)
            if source is not None and stage.takes(source, output.index):
                yield stage, list(self._made(stage, Source(source, output)))

    def _made(self, stage: DerivingEntry, source: Source) -> Iterator[JobSpec | Problem]:
        max_jobs = self._context.manifest.max_jobs
        for job, problems in stage.make(source):
            if job is None:
                yield from problems
            elif self._count == max_jobs:
                yield too_many(stage.entry.site, max_jobs)
                return
            else:
                self.note(job)
                yield job
