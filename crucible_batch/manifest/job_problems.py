"""The problems of one job while it is made, each told which row it came from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from crucible_batch.errors import Problem
from crucible_batch.manifest.files import FileFault
from crucible_batch.manifest.source_map import Path as NodePath
from crucible_batch.manifest.source_map import SourceNode, shown
from crucible_batch.manifest.table_rows import TableRow
from crucible_batch.manifest.templates import TemplateFault


class JobProblems:
    """Collects what keeps one job from being made. ``source`` is where its row comes from, if it has one."""

    __slots__ = ("_row", "_source", "problems")

    def __init__(self, row: TableRow | None = None, source: str = "") -> None:
        self._row = row
        self._source = source
        self.problems: list[Problem] = []

    def template(self, site: SourceNode, path: NodePath, fault: TemplateFault) -> None:
        problem = site.problem(path, fault.message, nearest=fault.nearest, hint=fault.hint)
        if fault.line > 1:
            problem = dataclasses.replace(problem, message=f"{fault.message} (line {fault.line} of the text)")
        self._add(problem, is_of_all_rows=fault.is_unknown_name)

    def prompt_file(self, site: SourceNode, file: Path, fault: TemplateFault) -> None:
        """Report a template that stands in a prompt file, at the file's own line."""
        problem = site.problem(("prompt",), f"{fault.message} (in {file.name})", nearest=fault.nearest, hint=fault.hint)
        if fault.line:
            problem = dataclasses.replace(
                problem, place=dataclasses.replace(problem.place, file=file, line=fault.line, column=1)
            )
        self._add(problem, is_of_all_rows=fault.is_unknown_name)

    def file(self, site: SourceNode, path: NodePath, fault: FileFault) -> None:
        self._add(site.problem(path, str(fault), hint=fault.hint))

    def other(self, site: SourceNode, path: NodePath, message: str, *, hint: str | None = None) -> None:
        self._add(site.problem(path, message, hint=hint))

    def _add(self, problem: Problem, *, is_of_all_rows: bool = False) -> None:
        """Add a problem with its row: in the hint if all rows have it, so that it is reported once."""
        if self._row is not None:
            line = f", line {self._row.line}" if self._row.line else ""
            where = f"row {self._row.number} of {shown(self._source)}{line}"
            if is_of_all_rows:
                hint = f"{problem.hint} ({where})" if problem.hint else f"seen in {where}"
                problem = dataclasses.replace(problem, hint=hint)
            else:
                message = f"{problem.message} ({where})"
                problem = dataclasses.replace(problem, message=message, row=self._row.place)
        self.problems.append(problem)
