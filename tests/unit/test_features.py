"""A feature that was deleted, or whose needed feature was, adds nothing; what only it has is
unknown."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Annotated

import pytest

from crucible_batch import features
from crucible_batch.lazy_imports import lazily
from crucible_batch.runs.keywords import OfFeature, taking
from tests.harness.case_table import each_case

FOLDER = Path(features.__file__).parent
NOT_DELETED = set(filter(features.exists, ("control", "view")))


@each_case(
    "folders, there",
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
    there = there & NOT_DELETED
    root = tmp_path / "-".join(("features", *folders))
    root.mkdir()
    for folder in folders:
        (root / folder).symlink_to(FOLDER / folder)
    monkeypatch.setattr(features, "_FOLDER", root)
    assert {each for each in ("control", "view") if features.exists(each)} == there
    assert {module.__name__.split(".")[-2] for module in features.found("commands")} == there
    assert (features.load("view.commands:commands") is None) is ("view" not in there)


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


def function() -> object:
    """Decorated in the test: what exists is known when the function is made."""

    @taking(Call)
    def called(given: Call) -> int | None:
        return given.count

    return called


def test_an_argument_is_unknown_without_its_feature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "_FOLDER", tmp_path)
    called = function()
    assert callable(called)
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
    called = function()
    assert callable(called)
    assert list(signature(called).parameters) == ["name", "count"]
    assert called(name="fox", count=3) == 3


def test_a_name_of_the_package_is_unknown_without_its_feature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fox.pyi").write_text(
        f"from crucible_batch.features.{'control'}.part import SocketPart as SocketPart\n"
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
