"""Rows of ``foreach``: records of a CSV or JSONL file, read one at a time, or the files that a glob matches."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

from crucible_batch.errors import Place
from crucible_batch.manifest.files import FileFault, Files, is_glob, matches, quoted
from crucible_batch.manifest.names import text_fault
from crucible_batch.manifest.yaml_scalars import MAX_NUMBER_LENGTH

MAX_LINE_BYTES = 1024 * 1024
MAX_FIELDS = 1000


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row. ``number`` counts from 1; ``line`` is the line on which the row begins, 0 for a file of a glob."""

    number: int
    line: int
    values: Mapping[str, Any]
    file: Path | None = None

    @property
    def place(self) -> Place | None:
        return Place(self.file, self.line) if self.file is not None and self.line else None


@dataclass(frozen=True, slots=True)
class RowFault:
    """A row that can't be used, or a whole file if ``line`` is 0."""

    file: Path
    line: int
    message: str
    hint: str | None = None
    column: int = 1


def read(source: str, files: Files, most: int) -> Iterator[TableRow | RowFault]:
    """Yield the rows of ``source`` in order, with a ``RowFault`` for each bad row and for a file without rows.

    Raises ``FileFault`` if the source as a whole can't be used or a glob matches more than ``most`` files.
    """
    if is_glob(source):
        yield from _globbed(source, files, most)
        return
    suffix = PurePosixPath(source).suffix.lower()
    reader = {".csv": _csv, ".jsonl": _jsonl}.get(suffix)
    if reader is None:
        raise FileFault(
            f"{quoted(source)} is neither a .csv or .jsonl file nor a glob", hint="a folder's files: folder/*"
        )
    path = files.find(source)
    files.note(source, path)
    found = False
    try:
        for row in reader(path):
            found = True
            yield row
    except UnicodeDecodeError as error:
        yield RowFault(path, _bad_line(path), f"not UTF-8: {error.reason}", "save the file as UTF-8")
    except OSError as error:
        yield RowFault(path, 0, f"can't be read: {error.strerror}")
    else:
        if not found:
            yield RowFault(path, 0, "the file has no rows")


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


def _csv(path: Path) -> Iterator[TableRow | RowFault]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(_short_lines(file), strict=True)
        try:
            header = next(lines, [])
            if fault := _header_fault(path, header):
                yield fault
                return
            yield from _csv_rows(path, lines, header)
        except _LongLine:
            yield RowFault(path, lines.line_num + 1, f"a line of more than {MAX_LINE_BYTES:,} characters")
        except csv.Error as error:
            yield RowFault(path, max(lines.line_num, 1), f"not CSV: {error}")


class _LongLine(Exception):  # noqa: N818 - it becomes a RowFault
    """A line of more than ``MAX_LINE_BYTES`` characters."""


def _short_lines(file: TextIO) -> Iterator[str]:
    while line := file.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES:
            raise _LongLine
        yield line


def _header_fault(path: Path, header: list[str]) -> RowFault | None:
    names = [name.strip() for name in header]
    if not header:
        return RowFault(path, 1, "the first line must name the columns")
    if len(header) > MAX_FIELDS:
        return RowFault(path, 1, f"more than {MAX_FIELDS:,} columns")
    if "" in names:
        return RowFault(path, 1, f"column {names.index('') + 1} has no name")
    if len(header) == 1 and any(divider in header[0] for divider in ";\t|"):
        return RowFault(path, 1, "the columns are not divided by commas", "save the file with commas")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        return RowFault(path, 1, f"the column {twice!r} stands twice")
    return None


def _csv_rows(path: Path, lines: Any, header: list[str]) -> Iterator[TableRow | RowFault]:
    names = [name.strip() for name in header]
    number, before = 0, lines.line_num
    for cells in lines:
        line, before = before + 1, lines.line_num
        if not cells:
            continue
        number += 1
        if len(cells) == len(names):
            yield TableRow(number, line, dict(zip(names, cells, strict=True)), path)
        else:
            message = f"{len(cells)} cells, but {len(names)} columns"
            hint = "put cells that hold commas in double quotes" if len(cells) > len(names) else None
            yield RowFault(path, line, message, hint)


def _jsonl(path: Path) -> Iterator[TableRow | RowFault]:
    number = 0
    with path.open("rb") as file:
        for line, content in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES + 1), b""), 1):
            if len(content) > MAX_LINE_BYTES:
                yield RowFault(path, line, f"a line of more than {MAX_LINE_BYTES:,} bytes")
                return
            whole = content.decode("utf-8-sig" if line == 1 else "utf-8").rstrip(" \t\r\n")
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
    value = _DECODER.decode(text)
    if not isinstance(value, dict):
        raise ValueError('each line must be one JSON object, such as {"sku": "a1"}')  # noqa: TRY004
    if "\\u" in text:  # only an escape can produce a lone surrogate
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("half of a surrogate pair, which is no character") from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands twice")
    return members


def _integer(text: str) -> int:
    if len(text) > MAX_NUMBER_LENGTH:
        raise ValueError(f"a number of {len(text)} digits is too long")
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:50]} is too large for a number")
    return number


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON value")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_float=_float, parse_constant=_constant, strict=True
)


def _globbed(pattern: str, files: Files, most: int) -> Iterator[TableRow | RowFault]:
    parts = PurePosixPath(pattern).parts
    if (fault := text_fault(pattern)) is not None:
        raise FileFault(f"{quoted(pattern)} {fault[0]}", hint=fault[1])
    if not files.allow_outside and (pattern.startswith("/") or ".." in parts):
        raise FileFault(f"{quoted(pattern)} leads out of the manifest's directory", hint="--allow-outside permits it")
    found = _matches(pattern, files, most)
    if not found:
        raise FileFault(f"no file fits {quoted(pattern)}", hint=f"it is looked for in {files.directory}")
    for number, match in enumerate(found, 1):
        yield _file_row(number, match, files)


def _matches(pattern: str, files: Files, most: int) -> list[str]:
    found: list[str] = []
    for match in matches(pattern, files, most):
        found.append(match)
        if len(found) > most:
            raise FileFault(f"more than {most:,} files fit {quoted(pattern)}", hint="--max-jobs permits more")
    return sorted(found, key=os.fsencode)


def _file_row(number: int, match: str, files: Files) -> TableRow | RowFault:
    path = PurePosixPath(match.replace(os.sep, "/"))
    if (fault := text_fault(match)) is not None:
        return RowFault(files.directory, 0, f"the file name {os.fsencode(match)!r} {fault[0]}", fault[1])
    if not files.is_inside(os.path.join(files.directory, match)):  # noqa: PTH118
        message = f"{quoted(match)} leads out of the manifest's directory"
        return RowFault(files.directory, 0, message, "it is a link; --allow-outside permits it")
    return TableRow(number, 0, {"path": str(path), "name": path.name, "stem": path.stem})
