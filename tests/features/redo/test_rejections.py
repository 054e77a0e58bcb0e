"""The file of rejections: what a line is, and which job it is about."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.errors import ManifestError
from crucible_batch.features.redo.rejections import (
    Rejection,
    Rejections,
    parse_rejection,
    read_rejections,
)
from tests.harness.case_table import each_case

DIGITS = "3fa9c1d2e4b5"


@each_case(
    "text, found",
    [
        (f"hero-3/0 g0 {DIGITS}", Rejection("hero-3", 0, 0, DIGITS)),
        (
            f"  hero-3/12  g2\t{DIGITS}  six  fingers ",
            Rejection("hero-3", 12, 2, DIGITS, "six  fingers"),
        ),
        (f"a b (c)/0 g0 {DIGITS} g1 {DIGITS}", Rejection("a b (c)", 0, 0, DIGITS, f"g1 {DIGITS}")),
        (f"hero/0 g0 {DIGITS * 5}abcd", Rejection("hero", 0, 0, f"{DIGITS * 5}abcd")),
        ("hero-3/0", None),
        ("hero-3", None),
        (f"hero-3 g0 {DIGITS}", None),
        (f"hero-3/0 0 {DIGITS}", None),
        (f"hero-3/0 g0 {DIGITS[:11]}", None),
        (f"hero-3/0 g0 {DIGITS.upper()}", None),
        (f"a/b/0 g0 {DIGITS}", None),
        (f"hero/1234567890 g0 {DIGITS}", None),
    ],
)
def test_a_line(text: str, found: Rejection | None) -> None:
    assert parse_rejection(text, 0) == found


@given(
    st.text("abc -_.+=@,()!é", min_size=1).filter(lambda name: name == name.strip()),
    st.integers(0, 10**9 - 1),
    st.integers(0, 9999),
    st.text("abc g0", max_size=40),
)
def test_what_is_written_is_read(name: str, index: int, generation: int, reason: str) -> None:
    line = Rejection(name, index, generation, DIGITS, " ".join(reason.split()))
    assert parse_rejection(str(line), 0) == line


def test_a_bad_line_is_a_problem_with_its_place_and_a_missing_file_rejects_nothing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "rejects.txt"
    assert read_rejections(path, "rejects.txt") == []
    path.write_text(f"# from the page\n\nhero/0 g0 {DIGITS}\nhero\n", encoding="utf-8-sig")
    with pytest.raises(ManifestError) as refused:
        read_rejections(path, "rejects.txt")
    (problem,) = refused.value.problems
    assert (problem.place.file, problem.place.line) == (path, 4)
    assert "reject writes it" in str(problem.hint)


@each_case("content", [b"\xff\xfe", b"x" * (16 * 1024 * 1024 + 1)])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rejects.txt"
    path.write_bytes(content)
    with pytest.raises(ManifestError):
        read_rejections(path, "rejects.txt")


def test_a_line_is_about_the_job_that_it_names_unless_that_was_renamed() -> None:
    """Two jobs may have the same bytes, and only one of them may be rejected."""
    named, gone = Rejection("hero", 0, 0, DIGITS), Rejection("old", 0, 0, DIGITS)
    rejections = Rejections([named, gone], {"hero", "owl"})
    assert rejections.of("hero") == [named, gone]
    assert rejections.of("owl") == [gone]
    assert Rejections([named], {"hero"}).of("owl") == []
