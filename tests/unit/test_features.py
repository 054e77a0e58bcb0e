"""A feature that was deleted, or whose needed feature was, adds nothing; what only it has is
unknown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Annotated

import pytest

from crucible_batch import features
from crucible_batch.lazy_imports import lazily
from crucible_batch.runs.keywords import OfFeature, taking

FOLDER = Path(features.__file__).parent
NAMES = ("control", "view")
"""Of these, ``view`` needs ``control`` (``features/needs.py``)."""
NOT_DELETED = set(filter(features.exists, NAMES))
"""``make deletable`` runs these tests without one of them, too."""


@pytest.mark.parametrize(
    ("folders", "there"),
    [
        (("control", "view"), {"control", "view"}),
        (("view",), set[str]()),
        (("control",), {"control"}),
        ((), set[str]()),
    ],
)
def test_a_feature_is_there_with_all_that_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folders: tuple[str, ...], there: set[str]
) -> None:
    for folder in folders:
        (tmp_path / folder).symlink_to(FOLDER / folder)
    monkeypatch.setattr(features, "_FOLDER", tmp_path)
    there = there & NOT_DELETED
    assert {name for name in NAMES if features.exists(name)} == there
    assert {module.__name__.split(".")[-2] for module in features.found("commands")} == there
    assert (features.load("view.commands:commands") is not None) is ("view" in there)


def test_a_folder_that_was_left_with_bytecode_only_is_not_a_feature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "control" / "__pycache__").mkdir(parents=True)
    monkeypatch.setattr(features, "_FOLDER", tmp_path)
    assert not features.exists("control")
    assert features.load("control.part:SocketPart") is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    name: str
    count: Annotated[int | None, OfFeature("control")] = None


def decorated() -> Callable[..., int | None]:
    """Return a new function that takes the fields of a call.

    Which features exist is asked when it is decorated, so each test decorates its own.
    """

    @taking(Call)
    def called(given: Call) -> int | None:
        return given.count

    return called


def test_an_argument_is_unknown_without_its_feature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "_FOLDER", tmp_path)
    called = decorated()
    assert list(signature(called).parameters) == ["name"]
    assert called(name="fox") is None
    with pytest.raises(TypeError, match=r"called\(\) got an unexpected keyword argument 'count'"):
        called(name="fox", count=3)


def test_an_argument_is_known_with_its_feature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "control").mkdir()
    (tmp_path / "control" / "__init__.py").touch()
    monkeypatch.setattr(features, "_FOLDER", tmp_path)
    called = decorated()
    assert list(signature(called).parameters) == ["name", "count"]
    assert called(name="fox", count=3) == 3


def test_a_name_of_the_package_is_unknown_without_its_feature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deleted = "control"  # tests/harness/test_features.py searches for imports, also in texts
    (tmp_path / "fox.pyi").write_text(
        f"from crucible_batch.features.{deleted}.part import SocketPart as SocketPart\n"
        "from crucible_batch.errors import UserError as UserError\n"
    )
    monkeypatch.setattr(features, "_FOLDER", tmp_path)
    find, names = lazily("crucible_batch", str(tmp_path / "fox.py"))
    assert find("__all__") == ["UserError"]
    assert "SocketPart" not in names()
    with pytest.raises(AttributeError, match="has no attribute 'SocketPart'"):
        find("SocketPart")


def test_each_feature_is_in_the_table_of_the_architecture() -> None:
    text = (FOLDER.parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    there = {path.parent.name for path in FOLDER.glob("*/__init__.py")}
    missing = {name for name in there if f"\n| `features/{name}/` |" not in text}
    assert missing == set(), "add a row under *Features and parts of a run*"
