"""Rows of ``foreach``: records of a CSV, TSV or JSONL file, lines of a text, read one at a time, or
files of a glob.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

from crucible_batch.errors import Place
from crucible_batch.manifest.files import FileFault, Files, is_glob, matches, quoted
from crucible_batch.manifest.names import text_fault
from crucible_batch.manifest.yaml_scalars import MAX_NUMBER_LENGTH

MAX_LINE_BYTES = 1024 * 1024
MAX_FIELDS = 1000

SPREADSHEETS = frozenset({".xlsx", ".xlsm", ".xlsb", ".xls", ".ods", ".numbers"})
_SAVE_AS_UTF8 = "save the file as UTF-8; of a spreadsheet, export the sheet as CSV (UTF-8)"


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row.

    ``number`` counts from 1; ``line`` is the line on which the row begins, 0 for a file of a glob.
    """

    number: int
    line: int
    values: Mapping[str, Any]
    file: Path | None = None

    @property
    def place(self) -> Place | None:
        if self.file is None or not self.line:
            return None
        return Place(self.file, self.line)


@dataclass(frozen=True, slots=True)
class RowFault:
    """A row that can't be used, or an entire file if ``line`` is 0.

    ``key`` is set for a fault of the manifest: the key of the entry that has it.
    """

    file: Path
    line: int
    message: str
    hint: str | None = None
    column: int = 1
    key: str | None = None


Reader = Callable[[Path], "Iterator[TableRow | RowFault]"]


def read(
    source: str,
    files: Files,
    most: int,
    *,
    further: Callable[[str], Reader | None] = lambda _suffix: None,
) -> Iterator[TableRow | RowFault]:
    """Yield the rows of ``source`` in order, with a ``RowFault`` for each bad row and for a file
    without rows.

    ``further`` returns readers of further kinds of files by their extensions, such as ``.xlsx``.
    Raises ``FileFault`` if the source itself can't be used or a glob matches more than ``most``
    files.
    """
    if is_glob(source):
        yield from _globbed(source, files, most)
        return
    reader = _reader(source, further)
    path = files.find(source)
    found = False
    try:
        for row in reader(path):
            found = True
            yield row
    except UnicodeDecodeError as error:
        yield RowFault(path, _bad_line(path), f"not UTF-8: {error.reason}", _SAVE_AS_UTF8)
    except OSError as error:
        yield RowFault(path, 0, f"can't be read: {error.strerror}")
    else:
        if not found:
            yield RowFault(path, 0, "the file has no rows")


def _reader(source: str, further: Callable[[str], Reader | None]) -> Reader:
    """Return the reader for the extension of ``source``.

    Raises ``FileFault`` if the kind of file is not supported.
    """
    suffix = PurePosixPath(source).suffix.lower()
    reader = _READERS.get(suffix) or further(suffix)
    if reader is None and suffix in SPREADSHEETS:
        raise FileFault(
            f"{quoted(source)} is a spreadsheet, which is not supported",
            hint="export the sheet as CSV (UTF-8) and use "
            f"{quoted(str(PurePosixPath(source).with_suffix('.csv')))}",
        )
    if reader is None:
        raise FileFault(
            f"{quoted(source)} is not a {', '.join(list(_READERS)[:-1])} or "
            f"{list(_READERS)[-1]} file or a glob",
            hint="for the files of a folder, write folder/*",
        )
    return reader


