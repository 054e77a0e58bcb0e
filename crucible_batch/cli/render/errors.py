"""Errors for people: what, where, and what to do about it."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.text import Text

from crucible_batch.api import clean
from crucible_batch.cli.answer import Json
from crucible_batch.cli.terminal import say, tell
from crucible_batch.errors import (
    CrucibleBatchError,
    GatewayError,
    KeyRefusedError,
    ManifestError,
    Place,
    Problem,
    StalePlanError,
)

_LONGEST_LINE = 100
_LARGEST_FILE = 10_000_000


def show_error(console: Console, error: CrucibleBatchError) -> None:
    """Show an error as its kind wants it."""
    if isinstance(error, ManifestError):
        _show_problems(console, error)
        return
    if isinstance(error, StalePlanError):
        _show_moves(console, error)
        return
    where = f" [HTTP {error.status}]" if isinstance(error, GatewayError) and error.status else ""
    code = f"{clean(error.code, 60)}: " if isinstance(error, GatewayError) else ""
    tell(console, ("error ", "bad"), f"{code}{clean(error.message)}{where}")
    if error.hint:
        tell(console, ("hint  ", "label"), clean(error.hint))
    if isinstance(error, KeyRefusedError) and error.status is not None:
        tell(console, ("hint  ", "label"), "check MOLTAZINE_API_KEY; crucible-batch doctor says where it was found")
    if isinstance(error, GatewayError) and error.request_id:
        tell(console, ("request id  ", "label"), clean(error.request_id, 100))


def problems_of(error: CrucibleBatchError) -> Json | None:
    """Return a manifest's problems, or what moved since a plan was saved, as JSON; None for any other error."""
    if isinstance(error, StalePlanError):
        moves: list[Json] = [{"kind": it.kind, "name": it.name, "message": it.message} for it in error.moves]
        return {"moved": moves, "omitted": error.omitted}
    if not isinstance(error, ManifestError):
        return None
    return {"problems": [problem_json(problem) for problem in error.problems], "omitted": error.omitted}


def problem_json(problem: Problem) -> Json:
    """Return a problem as JSON."""
    return {
        "file": str(problem.place.file),
        "line": problem.place.line,
        "column": problem.place.column,
        "field": problem.field,
        "message": problem.message,
        "nearest": problem.nearest,
        "hint": problem.hint,
    }


def _show_moves(console: Console, error: StalePlanError) -> None:
    plan = clean(str(error.plan), 4000)
    tell(console, ("error ", "bad"), f"{plan} no longer holds; since it was made, this has moved:")
    for move in error.moves:
        say(console, "  ", clean(move.message))
    count = len(error.moves) + error.omitted
    more = f", {error.omitted} of them not shown" if error.omitted else ""
    tell(console, (f"{count} move{'s' if count != 1 else ''}{more}; nothing was spent", "bad"))
    if error.hint:
        tell(console, ("hint  ", "label"), clean(error.hint))


def _show_problems(console: Console, error: ManifestError) -> None:
    for problem in error.problems:
        field = f"{clean(problem.field)}: " if problem.field else ""
        say(console, (f"{clean(str(problem.place))}: ", "strong"), (field, "busy"), clean(problem.message))
        _show_source(console, problem.place)
        if problem.nearest:
            say(console, "    did you mean ", (clean(problem.nearest, 100), "strong"), "?")
        if problem.hint:
            say(console, ("    hint  ", "label"), clean(problem.hint))
    count = len(error.problems) + error.omitted
    more = f", {error.omitted} of them not shown" if error.omitted else ""
    tell(console, (f"{count} problem{'s' if count != 1 else ''}{more}; nothing was spent", "bad"))


def _show_source(console: Console, place: Place) -> None:
    """Show the line of a place with a mark under its column, where the file can be read."""
    line = _source_line(place.file, place.line)
    if line is None:
        return
    start = max(0, place.column - _LONGEST_LINE // 2) if len(line) > _LONGEST_LINE else 0
    shown = line[start : start + _LONGEST_LINE]
    gutter = f"{place.line:>5} │ "
    say(console, (gutter, "label"), shown)
    if 0 < place.column <= len(line) + 1:
        mark = " " * (len(gutter) - 2) + "│ " + " " * _cells(line[start : place.column - 1])
        say(console, (mark.replace("│", " "), "label"), ("^", "bad"))


def _cells(text: str) -> int:
    return Text(text).cell_len


def _source_line(file: Path, number: int) -> str | None:
    if number < 1:
        return None
    try:
        if file.stat().st_size > _LARGEST_FILE:
            return None
        with file.open(encoding="utf-8-sig", errors="replace", newline=None) as lines:
            line = next((line for at, line in enumerate(lines, 1) if at == number), None)
    except OSError:
        return None
    if line is None:
        return None
    # Character by character, so that columns stay where they are.
    return "".join(char if char.isprintable() else " " for char in line.rstrip("\n"))
