"""What killed runs left is found below the run directory alone, however deep its folders are."""

from __future__ import annotations

from pathlib import Path

import pytest

from crucible_batch.atomic_files import TEMPORARY_PREFIX
from crucible_batch.manifest.names import MAX_PATTERN_BYTES
from crucible_batch.outputs import OutputStore
from crucible_batch.outputs.temp_file import DEEPEST
from tests.unit.outputs.making import nested_folders

PART = f"{TEMPORARY_PREFIX}token-0"


def plant(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PART).write_bytes(b"cut")
    return folder / PART


def descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def test_no_more_folders_are_open_than_outputs_can_be_deep(tmp_path: Path) -> None:
    with nested_folders(tmp_path, DEEPEST + 20):
        before = descriptors()
        deepest = plant(tmp_path.joinpath(*["d"] * (DEEPEST - 1)))
        plant(deepest.parent / "d")
        found = [(tmp_path / path, descriptors()) for path in OutputStore(tmp_path).leftovers()]
        assert descriptors() == before
    ((path, most),) = found
    assert path == deepest
    assert most - before <= 2 * DEEPEST


def test_as_deep_as_an_output_may_be_is_looked(tmp_path: Path) -> None:
    parts = MAX_PATTERN_BYTES // 2 + 1  # "d/d/…/d", the last of which is the file
    folder = tmp_path.joinpath(*["d"] * (parts - 1))
    assert OutputStore(tmp_path).sweep() == 0
    part = plant(folder)
    assert OutputStore(tmp_path).sweep() == 1
    assert not part.exists()


def test_a_link_to_a_folder_is_not_entered(tmp_path: Path) -> None:
    elsewhere = plant(tmp_path / "elsewhere")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/job").symlink_to(tmp_path / "elsewhere")
    assert OutputStore(tmp_path / "run").sweep() == 0
    assert elsewhere.exists()


def test_a_folder_that_becomes_a_link_is_not_swept_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = plant(tmp_path / "elsewhere")
    plant(tmp_path / "run/job")
    store = OutputStore(tmp_path / "run")
    found = list(store.leftovers())
    (tmp_path / "run/job").rename(tmp_path / "run/was")
    (tmp_path / "run/job").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setattr(store, "leftovers", lambda: iter(found))
    assert store.sweep() == 0
    assert elsewhere.exists()


def test_a_link_with_the_name_of_a_leftover_goes_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / PART).symlink_to(tmp_path / "mine")
    assert OutputStore(tmp_path / "run").sweep() == 1
    assert list((tmp_path / "run").iterdir()) == []
    assert (tmp_path / "mine").read_bytes() == b"mine"
