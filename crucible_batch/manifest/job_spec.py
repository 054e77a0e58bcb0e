"""Jobs of a manifest with templates rendered and files found, and problems that prevent jobs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from crucible_batch.errors import Place, Problem
from crucible_batch.manifest.files import FileFault
from crucible_batch.manifest.names import NameClaim, NameClaims
from crucible_batch.manifest.source_map import Path as NodePath
from crucible_batch.manifest.source_map import SourceNode, shown
from crucible_batch.manifest.sources import Source
from crucible_batch.manifest.table_rows import TableRow
from crucible_batch.manifest.template_filters import TemplateFault
from crucible_batch.manifest.templates import Json

_COPY_BITS = 32


@dataclass(slots=True)
class JobSpec:
    """One job. Don't change it or its mappings: the jobs of an entry share them.

    The class isn't frozen, since for so many fields that costs 2 µs per job.

    ``name`` is unique and safe as a file name. ``image`` and ``images`` are real paths of regular
    files whose content hasn't been read. ``params`` are the workflow's defaults overridden by the
    job's own. ``fields`` name the parameters that take ``prompt`` and ``image``, if the manifest
    names them. ``axes`` are the values of matrix and zip as text. ``output_pattern`` is
    ``output.path`` with name and workflow filled in, ``{index}`` and ``{ext}`` not yet.
    ``made_for`` is the job's row of the table. ``is_apart`` is True if the unique name is enough to
    keep the job's outputs from colliding with other jobs'. ``source`` is the output of another job
    from which it is made, and ``copy`` the job's number among those that the entry makes from it.
    ``collision`` is set if that output exists already, and another job has the name.
    """

    name: str
    workflow_id: str
    prompt: str | None
    image: Path | None
    images: Mapping[str, Path]
    params: Mapping[str, Json]
    fields: Mapping[str, str]
    repeat: int
    axes: Mapping[str, str]
    output_pattern: str
    site: SourceNode = field(repr=False, compare=False)
    root: SourceNode = field(repr=False, compare=False)
    is_on_default: bool = field(repr=False, compare=False)
    made_for: TableRow | None = field(default=None, repr=False, compare=False)
    is_apart: bool = field(default=False, repr=False, compare=False)
    source: Source | None = field(default=None, repr=False, compare=False)
    copy: int = field(default=0, repr=False, compare=False)
    collision: Problem | None = field(default=None, repr=False, compare=False)

    @property
    def is_expected(self) -> bool:
        """Whether it is made from an output that isn't there yet."""
        return self.source is not None and self.source.is_expected

    @property
    def entry(self) -> int:
        """The index of the job's entry in ``jobs``."""
        return int(self.site.path[1])

    def place(self, field: str) -> Place:
        """Return the place of a field of the job, such as ``prompt`` or ``params.size.width``.

        For a value from the defaults, this is its place there. If there is no such value, returns
        the place of the job's top-level field or of the job.
        """
        site, steps = self._find(field)
        return site.place(steps)

    def problem(
        self,
        field: str,
        message: str,
        *,
        nearest: str | None = None,
        hint: str | None = None,
        of_row: bool = False,
    ) -> Problem:
        """Return a problem of this job with ``field``, with its place and its path in the manifest.

        Set ``of_row`` if the problem is specific to the job's row, to include that row's place. For
        a parameter or axis the place is that of its key, since the problem is about its name.
        """
        site, steps = self._find(field)
        found = site.field(steps)
        if not steps:  # there is no such value
            found = f"{found}.{field}"
        place = site.place(steps, key=len(steps) > 1)
        row = None
        if of_row and self.made_for is not None:
            row = self.made_for.place
        return Problem(place, found, message, nearest=nearest, hint=hint, row=row)

    def place_of(self, entry: int, field: str | None) -> Place:
        """Return the place of another entry of ``jobs``, or of a field of it."""
        if field is None:
            return self.root.place(("jobs", entry))
        return self.root.place(("jobs", entry, field))

    def claim(self, claims: NameClaims, text: str) -> NameClaim | None:
        """Claim ``text`` for this job and return None, or return the claim that another job has.

        A job from a source claims twice: once when its output is expected, and again when it is
        there.
        """
        if self.source is not None:
            return take_again(claims, text, claim_of(self.name, self.entry, self.source, self.copy))
        if self.made_for is None:
            return claims.take(text, self.name, self.entry)
        return claims.take(text, self.name, self.entry, self.made_for.number, self.made_for.line)

    def place_of_claim(self, claim: NameClaim, field: str | None = None) -> str:
        """Return the place of another job's entry or of one of its fields, with the job's row if it
        has one."""
        place = str(self.place_of(claim.entry, field))
        row = row_words(self.root, claim.entry, claim.row, claim.line)
        if row:
            return f"{place}, {row}"
        return place

    @property
    def own_row(self) -> str:
        """The job's row in parentheses, to be appended to its name; empty if there is none."""
        row = self.made_for
        if row is None:
            return ""
        return f" ({row_words(self.root, self.entry, row.number, row.line)})"

    def _find(self, field: str) -> tuple[SourceNode, list[str | int]]:
        for site, candidate in self._candidates(field):
            steps = site.steps(candidate)
            if steps is not None:
                return site, steps
        outer = field.partition(".")[0]
        steps = self.site.steps(outer)
        return self.site, steps or []

    def _candidates(self, field: str) -> Iterator[tuple[SourceNode, str]]:
        yield self.site, field
        yield self.root, f"workflows.{self.workflow_id}.{field}"
        if field.startswith(("params.", "matrix.")) or field == "workflow":
            is_default = field.startswith("params.") and not self.is_on_default
            if not is_default:
                yield self.root, field