def _bad_line(path: Path) -> int:
    """Return the number of the first line that is not UTF-8, or 0.

    The decoder's error can't be used, since its offset is relative to its last buffer.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 0


@dataclass(frozen=True, slots=True)
class _Delimited:
    """A form of table with one record per line.

    ``others`` separate the columns of similar forms.
    """

    name: str
    delimiter: str
    dividers: str
    others: str

    def read(self, path: Path) -> Iterator[TableRow | RowFault]:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(_short_lines(file), delimiter=self.delimiter, strict=True)
            try:
                records = _records(lines)
                _, header = next(records, (1, []))
                fault = self._header_fault(path, header)
                if fault is not None:
                    yield fault
                    return
                yield from self._rows(path, records, header)
            except _LongLine:
                yield RowFault(
                    path,
                    lines.line_num + 1,
                    f"the line has more than {MAX_LINE_BYTES:,} characters",
                )
            except _BadRecord as bad:
                yield self._record_fault(path, bad)

    def _record_fault(self, path: Path, bad: _BadRecord) -> RowFault:
        """Return the fault of a record, at its first line: an open quote takes all lines up to the
        next one.
        """
        message, hint = f"not {self.name}: {bad.error}", None
        if bad.last > bad.first:
            message = (
                f"{message}, on line {bad.last}; the row began here, with a cell in double quotes"
            )
            hint = 'close the quotation mark of each cell, and double the marks in it: ""'
        elif "limit" not in str(bad.error):
            hint = (
                "put cells that contain quotation marks in double quotes, "
                'and double the marks in them: ""'
            )
        return RowFault(path, bad.first, message, hint)

    def _header_fault(self, path: Path, header: list[str]) -> RowFault | None:
        names = [name.strip() for name in header]
        if not header:
            return RowFault(path, 1, "the first line must have the column names")
        if len(header) > MAX_FIELDS:
            return RowFault(path, 1, f"more than {MAX_FIELDS:,} columns")
        if "" in names:
            return RowFault(path, 1, f"column {names.index('') + 1} has no name")
        if len(header) == 1 and any(divider in header[0] for divider in self.others):
            message = f"the columns are not separated by {self.dividers}"
            return RowFault(
                path, 1, message, f"save the file with {self.dividers} between the columns"
            )
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            return RowFault(path, 1, f"there are two columns {twice!r}")
        return None

    def _rows(
        self, path: Path, records: Iterator[tuple[int, list[str]]], header: list[str]
    ) -> Iterator[TableRow | RowFault]:
        names = [name.strip() for name in header]
        number = 0
        for line, cells in records:
            if not cells:
                continue
            number += 1
            if len(cells) == len(names):
                yield TableRow(number, line, dict(zip(names, cells, strict=True)), path)
            else:
                columns = _counted(len(names), "column")
                message = f"{_counted(len(cells), 'cell')} in the row, but {columns} in the table"
                hint = None
                if len(cells) > len(names):
                    hint = f"put cells that contain {self.dividers} in double quotes"
                yield RowFault(path, line, message, hint)


_COMMAS = _Delimited("CSV", ",", "commas", ";\t|")
_SEMICOLONS = _Delimited("CSV", ";", "semicolons", "")


def _csv(path: Path) -> Iterator[TableRow | RowFault]:
    """Yield the rows of a table with commas, or with semicolons if only these divide its first
    line.

    European spreadsheets write semicolons, since they have commas in numbers.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline(MAX_LINE_BYTES)
    if _cell_count(first, ",") == 1 and _cell_count(first, ";") > 1:
        yield from _SEMICOLONS.read(path)
    else:
        yield from _COMMAS.read(path)


def _cell_count(line: str, delimiter: str) -> int:
    try:
        return len(next(csv.reader([line], delimiter=delimiter), []))
    except csv.Error:  # reported when the table is read
        return 0


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


class _BadRecord(Exception):  # noqa: N818 - it becomes a RowFault
    """A record that can't be read.

    ``first`` and ``last`` are the lines on which it begins and on which that shows.
    """

    def __init__(self, first: int, last: int, error: csv.Error) -> None:
        super().__init__(str(error))
        self.first, self.last, self.error = first, last, error


def _records(lines: Any) -> Iterator[tuple[int, list[str]]]:
    """Yield each record of a ``csv.reader`` with the line on which it begins.

    Raises ``_BadRecord``.
    """
    while True:
        first = lines.line_num + 1
        try:
            cells = next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            raise _BadRecord(first, max(first, lines.line_num), error) from error
        yield first, cells


class _LongLine(Exception):  # noqa: N818 - it becomes a RowFault
    """A line with more characters than are allowed."""


def _short_lines(file: TextIO, most: int = MAX_LINE_BYTES) -> Iterator[str]:
    for line in iter(lambda: file.readline(most + 1), ""):
        if len(line) > most:
            raise _LongLine
        yield line


