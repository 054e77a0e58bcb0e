"""Files that are no spreadsheets, or that are made to do harm: each is an error with its cause."""

from __future__ import annotations

import io
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from crucible_batch.features.sheets import package, reading, structure
from crucible_batch.features.sheets.package import NOT_A_SPREADSHEET
from crucible_batch.features.sheets.reading import reader
from crucible_batch.manifest.files import FileFault
from crucible_batch.manifest.table_rows import RowFault, TableRow
from crucible_batch.shell_command import install_hint
from tests.harness.case_table import each_case

FILES = Path(__file__).parent / "files"
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def rows(path: Path, sheet: str | None = None) -> list[TableRow | RowFault]:
    return list(reader(sheet)(path))


def only_fault(path: Path, sheet: str | None = None) -> str:
    (fault,) = rows(path, sheet)
    assert isinstance(fault, RowFault)
    assert fault.hint
    return fault.message


def changed(
    folder: Path, kind: str, change: Callable[[str, bytes], bytes | None], **archive: Any
) -> Path:
    """Write a workbook whose parts are changed; None leaves a part out."""
    path = folder / f"changed.{kind}"
    with (
        zipfile.ZipFile(FILES / f"workbook.{kind}") as given,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made,
    ):
        for name in given.namelist():
            content = change(name, given.read(name))
            if content is not None:
                made.writestr(name, content)
        for name, content in archive.items():
            made.writestr(name, content)
    return path


def in_part(part: str, before: bytes, after: bytes) -> Callable[[str, bytes], bytes]:
    def change(name: str, content: bytes) -> bytes:
        if name != part:
            return content
        assert before in content
        return content.replace(before, after)

    return change


def sheet_of(cells: str) -> Callable[[str, bytes], bytes]:
    """Return a change that replaces the first sheet of an .xlsx file."""
    text = f'<worksheet xmlns="{MAIN}"><sheetData>{cells}</sheetData></worksheet>'
    return lambda name, content: text.encode() if name == "xl/worksheets/sheet1.xml" else content


@each_case(
    "content, message",
    [
        (b"", NOT_A_SPREADSHEET),
        (b"sku,title\na,b\n", NOT_A_SPREADSHEET),
        (b"PK\x03\x04" + b"\0" * 100, NOT_A_SPREADSHEET),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "the file has a password"),
    ],
)
def test_another_file_with_that_name(tmp_path: Path, content: bytes, message: str) -> None:
    for kind in ("xlsx", "ods"):
        path = tmp_path / f"t.{kind}"
        path.write_bytes(content)
        assert only_fault(path).startswith(message)


def test_an_archive_without_a_workbook(tmp_path: Path) -> None:
    path = tmp_path / "t.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.xml", "<a/>")
    assert only_fault(path) == NOT_A_SPREADSHEET


@each_case(
    "kind, part",
    [("xlsx", "xl/worksheets/sheet1.xml"), ("xlsx", "xl/workbook.xml"), ("ods", "content.xml")],
)
def test_a_missing_or_cut_part(tmp_path: Path, kind: str, part: str) -> None:
    missing = changed(tmp_path, kind, lambda name, content: None if name == part else content)
    assert only_fault(missing) == NOT_A_SPREADSHEET
    cut = changed(tmp_path, kind, lambda name, content: content[:300] if name == part else content)
    assert only_fault(cut) == NOT_A_SPREADSHEET


@each_case("kind, part", [("xlsx", "xl/worksheets/sheet1.xml"), ("ods", "content.xml")])
def test_entities_are_refused(tmp_path: Path, kind: str, part: str) -> None:
    """A few lines of them expand to gigabytes."""

    def change(name: str, content: bytes) -> bytes:
        if name != part:
            return content
        head, rest = content.split(b"?>", 1)
        return head + b'?><!DOCTYPE a [<!ENTITY a "aaaa">]>' + rest

    assert only_fault(changed(tmp_path, kind, change)) == NOT_A_SPREADSHEET