def claim_of(name: str, entry: int, source: Source, copy: int) -> NameClaim:
    """Return the claim of a job that is made from ``source``; ``copy`` as in ``JobSpec``."""
    return NameClaim(name, entry, source.job.number, source.output.index << _COPY_BITS | copy)


def take_again(claims: NameClaims, text: str, own: NameClaim) -> NameClaim | None:
    """Claim ``text``, which the same job may have claimed when its output was expected.

    Returns None, or the claim that another job has.
    """
    claim = claims.take(text, own.name, own.entry, own.row, own.line)
    if claim == own:
        return None
    return claim


def row_words(root: SourceNode, entry: int, row: int, line: int) -> str:
    """Return ``row 2 of products.csv, line 3`` for the row of an entry's table; empty if ``row`` is
    0."""
    table = root.value["jobs"][entry].get("foreach")
    if not row or table is None:
        return ""
    return _row_text(str(table), row, line)


def _row_text(table: str, row: int, line: int) -> str:
    words = f"row {row} of {shown(table)}"
    if line:
        return f"{words}, line {line}"
    return words


class JobProblems:
    """The problems that prevent one job.

    ``source`` is the text of ``foreach`` if the job has a row.
    """

    __slots__ = ("_row", "_source", "problems")

    def __init__(self, row: TableRow | None = None, source: str = "") -> None:
        self._row = row
        self._source = source
        self.problems: list[Problem] = []

    def template(self, site: SourceNode, path: NodePath, fault: TemplateFault) -> None:
        problem = site.problem(path, fault.message, nearest=fault.nearest, hint=fault.hint)
        if fault.line > 1:
            problem = dataclasses.replace(
                problem, message=f"{fault.message} (line {fault.line} of the text)"
            )
        self._add(problem, is_of_all_rows=fault.is_unknown_name)

    def prompt_file(self, site: SourceNode, file: Path, fault: TemplateFault) -> None:
        """Add the problem of a template in a prompt file, with its place in that file."""
        problem = site.problem(
            ("prompt",), f"{fault.message} (in {file.name})", nearest=fault.nearest, hint=fault.hint
        )
        if fault.line:
            problem = dataclasses.replace(
                problem,
                place=dataclasses.replace(problem.place, file=file, line=fault.line, column=1),
            )
        self._add(problem, is_of_all_rows=fault.is_unknown_name)

    def file(self, site: SourceNode, path: NodePath, fault: FileFault) -> None:
        self._add(site.problem(path, str(fault), nearest=fault.nearest, hint=fault.hint))

    def other(
        self, site: SourceNode, path: NodePath, message: str, *, hint: str | None = None
    ) -> None:
        self._add(site.problem(path, message, hint=hint))

    def _add(self, problem: Problem, *, is_of_all_rows: bool = False) -> None:
        """Add a problem with its row.

        If all rows have it, the row is in the hint, so that it is reported once.
        """
        if self._row is not None:
            where = _row_text(self._source, self._row.number, self._row.line)
            if is_of_all_rows:
                hint = f"seen in {where}"
                if problem.hint:
                    hint = f"{problem.hint} ({where})"
                problem = dataclasses.replace(problem, hint=hint)
            else:
                message = f"{problem.message} ({where})"
                problem = dataclasses.replace(problem, message=message, row=self._row.place)
        self.problems.append(problem)