def _text(path: Path) -> Iterator[TableRow | RowFault]:
    """Yield a row with the column ``line`` for each line that is not blank, without the white space
    around it."""
    number = line = 0
    most = csv.field_size_limit()  # a line is a cell
    with path.open(encoding="utf-8-sig") as file:
        try:
            for line, content in enumerate(_short_lines(file, most), 1):
                text = content.strip()
                if text:
                    number += 1
                    yield TableRow(number, line, {"line": text}, path)
        except _LongLine:
            yield RowFault(path, line + 1, f"the line has more than {most:,} characters")


def _jsonl(path: Path) -> Iterator[TableRow | RowFault]:
    number = 0
    with path.open("rb") as file:
        for line, content in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES + 1), b""), 1):
            if len(content) > MAX_LINE_BYTES:
                yield RowFault(path, line, f"the line has more than {MAX_LINE_BYTES:,} bytes")
                return
            encoding = "utf-8-sig" if line == 1 else "utf-8"
            whole = content.decode(encoding).rstrip(" \t\r\n")
            text = whole.lstrip(" \t")
            if not text:
                continue
            number += 1
            try:
                yield TableRow(number, line, _json_object(text), path)
            except json.JSONDecodeError as error:
                column = len(whole) - len(text) + error.colno
                message = f"not JSON: {error.msg[0].lower()}{error.msg[1:]} at column {column}"
                yield RowFault(path, line, message, column=column)
            except RecursionError:
                yield RowFault(path, line, "not JSON: nested too deeply")
            except ValueError as error:
                yield RowFault(path, line, str(error))


def _json_object(text: str) -> dict[str, Any]:
    value = json.loads(text, object_pairs_hook=_unique, parse_int=_integer)
    if not isinstance(value, dict):
        raise ValueError('each line must be one JSON object, such as {"sku": "a1"}')  # noqa: TRY004
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        raise ValueError(
            "contains NaN, infinity or half of a surrogate pair, which JSON can't represent"
        ) from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} occurs twice")
    return members


def _integer(text: str) -> int:
    if len(text) > MAX_NUMBER_LENGTH:
        raise ValueError(f"a number of {len(text)} digits is too long")
    return int(text)


_READERS: Mapping[str, Reader] = {
    ".csv": _csv,
    ".tsv": _Delimited("TSV", "\t", "tabs", ";,|").read,
    ".txt": _text,
    ".jsonl": _jsonl,
}
SUFFIXES = tuple(_READERS)
"""The kinds of files that have rows."""


def _globbed(pattern: str, files: Files, most: int) -> Iterator[TableRow | RowFault]:
    parts = PurePosixPath(pattern).parts
    fault = text_fault(pattern)
    if fault is not None:
        raise FileFault(f"{quoted(pattern)} {fault[0]}", hint=fault[1])
    if not files.allow_outside and (pattern.startswith("/") or ".." in parts):
        raise FileFault(
            f"{quoted(pattern)} is outside the manifest's directory",
            hint="--allow-outside permits it",
        )
    found = list(islice(matches(pattern, files), most + 1))
    if len(found) > most:
        raise FileFault(
            f"more than {most:,} files match {quoted(pattern)}", hint="--max-jobs raises the limit"
        )
    if not found:
        raise FileFault(
            f"no file matches {quoted(pattern)}", hint=f"it is relative to {files.directory}"
        )
    for number, match in enumerate(sorted(found, key=os.fsencode), 1):
        yield _file_row(number, match, files)


def _file_row(number: int, match: str, files: Files) -> TableRow | RowFault:
    path = PurePosixPath(match.replace(os.sep, "/"))
    fault = text_fault(match)
    if fault is not None:
        return RowFault(
            files.directory, 0, f"the file name {os.fsencode(match)!r} {fault[0]}", fault[1]
        )
    if not files.is_inside(os.path.join(files.directory, match)):  # noqa: PTH118
        message = f"{quoted(match)} is outside the manifest's directory"
        return RowFault(files.directory, 0, message, "it is a link; --allow-outside permits it")
    return TableRow(number, 0, {"path": str(path), "name": path.name, "stem": path.stem})
