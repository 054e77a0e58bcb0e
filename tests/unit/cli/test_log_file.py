"""A log file is its owner's, is never followed elsewhere, rotates, and loses lines rather than end
a run."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from crucible_batch.cli.logs.log_file import LogFile
from crucible_batch.errors import UserError
from tests.harness.case_table import each_case

LINE = "2026-11-26T22:00:00.000Z INFO    "


def _open(path: Path, *, max_bytes: int = 1_000_000, keep: int = 2) -> LogFile:
    return LogFile(path, max_bytes=max_bytes, keep=keep)


def test_lines_are_appended_to_a_file_that_only_its_owner_can_read(tmp_path: Path) -> None:
    for number in range(2):
        file = _open(tmp_path / "n.log")
        assert file.write(f"{LINE}{number}")
        file.close()
    assert (tmp_path / "n.log").read_text() == f"{LINE}0\n{LINE}1\n"
    assert stat.S_IMODE((tmp_path / "n.log").stat().st_mode) == 0o600


@each_case(
    "what, message",
    [
        ("link", "is a symbolic link, which is not followed"),
        ("directory", "is not a regular file"),
        ("pipe", "is not a regular file"),
        ("foreign", "exists and is not a log of crucible-batch; nothing was written to it"),
        ("nowhere/n.log", "can't be created: its directory does not exist"),
    ],
)
def test_nothing_but_a_log_or_a_new_file_is_written_to(
    tmp_path: Path, what: str, message: str
) -> None:
    manifest = tmp_path / "foreign"
    manifest.write_text("version: 1\nname: nightly\n")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError) as caught:
        _open(tmp_path / what)
    assert message in str(caught.value)
    assert caught.value.hint == "give another file with --log-file"
    assert manifest.read_text() == "version: 1\nname: nightly\n"
    assert not (tmp_path / "elsewhere").exists()


@each_case(
    "content",
    ["", '{"time": "2026', "2026-11-", f"{LINE}a\n", f"\n{LINE}", '{"time": "2026-11-26T"}\n'],
)
def test_a_log_whose_first_line_is_cut_is_a_log(tmp_path: Path, content: str) -> None:
    (tmp_path / "n.log").write_text(content)
    file = _open(tmp_path / "n.log")
    assert file.write("more")
    file.close()
    assert (tmp_path / "n.log").read_text() == f"{content}more\n"


def test_a_full_file_is_rotated_and_the_oldest_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "n.log"
    file = _open(path, max_bytes=100)
    for number in range(8):
        assert file.write(f"{LINE}{number} {'x' * 20}")
    file.close()
    names = sorted(each.name for each in tmp_path.iterdir())
    assert names == ["n.log", "n.log.1", "n.log.2"]
    kept = "".join((tmp_path / name).read_text() for name in reversed(names))
    assert [line.split()[2] for line in kept.splitlines()] == ["5", "6", "7"]
    assert all(each.stat().st_size <= 100 for each in tmp_path.iterdir())
    assert all(stat.S_IMODE(each.stat().st_mode) == 0o600 for each in tmp_path.iterdir())


def test_two_writers_of_one_file_lose_no_line_and_none_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "n.log"
    files = [_open(path, max_bytes=300, keep=50) for _ in range(2)]
    for number in range(60):
        assert files[number % 2].write(f"{LINE}{number:03}")
    for file in files:
        file.close()
    lines = [line for each in tmp_path.iterdir() for line in each.read_text().splitlines()]
    assert sorted(line.removeprefix(LINE) for line in lines) == [
        f"{number:03}" for number in range(60)
    ]
    assert len(list(tmp_path.iterdir())) > 3


def test_a_deleted_file_is_created_again(tmp_path: Path) -> None:
    path = tmp_path / "n.log"
    file = _open(path)
    path.unlink()
    assert file.write("after")
    file.close()
    assert path.read_text() == "after\n"


def test_a_link_that_takes_the_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "n.log"
    file = _open(path)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    assert not file.write("after")
    file.close()
    assert file.missing == 1
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux")
def test_a_full_disk_loses_lines_and_the_file_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = _open(tmp_path / "n.log")
    with monkeypatch.context() as patched:
        patched.setattr(LogFile, "_open", lambda self: Path("/dev/full").open("a"))  # noqa: SIM115
        file.path.unlink()
        assert not file.write("first line")
        assert not file.write("second line")
    assert (file.missing, file.reason) == (2, "No space left on device")
    assert file.write("third line")
    file.close()
    assert (tmp_path / "n.log").read_text() == "third line\n"


def test_a_file_that_cannot_be_rotated_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = _open(tmp_path / "n.log", max_bytes=50)

    def refuse(source: str, target: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "rename", refuse)
    for number in range(3):
        assert file.write(f"{LINE}{number} {'x' * 20}")
    file.close()
    assert len((tmp_path / "n.log").read_text().splitlines()) == 3
