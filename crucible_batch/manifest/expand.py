"""Expands a manifest into its jobs, one by one, in its order: ``expand``.

Rows are the outer loop, then the matrix as written (its last axis fastest), then zip, then repeat. Nothing here
depends on the clock, on chance or on how a dict was hashed: the same files give the same jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from crucible_batch.errors import Place, Problem
from crucible_batch.manifest import table_rows, validation
from crucible_batch.manifest.files import FileFault
from crucible_batch.manifest.job_spec import JobProblems, JobSpec
from crucible_batch.manifest.job_template import Combination, ExpansionContext, JobTemplate, TextField
from crucible_batch.manifest.manifest import Manifest, ManifestEntry
from crucible_batch.manifest.source_map import SourceNode
from crucible_batch.manifest.table_rows import RowFault, TableRow
from crucible_batch.manifest.template_filters import TemplateFault

# After so many problems an entry is left, since each of its rows may have one of its own.
MAX_PROBLEMS_OF_ENTRY = 100


def _ignore(_text: str, _path: Path) -> None:
    """Ignore which files are read."""


def expand(manifest: Manifest, note: Callable[[str, Path], None] = _ignore) -> Iterator[JobSpec | Problem]:
    """Yield the jobs of a manifest in its order, and problems in place of those that can't be made.

    A problem that many jobs share is yielded once an entry. With more than ``manifest.max_jobs`` jobs, the last item
    is that problem. Each call reads the files again. ``note`` is called with each prompt file and table that is read,
    as the manifest names it; maybe more than once.
    """
    context = ExpansionContext(manifest, note)
    count = 0
    for entry in manifest.jobs:
        seen: set[tuple[Place, str, str]] = set()
        template = JobTemplate(context, entry)
        yield from _new(template.faults.problems, seen)
        for item in _combined(context, entry, template):
            if isinstance(item, Problem):
                yield from _new([item], seen)
            else:
                count += 1
                if count > manifest.max_jobs:
                    yield validation.too_many(entry.site, manifest.max_jobs)
                    return
                job, problems = template.make(*item)
                if job is not None:
                    yield job
                elif problems:
                    yield from _new(problems, seen)
            if len(seen) >= MAX_PROBLEMS_OF_ENTRY:
                break


def _new(problems: Sequence[Problem], seen: set[tuple[Place, str, str]]) -> Iterator[Problem]:
    """Yield the problems that this entry has not had yet; the hint, which may name a row, makes no difference."""
    for problem in problems:
        identity = (problem.place, problem.field, problem.message)
        if identity not in seen:
            seen.add(identity)
            yield problem


def _combined(
    context: ExpansionContext, entry: ManifestEntry, template: JobTemplate
) -> Iterator[tuple[TableRow | None, Combination, int] | Problem]:
    """Yield row, combination and repeat index of each job of an entry, in order; problems in place of bad rows."""
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
        source = TextField(entry.job.foreach, ("foreach",), context.templates).render(manifest.vars)
        for row in table_rows.read(source, context.files, manifest.max_jobs):
            yield _fault(row, site, manifest) if isinstance(row, RowFault) else row
    except TemplateFault as fault:
        faults.template(site, ("foreach",), fault)
    except FileFault as fault:
        faults.file(site, ("foreach",), fault)
    yield from faults.problems


def _fault(row: RowFault, site: SourceNode, manifest: Manifest) -> Problem:
    """A fault of a table has its place there; one of a file that a glob matched has none but the glob's own."""
    if row.file == manifest.directory:
        return site.problem(("foreach",), row.message, hint=row.hint)
    place = Place(row.file, row.line, row.column if row.line else 0)
    return Problem(place, site.field(("foreach",)), row.message, hint=row.hint)
