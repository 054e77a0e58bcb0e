"""Spreadsheets that LibreOffice wrote, in both formats: their rows, and the jobs of these."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crucible_batch.errors import Problem
from crucible_batch.features.sheets.reading import reader, text_of_cell
from crucible_batch.manifest import JobSpec, expand, load_manifest
from crucible_batch.manifest.table_rows import RowFault
from tests.harness.case_table import each_case
from tests.harness.commands import Cli

FILES = Path(__file__).parent / "files"
KINDS = ["xlsx", "ods"]
PRODUCTS = (
    "sku,title,pieces,since,note\n"
    'a-1,Größe M; blau,3,2026-11-30,"12"" wide"\n'
    '007,"Käse, „alt“",12,2024-02-29,\n'
    'c 3,"two\nlines",7,1999-12-31,=1+1\n'
)
"""The first sheet as a CSV file, written by hand."""
MANIFEST = (
    "version: 1\nname: test\nworkflow: z\njobs:\n"
    '  - name: "p-{{ row.sku }}"\n'
    '    prompt: "{{ row.title }}, {{ row.since }}, {{ row.note }}"\n'
    '    params: {pieces: "{{ row.pieces | int }}", text: "{{ row.pieces }}"}\n'
    "    foreach: "
)


def rows(kind: str, sheet: str | None = None) -> list[Mapping[str, Any]]:
    made = list(reader(sheet)(FILES / f"workbook.{kind}"))
    assert not [row for row in made if isinstance(row, RowFault)]
    return [row.values for row in made if not isinstance(row, RowFault)]


def faults(kind: str, sheet: str | None) -> list[RowFault]:
    made = reader(sheet)(FILES / f"workbook.{kind}")
    return [row for row in made if isinstance(row, RowFault)]


def jobs(folder: Path, foreach: str) -> Sequence[JobSpec | Problem]:
    path = folder / "m.yaml"
    path.write_text(MANIFEST + foreach + "\n")
    return list(expand(load_manifest(path)))


@each_case("name", ["workbook.xlsx", "workbook.ods", "products-german.csv", "products-english.csv"])
def test_each_file_gives_the_jobs_of_the_csv_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "products.csv").write_text(PRODUCTS)
    shutil.copy(FILES / name, tmp_path)
    expected = jobs(tmp_path, "products.csv")
    assert [job.name for job in expected if isinstance(job, JobSpec)] == ["p-a-1", "p-007", "p-c 3"]
    assert jobs(tmp_path, name) == expected


@each_case("kind", KINDS)
def test_values_are_text_as_people_read_them(kind: str) -> None:
    assert {row["kind"]: row["value"] for row in rows(kind, "Values")} == {
        "whole": "3",
        "decimal": "0.1",
        "long": "12345678901234",
        "negative": "-2.5",
        "percent": "0.25",
        "date": "2026-11-30",
        "German date": "2026-11-30",
        "date and time": "2026-11-30 14:05:09",
        "time": "14:05:09",
        "hours": "30:00:00",
        "true": "TRUE",
        "false": "FALSE",
        "formula": "a2",
        "empty": "",
        "spaces": "  two  ",
        "digits": "007",
    }


@each_case(
    "value, text",
    [
        (3.0, "3"),
        (-0.0, "0"),
        (0.1 + 0.2, "0.3"),
        (1e20, "100000000000000000000"),
        (1e300, "1e+300"),
        (1 / 3, "0.333333333333333"),
        (7, "7"),
        (True, "TRUE"),
        (datetime.timedelta(seconds=-90), "-00:01:30"),
        (datetime.time(7, 5), "07:05:00"),
        ("PT01H02M03.5S", "01:02:03"),
        ("PT1H", "PT1H"),
    ],
)
def test_a_value_has_one_text(value: Any, text: str) -> None:
    assert text_of_cell(value) == text


@each_case("kind", KINDS)
def test_an_error_in_a_cell_is_an_error_of_its_row(kind: str) -> None:
    """The reader itself returns an empty cell, whose job would be bought without its text."""
    assert [(fault.line, fault.column, fault.message) for fault in faults(kind, "Faults")] == [
        (3, 2, "the cell B3 has the error #DIV/0!"),
        (4, 2, "the cell B4 has the error #N/A"),
    ]


@each_case("kind", KINDS)
def test_merged_cells_have_their_value_in_each_row(kind: str) -> None:
    assert rows(kind, "Merged") == [
        {"group": "cups", "sku": "a"},
        {"group": "cups", "sku": "b"},
        {"group": "plates", "sku": "c"},
    ]


@each_case("kind", KINDS)
def test_empty_rows_and_columns_are_no_jobs_and_lines_are_those_of_the_sheet(kind: str) -> None:
    made = list(reader("Gaps & more")(FILES / f"workbook.{kind}"))
    assert [
        (row.number, row.line, row.values) for row in made if not isinstance(row, RowFault)
    ] == [
        (1, 4, {"sku": "a", "title": "A"}),
        (2, 6, {"sku": "b", "title": ""}),
        (3, 7, {"sku": "", "title": "C"}),
    ]


@each_case("kind", KINDS)
def test_a_sheet_that_is_missing_is_named_with_those_that_exist(kind: str) -> None:
    (near,) = faults(kind, "Product")
    assert (near.line, near.message) == (0, "the file has no sheet 'Product'")
    assert near.hint == "did you mean Products?"
    (far,) = faults(kind, "2026")
    assert far.hint == "its sheets are Products, Values, Faults, Merged, Gaps & more, Empty"


@each_case("kind", KINDS)
def test_a_missing_sheet_is_a_mistake_of_the_manifest(tmp_path: Path, kind: str) -> None:
    shutil.copy(FILES / f"workbook.{kind}", tmp_path)
    (problem,) = jobs(tmp_path, f"workbook.{kind}\n    sheet: Product")
    assert isinstance(problem, Problem)
    assert (problem.place.file.name, problem.place.line) == ("m.yaml", 9)
    assert problem.field == "jobs[0].sheet"


@each_case("kind", KINDS)
def test_an_empty_sheet_has_no_jobs(tmp_path: Path, kind: str) -> None:
    shutil.copy(FILES / f"workbook.{kind}", tmp_path)
    (problem,) = jobs(tmp_path, f"workbook.{kind}\n    sheet: Empty")
    assert isinstance(problem, Problem)
    assert problem.message == "the file has no rows"


def test_a_row_that_a_template_rejects_is_named_by_its_row_in_the_sheet(tmp_path: Path) -> None:
    shutil.copy(FILES / "workbook.ods", tmp_path)
    made = jobs(tmp_path, "workbook.ods\n    sheet: Gaps & more\n    matrix: {}")
    assert all(isinstance(item, Problem) for item in made)
    path = tmp_path / "m.yaml"
    path.write_text(
        MANIFEST.partition("  - ")[0]
        + '  - {name: x, prompt: "{{ row.title }}", foreach: workbook.ods, sheet: Gaps & more}\n'
    )
    found = [item for item in expand(load_manifest(path)) if isinstance(item, Problem)]
    assert [str(problem.row) for problem in found] == [f"{tmp_path / 'workbook.ods'}:6"]


def test_a_problem_of_a_row_shows_no_bytes_of_the_file(cli: Cli) -> None:
    shutil.copy(FILES / "workbook.xlsx", cli.cwd)
    cli.write("m", '- {name: "{{ row.sku }}", prompt: x, foreach: workbook.xlsx, sheet: Faults}')
    done = cli("validate", "m.yaml")
    assert done.code == 2
    assert done.err.startswith(
        "workbook.xlsx:3:2: jobs[0].foreach: the cell B3 has the error #DIV/0!\n"
        "     hint  correct its formula"
    ), done.err
