"""The problems of one job while it is made, each told which row it came from."""

from __future__ import annotations

import dataclasses
from collections.abc import Container
from pathlib import Path

from crucible_batch.errors import Problem
from crucible_batch.manifest.files import FileFault
from crucible_batch.manifest.source_map import Path as NodePath
from crucible_batch.manifest.source_map import SourceNode, shown
from crucible_batch.manifest.table_rows import TableRow
from crucible_batch.manifest.templates import TemplateFault


class JobProblems:
    """Collects what keeps one job from being made. ``source`` is where its row comes from, if it has one.

    ``failed`` are the keys that a fault was found in. ``excused`` are variables that could not be told: a template
    that asks for one of them has failed, but that is no problem of its own.
    """

    __slots__ = ("_excused", "_row", "_source", "failed", "problems")

    def __init__(self, row: TableRow | None = None, source: str = "", *, excused: Container[str] = ()) -> None:
        self._row = row
        self._source = source
        self._excused = excused
        self.problems: list[Problem] = []
        self.failed: set[str] = set()

    def template(self, site: SourceNode, path: NodePath, fault: TemplateFault) -> None:
        if fault.unknown_variable is not None and fault.unknown_variable in self._excused:
            self.failed.add(str(path[0]))
            return
        problem = site.problem(path, fault.message, nearest=fault.nearest, hint=fault.hint)
        if fault.line > 1:
            problem = dataclasses.replace(problem, message=f"{fault.message} (line {fault.line} of the text)")
        # An unknown name is the template's fault: one problem for all rows, the first of which is a hint.
        self._add(path, problem, whole=fault.is_unknown_name)

    def prompt_file(self, site: SourceNode, file: Path, fault: TemplateFault) -> None:
        """Report a template that stands in a prompt file, at the file's own line."""
        if fault.unknown_variable is not None and fault.unknown_variable in self._excused:
            self.failed.add("prompt")
            return
        problem = site.problem(("prompt",), f"{fault.message} (in {file.name})", nearest=fault.nearest, hint=fault.hint)
        if fault.line:
            problem = dataclasses.replace(
                problem, place=dataclasses.replace(problem.place, file=file, line=fault.line, column=1)
            )
        self._add(("prompt",), problem, whole=fault.is_unknown_name)

    def file(self, site: SourceNode, path: NodePath, fault: FileFault) -> None:
        self._add(path, site.problem(path, str(fault), hint=fault.hint))

    def other(self, site: SourceNode, path: NodePath, message: str, *, hint: str | None = None) -> None:
        self._add(path, site.problem(path, message, hint=hint))

    def whole(self, key: str, problem: Problem) -> None:
        """Report what is the fault of the entry, whatever the row."""
        self.failed.add(key)
        self.problems.append(problem)

    def _add(self, path: NodePath, problem: Problem, *, whole: bool = False) -> None:
        self.failed.add(str(path[0]))
        if self._row is not None:
            line = f", line {self._row.line}" if self._row.line else ""
            where = f"row {self._row.number} of {shown(self._source)}{line}"
            if whole:
                hint = f"{problem.hint} ({where})" if problem.hint else f"seen in {where}"
                problem = dataclasses.replace(problem, hint=hint)
            else:
                message = f"{problem.message} ({where})"
                problem = dataclasses.replace(problem, message=message, row=self._row.place)
        self.problems.append(problem)
