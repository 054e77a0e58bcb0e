"""The page of the harness is true: its examples are in the tests that it names, and its files
exist.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "tests/harness/README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"`(tests/\S+\.py)`:\n\n```python\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.parametrize(("path", "example"), EXAMPLES, ids=[path for path, _ in EXAMPLES])
def test_an_example_is_in_its_file(path: str, example: str) -> None:
    assert example in (ROOT / path).read_text(encoding="utf-8")


def test_each_kind_of_test_has_an_example() -> None:
    assert len(EXAMPLES) == PAGE.count("```python") == 4


def test_the_files_that_it_names_are_there() -> None:
    named = set(re.findall(r"`([a-z_]+\.py)`", PAGE)) - {"in_forks.py"}
    assert len(named) > 20
    assert not {name for name in named if not (ROOT / "tests/harness" / name).is_file()}
