"""The problems of a manifest: for people each with its line and a mark in it, for programs as data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from crucible_batch.api import clean
from crucible_batch.cli.answer import Json
from crucible_batch.cli.render.excerpt import excerpt, read_lines
from crucible_batch.cli.terminal import advise, say, tell
from crucible_batch.errors import ManifestError, Place, Problem

_LONGEST_PATH = 4000


def show_problems(console: Console, error: ManifestError) -> None:
    """Show each problem with its place, its line and what to do about it; then how many there are."""
    places = [place for problem in error.problems for place in (problem.place, problem.row) if place is not None]
    source = _Source(console, read_lines(places), max((len(str(place.line)) for place in places), default=1))
    for problem in error.problems:
        _show_problem(console, problem, source)
    count = len(error.problems) + error.omitted
    more = f", {error.omitted} of them not shown" if error.omitted else ""
    tell(console, (f"{count} problem{'s' if count != 1 else ''}{more}; nothing was spent", "bad"))


def problem_json(problem: Problem) -> Json:
    """Return a problem as JSON."""
    return {
        "file": str(problem.place.file),
        "line": problem.place.line,
        "column": problem.place.column,
        "end_column": problem.place.end_column,
        "field": problem.field,
        "message": problem.message,
        "nearest": problem.nearest,
        "hint": problem.hint,
        "row": None if problem.row is None else {"file": str(problem.row.file), "line": problem.row.line},
    }


class _Source:
    """Shows lines of files, each behind its number; all numbers of one error are equally wide."""

    def __init__(self, console: Console, lines: Mapping[tuple[Path, int], str], digits: int) -> None:
        self._console = console
        self._lines = lines
        self._digits = max(digits, 4)

    @property
    def indent(self) -> int:
        return self._digits + 1

    def show(self, place: Place) -> None:
        line = self._lines.get((place.file, place.line))
        if line is None:
            return
        gutter = f"{place.line:>{self._digits}} │ "
        shown = excerpt(line, place.column, place.end_column, self._console.width - len(gutter))
        say(self._console, (gutter, "label"), shown.text)
        if shown.mark:
            say(self._console, (f"{'':>{self._digits}} │ ", "label"), (shown.mark, "bad"))


def _show_problem(console: Console, problem: Problem, source: _Source) -> None:
    field = f"{clean(problem.field)}: " if problem.field else ""
    tell(console, (f"{_shown(problem.place)}: ", "strong"), (field, "busy"), clean(problem.message))
    source.show(problem.place)
    if problem.row is not None:
        say(console, " " * source.indent, (f"{_shown(problem.row)}:", "strong"))
        source.show(problem.row)
    if problem.nearest:
        say(console, " " * source.indent, "did you mean ", (clean(problem.nearest, 100), "strong"), "?")
    if problem.hint:
        advise(console, "hint", clean(problem.hint), indent=source.indent)
    console.print()


def _shown(place: Place) -> str:
    """Write a place as seen from the working directory: the name of a table's file is a whole path."""
    file = place.file
    if file.is_absolute() and file.is_relative_to(here := Path.cwd()):
        file = file.relative_to(here)
    return clean(str(Place(file, place.line, place.column)), _LONGEST_PATH)
