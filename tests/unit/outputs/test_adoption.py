"""Outputs of a shard get their names in the main run directory: checked, never over another file,
through no link.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.outputs import Adoption, OutputError, ResultsError, adopt_output

CONTENT = b"a picture" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "job/0.png"


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    return written(tmp_path / "shard", CONTENT)


@pytest.fixture
def main(tmp_path: Path) -> Path:
    (tmp_path / "main").mkdir()
    return tmp_path / "main"


def written(directory: Path, content: bytes, name: str = NAME) -> Path:
    target = directory / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return directory


def adopt(shard: Path, main: Path, *, path: str = NAME, target: str = NAME) -> Adoption:
    return adopt_output(shard, path, main, target, SHA256)


def files(directory: Path) -> list[str]:
    return sorted(
        path.relative_to(directory).as_posix() for path in directory.rglob("*") if not path.is_dir()
    )


def test_an_output_gets_a_hard_link(shard: Path, main: Path) -> None:
    assert adopt(shard, main) is Adoption.LINKED
    assert (main / NAME).samefile(shard / NAME)
    assert files(main) == [NAME]


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP])
def test_without_hard_links_it_is_copied(
    shard: Path, main: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    link = os.link

    def refuse(*names: str, src_dir_fd: int, dst_dir_fd: int, **options: Any) -> None:
        if src_dir_fd != dst_dir_fd:  # only between the two directories
            raise OSError(number, os.strerror(number))
        link(*names, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, **options)

    monkeypatch.setattr(os, "link", refuse)
    assert adopt(shard, main) is Adoption.COPIED
    assert (main / NAME).read_bytes() == CONTENT
    assert not (main / NAME).samefile(shard / NAME)
    assert files(main) == [NAME]


def test_the_file_of_another_user_is_copied_since_that_user_could_change_a_link(
    shard: Path, main: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12_345)
    assert adopt(shard, main) is Adoption.COPIED
    assert not (main / NAME).samefile(shard / NAME)


@pytest.mark.parametrize("links", [True, False])
def test_damaged_bytes_get_no_name(
    shard: Path, main: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        monkeypatch.setattr(os, "geteuid", lambda: 12_345)
    written(shard, CONTENT[:-1] + b"?")
    assert adopt(shard, main) is Adoption.ABSENT
    assert files(main) == []


def test_another_file_is_never_replaced(shard: Path, main: Path) -> None:
    written(main, b"mine")
    with pytest.raises(OutputError):
        adopt(shard, main)
    assert (main / NAME).read_bytes() == b"mine"
    assert files(main) == [NAME]


def test_a_link_in_the_shard_is_not_followed(shard: Path, main: Path, tmp_path: Path) -> None:
    secret = written(tmp_path / "elsewhere", CONTENT) / NAME
    (shard / NAME).unlink()
    (shard / NAME).symlink_to(secret)
    assert adopt(shard, main) is Adoption.ABSENT
    (shard / NAME).unlink()
    (shard / "job").rmdir()
    (shard / "job").symlink_to(secret.parent)
    assert adopt(shard, main) is Adoption.ABSENT
    assert files(main) == []


def test_a_link_that_takes_the_place_of_the_opened_file_is_not_adopted(
    shard: Path, main: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = written(tmp_path / "elsewhere", CONTENT) / NAME
    link = os.link

    def swap(*args: Any, **options: Any) -> None:
        (shard / NAME).unlink()
        (shard / NAME).symlink_to(secret)
        link(*args, **options)

    monkeypatch.setattr(os, "link", swap)
    adopt(shard, main)
    assert not (main / NAME).is_symlink()
    assert not (main / NAME).samefile(secret)


def test_a_link_in_the_main_run_directory_is_not_followed(
    shard: Path, main: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (main / "job").symlink_to(outside)
    with pytest.raises(ResultsError):
        adopt(shard, main)
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize(
    "target", ["../out.png", "/tmp/out.png", ".crucible/0.png", "report.json", "a/../../b.png"]
)
def test_a_path_that_no_output_may_have_is_refused(shard: Path, main: Path, target: str) -> None:
    with pytest.raises(ResultsError):
        adopt(shard, main, target=target)
    assert files(main) == []


@pytest.mark.parametrize(
    "path", ["../main/secret.png", ".crucible/journal.sqlite3", "receipts.jsonl"]
)
def test_a_path_of_a_journal_names_nothing_but_an_output(
    shard: Path, main: Path, path: str
) -> None:
    written(shard, CONTENT, ".crucible/journal.sqlite3")
    written(shard, CONTENT, "receipts.jsonl")
    written(main, CONTENT, "secret.png")
    assert adopt(shard, main, path=path) is Adoption.ABSENT


def test_a_full_disk_leaves_nothing(
    shard: Path, main: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_files: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "geteuid", lambda: 12_345)
    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(ResultsError, match="No space"):
        adopt(shard, main)
    assert files(main) == []


def test_what_a_killed_merge_has_left_is_replaced_and_not_written_to(
    shard: Path, main: Path, tmp_path: Path
) -> None:
    """It may be a hard link to another file."""
    other = tmp_path / "other"
    other.write_bytes(b"another file")
    (main / "job").mkdir()
    (main / "job" / f".crucible-part-merge-{SHA256[:16]}").hardlink_to(other)
    assert adopt(shard, main) is Adoption.LINKED
    assert other.read_bytes() == b"another file"
    assert files(main) == [NAME]
