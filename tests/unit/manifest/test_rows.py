"""Rows come from CSV, TSV, JSONL, texts and globs, in order and streamed; what is wrong names the
file's own line."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.cli.render import errors
from crucible_batch.errors import Place
from crucible_batch.manifest import manifest_schema
from crucible_batch.manifest.table_rows import SUFFIXES
from tests.harness.case_table import each_case
from tests.harness.features import has_feature

JOB = "jobs:\n  - name: '{{ row.n }}'\n    foreach: %s\n    params: {row: '{{ row }}'}\n"


def rows(folder: Any, source: str, **options: Any) -> list[Any]:
    text = f"jobs: [{{name: x, foreach: {source!r}, params: {{row: '{{{{ row }}}}'}}}}]"
    return [job.params["row"] for job in folder.jobs(text, **options)]


def test_each_kind_of_table_is_known_wherever_kinds_are_named() -> None:
    manual = (Path(__file__).parents[3] / "docs" / "manifest.md").read_text(encoding="utf-8")
    foreach = manifest_schema()["$defs"]["JobEntry"]["properties"]["foreach"]["description"]
    for suffix in SUFFIXES:
        assert suffix in foreach, f"name {suffix} at JobEntry.foreach (manifest/models.py)"
        assert f"`{suffix}`" in manual, f"name {suffix} in the table of docs/manifest.md"
        assert suffix in errors._NO_YAML, f"add {suffix} to _NO_YAML (cli/render/errors.py)"


CSVS: list[tuple[bytes, list[dict[str, str]]]] = [
    (b"n,t\n1,a\n2,b\n", [{"n": "1", "t": "a"}, {"n": "2", "t": "b"}]),
    (b"\xef\xbb\xbfn,t\r\n1,a\r\n", [{"n": "1", "t": "a"}]),
    (b"n,t\n1,a", [{"n": "1", "t": "a"}]),
    (b'n,t\n1,"a, ""b""\nc"\n', [{"n": "1", "t": 'a, "b"\nc'}]),
    (b"n,t\n\n1,\n\n", [{"n": "1", "t": ""}]),
    (b"n\n007\ntrue\nnull\n 5 \n", [{"n": "007"}, {"n": "true"}, {"n": "null"}, {"n": " 5 "}]),
    (b" n , t \n1,2\n", [{"n": "1", "t": "2"}]),
    ("n,größe\n1,東京\n".encode(), [{"n": "1", "größe": "東京"}]),
    (b"n,t\n1,{{ n }}\n", [{"n": "1", "t": "{{ n }}"}]),
    (b"n;t\n1;a, b\n2;1,5\n", [{"n": "1", "t": "a, b"}, {"n": "2", "t": "1,5"}]),
    (b'\xef\xbb\xbfn;t\r\n1;"a; ""b""\nc"\r\n', [{"n": "1", "t": 'a; "b"\nc'}]),
    (b"n,t\n1,a; b\n", [{"n": "1", "t": "a; b"}]),
    (b"n\na; b\n", [{"n": "a; b"}]),
]


@each_case("content, expected", CSVS)
def test_csv_rows_are_texts_by_column(
    folder: Any, content: bytes, expected: list[dict[str, str]]
) -> None:
    folder.write("t.csv", content)
    assert rows(folder, "t.csv") == expected


BAD_CSVS: list[tuple[bytes, int, str]] = [
    (b"", 1, "the first line must have the column names"),
    (b"\n1\n", 1, "the first line must have the column names"),
    (b"n,t\n", 0, "the file has no rows"),
    (b"n,t\n1\n", 2, "1 cell in the row, but 2 columns in the table"),
    (b"n\n1,2\n", 2, "2 cells in the row, but 1 column in the table"),
    (b"n,t\n1,2\n1,2,3\n", 3, "3 cells in the row, but 2 columns in the table"),
    (b'n,t\n1,"a\nb"\n\n1\n', 5, "1 cell in the row, but 2 columns in the table"),
    (b'n,t\n1,"a\nb",3\n', 2, "3 cells in the row, but 2 columns in the table"),
    (b"n,\n1,2\n", 1, "column 2 has no name"),
    (b"n,t,n\n1,2,3\n", 1, "there are two columns 'n'"),
    (b"n;t\n1;2;3\n", 2, "3 cells in the row, but 2 columns in the table"),
    (b'n;t\n1;"a\n', 2, "not CSV: unexpected end of data"),
    (b"n;\n1;2\n", 1, "column 2 has no name"),
    (b"n;t;n\n1;2;3\n", 1, "there are two columns 'n'"),
    (b"n\tt\n1\t2\n", 1, "the columns are not separated by commas"),
    (b'n,t\n1,"a\n', 2, "not CSV: unexpected end of data"),
    (b'n,t\n1,"a\n2,b\n3,c\n', 2, "not CSV: unexpected end of data, on line 4"),
    (
        b'n,t\n1,a\n\n2,"a\n3,"b"\n',
        4,
        "not CSV: ',' expected after '\"', on line 5; the row began here",
    ),
    (b'n,t\n1,"a\n' + b"2,b\n" * 40_000, 2, "not CSV: field larger than field limit"),
    (b'n,"t\n1,a\n', 1, "not CSV: unexpected end of data, on line 2"),
    (b'n,t\n1,"a"b\n', 2, "not CSV:"),
    (b"n,t\n1,\xe4\n", 2, "not UTF-8"),
    (b"n,t\n" + b"".join(b"%d,a\n" % n for n in range(9000)) + b"1,\xff\n", 9002, "not UTF-8"),
    (b"n,t\n1," + b"x" * 200_000 + b"\n", 2, "not CSV: field larger than field limit"),
    (b"n,t\n1," + b"x" * 2_000_000 + b"\n", 2, "the line has more than"),
    ("n,t\n1,2\n".encode("utf-16"), 1, "not UTF-8"),
    (b",".join(b"c%d" % n for n in range(1001)) + b"\n", 1, "more than 1,000 columns"),
]


@each_case("content, line, message", BAD_CSVS)
def test_a_csv_file_that_is_wrong_names_its_line(
    folder: Any, content: bytes, line: int, message: str
) -> None:
    file = folder.write("t.csv", content)
    found = folder.problems(JOB % "t.csv")
    wrong = [problem for problem in found if problem.place.file == file]
    assert message in wrong[0].message
    assert wrong[0].place == Place(file, line, 1 if line else 0)
    assert wrong[0].field == "jobs[0].foreach"


def test_all_bad_rows_are_named_and_good_ones_continue(folder: Any) -> None:
    folder.write("t.csv", "n,t\n1\n2,x\n3,y,z\n")
    items = folder.items(JOB % "t.csv")
    assert [getattr(item, "name", None) or item.place.line for item in items] == [2, "2", 4]


TSVS: list[tuple[bytes, list[dict[str, str]]]] = [
    (b"n\tt\n1\ta, b; c\n2\t\n", [{"n": "1", "t": "a, b; c"}, {"n": "2", "t": ""}]),
    (b"\xef\xbb\xbfn\tt\r\n1\ta\r\n", [{"n": "1", "t": "a"}]),
    (b'n\tt\n1\t"a\t""b""\nc"\n', [{"n": "1", "t": 'a\t"b"\nc'}]),
]


@each_case("content, expected", TSVS)
def test_a_tsv_is_a_csv_with_tabs(
    folder: Any, content: bytes, expected: list[dict[str, str]]
) -> None:
    folder.write("t.TSV", content)
    assert rows(folder, "t.TSV") == expected


TEXTS: list[tuple[bytes, list[str]]] = [
    (b"a fox\na hen, brown\n", ["a fox", "a hen, brown"]),
    (b"\xef\xbb\xbfa fox\r\n \t\r\n\r\n  a hen  \r\n", ["a fox", "a hen"]),
    (b"a fox\ra hen", ["a fox", "a hen"]),
    (b'"quoted", \t{{ row }} @t.txt #1', ['"quoted", \t{{ row }} @t.txt #1']),
    ("東京, 夜\n".encode(), ["東京, 夜"]),
]


@each_case("content, expected", TEXTS)
def test_each_line_of_a_text_that_is_not_blank_is_a_row(
    folder: Any, content: bytes, expected: list[str]
) -> None:
    folder.write("t.txt", content)
    assert rows(folder, "t.txt") == [{"line": text} for text in expected]


def test_rows_of_a_text_are_numbered_without_blank_lines_and_placed_with_them(folder: Any) -> None:
    file = folder.write("t.txt", b"\n\na fox\n\na hen\n")
    jobs = (
        "jobs: [{name: x, foreach: t.txt, prompt: '{{ row.line }}', image: '{{ row.line }}.png'}]"
    )
    problems = folder.problems(jobs)
    assert [problem.row for problem in problems] == [Place(file, 3), Place(file, 5)]
    named = list(folder.jobs("jobs: [{name: x, foreach: t.txt, prompt: '{{ row.line }}'}]"))
    assert [(job.name, job.prompt) for job in named] == [("x-1", "a fox"), ("x-2", "a hen")]


BAD_TABLES: list[tuple[str, bytes, int, str, str | None]] = [
    ("t.tsv", b"n\tt\n1\n", 2, "1 cell in the row, but 2 columns in the table", None),
    (
        "t.tsv",
        b"n\tt\n1\t2\t3\n",
        2,
        "3 cells in the row, but 2 columns in the table",
        "put cells that contain tabs in double quotes",
    ),
    (
        "t.tsv",
        b"n,t\n1,2\n",
        1,
        "the columns are not separated by tabs",
        "save the file with tabs between the columns",
    ),
    (
        "t.tsv",
        b'n\tt\n1\t"a"b\n',
        2,
        "not TSV: '\t' expected after '\"'",
        "put cells that contain quotation marks",
    ),
    (
        "t.tsv",
        b'n\tt\n1\t"a\n2\tb\n',
        2,
        "not TSV: unexpected end of data",
        "close the quotation mark of each cell",
    ),
    ("t.tsv", b"n\tt\n1\t" + b"x" * 200_000, 2, "not TSV: field larger than field limit", None),
    (
        "t.tsv",
        b"n\tt\n1\t" + b"x" * 2_000_000,
        2,
        "the line has more than 1,048,576 characters",
        None,
    ),
    ("t.tsv", b"n\tt\n1\t\xe4\n", 2, "not UTF-8", "save the file as UTF-8"),
    ("t.tsv", b"", 1, "the first line must have the column names", None),
    ("t.txt", b"", 0, "the file has no rows", None),
    ("t.txt", b"\n \n", 0, "the file has no rows", None),
    ("t.txt", b"a\n\n\xff\n", 3, "not UTF-8", "save the file as UTF-8"),
    ("t.txt", b"a\n\n" + b"x" * 200_000, 3, "the line has more than 131,072 characters", None),
    ("t.txt", "a fox\n".encode("utf-16"), 1, "not UTF-8", "save the file as UTF-8"),
    ("t.tsv", "n\tt\n".encode("utf-16"), 1, "not UTF-8", "save the file as UTF-8"),
    ("t.csv", b"PK\x03\x04\xff\xfe", 1, "not UTF-8", "export the sheet as CSV"),
]


@each_case("name, content, line, message, hint", BAD_TABLES)
def test_a_tsv_or_a_text_that_is_wrong_names_its_line(
    folder: Any, name: str, content: bytes, line: int, message: str, hint: str | None
) -> None:
    file = folder.write(name, content)
    problem = next(each for each in folder.problems(JOB % name) if each.place.file == file)
    assert message in problem.message
    assert problem.place == Place(file, line, 1 if line else 0)
    assert problem.hint is None if hint is None else hint in (problem.hint or "")


_UNREAD = ["t.xlsb", "t.XLS", "t.numbers", "t.xlsm"]
if not has_feature("sheets"):
    _UNREAD += ["t.xlsx", "t.ods"]


@each_case("name", _UNREAD)
def test_a_spreadsheet_gets_the_advice_to_export_it(folder: Any, name: str) -> None:
    problem = folder.problem(JOB % name)
    assert problem.message == f"{name!r} is a spreadsheet, which is not supported"
    assert problem.hint == "export the sheet as CSV (UTF-8) and use 't.csv'"


JSONLS: list[tuple[bytes, list[Any]]] = [
    (b'{"n": 1}\n{"n": "1"}\n', [{"n": 1}, {"n": "1"}]),
    (
        b'\xef\xbb\xbf{"n": 1.5, "a": [1, null], "o": {"x": true}}',
        [{"n": 1.5, "a": [1, None], "o": {"x": True}}],
    ),
    (b'\r\n{"n": 18446744073709551615}\r\n\n', [{"n": 18446744073709551615}]),
    ('{"n": "😀\\ud83d\\ude00"}'.encode(), [{"n": "😀😀"}]),
]


@each_case("content, expected", JSONLS)
def test_jsonl_rows_keep_their_types(folder: Any, content: bytes, expected: list[Any]) -> None:
    folder.write("t.jsonl", content)
    assert rows(folder, "t.jsonl") == expected


BAD_JSONLS: list[tuple[bytes, int, str]] = [
    (b"", 0, "the file has no rows"),
    (b'{"n": 1}\n{"n": 1,}\n', 2, "not JSON:"),
    (b'{"n": 1}\n\n[1]\n', 3, "each line must be one JSON object"),
    (b"5\n", 1, "each line must be one JSON object"),
    (b'{"n": NaN}\n', 1, "contains NaN"),
    (b'{"n": -Infinity}\n', 1, "contains NaN, infinity"),
    (b'{"n": 1e999}\n', 1, "contains NaN, infinity"),
    (b'{"n": ' + b"9" * 5000 + b"}\n", 1, "5000 digits is too long"),
    (b'{"n": 1, "n": 2}\n', 1, "the key 'n' occurs twice"),
    (b'{"n": {"a": 1, "a": 2}}\n', 1, "the key 'a' occurs twice"),
    (b'{"n": "\\ud800"}\n', 1, "half of a surrogate pair"),
    (b'{"\\udc00": 1}\n', 1, "half of a surrogate pair"),
    (b'{"n": "a\tb"}\n', 1, "not JSON:"),
    (b'{"n": 1}\n{"n": "\xff"}\n', 2, "not UTF-8"),
    (b'{"n": ' + b"[" * 100_000 + b"\n", 1, "not JSON: nested too deeply"),
    (b'{"n": "' + b"x" * 1_100_000 + b'"}\n', 1, "more than 1,048,576 bytes"),
    (b'{"n": 1}{"n": 2}\n', 1, "not JSON:"),
]


@each_case("content, line, message", BAD_JSONLS)
def test_a_jsonl_file_that_is_wrong_names_its_line(
    folder: Any, content: bytes, line: int, message: str
) -> None:
    file = folder.write("t.jsonl", content)
    (problem,) = folder.problems(JOB % "t.jsonl")
    assert message in problem.message
    told = re.search(r" at column (\d+)$", problem.message)
    assert problem.place == Place(file, line, int(told[1]) if told else min(line, 1))


def test_a_slip_in_json_has_its_column_in_the_file(folder: Any) -> None:
    folder.write("t.jsonl", b'\xef\xbb\xbf\t {"n": x}\n')
    (problem,) = folder.problems(JOB % "t.jsonl")
    assert (problem.place.line, problem.place.column) == (1, 9)


def test_globs_sort_bytewise_and_give_path_name_and_stem(folder: Any) -> None:
    for name in (
        "p/b.jpg",
        "p/B.jpg",
        "p/a.tar.gz",
        "p/é.jpg",
        "p/z.jpg",
        "p/.hidden",
        "p/sub/c.jpg",
        "q.jpg",
    ):
        folder.write(name)
    assert rows(folder, "p/*") == [
        {"path": "p/B.jpg", "name": "B.jpg", "stem": "B"},
        {"path": "p/a.tar.gz", "name": "a.tar.gz", "stem": "a.tar"},
        {"path": "p/b.jpg", "name": "b.jpg", "stem": "b"},
        {"path": "p/z.jpg", "name": "z.jpg", "stem": "z"},
        {"path": "p/é.jpg", "name": "é.jpg", "stem": "é"},
    ]
    assert [row["path"] for row in rows(folder, "**/*.jpg")][-1] == "q.jpg"
    assert len(rows(folder, "**/*.jpg")) == 6
    assert [row["name"] for row in rows(folder, "p/[bz].jpg")] == ["b.jpg", "z.jpg"]
    assert [row["stem"] for row in rows(folder, "?.jpg")] == ["q"]


def test_a_path_of_a_glob_serves_as_an_image(folder: Any) -> None:
    photo = folder.write("p/a.jpg")
    job = folder.job(
        "jobs: [{name: '{{ row.stem }}', foreach: 'p/*.jpg', image: '{{ row.path }}'}]"
    )
    assert (job.name, job.image) == ("a", photo)


SOURCES: list[tuple[str, str]] = [
    ("gone.csv", "'gone.csv' can't be read: no such file"),
    ("../t.csv", "is outside the manifest's directory"),
    ("/etc/x.csv", "is outside the manifest's directory"),
    ("'/etc/*'", "is outside the manifest's directory"),
    ("'../*'", "is outside the manifest's directory"),
    ("'p/../../*'", "is outside the manifest's directory"),
    ("t.doc", "is not a .csv, .tsv, .txt or .jsonl file or a glob"),
    ("p", "is not a .csv, .tsv, .txt or .jsonl file or a glob"),
    ("t.xls", "is a spreadsheet"),
    ("'nothing/*.jpg'", "no file matches 'nothing/*.jpg'"),
    ("'p*'", "no file matches 'p*'"),
    ("dir.csv", "is a directory"),
    ('"a\\0*"', "contains a NUL character"),
    ("'{{ gone }}.csv'", "the variable 'gone' is unknown"),
    ("'{{ x'", "not a template"),
]


@each_case("source, message", SOURCES)
def test_sources_that_cannot_be_used(folder: Any, source: str, message: str) -> None:
    (folder.path / "p").mkdir()
    (folder.path / "dir.csv").mkdir()
    problem = folder.problem(JOB % source)
    assert any(part in problem.message for part in message.split("|"))
    assert (problem.place.line, problem.place.column, problem.field) == (6, 14, "jobs[0].foreach")


def test_a_source_may_be_chosen_by_a_variable(folder: Any) -> None:
    folder.write("b.csv", "n\n5\n")
    job = folder.job("vars: {table: a}\n" + JOB % "'{{ table }}.csv'", overrides={"table": "b"})
    assert job.name == "5"


def test_links_that_lead_out_are_refused_in_globs_too(
    folder: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside: Path = tmp_path_factory.mktemp("outside")
    (outside / "x.jpg").write_bytes(b"x")
    (folder.path / "p").mkdir()
    (folder.path / "p" / "link.jpg").symlink_to(outside / "x.jpg")
    (folder.path / "all").symlink_to(outside)
    for pattern in ("p/*", "all/*"):
        (problem,) = folder.problems(JOB % repr(pattern))
        assert "is outside the manifest's directory" in problem.message
    assert rows(folder, "all/*", allow_outside=True)[0]["name"] == "x.jpg"


def test_a_file_name_that_is_no_utf8_is_a_problem(folder: Any) -> None:
    (folder.path / os.fsdecode(b"a\xff.jpg")).write_bytes(b"x")
    (problem,) = folder.problems(JOB % "'*.jpg'")
    assert "is not UTF-8" in problem.message


def test_more_files_than_jobs_may_be_are_refused(folder: Any) -> None:
    for number in range(12):
        folder.write(f"{number}.jpg")
    (problem,) = folder.problems(JOB % "'*.jpg'", max_jobs=10)
    assert "more than 10 files match" in problem.message


def test_native_values_of_rows_reach_parameters(folder: Any) -> None:
    folder.write("t.jsonl", '{"n": "a", "seed": 5, "tags": ["x"], "on": false}\n')
    job = folder.job(
        "jobs: [{name: '{{ row.n }}', foreach: t.jsonl, "
        "params: {seed: '{{ row.seed }}', tags: '{{ row.tags }}', "
        "on: '{{ row.on }}', text: 's{{ row.seed }}'}}]"
    )
    assert job.params == {"seed": 5, "tags": ["x"], "on": False, "text": "s5"}


def test_a_value_of_a_row_is_never_read_as_a_template_or_a_file(folder: Any) -> None:
    folder.write("secret.txt", "secret")
    folder.write("t.jsonl", '{"n": "a", "t": "@secret.txt {{ 7 * 7 }}"}\n')
    job = folder.job(
        "jobs: [{name: '{{ row.n }}', foreach: t.jsonl, prompt: '{{ row.t }}', "
        "params: {x: '{{ row.t }}'}}]"
    )
    assert job.prompt == job.params["x"] == "@secret.txt {{ 7 * 7 }}"
