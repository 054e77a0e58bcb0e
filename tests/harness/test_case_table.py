"""A table of cases as one test: no case is left out, and each failure names its case."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.case_table import directory_of_case, each_case

ROOT = Path(__file__).parents[2]
ALONE = "\nto run it alone: --cases -k"

seen: list[tuple[str, int]] = []


@each_case("letter", ["a", "b"])
@each_case("number, root", [(1, 1), (9, 4), (9, 3), (16, 5)])
def squares(steady: str, letter: str, number: int, root: int) -> None:
    assert steady == "given"
    seen.append((letter, number))
    assert root * root == number


@each_case("text", ["1", "x"])
async def no_number(text: str) -> None:
    await asyncio.sleep(0)
    with pytest.raises(ValueError, match="invalid literal"):
        int(text)


def test_all_cases_are_run_and_those_that_fail_are_named() -> None:
    seen.clear()
    assert list(inspect.signature(squares).parameters) == ["steady"]
    with pytest.raises(BaseExceptionGroup, match="4 of 8 cases failed") as caught:
        squares(steady="given")
    assert seen == [(letter, number) for letter in "ab" for number in (1, 9, 9, 16)]
    assert [failure.__notes__ for failure in caught.value.exceptions] == [
        [
            (
                f"in the case number={number}, root={root}, letter={letter!r}"
                f"{ALONE} 'number-{row}: and letter-{column}:'"
            )
        ]
        for column, letter in enumerate("ab")
        for row, number, root in ((1, 9, 4), (3, 16, 5))
    ]


async def test_the_cases_of_a_coroutine_are_awaited() -> None:
    with pytest.raises(BaseExceptionGroup, match="1 of 2 cases failed") as caught:
        await no_number()
    assert [failure.__notes__ for failure in caught.value.exceptions] == [
        [f"in the case text='1'{ALONE} 'text-0:'"]
    ]


def test_a_table_without_cases_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match="no cases"):
        each_case("text", [])(no_number)


@dataclass(frozen=True)
class Folder:
    path: Path

    def for_case(self, number: int) -> Folder:
        return Folder(directory_of_case(self.path, number))


@each_case("number", [0, 1])
def apart(tmp_path: Path, folder: Folder, number: int) -> None:
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    assert folder.path == tmp_path == tmp_path.parent / f"case-{number}"


@each_case("number", [0, 1])
def together(tmp_path: Path, store: Path, number: int) -> None:
    assert (store, len(list(tmp_path.iterdir()))) == (tmp_path, number)
    (tmp_path / f"{number}").touch()


def test_a_case_finds_no_file_of_another_one(tmp_path: Path) -> None:
    apart(tmp_path=tmp_path, folder=Folder(tmp_path))


def test_the_directory_is_that_of_the_test_if_another_fixture_may_be_in_it(tmp_path: Path) -> None:
    together(tmp_path=tmp_path, store=tmp_path)


def test_a_case_with_marks_would_lose_them_and_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="marks or an id of its own"):
        each_case("text", ["a", pytest.param("b", marks=pytest.mark.slow)])


TABLE = """
from tests.harness.case_table import each_case

@each_case("letter", ["a", "b"])
@each_case("number, root", [(1, 1), (9, 4), (9, 3)])
def test_squares(letter, number, root):
    assert root * root == number
"""


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ([], "2 of 6 cases failed"),
        (["--cases"], "2 failed, 4 passed"),
        (["--cases", "-k", "number-1: and letter-0:"], "1 failed, 5 deselected"),
    ],
    ids=["as one test", "each as a test", "one alone"],
)
def test_a_case_can_be_run_alone(tmp_path: Path, options: list[str], found: str) -> None:
    path = tmp_path / "test_table.py"
    path.write_text(TABLE)
    words = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.conftest",
        "-p",
        "no:cacheprovider",
        *options,
        str(path),
    ]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, found in done.stdout) == (1, True), done.stdout + done.stderr
