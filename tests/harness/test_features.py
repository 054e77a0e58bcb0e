"""The tests of a feature are in its folder, so they can be deleted with it; the other tests do
without it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.harness.features import features_of, has_feature

TESTS = Path(__file__).parents[1]
STUB = TESTS.parent / "crucible_batch" / "__init__.pyi"
_NAMED = re.compile(r"(?:from|import) (?:crucible_batch|tests)\.features(?:\.| import )(\w+)")
_SHARED = {"conftest", "exists", "found", "load", "needs", "registry", "together"}
"""What the folders of features have beside them, and no feature deletes."""


def _exported() -> dict[str, str]:
    """Return the feature of each function that the package exports from one."""
    found = re.findall(
        r"from crucible_batch\.features\.(\w+)\S* import ([a-z]\w*)",
        STUB.read_text(encoding="utf-8"),
    )
    return {name: feature for feature, name in found}


def _features_used(path: Path) -> set[str]:
    """Return the features that a file imports, or calls by the package's name without asking
    ``has_feature``."""
    text = path.read_text(encoding="utf-8")
    named = set(_NAMED.findall(text)) - _SHARED
    asked = set(re.findall(r'has_feature\("(\w+)"\)', text))
    called = set(re.findall(r"\b(?:api|crucible_batch)\.(\w+)\(", text))
    for names in re.findall(
        r"from crucible_batch import ([^(]+?)$|from crucible_batch import \(([^)]+)\)", text, re.M
    ):
        called |= set(re.findall(r"\w+", "".join(names)))
    exported = {feature for name, feature in _exported().items() if name in called}
    return named | (exported - asked)


def _files() -> Iterator[Path]:
    """Yield the files of tests, without the long verifications, which are of all features."""
    yield from (
        path for path in TESTS.rglob("*.py") if path.relative_to(TESTS).parts[0] != "verification"
    )


def test_the_tests_of_a_feature_are_in_its_folder() -> None:
    elsewhere = {
        path.relative_to(TESTS).as_posix(): sorted(others)
        for path in _files()
        if (others := _features_used(path) - features_of(path))
    }
    assert elsewhere == {}


def test_each_folder_of_tests_is_that_of_a_feature() -> None:
    folders = {path.name for path in (TESTS / "features").iterdir() if any(path.glob("*.py"))}
    assert [name for name in sorted(folders - {"together"}) if not has_feature(name)] == []
