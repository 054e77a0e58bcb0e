"""A file is written completely or not at all, and nothing that stands in the way is written
through."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from crucible_batch.atomic_files import TEMPORARY_PREFIX, replacing, temporary_path


def test_the_old_file_stands_until_the_new_one_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    target.write_bytes(b"old")
    with replacing(target) as file:
        file.write(b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    target.write_bytes(b"old")

    def write() -> None:
        with replacing(target) as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_bytes_are_synced_before_the_file_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, int]] = []
    fsync, rename = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        calls.append(("fsync", os.fstat(descriptor).st_size))
        fsync(descriptor)

    def replaced(source: Path, target: Path) -> None:
        calls.append(("replace", Path(source).stat().st_size))
        rename(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    with replacing(tmp_path / "report.json") as file:
        file.write(b"whole")
    assert calls == [("fsync", 5), ("replace", 5)]


@pytest.mark.parametrize("plant", [os.symlink, os.link])
@pytest.mark.parametrize(
    "where", [lambda target: target, temporary_path], ids=["target", "temporary name"]
)
def test_a_link_in_the_way_is_replaced_and_not_written_through(
    tmp_path: Path, plant: Callable[[Path, Path], None], where: Callable[[Path], Path]
) -> None:
    precious, target = tmp_path / "precious", tmp_path / "report.json"
    precious.write_bytes(b"mine")
    plant(precious, where(target))
    with replacing(target) as file:
        file.write(b"new")
    assert (precious.read_bytes(), target.read_bytes(), target.is_symlink()) == (
        b"mine",
        b"new",
        False,
    )


def test_the_temporary_file_is_one_that_the_next_run_removes(tmp_path: Path) -> None:
    assert temporary_path(tmp_path / "report.json").name.startswith(TEMPORARY_PREFIX)
