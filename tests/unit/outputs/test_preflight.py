"""What a run directory has to be able to do is tried before anything is bought."""

from __future__ import annotations

import errno
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.errors import RunDirectoryError
from crucible_batch.outputs import check_outputs_can_be_saved
from crucible_batch.outputs.safe_fs import Folder, folder_of
from tests.unit.outputs.making import files


def test_where_there_are_hard_links_outputs_get_their_names_by_them(tmp_path: Path) -> None:
    check_outputs_can_be_saved(tmp_path, [])
    assert files(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.ENOSPC])
def test_a_disk_that_fails_is_no_file_system_that_lacks_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_args: Any, **_options: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", fail)
    with pytest.raises(RunDirectoryError, match=os.strerror(number)) as caught:
        check_outputs_can_be_saved(tmp_path, [])
    assert caught.value.exit_code == 2
    assert files(tmp_path) == []


def test_a_file_system_that_gives_a_name_that_is_taken_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        os,
        "link",
        lambda name, other, **where: os.replace(
            name, other, src_dir_fd=where["src_dir_fd"], dst_dir_fd=where["dst_dir_fd"]
        ),
    )
    with pytest.raises(RunDirectoryError, match="lets a new file replace an existing one"):
        check_outputs_can_be_saved(tmp_path, [])
    assert files(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EILSEQ, errno.ENOENT])
def test_names_that_it_doesnt_take_are_told_where_the_run_has_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    opened = Folder.open

    def refuse(folder: Folder, name: str, flags: int) -> int:
        if not name.isascii():
            raise OSError(number, os.strerror(number), name)
        return opened(folder, name, flags)

    monkeypatch.setattr(Folder, "open", refuse)
    check_outputs_can_be_saved(tmp_path, ["fox/{index}{ext}"])
    with pytest.raises(RunDirectoryError, match="does not accept file names such as 'fuchs-größe/"):
        check_outputs_can_be_saved(tmp_path, ["fox/{index}{ext}", "fuchs-größe/{index}{ext}"])
    assert files(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EIO])
def test_a_folder_is_synced_where_that_can_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    fails = (
        pytest.raises(OSError, match="Input/output error") if number == errno.EIO else nullcontext()
    )
    with folder_of(tmp_path, "x") as folder, fails:
        folder.sync()
