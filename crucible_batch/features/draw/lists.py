"""The lists that an entry draws from, and the values that its jobs draw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

from crucible_batch.errors import Place, Problem
from crucible_batch.features.draw.manifest_keys import DrawKeys
from crucible_batch.features.draw.rule import drawn
from crucible_batch.manifest import table_rows
from crucible_batch.manifest.files import FileFault, is_glob, quoted
from crucible_batch.manifest.job_spec import JobProblems
from crucible_batch.manifest.job_template import ExpansionContext
from crucible_batch.manifest.source_map import SourceNode
from crucible_batch.manifest.table_rows import RowFault
from crucible_batch.manifest.template_filters import TemplateFault
from crucible_batch.manifest.text_field import TextField

_ONE_A_LINE = ".txt"


def drawn_values(
    entry: DrawKeys, context: ExpansionContext, site: SourceNode, faults: JobProblems
) -> Sequence[dict[str, Any]]:
    """Return what each job of an entry draws, by the names of the lists."""
    values: list[dict[str, Any]] = [{} for _ in range(entry.times)]
    for name, given in (entry.draw or {}).items():
        lines = given
        if isinstance(given, str):
            lines = _lines(given, name, context, site, faults)
        if not lines:
            continue
        indexes = drawn(entry.seed, name, len(lines), entry.times)
        for of_job, index in zip(values, indexes, strict=True):
            of_job[name] = lines[index]
    return values


def _lines(
    given: str, name: str, context: ExpansionContext, site: SourceNode, faults: JobProblems
) -> list[str]:
    """Return the lines of a file; nothing if there are problems, which are added to ``faults``."""
    path = ("draw", name)
    try:
        source = TextField(given, path, context.templates).render(context.variables)
        return list(_read(source, path, context, site, faults))
    except TemplateFault as fault:
        faults.template(site, path, fault)
    except FileFault as fault:
        faults.file(site, path, fault)
    return []


def _read(
    source: str,
    path: tuple[str, ...],
    context: ExpansionContext,
    site: SourceNode,
    faults: JobProblems,
) -> Iterator[str]:
    if is_glob(source) or PurePosixPath(source).suffix.lower() != _ONE_A_LINE:
        raise FileFault(
            f"{quoted(source)} is not a .txt file",
            hint="lists are .txt files with one value a line, or in the manifest: [one, two]",
        )
    most = context.manifest.max_jobs
    rows = table_rows.read(source, context.files, most)
    for row in islice(rows, most):
        if isinstance(row, RowFault):
            place = Place(row.file, row.line, row.column if row.line else 0)
            faults.problems.append(Problem(place, site.field(path), row.message, hint=row.hint))
        else:
            yield row.values["line"]
    if next(rows, None) is not None:
        raise FileFault(
            f"{quoted(source)} has more than {most:,} lines", hint="--max-jobs raises the limit"
        )