def test_a_file_that_is_large_once_unpacked(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(package, "MAX_XML_BYTES", 1_000_000)
    bomb = changed(
        tmp_path, "xlsx", lambda _name, content: content, **{"xl/x.xml": b"0" * 2_000_000}
    )
    assert bomb.stat().st_size < 50_000
    assert only_fault(bomb) == "the file has more than 1,000,000 bytes once unpacked"
    picture = changed(
        tmp_path, "xlsx", lambda _name, it: it, **{"xl/media/1.png": b"0" * 2_000_000}
    )
    assert len(rows(picture)) == 3


def test_a_large_file(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(package, "MAX_FILE_BYTES", 1_000)
    assert only_fault(FILES / "workbook.ods") == "the file has more than 1,000 bytes"


@each_case(
    "cells",
    [
        '<row><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>',
        '<row r="9999999"><c r="ZZZ9999999"><v>1</v></c></row>',
    ],
)
def test_a_cell_far_away(tmp_path: Path, cells: str) -> None:
    """All cells up to it would be held in memory: the process would be aborted."""
    path = changed(tmp_path, "xlsx", sheet_of(cells))
    assert only_fault(path).startswith("the sheet has more than 5,000,000 cells up to ")


@each_case("repeated", [b"number-columns-repeated", b"number-rows-repeated"])
def test_a_cell_that_is_repeated_a_billion_times(tmp_path: Path, repeated: bytes) -> None:
    element = b"<table:table-row " if b"rows" in repeated else b"<table:table-cell office"
    more = element + b" " if element.endswith(b" ") else b"<table:table-cell "
    after = (
        more + b"table:" + repeated + b'="1000000000" ' + element.removeprefix(more.strip()).strip()
    )
    if b"rows" not in repeated:
        after = b"<table:table-cell table:" + repeated + b'="1000000000" office'
    path = changed(tmp_path, "ods", in_part("content.xml", element, after))
    assert only_fault(path).startswith("the sheet has more than 5,000,000 cells up to ")


def test_far_cells_without_values_do_not_count(tmp_path: Path) -> None:
    cells = (
        '<row r="1"><c r="A1" t="inlineStr"><is><t>sku</t></is></c></row>'
        '<row r="2"><c r="A2"><v>4</v></c></row><row r="1048576"><c r="XFD1048576" s="1"/></row>'
    )
    (row,) = rows(changed(tmp_path, "xlsx", sheet_of(cells)))
    assert isinstance(row, TableRow)
    assert row.values == {"sku": "4"}


def test_merged_cells_that_cover_each_other_many_times(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(reading, "MAX_CELLS", 50)
    merges = "".join(f'<mergeCell ref="{first}:XFD1048576"/>' for first in ("A1", "B1", "A2", "B2"))
    end = f"</sheetData><mergeCells>{merges}</mergeCells>"
    path = changed(
        tmp_path,
        "xlsx",
        in_part("xl/worksheets/sheet1.xml", b"</sheetData>", end.encode()),
    )
    assert only_fault(path) == NOT_A_SPREADSHEET


@each_case("reference", ["A0", "1A", "a1", "A1:", "AAAA1", "A12345678", "é1"])
def test_references_that_are_none(tmp_path: Path, reference: str) -> None:
    path = changed(tmp_path, "xlsx", sheet_of(f'<row><c r="{reference}"><v>1</v></c></row>'))
    assert all(isinstance(row, RowFault) for row in rows(path))


@each_case("target", ["../../../../etc/passwd", "/etc/passwd", "http://localhost/x.xml"])
def test_a_sheet_is_in_the_archive(tmp_path: Path, target: str) -> None:
    change = in_part("xl/_rels/workbook.xml.rels", b"worksheets/sheet1.xml", target.encode())
    assert only_fault(changed(tmp_path, "xlsx", change)) == NOT_A_SPREADSHEET


def test_a_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "t.xlsx"
    os.mkfifo(path)
    (fault,) = rows(path)
    assert isinstance(fault, RowFault)
    assert fault.message == "it is not a regular file"


def test_names_of_columns(tmp_path: Path) -> None:
    def cell(name: str, text: str) -> str:
        return f'<c r="{name}" t="inlineStr"><is><t>{text}</t></is></c>'

    twice = f"<row>{cell('A1', 'sku')}{cell('C1', 'sku ')}</row>"
    assert only_fault(changed(tmp_path, "xlsx", sheet_of(twice))) == (
        "there are two columns 'sku': A and C"
    )
    nameless = f"<row>{cell('A1', 'sku')}</row><row r='2'>{cell('A2', 'a')}{cell('B2', 'x')}</row>"
    assert only_fault(changed(tmp_path, "xlsx", sheet_of(nameless))) == (
        "the cell B2 has a value, and its column no name"
    )
    many = "".join(f"<c t='inlineStr'><is><t>c{number}</t></is></c>" for number in range(1001))
    assert only_fault(changed(tmp_path, "xlsx", sheet_of(f"<row>{many}</row>"))) == (
        "more than 1,000 columns"
    )


def test_hidden_sheets_are_read_only_by_name(tmp_path: Path) -> None:
    change = in_part(
        "xl/workbook.xml", b'sheetId="1" state="visible"', b'sheetId="1" state="hidden"'
    )
    path = changed(tmp_path, "xlsx", change)
    assert [row.values["kind"] for row in rows(path)[:1] if isinstance(row, TableRow)] == ["whole"]
    assert len(rows(path, "Products")) == 3


def test_without_the_extra_the_error_names_it(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    with pytest.raises(FileFault) as refused:
        reader(None)
    assert install_hint("sheets") in (refused.value.hint or "")


def test_cells_are_named_as_spreadsheets_name_them() -> None:
    names = [structure.cell_name(0, column) for column in (0, 25, 26, 701, 702, 16383)]
    assert names == ["A1", "Z1", "AA1", "ZZ1", "AAA1", "XFD1"]


@each_case("kind", ["xlsx", "ods"])
def test_damaged_files_are_errors_and_nothing_else(tmp_path: Path, kind: str) -> None:
    random = Random(7)
    content = (FILES / f"workbook.{kind}").read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    for _ in range(40):
        name = random.choice([name for name in parts if name.endswith(".xml")])
        damaged = bytearray(parts[name])
        for _ in range(random.randrange(1, 6)):
            damaged[random.randrange(len(damaged))] = random.randrange(32, 127)
        path = tmp_path / f"t.{kind}"
        with zipfile.ZipFile(path, "w") as archive:
            for part, text in parts.items():
                archive.writestr(part, bytes(damaged) if part == name else text)
        for sheet in (None, "Merged"):
            for row in rows(path, sheet):
                assert isinstance(row, TableRow | RowFault)
