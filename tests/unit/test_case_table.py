"""A table of cases as one test: no case is left out, and each failure names its case."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path

import pytest

from tests.case_table import each_case

seen: list[tuple[str, int]] = []


@each_case("letter", ["a", "b"])
@each_case("number, root", [(1, 1), (9, 4), (9, 3), (16, 5)])
def squares(tmp_path: Path, letter: str, number: int, root: int) -> None:
    assert tmp_path == Path("given")
    seen.append((letter, number))
    assert root * root == number


@each_case("text", ["1", "x"])
async def no_number(text: str) -> None:
    await asyncio.sleep(0)
    with pytest.raises(ValueError, match="invalid literal"):
        int(text)


def test_all_cases_are_run_and_those_that_fail_are_named() -> None:
    seen.clear()
    assert list(inspect.signature(squares).parameters) == ["tmp_path"]
    with pytest.raises(BaseExceptionGroup, match="4 of 8 cases failed") as caught:
        squares(tmp_path=Path("given"))
    assert seen == [(letter, number) for letter in "ab" for number in (1, 9, 9, 16)]
    assert [failure.__notes__ for failure in caught.value.exceptions] == [
        [f"in the case number={number}, root={root}, letter={letter!r}"]
        for letter in "ab"
        for number, root in ((9, 4), (16, 5))
    ]


async def test_the_cases_of_a_coroutine_are_awaited() -> None:
    with pytest.raises(BaseExceptionGroup, match="1 of 2 cases failed") as caught:
        await no_number()
    assert [failure.__notes__ for failure in caught.value.exceptions] == [["in the case text='1'"]]


def test_a_table_without_cases_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match="no cases"):
        each_case("text", [])(no_number)
