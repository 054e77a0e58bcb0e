"""What stands where an output was saved is told by its bytes, and nothing but a plain file is
opened."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from crucible_batch.outputs import FileState, check_output
from tests.harness.case_table import each_case

CONTENT = b"as it was saved"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def found(directory: Path, path: str = "job/0.png") -> FileState:
    return check_output(directory, path, DIGEST, len(CONTENT))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "job").mkdir()
    return tmp_path / "job/0.png"


def test_the_saved_bytes_are_ok_when_the_run_directory_itself_is_reached_by_a_link(
    tmp_path: Path, target: Path
) -> None:
    target.write_bytes(CONTENT)
    (tmp_path / "link").symlink_to(tmp_path)
    assert found(tmp_path / "link") is FileState.OK


@pytest.mark.parametrize("content", [b"", CONTENT[:-1], CONTENT + b"x", CONTENT[:-1] + b"D"])
def test_other_bytes_are_damage(tmp_path: Path, target: Path, content: bytes) -> None:
    target.write_bytes(content)
    assert found(tmp_path) is FileState.DAMAGED


def test_a_file_of_another_size_is_not_read(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5 GB took 24 s."""
    monkeypatch.setattr(hashlib, "file_digest", None)
    target.write_bytes(CONTENT + b"x")
    assert found(tmp_path) is FileState.DAMAGED


def test_nothing_is_missing_also_where_its_folder_is(tmp_path: Path, target: Path) -> None:
    assert found(tmp_path) is FileState.MISSING
    assert found(tmp_path, "nowhere/at/all.png") is FileState.MISSING


def test_links_directories_and_devices_are_no_output(tmp_path: Path, target: Path) -> None:
    (tmp_path / "other").write_bytes(CONTENT)
    target.symlink_to(tmp_path / "other")
    assert found(tmp_path) is FileState.REPLACED
    target.unlink()
    target.mkdir()
    assert found(tmp_path) is FileState.REPLACED
    target.rmdir()
    os.mkfifo(target)
    assert found(tmp_path) is FileState.REPLACED


def test_a_link_or_a_file_on_the_way_there_counts_too(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/0.png").write_bytes(CONTENT)
    (tmp_path / "job").symlink_to("real")
    assert found(tmp_path) is FileState.REPLACED
    (tmp_path / "job").unlink()
    (tmp_path / "job").write_bytes(b"")
    assert found(tmp_path) is FileState.REPLACED
    (tmp_path / "job").unlink()
    (tmp_path / "job").symlink_to("job")
    assert found(tmp_path) in {FileState.REPLACED, FileState.UNREADABLE}


@each_case("path", ["../0.png", "/etc/passwd", "job/../../0.png"])
def test_a_path_out_of_the_directory_is_not_followed(tmp_path: Path, path: str) -> None:
    run_dir = tmp_path / "run"
    (run_dir / "job").mkdir(parents=True)
    (tmp_path / "0.png").write_bytes(CONTENT)
    assert found(run_dir, path) is FileState.MISPLACED


@each_case(
    "path", ["report.json", ".crucible/journal.sqlite3", "thumbnails/0.png", "job/0.png.json"]
)
def test_where_no_output_may_stand_nothing_is_read(tmp_path: Path, path: str) -> None:
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_bytes(CONTENT)
    assert found(tmp_path, path) is FileState.MISPLACED
