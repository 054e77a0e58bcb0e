"""The table of failure modes is whole, and names tests that are there."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

from tests.harness.case_table import each_case
from tests.harness.features import features_of, has_feature

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/reliability/failure-modes.md"
_ROW = re.compile(r"^\| (\d+b?|–) \| (.+?) \| (.+?) \| (.+) \|$", re.MULTILINE)
_NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")

ROWS = _ROW.findall(PAGE.read_text(encoding="utf-8"))


@functools.cache
def _functions_of(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def test_every_mode_has_its_row_in_order() -> None:
    numbers = [number for number, *_ in ROWS if number != "–"]
    assert numbers == sorted(numbers, key=lambda number: (int(number.rstrip("b")), number))
    assert set(numbers) == {*map(str, range(68)), "22b", "26b"}
    lines = [
        line
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if re.match(r"\| (\d|–)", line)
    ]
    assert len(lines) == len(ROWS)


@each_case("number, tests", [(row[0], row[3]) for row in ROWS])
def test_a_row_names_tests_that_are_there(number: str, tests: str) -> None:
    named = _NAMED.findall(tests)
    assert named, f"row {number} names no test"
    assert _NAMED.sub("", tests).strip() == ""
    for file, test in named:
        if not all(map(has_feature, features_of(ROOT / file))):
            continue  # it was deleted with its tests
        assert (ROOT / file).is_file(), file
        assert test in _functions_of(file), f"{file} has no {test}"


def test_every_file_that_is_named_in_the_text_is_there() -> None:
    for file in re.findall(r"`(?:pytest )?(tests/[\w/]+\.py)`", PAGE.read_text(encoding="utf-8")):
        assert (ROOT / file).is_file(), file
