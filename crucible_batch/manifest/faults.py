"""The problems of one job while it is made, each told which row it came from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from crucible_batch.errors import Problem
from crucible_batch.manifest.files import FileFault
from crucible_batch.manifest.marks import Path as NodePath
from crucible_batch.manifest.rows import Row
from crucible_batch.manifest.site import Site
from crucible_batch.manifest.templates import TemplateFault
from crucible_batch.manifest.wording import shown


class Faults:
    """Collects what keeps one job from being made. ``source`` is where its row comes from, if it has one."""

    __slots__ = ("_row", "_source", "problems")

    def __init__(self, row: Row | None = None, source: str = "") -> None:
        self._row = row
        self._source = source
        self.problems: list[Problem] = []

    def template(self, site: Site, path: NodePath, fault: TemplateFault) -> None:
        problem = site.problem(path, fault.message, nearest=fault.nearest, hint=fault.hint)
        if fault.line > 1:
            problem = dataclasses.replace(problem, message=f"{fault.message} (line {fault.line} of the text)")
        # An unknown name is the template's fault: one problem for all rows, the first of which is a hint.
        self._add(problem, whole=fault.is_unknown_name)

    def prompt_file(self, site: Site, file: Path, fault: TemplateFault) -> None:
        """Report a template that stands in a prompt file, at the file's own line."""
        problem = site.problem(("prompt",), f"{fault.message} (in {file.name})", nearest=fault.nearest, hint=fault.hint)
        if fault.line:
            problem = dataclasses.replace(
                problem, place=dataclasses.replace(problem.place, file=file, line=fault.line, column=1)
            )
        self._add(problem, whole=fault.is_unknown_name)

    def file(self, site: Site, path: NodePath, fault: FileFault) -> None:
        self._add(site.problem(path, str(fault), hint=fault.hint))

    def other(self, site: Site, path: NodePath, message: str, *, hint: str | None = None) -> None:
        self._add(site.problem(path, message, hint=hint))

    def _add(self, problem: Problem, *, whole: bool = False) -> None:
        if self._row is not None:
            line = f", line {self._row.line}" if self._row.line else ""
            where = f"row {self._row.number} of {shown(self._source)}{line}"
            if whole:
                hint = f"{problem.hint} ({where})" if problem.hint else f"seen in {where}"
                problem = dataclasses.replace(problem, hint=hint)
            else:
                problem = dataclasses.replace(problem, message=f"{problem.message} ({where})")
        self.problems.append(problem)
