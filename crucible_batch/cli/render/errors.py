"""Errors as text for people, with their place and a hint, and as JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.cells import cell_len, chop_cells
from rich.console import Console

from crucible_batch.cli.terminal import Json, advise, say, say_sentence
from crucible_batch.cli.units import counted
from crucible_batch.core.redaction import clean, clean_path
from crucible_batch.error_codes import find_code
from crucible_batch.errors import (
    CrucibleBatchError,
    GatewayError,
    KeyRefusedError,
    ManifestError,
    Place,
    Problem,
    StalePlanError,
    UserError,
)
from crucible_batch.secret_text import mask_source_line
from crucible_batch.settings import KEY_VARIABLE

NARROWEST = 20
"""The number of cells of a line shown on the narrowest terminal; fewer would be useless."""

_LARGEST_FILE_BYTES = 64 * 1024 * 1024
# YAML treats three more characters as line breaks than the readers of tables and prompts.
_BREAKS, _YAML_BREAKS = re.compile(r"\r\n|[\r\n]"), re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_NO_YAML = frozenset({".csv", ".tsv", ".jsonl", ".txt", ".md"})


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A line as shown, and the mark below it; ``mark`` is empty if it is the entire line."""

    text: str
    mark: str


def excerpt(line: str, column: int, end_column: int, width: int) -> Excerpt:
    """Cut a line to ``width`` cells around the characters from ``column`` to before ``end_column``,
    and mark them.

    Columns count characters from 1; 0 means none. Characters without a fixed width (tabs, controls)
    take one cell, so that the mark is in the right place.
    """
    width = max(width, NARROWEST)
    if column > len(line) + 1:  # the file has changed since
        column = 0
    at = max(column - 1, 0)
    before, after = (
        _printable(part) for part in (line[max(0, at - 2 * width) : at], line[at : at + 2 * width])
    )
    room = max(width // 3, width - cell_len(after))
    if cell_len(before) > room:
        before = "…" + chop_cells(before[::-1], room - 1)[0][::-1]
    room = width - cell_len(before)
    rest = ""
    if cell_len(after) > room:
        after, rest = chop_cells(after, room - 1)[0], "…"
    marked = max(1, cell_len(after[: max(end_column - column, 0)]))
    mark = ""
    if column:
        mark = " " * cell_len(before) + "^" * marked
    return Excerpt(before + after + rest, mark)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)


def read_lines(places: Iterable[Place]) -> Mapping[tuple[Path, int], str]:
    """Read the lines of the places, each file once. Lines that can't be read are left out."""
    wanted: dict[Path, set[int]] = {}
    for place in places:
        if place.line:
            wanted.setdefault(place.file, set()).add(place.line)
    found: dict[tuple[Path, int], str] = {}
    for file, numbers in wanted.items():
        lines = _lines(file)
        found |= {(file, number): lines[number - 1] for number in numbers if number <= len(lines)}
    return found


def _lines(file: Path) -> list[str]:
    try:
        if not file.is_file() or file.stat().st_size > _LARGEST_FILE_BYTES:
            return []
        content = file.read_bytes()
    except OSError:
        return []
    if b"\0" in content:  # no text, such as a spreadsheet
        return []
    text = content.decode("utf-8-sig", errors="replace")
    if file.suffix.lower() in _NO_YAML:
        return _BREAKS.split(text)
    return _YAML_BREAKS.split(text)


def show_problems(console: Console, error: ManifestError) -> None:
    """Show each problem with its place, its line and its hint; then their number."""
    places = [
        place
        for problem in error.problems
        for place in (problem.place, problem.row)
        if place is not None
    ]
    source = _Source(
        console, read_lines(places), max((len(str(place.line)) for place in places), default=1)
    )
    for problem in error.problems:
        _show_problem(console, problem, source)
    _show_count(console, "problem", len(error.problems), error.omitted)


def _show_count(console: Console, noun: str, shown: int, omitted: int) -> None:
    words = counted(shown + omitted, noun)
    if omitted:
        words += f", {omitted} of them not shown"
    say_sentence(console, (f"{words}; nothing was spent", "bad"))


def problem_json(problem: Problem) -> Json:
    row: Json = None
    if problem.row is not None:
        row = {"file": str(problem.row.file), "line": problem.row.line}
    return {
        "file": str(problem.place.file),
        "line": problem.place.line,
        "column": problem.place.column,
        "end_column": problem.place.end_column,
        "field": problem.field,
        "message": problem.message,
        "nearest": problem.nearest,
        "hint": problem.hint,
        "row": row,
    }


