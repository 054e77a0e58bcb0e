"""Expansion of a manifest into its jobs, one at a time and in manifest order: ``expand``.

Rows are the outermost loop, then the matrix as written (its last axis changes fastest), then zip, then repeat. The
result doesn't depend on the clock, on randomness or on hash order: the same files and the same scheduled time give the
same jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import replace

from crucible_batch.errors import Place, Problem
from crucible_batch.manifest import table_rows, validation
from crucible_batch.manifest.combinations import Combination
from crucible_batch.manifest.deriving_entry import DerivingEntry
from crucible_batch.manifest.files import FileFault
from crucible_batch.manifest.job_spec import JobProblems, JobSpec
from crucible_batch.manifest.job_template import ExpansionContext, JobTemplate
from crucible_batch.manifest.manifest import Manifest, ManifestEntry
from crucible_batch.manifest.source_map import SourceNode
from crucible_batch.manifest.sources import Source, SourceFile, SourceJob, SourceJobs, expected_output
from crucible_batch.manifest.table_rows import RowFault, TableRow
from crucible_batch.manifest.template_filters import TemplateFault
from crucible_batch.manifest.text_field import TextField

_Made = tuple["JobSpec | None", Sequence[Problem]]

# An entry is abandoned after this many problems, since each of its rows may have its own.
MAX_PROBLEMS_OF_ENTRY = 50


OutputsOf = Callable[[str], "Sequence[SourceFile] | None"]
"""Returns the outputs of the job with this name: saved ones or one that is expected. None if there is no such job."""

OrderSources = Callable[["Sequence[SourceJob]"], "Sequence[SourceJob]"]
"""Returns the sources of an entry in the order in which their jobs are made: of two equal jobs, the first is kept."""


def _all_expected(name: str) -> Sequence[SourceFile]:
    return [expected_output(name, 0)]


def expand(
    manifest: Manifest,
    note_names: Callable[[Set[str]], None] = lambda _names: None,
    note_empty: Callable[[Sequence[str]], None] = lambda _notes: None,
) -> Iterator[JobSpec | Problem]:
    """Yield the jobs of a manifest in order, and problems in place of jobs that can't be made.

    A problem that many jobs share is yielded once per entry. If there are more than ``manifest.max_jobs`` jobs, the
    last item is that problem. Each call reads the files again. ``note_names`` is called at the end with the names of
    the variables that the templates may use, and ``note_empty`` with notes about empty cells that jobs use. Jobs of
    entries with ``from`` are those that are expected.
    """
    yield from Expansion(manifest).jobs(note_names, note_empty)


class Expansion:
    """One expansion of a manifest. It remembers the names that were taken, so that it can be continued by ``derive``.

    ``waiting`` are the entries with ``from`` whose picks file is missing, with its path as in the manifest.
    """

    def __init__(
        self,
        manifest: Manifest,
        outputs_of: OutputsOf = _all_expected,
        order: OrderSources = list,
    ) -> None:
        self._manifest = manifest
        self._has_stages = manifest.has_stages
        self._context = ExpansionContext(manifest)
        self._outputs_of = outputs_of
        self._order = order
        self._sources = SourceJobs()
        self._stages: list[DerivingEntry] = []
        self._count = 0

    @property
    def jobs_so_far(self) -> SourceJobs:
        """The jobs that were made, those that are only expected included."""
        return self._sources

    @property
    def stages(self) -> Sequence[DerivingEntry]:
        """The entries with ``from`` that have been expanded."""
        return self._stages

    def jobs(
        self,
        note_names: Callable[[Set[str]], None] = lambda _names: None,
        note_empty: Callable[[Sequence[str]], None] = lambda _notes: None,
    ) -> Iterator[JobSpec | Problem]:
        """Yield the jobs as ``expand`` does.

        Each job of an entry must have been handled before the next entry begins, since ``outputs_of`` is called with
        the names of those before.
        """
        for entry in self._manifest.jobs:
            seen: set[tuple[Place, str, str]] = set()
            template = JobTemplate(self._context, entry)
            yield from _new(template.faults.problems, seen)
            for job, problems in self._of_entry(entry, template):
                if job is not None:
                    self._count += 1
                    if self._count > self._manifest.max_jobs:
                        yield validation.too_many(entry.site, self._manifest.max_jobs)
                        return
                    self._note_source(job)
                    yield job
                elif problems:
                    yield from _new(problems, seen)
                if len(seen) >= MAX_PROBLEMS_OF_ENTRY:
                    break
        note_names(self._context.templates.names)
        note_empty(self._context.empty_cells.notes)

    def derive(self, name: str, output: SourceFile) -> Iterator[tuple[DerivingEntry, list[JobSpec | Problem]]]:
        """Yield the jobs that are made from an output which was saved after the expansion, by entry.

        ``name`` is the job's, which may itself have been made here.
        """
        for stage in self._stages:
            source = self._sources.named(name)
            if source is None or not stage.takes(source, output.index):
                continue
            made: list[JobSpec | Problem] = []
            for job, problems in stage.make(Source(source, output)):
                self._count += job is not None
                if job is not None and self._count > self._manifest.max_jobs:
                    made.append(validation.too_many(stage.entry.site, self._manifest.max_jobs))
                    break
                if job is not None:
                    self._note_source(job)
                    made.append(job)
                else:
                    made.extend(problems)
            yield stage, made

    def _note_source(self, job: JobSpec) -> None:
        if self._has_stages:
            self._sources.add(job.name, job.prompt, job.axes, job.entry)

    def _of_entry(self, entry: ManifestEntry, template: JobTemplate) -> Iterator[_Made]:
        if entry.job.source is None:
            for item in _combined(self._context, entry, template):
                yield (None, [item]) if isinstance(item, Problem) else template.make(*item)
            return
        stage = DerivingEntry(self._context, entry, template, self._sources, self._stages)
        self._stages.append(stage)
        yield from ((None, [problem]) for problem in stage.problems)
        for source in self._order(stage.sources):
            outputs = self._outputs_of(source.name)
            for output in () if outputs is None else outputs:
                if stage.is_waiting and output.sha256 is not None:  # it may be picked later
                    yield from stage.make(Source(source, replace(output, sha256=None)))
                elif output.sha256 is not None and stage.takes(source, output.index):
                    yield from stage.make(Source(source, output))
            if outputs is not None and all(output.sha256 is None for output in outputs):
                for index in stage.expected(source):
                    yield from stage.make(Source(source, expected_output(source.name, index)))


def _new(problems: Sequence[Problem], seen: set[tuple[Place, str, str]]) -> Iterator[Problem]:
    """Yield the problems not yet in ``seen``. Hints are not compared, since they may name a row."""
    for problem in problems:
        identity = (problem.place, problem.field, problem.message)
        if identity not in seen:
            seen.add(identity)
            yield problem


def _combined(
    context: ExpansionContext, entry: ManifestEntry, template: JobTemplate
) -> Iterator[tuple[TableRow | None, Combination, int] | Problem]:
    """Yield the row, combination and repeat index of each job of an entry, in order; problems in place of bad rows."""
    combinations = template.combinations()
    for row in _rows(context, entry):
        if isinstance(row, Problem):
            yield row
            continue
        for combination in combinations:
            for repeat in range(1, entry.job.repeat + 1):
                yield row, combination, repeat


def _rows(context: ExpansionContext, entry: ManifestEntry) -> Iterator[TableRow | Problem | None]:
    if entry.job.foreach is None:
        yield None
        return
    manifest, site = context.manifest, entry.site
    faults = JobProblems()
    try:
        source = TextField(entry.job.foreach, ("foreach",), context.templates).render(context.variables)
        for row in table_rows.read(source, context.files, manifest.max_jobs):
            yield _fault(row, site, manifest) if isinstance(row, RowFault) else row
    except TemplateFault as fault:
        faults.template(site, ("foreach",), fault)
    except FileFault as fault:
        faults.file(site, ("foreach",), fault)
    yield from faults.problems


def _fault(row: RowFault, site: SourceNode, manifest: Manifest) -> Problem:
    """Return the problem of a bad row. Its place is in the table, or at ``foreach`` for a file of a glob."""
    if row.file == manifest.directory:
        return site.problem(("foreach",), row.message, hint=row.hint)
    place = Place(row.file, row.line, row.column if row.line else 0)
    return Problem(place, site.field(("foreach",)), row.message, hint=row.hint)
