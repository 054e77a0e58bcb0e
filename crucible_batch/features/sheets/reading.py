"""Rows of a sheet, with the cells as text, as a CSV file has them."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from crucible_batch.features.sheets.package import (
    NOT_A_SPREADSHEET,
    SAVE_AGAIN,
    SheetFault,
    packed,
    read_parts,
)
from crucible_batch.features.sheets.structure import (
    MAX_CELLS,
    Structure,
    cell_name,
    column_name,
    structures,
)
from crucible_batch.manifest.files import FileFault
from crucible_batch.manifest.source_map import nearest, shown
from crucible_batch.manifest.table_rows import MAX_FIELDS, Reader, RowFault, TableRow
from crucible_batch.shell_command import install_hint

_DURATION = re.compile(r"PT([0-9]+)H([0-9]+)M([0-9]+)(?:[.,][0-9]+)?S")
_SHOWN_SHEETS = 12


def reader(sheet: str | None) -> Reader:
    """Return the reader of a sheet's rows, by default of the first visible one.

    Raises ``FileFault`` if the extra is not installed.
    """
    try:
        import python_calamine  # noqa: F401, PLC0415 - an extra
    except ImportError:
        raise FileFault(
            "spreadsheets are read by python-calamine, which is not installed",
            hint=f"{install_hint('sheets')}; or export the sheet as CSV (UTF-8)",
        ) from None
    return partial(_rows, sheet=sheet)


def _rows(path: Path, *, sheet: str | None) -> Iterator[TableRow | RowFault]:
    try:
        parts = read_parts(path)
        values, structure = _sheet(parts, sheet)
        _fill_merged(values, structure)
    except SheetFault as fault:
        yield RowFault(path, 0, str(fault), fault.hint, key=fault.key)
        return
    yield from _table(path, values, structure)


def _sheet(parts: Mapping[str, bytes], wanted: str | None) -> tuple[list[list[Any]], Structure]:
    """Return the values of a sheet row by row, and its structure. Raises ``SheetFault``."""
    import python_calamine  # noqa: PLC0415 - an extra

    structure_of = structures(parts)
    try:
        with python_calamine.load_workbook(packed(parts)) as workbook:
            name = _chosen(workbook.sheets_metadata, wanted)
            structure = structure_of(name)
            values = workbook.get_sheet_by_name(name).to_python(skip_empty_area=False)
            return values, structure
    except python_calamine.PasswordError:
        raise SheetFault("the file has a password", "save it without one") from None
    except (SheetFault, KeyboardInterrupt, MemoryError):
        raise
    except BaseException:  # noqa: BLE001 - a panic of the library's Rust code is not an Exception
        raise SheetFault(NOT_A_SPREADSHEET, SAVE_AGAIN) from None


def _chosen(sheets: Sequence[Any], wanted: str | None) -> str:
    """Return the name of the sheet with that name, or of the first visible one."""
    import python_calamine  # noqa: PLC0415 - an extra

    names = [sheet.name for sheet in sheets if sheet.typ == python_calamine.SheetTypeEnum.WorkSheet]
    if wanted is None:
        visible = python_calamine.SheetVisibleEnum.Visible
        seen = [sheet.name for sheet in sheets if sheet.visible == visible and sheet.name in names]
        if seen:
            return str(seen[0])
        raise SheetFault("the file has no sheet", SAVE_AGAIN)
    if wanted in names:
        return wanted
    near = nearest(wanted, names)
    hint = f"did you mean {near}?"
    if near is None:
        hint = f"its sheets are {', '.join(map(shown, names[:_SHOWN_SHEETS]))}"
    raise SheetFault(f"the file has no sheet {shown(wanted)!r}", hint, key="sheet")


def _fill_merged(values: list[list[Any]], structure: Structure) -> None:
    """Write the value of merged cells into each cell that they cover.

    Raises ``SheetFault`` if these are too many.
    """
    left = MAX_CELLS
    for (top, first), (height, width) in structure.merged.items():
        if top >= len(values) or first >= len(values[top]):
            continue
        for row in range(top, min(top + height, len(values))):
            last = min(first + width, len(values[row]))
            left -= last - first
            if left < 0:
                raise SheetFault(NOT_A_SPREADSHEET, SAVE_AGAIN)
            for column in range(first, last):
                values[row][column] = values[top][first]
                if (top, first) in structure.errors:
                    structure.errors[row, column] = structure.errors[top, first]


def _table(
    path: Path, values: Sequence[Sequence[Any]], structure: Structure
) -> Iterator[TableRow | RowFault]:
    """Yield the rows below the first one that isn't empty, which has the names of the columns."""
    with_errors = {row for row, _ in structure.errors}
    texts = ([text_of_cell(value) for value in row] for row in values)
    filled = (
        (row, cells)
        for row, cells in enumerate(texts)
        if row in with_errors or any(cell.strip() for cell in cells)
    )
    row, header = next(filled, (0, []))
    names = {column: name.strip() for column, name in enumerate(header) if name.strip()}
    fault = _header_fault(path, row, names)
    if fault is not None:
        yield fault
        return
    for number, (row, cells) in enumerate(filled, 1):
        fault = _row_fault(path, row, cells, names, structure)
        if fault is not None:
            yield fault
        else:
            yield TableRow(
                number, row + 1, {name: cells[column] for column, name in names.items()}, path
            )


def _header_fault(path: Path, row: int, names: Mapping[int, str]) -> RowFault | None:
    if len(names) > MAX_FIELDS:
        hint = "delete the columns that the manifest doesn't use"
        return RowFault(path, row + 1, f"more than {MAX_FIELDS:,} columns", hint)
    columns: dict[str, int] = {}
    for column, name in names.items():
        if name in columns:
            return RowFault(
                path,
                row + 1,
                f"there are two columns {shown(name)!r}: {column_name(columns[name])} and"
                f" {column_name(column)}",
                "the first row that isn't empty has the column names",
                column + 1,
            )
        columns[name] = column
    return None


def _row_fault(
    path: Path, row: int, cells: Sequence[str], names: Mapping[int, str], structure: Structure
) -> RowFault | None:
    for column, cell in enumerate(cells):
        where = cell_name(row, column)
        if column not in names:
            if cell.strip():
                message = f"the cell {where} has a value, and its column no name"
                hint = f"name the column in its first cell, or clear {where}"
                return RowFault(path, row + 1, message, hint, column + 1)
            continue
        error = structure.errors.get((row, column))
        if error is not None:
            message = f"the cell {where} has the error {shown(error)}"
            return RowFault(path, row + 1, message, "correct its formula", column + 1)
    return None


def text_of_cell(value: Any) -> str:
    """Return a cell as text: whole numbers without decimals, dates as ISO 8601 has them."""
    match value:
        case bool():
            return "TRUE" if value else "FALSE"
        case float() if value.is_integer() and abs(value) < 10**21:
            return str(int(value))
        case float():
            return f"{value:.15g}"
        case datetime.timedelta():
            return _clock(value // datetime.timedelta(seconds=1))
        case str():
            hours = _DURATION.fullmatch(value)
            if hours is None:
                return value
            return ":".join(part.zfill(2) for part in hours.groups())
        case _:  # a date, a time, or both
            return str(value)


def _clock(seconds: int) -> str:
    sign = "-" if seconds < 0 else ""
    minutes, second = divmod(abs(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{sign}{hour:02}:{minute:02}:{second:02}"