class _Source:
    """A printer of file lines with line numbers; all numbers of one error have the same width."""

    def __init__(
        self, console: Console, lines: Mapping[tuple[Path, int], str], digits: int
    ) -> None:
        self._console = console
        self._lines = lines
        self._digits = max(digits, 4)

    @property
    def indent(self) -> int:
        return self._digits + 1

    def has(self, place: Place) -> bool:
        """Whether the line can be shown, as it can't for a file that is not text."""
        return (place.file, place.line) in self._lines

    def show(self, place: Place, *, is_secret: bool = False) -> None:
        """Show a line.

        ``is_secret``: the line is one of ``notify``, and its values are not shown.
        """
        line = self._lines.get((place.file, place.line))
        if line is None:
            return
        gutter = f"{place.line:>{self._digits}} │ "
        column, end_column = place.column, place.end_column
        safe = mask_source_line(line, entirely=is_secret)
        if safe != line:
            hidden = safe.rfind("***") + 1
            if column > hidden:
                column, end_column = hidden, hidden + 3
        shown = excerpt(
            safe, column, min(end_column, len(safe) + 1), self._console.width - len(gutter)
        )
        say(self._console, (gutter, "label"), shown.text)
        if shown.mark:
            say(self._console, (f"{'':>{self._digits}} │ ", "label"), (shown.mark, "bad"))


def _show_problem(console: Console, problem: Problem, source: _Source) -> None:
    field = f"{clean(problem.field)}: " if problem.field else ""
    say_sentence(
        console, (f"{_shown(problem.place)}: ", "strong"), (field, "busy"), clean(problem.message)
    )
    source.show(problem.place, is_secret=problem.field.startswith("notify"))
    if problem.row is not None and source.has(problem.row):
        say(console, " " * source.indent, (f"{_shown(problem.row)}:", "strong"))
        source.show(problem.row)
    if problem.nearest:
        say(
            console,
            " " * source.indent,
            "did you mean ",
            (clean(problem.nearest, 100), "strong"),
            "?",
        )
    if problem.hint:
        advise(console, "hint", clean(problem.hint), indent=source.indent)
    console.print()


def _shown(place: Place) -> str:
    """Format a place relative to the working directory, since a table's file name is an absolute
    path."""
    file = place.file
    if file.is_absolute():
        here = Path.cwd()
        if file.is_relative_to(here):
            file = file.relative_to(here)
    return clean_path(Place(file, place.line, place.column))


def show_error(console: Console, error: CrucibleBatchError) -> None:
    if isinstance(error, ManifestError):
        show_problems(console, error)
        return
    if isinstance(error, StalePlanError):
        _show_changes(console, error)
        return
    message = clean(error.message)
    if isinstance(error, GatewayError) and error.status:
        message += f" [HTTP {error.status}]"
    say_sentence(console, ("error ", "bad"), (f"{clean(error.code, 60)}: ", "strong"), message)
    if error.hint:
        advise(console, "hint", clean(error.hint))
    if isinstance(error, KeyRefusedError) and KEY_VARIABLE not in (error.hint or ""):
        # The hint is the gateway's, which may be about HTTP headers.
        advise(
            console,
            "to do",
            f"check {KEY_VARIABLE}; crucible-batch doctor shows where it was found",
        )
    if isinstance(error, GatewayError) and error.request_id:
        advise(console, "request id", clean(error.request_id, 100))
    if error.code != UserError.code and find_code(error.code) is not None:
        advise(console, "more", f"crucible-batch explain {error.code}")


def problems_of(error: CrucibleBatchError) -> Json | None:
    """Return a manifest's problems, or the changes since a plan was saved, as JSON; None for any
    other error."""
    if isinstance(error, StalePlanError):
        changes: list[Json] = [
            {"kind": it.kind, "name": it.name, "message": it.message} for it in error.changes
        ]
        return {"moved": changes, "omitted": error.omitted}
    if not isinstance(error, ManifestError):
        return None
    return {
        "problems": [problem_json(problem) for problem in error.problems],
        "omitted": error.omitted,
    }


_MARKS = {"new": "+ ", "changed": "~ ", "gone": "- "}


def _show_changes(console: Console, error: StalePlanError) -> None:
    plan = clean_path(error.plan)
    say_sentence(
        console,
        ("error ", "bad"),
        (f"{error.code}: ", "strong"),
        f"{plan} is stale. Changed since it was made:",
    )
    for change in error.changes:
        say(console, f"  {_MARKS.get(change.kind, '')}", clean(str(change)))
    _show_count(console, "change", len(error.changes), error.omitted)
    if error.hint:
        advise(console, "hint", clean(error.hint))
