"""Only saved outputs are deleted: no changed files, none through links, no other files."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from crucible_batch.core.provenance import TOOL
from crucible_batch.outputs import deletion
from crucible_batch.outputs.deletion import (
    DeletedOutput,
    delete_output,
    delete_page,
    size_of_output,
    size_of_page,
)

CONTENT = b"a picture"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SIDECAR = f'{{"schema_version": 1, "tool": "{TOOL}"}}'


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "fox"
    folder.mkdir(parents=True)
    (folder / "0.png").write_bytes(CONTENT)
    (folder / "0.png.json").write_text(SIDECAR)
    return tmp_path / "run"


def names(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


def test_an_output_goes_with_its_sidecar_and_its_empty_folder(run_dir: Path) -> None:
    size = len(CONTENT) + len(SIDECAR)
    assert size_of_output(run_dir, "fox/0.png", len(CONTENT)) == size
    assert delete_output(run_dir, "fox/0.png", SHA256) == DeletedOutput(size)
    assert names(run_dir) == set()
    assert delete_output(run_dir, "fox/0.png", SHA256) == DeletedOutput()


def test_a_folder_with_other_files_stays(run_dir: Path) -> None:
    (run_dir / "fox/notes.txt").write_text("mine")
    delete_output(run_dir, "fox/0.png", SHA256)
    assert names(run_dir) == {"fox", "fox/notes.txt"}


def test_the_sidecar_that_an_interruption_left_is_deleted(run_dir: Path) -> None:
    (run_dir / "fox/0.png").unlink()
    assert size_of_output(run_dir, "fox/0.png", len(CONTENT)) == len(SIDECAR)
    assert delete_output(run_dir, "fox/0.png", SHA256) == DeletedOutput(len(SIDECAR))


def test_a_changed_file_is_kept_with_its_sidecar(run_dir: Path) -> None:
    (run_dir / "fox/0.png").write_bytes(b"b picture")
    assert delete_output(run_dir, "fox/0.png", SHA256) == DeletedOutput(kept="fox/0.png")
    assert names(run_dir) == {"fox", "fox/0.png", "fox/0.png.json"}
    (run_dir / "fox/0.png").write_bytes(b"longer than it was")
    assert size_of_output(run_dir, "fox/0.png", len(CONTENT)) == 0


def test_another_json_file_beside_an_output_is_kept(run_dir: Path) -> None:
    (run_dir / "fox/0.png.json").write_text('{"mine": true}')
    delete_output(run_dir, "fox/0.png", SHA256)
    assert names(run_dir) == {"fox", "fox/0.png.json"}


def test_links_are_neither_followed_nor_removed(run_dir: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (run_dir / "fox").rename(elsewhere)
    (run_dir / "fox").symlink_to(elsewhere)
    assert delete_output(run_dir, "fox/0.png", SHA256) == DeletedOutput(kept="fox/0.png")
    (run_dir / "fox").unlink()
    (run_dir / "fox").mkdir()
    (run_dir / "fox/0.png").symlink_to(elsewhere / "0.png")
    assert delete_output(run_dir, "fox/0.png", SHA256) == DeletedOutput(kept="fox/0.png")
    assert (run_dir / "fox/0.png").is_symlink()
    assert (elsewhere / "0.png").read_bytes() == CONTENT
    assert size_of_output(run_dir, "fox/0.png", len(CONTENT)) == 0


def test_of_a_hard_link_only_the_name_in_the_run_goes(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "kept.png").hardlink_to(run_dir / "fox/0.png")
    delete_output(run_dir, "fox/0.png", SHA256)
    assert (tmp_path / "kept.png").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "path",
    [
        "../kept.png",
        "/etc/passwd",
        ".crucible/journal.sqlite3",
        "report.json",
        "fox/../../kept.png",
    ],
)
def test_a_path_that_is_not_an_outputs_is_never_touched(
    run_dir: Path, tmp_path: Path, path: str
) -> None:
    (tmp_path / "kept.png").write_bytes(CONTENT)
    (run_dir / ".crucible").mkdir()
    for name in (".crucible/journal.sqlite3", "report.json"):
        (run_dir / name).write_bytes(CONTENT)
    before = names(tmp_path)
    assert delete_output(run_dir, path, SHA256) == DeletedOutput(kept=path)
    assert size_of_output(run_dir, path, len(CONTENT)) == 0
    assert names(tmp_path) == before


def test_a_folder_that_becomes_a_link_meanwhile_is_not_followed(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is open before its name changes, so its own file is deleted and the other folder's
    is not."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "0.png").write_bytes(CONTENT)
    digest = hashlib.file_digest

    def swap(file: object, name: str) -> object:
        found = digest(file, name)  # type: ignore[arg-type]  # the file that is being deleted
        (run_dir / "fox").rename(tmp_path / "moved")
        (run_dir / "fox").symlink_to(other)
        return found

    monkeypatch.setattr(deletion.hashlib, "file_digest", swap)
    delete_output(run_dir, "fox/0.png", SHA256)
    assert (other / "0.png").read_bytes() == CONTENT
    assert (run_dir / "fox").is_symlink()


@pytest.mark.parametrize("how", ["replaced", "rewritten"])
def test_a_file_that_is_changed_meanwhile_is_kept(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    digest, output = hashlib.file_digest, run_dir / "fox/0.png"

    def swap(file: object, name: str) -> object:
        found = digest(file, name)  # type: ignore[arg-type]  # the file that is being deleted
        time_ns = output.stat().st_mtime_ns
        if how == "replaced":
            (run_dir / "fox/new.png").write_bytes(b"another picture")
            (run_dir / "fox/new.png").replace(output)
            os.utime(output, ns=(time_ns, time_ns))
        else:
            output.write_bytes(b"another picture")
            os.utime(output, ns=(time_ns + 1000, time_ns + 1000))
        return found

    monkeypatch.setattr(deletion.hashlib, "file_digest", swap)
    assert delete_output(run_dir, "fox/0.png", SHA256) == DeletedOutput(kept="fox/0.png")
    assert output.read_bytes() == b"another picture"


def test_an_error_of_the_disk_is_raised(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: str, *, dir_fd: int | None = None) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(deletion.os, "unlink", fail)
    with pytest.raises(OSError, match="Input/output error"):
        delete_output(run_dir, "fox/0.png", SHA256)


def test_the_page_goes_with_its_thumbnails_and_nothing_else(run_dir: Path, tmp_path: Path) -> None:
    kept = {
        "fox",
        "fox/0.png",
        "fox/0.png.json",
        "thumbnails",
        "thumbnails/mine.webp",
        "report.json",
        ".crucible",
    }
    for folder in ("thumbnails", ".crucible/thumbnails"):
        (run_dir / folder).mkdir(parents=True)
    (run_dir / "thumbnails" / f"{'a' * 40}.webp").write_bytes(b"12345")
    (run_dir / ".crucible/thumbnails" / f"{'a' * 40}-0").write_bytes(b"123")
    (run_dir / "thumbnails/mine.webp").write_bytes(b"mine")
    (run_dir / "report.html").write_bytes(b"12")
    (run_dir / "report.json").write_bytes(b"{}")
    assert size_of_page(run_dir) == 10
    assert delete_page(run_dir) == 10
    assert names(run_dir) == kept
    (run_dir / "thumbnails/mine.webp").unlink()
    (run_dir / "thumbnails").rmdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / f"{'b' * 40}.webp").write_bytes(b"1")
    (run_dir / "thumbnails").symlink_to(tmp_path / "other")
    (run_dir / "report.html").symlink_to(run_dir / "report.json")
    assert delete_page(run_dir) == 0
    assert names(tmp_path / "other") == {f"{'b' * 40}.webp"}
    assert (run_dir / "report.json").exists()
