"""An excerpt fits the terminal, shows the place that is meant, and marks that and nothing else."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from crucible_batch.cli.render.errors import NARROWEST, excerpt, read_lines
from crucible_batch.errors import Place
from tests.harness.case_table import each_case

CASES = [
    ("prompt: fox", 1, 7, 80, "prompt: fox", "^^^^^^"),
    ("prompt: fox", 9, 0, 80, "prompt: fox", "        ^"),
    ("prompt: fox", 12, 0, 80, "prompt: fox", "           ^"),
    ("prompt: fox", 0, 0, 80, "prompt: fox", ""),
    ("prompt: fox", 90, 95, 80, "prompt: fox", ""),
    ("\ta:\tb", 5, 6, 80, " a: b", "    ^"),
    ("a: 東京", 4, 6, 80, "a: 東京", "   ^^^^"),
    ("東京: x", 5, 6, 80, "東京: x", "      ^"),
    ("e\u0301: x", 5, 6, 80, "e\u0301: x", "   ^"),
    ("a" * 100, 1, 2, 20, "a" * 19 + "…", "^"),
    ("a" * 99 + "b", 100, 101, 20, "…" + "a" * 18 + "b", " " * 19 + "^"),
    ("a" * 50 + "b" + "a" * 50, 51, 52, 20, "…" + "a" * 5 + "b" + "a" * 12 + "…", "      ^"),
    ("x: " + "a" * 100, 4, 104, 20, "x: " + "a" * 16 + "…", "   " + "^" * 16),
]


@each_case("line, column, end_column, width, text, mark", CASES)
def test_a_line_is_shown_with_its_mark(
    line: str, column: int, end_column: int, width: int, text: str, mark: str
) -> None:
    shown = excerpt(line, column, end_column, width)
    assert (shown.text, shown.mark) == (text, mark)


@given(st.text(st.sampled_from("ab \t東é\u0301\u200b\x1b🙂"), max_size=300), st.data())
def test_whatever_the_line_it_fits_and_the_mark_stands_under_the_place(
    line: str, data: st.DataObject
) -> None:
    column = data.draw(st.integers(1, len(line) + 1))
    end_column = data.draw(st.just(0) | st.integers(column, len(line) + 1))
    width = data.draw(st.integers(1, 130))
    shown = excerpt(line, column, end_column, width)
    assert shown.text.isprintable()
    assert cell_len(shown.text) <= max(width, NARROWEST)
    start, marked = shown.mark.count(" "), shown.mark.count("^")
    assert shown.mark == " " * start + "^" * marked
    assert marked >= 1
    if column <= len(line) and cell_len(line[column - 1]):
        beginnings = {
            cell_len(shown.text[:index]): char
            for index, char in enumerate(shown.text)
            if cell_len(char)
        }
        expected = line[column - 1]
        assert beginnings[start] == (expected if expected.isprintable() else " ")


def test_lines_are_counted_as_their_reader_counts_them(tmp_path: Path) -> None:
    content = "one\u2028two\rthree\r\nfour\nfive"
    manifest, table = tmp_path / "m.yaml", tmp_path / "t.csv"
    for file in (manifest, table):
        file.write_bytes(b"\xef\xbb\xbf" + content.encode())
    places = [
        Place(manifest, 1),
        Place(manifest, 4),
        Place(table, 1),
        Place(table, 3),
        Place(table, 9),
        Place(table),
    ]
    assert read_lines([*places, Place(tmp_path, 1), Place(tmp_path / "gone", 1)]) == {
        (manifest, 1): "one",
        (manifest, 4): "four",
        (table, 1): "one\u2028two",
        (table, 3): "four",
    }
