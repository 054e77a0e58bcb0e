"""What the reader of spreadsheets doesn't show: cells with errors, merged cells, and how large a
sheet is before it is held in memory.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from crucible_batch.features.sheets.package import (
    LIBREOFFICE,
    NOT_A_SPREADSHEET,
    SAVE_AGAIN,
    SheetFault,
    parse,
)

MAX_CELLS = 5_000_000
_FORMULA_ERROR = re.compile(r"#(?:DIV/0!|N/A|NAME\?|NULL!|NUM!|REF!|VALUE!)|Err:[0-9]+")
_REFERENCE = re.compile(r"([A-Z]{1,3})([0-9]{1,7})")
_CONTENT = "content.xml"
_WORKBOOK = "xl/workbook.xml"

Position = tuple[int, int]
"""Row and column, from 0."""


@dataclass(slots=True)
class Structure:
    """A sheet without its values.

    ``errors`` has what cells show for an error, ``merged`` the size of merged cells by the first.
    """

    rows: int = 0
    columns: int = 0
    errors: dict[Position, str] = field(default_factory=dict)
    merged: dict[Position, Position] = field(default_factory=dict)

    def extend(self, row: int, column: int) -> None:
        """Note that there is a cell with a value. Raises ``SheetFault`` if the sheet is too large.

        All cells up to the last row and column are held in memory.
        """
        self.rows, self.columns = max(self.rows, row + 1), max(self.columns, column + 1)
        if self.rows * self.columns > MAX_CELLS:
            raise SheetFault(
                f"the sheet has more than {MAX_CELLS:,} cells up to {cell_name(row, column)}",
                "delete what is in cells far from the table, or export it as CSV (UTF-8)",
            )


def cell_name(row: int, column: int) -> str:
    """Return the name of a cell in spreadsheets, such as ``B3``."""
    return f"{column_name(column)}{row + 1}"


def column_name(column: int) -> str:
    """Return the name of a column in spreadsheets, such as ``B``."""
    letters = ""
    number = column + 1
    while number:
        number, letter = divmod(number - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return letters


def structures(parts: Mapping[str, bytes]) -> Callable[[str], Structure]:
    """Return a function that returns the structure of a sheet by its name.

    The reader holds all sheets of an .ods file in memory, so all are checked here. Both raise
    ``SheetFault``.
    """
    with _damaged():
        if _CONTENT in parts:
            made = _open_document(parts[_CONTENT])
            return lambda name: made.get(name, Structure())
        names = _worksheets(parts)

    def structure(name: str) -> Structure:
        with _damaged():
            return _worksheet(parts[names[name]])

    return structure


@contextmanager
def _damaged() -> Iterator[None]:
    """Raise ``SheetFault`` for a part, an attribute or a number that is missing or isn't one."""
    try:
        yield
    except (KeyError, ValueError):
        raise SheetFault(NOT_A_SPREADSHEET, SAVE_AGAIN) from None


def _worksheets(parts: Mapping[str, bytes]) -> dict[str, str]:
    """Return the part of each sheet of an .xlsx file, by its name."""
    targets: dict[str, str] = {}
    sheets: dict[str, str] = {}

    def relation(name: str, attributes: Mapping[str, str]) -> None:
        if name == "Relationship":
            target = posixpath.join(posixpath.dirname(_WORKBOOK), attributes["Target"])
            targets[attributes["Id"]] = posixpath.normpath(target).removeprefix("/")

    def sheet(name: str, attributes: Mapping[str, str]) -> None:
        if name == "sheet":
            sheets[attributes["name"]] = targets[attributes["id"]]

    parse(parts["xl/_rels/workbook.xml.rels"], relation)
    parse(parts[_WORKBOOK], sheet)
    return sheets


def _worksheet(content: bytes) -> Structure:
    made = Structure()
    row, column = -1, -1
    text: list[str] | None = None
    is_error = False

    def start(name: str, attributes: Mapping[str, str]) -> None:
        nonlocal row, column, text, is_error
        if name == "row":
            row, column = int(attributes.get("r", row + 2)) - 1, -1
        elif name == "c":
            column += 1
            if "r" in attributes:
                row, column = _position(attributes["r"])
            is_error = attributes.get("t") == "e"
        elif name in {"v", "is"}:
            made.extend(row, column)
            text = []
        elif name == "mergeCell":
            first, _, last = attributes["ref"].partition(":")
            (top, left), (bottom, right) = _position(first), _position(last or first)
            made.merged[top, left] = (bottom - top + 1, right - left + 1)

    def end(name: str) -> None:
        nonlocal text
        if name == "v" and text is not None:
            if is_error:
                made.errors[row, column] = "".join(text)
            text = None

    def characters(more: str) -> None:
        if text is not None and is_error:
            text.append(more)

    parse(content, start, end, characters)
    return made


def _position(reference: str) -> Position:
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        raise ValueError(reference)
    letters, digits = found.groups()
    column = 0
    for letter in letters:
        column = column * 26 + ord(letter) - ord("A") + 1
    return int(digits) - 1, column - 1


class _Tables:
    """The sheets of an .ods file, as its elements are parsed."""

    def __init__(self) -> None:
        self.made: dict[str, Structure] = {}
        self._now: Structure | None = None
        self._row = self._column = 0
        self._next_row = self._next_column = 0
        self._cell: Mapping[str, str] | None = None
        self._text: list[str] = []

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "table":
            self._now = self.made.setdefault(attributes.get("name", ""), Structure())
            self._next_row = 0
        elif self._now is None:
            return
        elif name == "table-row":
            self._row, self._next_column = self._next_row, 0
            self._next_row += int(attributes.get("number-rows-repeated", 1))
        elif name in {"table-cell", "covered-table-cell"}:
            self._column = self._next_column
            self._next_column += int(attributes.get("number-columns-repeated", 1))
            self._cell, self._text = attributes, []
            if {"value-type", "formula"} & attributes.keys():
                self._now.extend(self._next_row - 1, self._next_column - 1)
            spanned = (
                int(attributes.get("number-rows-spanned", 1)),
                int(attributes.get("number-columns-spanned", 1)),
            )
            if spanned > (1, 1) or spanned[1] > 1:
                self._now.merged[self._row, self._column] = spanned
        elif name == "p" and self._cell is not None:
            self._now.extend(self._next_row - 1, self._next_column - 1)

    def characters(self, more: str) -> None:
        if self._cell is not None:
            self._text.append(more)

    def end(self, name: str) -> None:
        if name == "table":
            self._now = None
        if name not in {"table-cell", "covered-table-cell"} or self._cell is None:
            return
        shown = "".join(self._text)
        is_error = self._cell.get(f"{LIBREOFFICE}:value-type") == "error"
        if "formula" in self._cell and _FORMULA_ERROR.fullmatch(shown):
            is_error = True
        if is_error and self._now is not None:
            for row in range(self._row, self._next_row):
                for column in range(self._column, self._next_column):
                    self._now.errors[row, column] = shown
        self._cell = None


def _open_document(content: bytes) -> dict[str, Structure]:
    tables = _Tables()
    parse(content, tables.start, tables.end, tables.characters)
    return tables.made
