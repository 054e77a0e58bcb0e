"""Text from outside: whatever it holds, none of it paints a terminal, hides, or is endless."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.core.redaction import MESSAGE_LIMIT, clean
from tests.harness.case_table import each_case


@each_case(
    "text, shown",
    [
        ("plain words, é and 🚢", "plain words, é and 🚢"),
        ("", ""),
        ("\x1b[31mred\x1b[0m, \x1b[1;4Hthere", "red, there"),
        ("\x1b]0;a title\x07after", "after"),
        ("\x1b]8;;https://s.test\x1b\\a link\x1b]8;;\x1b\\", "a link"),
        ("\x1bMup \x1b\\ \x1b_down", "up down"),
        ("bell\x07, null\x00, c1 \x9b31m, delete\x7f", "bell, null, c1 31m, delete"),
        ("\u202etxt.exe\u200b\ufeff\ud800\u2066", "txt.exe"),
        ("two\nlines\r\n\tand\u2028more  ", "two lines and more"),
        ("an escape of nobody: \x1b!", "an escape of nobody: !"),
    ],
)
def test_what_would_paint_or_hide_is_dropped_and_lines_are_joined(text: str, shown: str) -> None:
    assert clean(text) == shown


@pytest.mark.parametrize("text", ["a  b", "a  ü"])
def test_words_are_a_space_apart(text: str) -> None:
    assert clean(text) == " ".join(text.split()) == text.replace("  ", " ")


@pytest.mark.parametrize("text", ["a" * 10, "ü" * 10])
def test_a_text_of_just_the_limit_is_whole(text: str) -> None:
    assert clean(text, 10) == text


def test_a_text_is_cut_to_its_limit_and_shows_that_it_was() -> None:
    assert clean("x" * MESSAGE_LIMIT) == "x" * MESSAGE_LIMIT
    assert clean("x" * (MESSAGE_LIMIT + 1)) == "x" * (MESSAGE_LIMIT - 1) + "…"
    assert clean("12345", 5) == "12345"
    assert clean("123456", 5) == "1234…"


def test_only_the_beginning_of_an_endless_text_is_looked_at() -> None:
    """An escape is longer than what it leaves, so eight times the limit is read, and no more."""
    assert clean("\x1b[0m" * 9 + "abcd", 5) == "abcd"
    assert clean(" " * 40 + "beyond", 5) == ""
    assert clean(" " * 39 + "beyond", 5) == "b"


@given(st.text(), st.integers(1, 40))
def test_whatever_comes_is_seen_short_and_stays_as_it_is(text: str, limit: int) -> None:
    shown = clean(text, limit)
    assert len(shown) <= limit
    assert not {unicodedata.category(char) for char in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert clean(shown, limit).split() == shown.split()
