"""Expansion of a manifest into its jobs, one at a time and in manifest order: ``expand``.

Rows are the outermost loop, then the matrix as written (its last axis changes fastest), then zip,
then repeat. The result doesn't depend on the clock, on randomness or on hash order: the same files
and the same scheduled time give the same jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from typing import Protocol

from crucible_batch.errors import Place, Problem
from crucible_batch.manifest import table_rows, validation
from crucible_batch.manifest.combinations import Combination
from crucible_batch.manifest.files import FileFault
from crucible_batch.manifest.job_spec import JobProblems, JobSpec
from crucible_batch.manifest.job_template import ExpansionContext, JobTemplate, MadeJob
from crucible_batch.manifest.manifest import Manifest, ManifestEntry
from crucible_batch.manifest.source_map import SourceNode
from crucible_batch.manifest.table_rows import RowFault, TableRow
from crucible_batch.manifest.template_filters import TemplateFault
from crucible_batch.manifest.text_field import TextField

# An entry is abandoned after this many problems, since each of its rows may have its own.
MAX_PROBLEMS_OF_ENTRY = 50


class EntryExpander(Protocol):
    """Makes the derived jobs of one expansion: those that are made from outputs of others."""

    def begin(self, context: ExpansionContext) -> None:
        """Called before the first entry."""

    def jobs(self, entry: ManifestEntry) -> Iterator[MadeJob]:
        """Yield the jobs of an entry that is derived, and the problems of the entry itself."""

    def note(self, job: JobSpec) -> None:
        """Called with each job of the manifest before the next one is made."""


def expand(
    manifest: Manifest,
    note_names: Callable[[Set[str]], None] = lambda _names: None,
    note_empty: Callable[[Sequence[str]], None] = lambda _notes: None,
    *,
    expander: EntryExpander | None = None,
) -> Iterator[JobSpec | Problem]:
    """Yield the jobs of a manifest in order, and problems in place of jobs that can't be made.

    A problem that many jobs share is yielded once per entry. If there are more than
    ``manifest.max_jobs`` jobs, the last item is that problem. Each call reads the files again.
    ``note_names`` is called at the end with the names of the variables that the templates may use,
    and ``note_empty`` with notes about empty cells that jobs use.

    ``expander`` makes the derived jobs; by default it expects one output of each job.
    Each job must have been handled before the next is taken, since derived jobs depend on those
    of the entries above.
    """
    context = ExpansionContext(manifest)
    if expander is None and manifest.derived is not None:
        expander = manifest.derived.expander()
    if expander is not None:
        expander.begin(context)
    count = 0
    for entry in manifest.jobs:
        seen: set[tuple[Place, str, str]] = set()
        made = _jobs(context, entry)
        if expander is not None and entry.job.is_derived:
            made = expander.jobs(entry)
        for job, problems in made:
            if job is not None:
                count += 1
                if count > manifest.max_jobs:
                    yield validation.too_many(entry.site, manifest.max_jobs)
                    return
                if expander is not None:
                    expander.note(job)
                yield job
            elif problems:
                yield from _new(problems, seen)
            if len(seen) >= MAX_PROBLEMS_OF_ENTRY:
                break
    note_names(context.templates.names)
    note_empty(context.empty_cells.notes)


def _jobs(context: ExpansionContext, entry: ManifestEntry) -> Iterator[MadeJob]:
    """Yield the jobs of an entry: one for each row, combination and repeat."""
    template = JobTemplate(context, entry)
    yield None, template.faults.problems
    for item in _combined(context, entry, template):
        if isinstance(item, Problem):
            yield None, [item]
        else:
            yield template.make(*item)


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
    """Yield the row, combination and repeat index of each job of an entry, in order; problems in
    place of bad rows."""
    combinations = template.combinations()
    faults = JobProblems()
    drawn = entry.job.drawn(context, entry.site, faults)
    if faults.problems:
        yield from faults.problems
        return
    for row in _rows(context, entry):
        if isinstance(row, Problem):
            yield row
            continue
        for combination in combinations:
            for repeat in range(1, entry.job.times + 1):
                axes = combination
                if drawn:
                    axes = combination.beside(drawn[repeat - 1])
                yield row, axes, repeat


def _rows(context: ExpansionContext, entry: ManifestEntry) -> Iterator[TableRow | Problem | None]:
    if entry.job.foreach is None:
        yield None
        return
    manifest, site = context.manifest, entry.site
    faults = JobProblems()
    try:
        source = TextField(entry.job.foreach, ("foreach",), context.templates).render(
            context.variables
        )
        rows = table_rows.read(
            source, context.files, manifest.max_jobs, further=entry.job.table_reader
        )
        for row in rows:
            if isinstance(row, RowFault):
                yield _fault(row, site, manifest)
            else:
                yield row
    except TemplateFault as fault:
        faults.template(site, ("foreach",), fault)
    except FileFault as fault:
        faults.file(site, ("foreach",), fault)
    yield from faults.problems


def _fault(row: RowFault, site: SourceNode, manifest: Manifest) -> Problem:
    """Return the problem of a bad row.

    Its place is in the table, at ``foreach`` for a file of a glob, or at another key of the entry.
    """
    if row.key is not None:
        return site.problem((row.key,), row.message, hint=row.hint)
    if row.file == manifest.directory:
        return site.problem(("foreach",), row.message, hint=row.hint)
    place = Place(row.file, row.line, row.column if row.line else 0)
    return Problem(place, site.field(("foreach",)), row.message, hint=row.hint)
