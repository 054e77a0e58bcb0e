"""A manifest's file is read as bytes of UTF-8, and what is wrong with them has its place."""

from __future__ import annotations

import os
from typing import Any

import pytest

from crucible_batch.errors import ManifestError, Place
from crucible_batch.manifest import load_manifest, loader
from tests.harness.case_table import each_case

MARK = b"\xef\xbb\xbf"
LONG = "# é\n" * 40_000


@each_case(
    "before, line, column",
    [
        ("", 1, 1),
        ("a: é", 1, 5),
        ("a\n", 2, 1),
        (LONG, 40_001, 1),
        (LONG + "é: ", 40_001, 4),
        ("x" * 200_000, 1, 200_001),
    ],
)
@each_case("mark", [b"", MARK])
@each_case("bad", [b"\xff", b"\xc3", b"\xed\xa0\x80"])
def test_what_is_no_utf8_has_its_place_wherever_it_is(
    folder: Any, before: str, line: int, column: int, mark: bytes, bad: bytes
) -> None:
    path = folder.write("m.yaml", mark + before.encode() + bad)
    with pytest.raises(ManifestError, match="not UTF-8") as caught:
        load_manifest(path)
    assert caught.value.problems[0].place == Place(path, line, column)


def test_a_file_that_grows_while_it_is_read_is_refused(
    folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder.write("m.yaml", b"a" * 100)
    fstat = os.fstat

    def growing(descriptor: int) -> os.stat_result:
        status = fstat(descriptor)
        with path.open("ab") as more:
            more.write(b"b" * 100)
        return status

    monkeypatch.setattr(loader.os, "fstat", growing)
    with pytest.raises(ManifestError, match="the limit is 150"):
        load_manifest(path, max_bytes=150)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_what_the_parser_stops_at_is_looked_at_again(folder: Any, mark: str) -> None:
    problem = folder.problem((mark + "version: 1\nname: é \x07\n").encode())
    assert "U+0007 is not allowed" in problem.message
    assert (problem.place.line, problem.place.column) == (2, 9)
    assert "tabs" in (folder.problem((mark + "version: 1\nvars:\n\ta: 1\n").encode()).hint or "")


@pytest.mark.parametrize("order", ["jobs first", "jobs last"])
def test_a_long_manifest_has_its_places(folder: Any, order: str) -> None:
    head, jobs = "version: 1\nname: t\nworkflow: z\n", "jobs:\n" + "- {name: a, promt: é}\n" * 3000
    path = folder.write("m.yaml", head + jobs if order == "jobs last" else jobs + head)
    with pytest.raises(ManifestError) as caught:
        load_manifest(path)
    first = caught.value.problems[0]
    assert (first.place.line, first.place.column, first.nearest) == (
        5 if order == "jobs last" else 2,
        13,
        "prompt",
    )
    assert caught.value.omitted == 2900
